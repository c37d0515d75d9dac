//! The same endpoint for the same key, for as long as it is there and has room.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::*;
use crate::support::app::parse;
use crate::support::window::standing;

/// A policy without a bound, by these keys.
fn by(keys: &str) -> String {
    format!("policy = \"consistent_hash\"\nhash = {{ keys = [{keys}], load_factor = 0 }}")
}

/// A request with this path and these lines in its head.
fn request(path: &str, lines: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: shop\r\n{lines}\r\n")
}

fn with_user(user: usize) -> String {
    request("/", &format!("x-user: {user}\r\n"))
}

/// Who answers each of these, on one connection.
async fn owners(proxy: &Proxy, requests: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut client = Client::connect(proxy.address()).await;
    let mut owners = Vec::new();
    for request in requests {
        let answer = client.exchange(&request).await;
        assert_eq!(answer.status, 200, "{request}: {}", answer.text());
        owners.push(answer.text());
    }
    owners
}

fn spread(owners: &[String]) -> usize {
    owners.iter().collect::<BTreeSet<_>>().len()
}

// Shares of five are within a sixth of 0.2 each, with some to spare: of 300 keys nobody is left out in a billion years.
const MANY: usize = 300;

/// A request for a key, and for a round in which all else is different.
type Variant = fn(usize, usize) -> String;

#[tokio::test]
async fn a_key_always_comes_to_the_same_origin_and_keys_spread_over_all() {
    let kinds: [(&str, Variant); 4] = [
        ("'header:X-User'", |key, round| {
            request(&format!("/{round}"), &format!("x-other: {round}\r\nx-user: {key}\r\n"))
        }),
        ("'cookie:user'", |key, round| request("/", &format!("cookie: other={round}; user={key}; user=9\r\n"))),
        ("'query:user'", |key, round| request(&format!("/{round}?a={round}&user={key}&user=9"), "")),
        ("'path'", |key, round| request(&format!("/a/{key}?{round}"), &format!("x-other: {round}\r\n"))),
    ];
    for (keys, request) in kinds {
        let (_origins, proxy) = start::<5>(&by(keys)).await;
        let first = owners(&proxy, (0..MANY).map(|key| request(key, 1))).await;
        assert_eq!(spread(&first), 5, "{keys}");
        let again = owners(&proxy, (0..MANY).map(|key| request(key, 2))).await;
        assert_eq!(first, again, "{keys}");
    }
}

#[tokio::test]
async fn a_client_may_be_known_by_its_address() {
    let (_origins, proxy) = start::<3>("policy = \"consistent_hash\"").await;
    let mut owners = Vec::new();
    for host in 1..=60 {
        let from = Ipv4Addr::new(127, 0, 1, host);
        let mut answers = Vec::new();
        for _ in 0..2 {
            // A port of its own each time.
            let answer = Client::connect_from(from.into(), proxy.address()).await.exchange(GET).await;
            answers.push(answer.text());
        }
        assert_eq!(answers[0], answers[1], "{from}");
        owners.push(answers.remove(0));
    }
    assert!(spread(&owners) > 1, "{owners:?}");
}

#[tokio::test]
async fn the_first_key_that_a_request_has_is_the_one() {
    let (_origins, proxy) = start::<5>(&by("'header:x-user', 'cookie:user', 'query:user', 'path'")).await;
    // Each line's variants have one key in common, and differ in all that comes behind it.
    let variants: [fn(usize) -> [String; 3]; 4] = [
        |key| {
            [
                request("/a?user=1", &format!("x-user: {key}\r\ncookie: user=1\r\n")),
                request(&format!("/b/{key}"), &format!("cookie: user=b{key}\r\nx-user: {key}\r\n")),
                request(&format!("/c?user=c{key}"), &format!("x-user: {key}\r\nx-user: c{key}\r\n")),
            ]
        },
        |key| {
            [
                request("/a?user=1", &format!("cookie: user={key}\r\n")),
                request(&format!("/b/{key}"), &format!("x-user: \r\ncookie: user={key}\r\n")),
                request(&format!("/c?user=c{key}"), &format!("cookie: a=b\r\ncookie: user={key}\r\n")),
            ]
        },
        |key| {
            [
                request(&format!("/a?user={key}"), ""),
                request(&format!("/b/{key}?user={key}"), "cookie: user=\r\n"),
                request(&format!("/c/{key}?user={key}&b={key}"), "x-user:\r\ncookie: user=; b=c\r\n"),
            ]
        },
        |key| {
            [
                request(&format!("/{key}"), ""),
                request(&format!("/{key}?user="), "x-user: \r\n"),
                request(&format!("/{key}?{key}"), "cookie: user=\r\n"),
            ]
        },
    ];
    for (place, variants) in variants.iter().enumerate() {
        let mut all = Vec::new();
        for key in 0..40 {
            let owners = owners(&proxy, variants(key)).await;
            assert_eq!(spread(&owners), 1, "{owners:?} for {:#?}", variants(key));
            all.extend(owners);
        }
        // Forty keys on one of five: once in 10^24 times.
        assert!(spread(&all) > 1, "key {place} counts");
    }
}

#[tokio::test]
async fn a_request_without_any_of_the_keys_goes_anywhere() {
    let (_origins, proxy) = start::<5>(&by("'header:x-user', 'identity'")).await;
    let anywhere = owners(&proxy, (0..200).map(|_| request("/", "x-user:\r\n"))).await;
    // Nobody is missed in 200 draws of one in five, but once in 10^18 times.
    assert_eq!(spread(&anywhere), 5);
}

#[tokio::test]
async fn keys_of_an_origin_that_dies_move_and_come_back_with_it_and_no_others_do() {
    let ejection = "ejection = { consecutive_failures = 1, base = \"200ms\" }";
    let (origins, proxy) = start::<5>(&format!("{}\n{ejection}", by("'header:x-user'"))).await;
    let homes = owners(&proxy, (0..MANY).map(with_user)).await;
    let dying = &origins[2];
    dying.stop().await;
    for _ in 0..2 {
        let during = owners(&proxy, (0..MANY).map(with_user)).await;
        let mut heirs = BTreeMap::<&str, usize>::new();
        for (before, after) in homes.iter().zip(&during) {
            if before == dying.name() {
                *heirs.entry(after).or_default() += 1;
            } else {
                assert_eq!(before, after, "a key of another moved");
            }
        }
        assert!(heirs.len() > 1 && !heirs.contains_key(dying.name()), "its keys are spread: {heirs:?}");
    }
    dying.restart().await;
    eventually("it is back", SOON, async || {
        owners(&proxy, [with_user(0)]).await;
        standing(proxy.admin(), dying.address()).await == "eligible"
    })
    .await;
    assert_eq!(owners(&proxy, (0..MANY).map(with_user)).await, homes);
}

#[tokio::test]
async fn an_origin_that_joins_takes_keys_and_the_others_swap_none() {
    let origins = origins::<5>().await;
    let some = |count: usize| to_endpoints(&addresses(&origins[..count]), &by("'header:x-user'"));
    let proxy = Proxy::start(&some(4));
    let before = owners(&proxy, (0..MANY).map(with_user)).await;
    proxy.app().reload(parse(&some(5))).await.unwrap();
    let after = owners(&proxy, (0..MANY).map(with_user)).await;
    assert_eq!((spread(&before), spread(&after)), (4, 5));
    for (before, after) in before.iter().zip(&after) {
        assert!(before == after || after == origins[4].name(), "{before} lost a key to {after}");
    }
    proxy.app().reload(parse(&some(4))).await.unwrap();
    assert_eq!(owners(&proxy, (0..MANY).map(with_user)).await, before);
}

#[tokio::test]
async fn proxies_agree_whatever_order_their_endpoints_stand_in() {
    let origins = origins::<5>().await;
    let weights = [1, 2, 3, 4, 5];
    let mut endpoints: Vec<(&Origin, String)> =
        origins.iter().zip(weights.map(|weight| format!("weight = {weight}"))).collect();
    let one = Proxy::start(&to_each(endpoints.clone(), &by("'header:x-user'")));
    endpoints.reverse();
    let workers = format!("workers = 2\n{}", to_each(endpoints, &by("'header:x-user'")));
    let other = Proxy::start(&workers);
    let requests = || (0..MANY).map(with_user);
    assert_eq!(owners(&one, requests()).await, owners(&other, requests()).await);
}

#[tokio::test]
async fn a_hot_key_spills_to_others_beyond_the_bound_and_no_further_than_needed() {
    let more = "policy = \"consistent_hash\"\nhash = { keys = ['header:x-user'], load_factor = 1.25 }";
    let (origins, proxy) = start::<5>(more).await;
    all(&origins, &Script::Hang);
    let mut held = Vec::new();
    for count in 1..=40 {
        held.extend(hold(&proxy, &origins, 1, &with_user(7)).await);
        let bound = (1.25 * f64::from(count) / 5.0).ceil() as usize;
        assert!(hits(&origins).iter().all(|hits| *hits <= bound), "{:?}, bound {bound}", hits(&origins));
    }
    // Four times 1.25 shares of five is all there is.
    assert_eq!(sorted(hits(&origins)), [0, 10, 10, 10, 10]);
    drop(held);
}

#[tokio::test]
async fn without_a_bound_a_hot_key_stays_where_it_is() {
    let (origins, proxy) = start::<5>(&by("'header:x-user'")).await;
    all(&origins, &Script::Hang);
    let held = hold(&proxy, &origins, 30, &with_user(7)).await;
    assert_eq!(sorted(hits(&origins)), [0, 0, 0, 0, 30]);
    drop(held);
}

#[tokio::test]
async fn a_retry_goes_to_the_keys_next_one_with_and_without_a_bound() {
    for bound in ["0", "1.25"] {
        let more = by("'path'").replace("load_factor = 0", &format!("load_factor = {bound}"));
        let (origins, proxy) = start::<4>(&format!("{more}\nejection = {{ consecutive_failures = 0 }}")).await;
        let requests = || (0..60).map(|key| request(&format!("/{key}"), ""));
        let homes = owners(&proxy, requests()).await;
        origins[1].always(Script::ResetBeforeHead);
        let instead = owners(&proxy, requests()).await;
        let again = owners(&proxy, requests()).await;
        assert_eq!(instead, again, "the next one is always the same");
        for (home, instead) in homes.iter().zip(&instead) {
            assert_eq!(home == instead, home != origins[1].name(), "{home} and {instead}, bound {bound}");
        }
    }
}
