//! Clients that stay with an endpoint by a cookie: what it looks like, how long it holds, and who can make one.

use std::collections::BTreeSet;
use std::io::Write;

use super::*;
use crate::support::app::parse;
use crate::support::client::Response;
use crate::support::window::{metric, standing};

const SECRET: &str = "sticky = { secret = 'the-same-in-every-proxy' }";

/// A request that brings this cookie along.
pub fn with(cookie: &str) -> String {
    format!("GET /a HTTP/1.1\r\nhost: shop\r\ncookie: theme=dark; {cookie}; x=y\r\n\r\n")
}

/// The cookie of `web` that an answer sets: `name=value`.
pub fn cookie(answer: &Response) -> Option<String> {
    let mut ours = answer.every("set-cookie").into_iter().filter(|line| line.starts_with("lictor-web="));
    let cookie = ours.next().and_then(|line| line.split(';').next()).map(str::to_owned);
    assert_eq!(ours.next(), None, "one is enough");
    cookie
}

/// Who answers a client with this cookie, which is to be the right one: it is not set again.
pub async fn kept(client: &mut Client, cookie_: &str) -> String {
    let answer = client.exchange(with(cookie_)).await;
    assert_eq!((answer.status, cookie(&answer)), (200, None), "{}", answer.text());
    answer.text()
}

/// A new client's endpoint, and its cookie.
pub async fn begin(client: &mut Client) -> (String, String) {
    let answer = client.exchange(GET).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    (answer.text(), cookie(&answer).expect("a cookie"))
}

/// Who answers a client whose cookie is not right any more, and the new one.
pub async fn moved(client: &mut Client, old: &str) -> (String, String) {
    let answer = client.exchange(with(old)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let new = cookie(&answer).expect("another cookie");
    assert_ne!(new, old);
    (answer.text(), new)
}

pub fn named<'a>(origins: &'a [Origin], name: &str) -> &'a Origin {
    origins.iter().find(|origin| origin.name() == name).unwrap()
}

async fn sessions(proxy: &Proxy) -> [f64; 3] {
    let mut counts = [0.0; 3];
    for (count, result) in counts.iter_mut().zip(["kept", "new", "moved"]) {
        *count = metric(proxy.admin(), &format!("lictor_sessions_total{{cluster=\"web\",result=\"{result}\"}}")).await;
    }
    counts
}

#[tokio::test]
async fn the_cookie_is_named_for_its_cluster_and_says_nothing_of_the_endpoint() {
    let ([origin], proxy) = start("sticky = {}").await;
    let answer = Client::connect(proxy.address()).await.exchange(GET).await;
    let set = answer.every("set-cookie");
    let (pair, attributes) = set[0].split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Lax");
    let value = pair.strip_prefix("lictor-web=").unwrap();
    assert!(value.len() == 32 && value.bytes().all(|byte| byte.is_ascii_hexdigit()), "{value}");
    assert!(!value.contains(&origin.address().port().to_string().repeat(2)));
    let again = Proxy::start(&to_endpoints(&[origin.address()], "sticky = {}"));
    let (_, other) = begin(&mut Client::connect(again.address()).await).await;
    assert_ne!(pair, other, "the same address has another name in another process");
}

#[tokio::test]
async fn the_cookie_has_the_attributes_that_are_configured() {
    let more = "sticky = { cookie = 'sid', path = '/shop', domain = 'example.com', max_age = '90m', secure = true, \
                http_only = false, same_site = 'none' }";
    let (_origins, proxy) = start::<2>(more).await;
    let answer = Client::connect(proxy.address()).await.exchange(GET).await;
    let mut parts = answer.header("set-cookie").unwrap().split("; ");
    assert!(parts.next().unwrap().starts_with("sid="));
    let attributes: BTreeSet<&str> = parts.collect();
    let expected = ["Path=/shop", "Domain=example.com", "Max-Age=5400", "Secure", "SameSite=None"];
    assert_eq!(attributes, BTreeSet::from(expected));
}

#[tokio::test]
async fn under_every_policy_a_client_stays_and_new_ones_spread() {
    for policy in POLICIES {
        // Without a key of their own, so that nothing but the cookie could keep clients together.
        let more = format!("policy = \"{policy}\"\nhash = {{ keys = ['header:x-user'] }}\nsticky = {{}}");
        let (origins, proxy) = start::<5>(&more).await;
        let mut client = Client::connect(proxy.address()).await;
        let (home, cookie) = begin(&mut client).await;
        for _ in 0..30 {
            assert_eq!(kept(&mut client, &cookie).await, home, "{policy}");
        }
        assert_eq!(named(&origins, &home).hits(), 31, "{policy}");
        let mut homes = BTreeSet::new();
        for _ in 0..30 {
            homes.insert(begin(&mut client).await);
        }
        // Each origin has one name, and thirty are not all at one of five but once in 10^20 times.
        let origins: BTreeSet<&String> = homes.iter().map(|(origin, _)| origin).collect();
        assert!(homes.len() == origins.len() && origins.len() > 1, "{policy}: {homes:?}");
        assert_eq!(sessions(&proxy).await, [30.0, 31.0, 0.0], "{policy}");
    }
}

#[tokio::test]
async fn a_cookie_that_is_not_ours_is_replaced_without_a_word() {
    let (_origins, proxy) = start::<3>("sticky = {}").await;
    let mut client = Client::connect(proxy.address()).await;
    let (_, good) = begin(&mut client).await;
    let last = if good.ends_with('0') { "1" } else { "0" };
    let address = format!("lictor-web={}", proxy.address());
    let long = format!("lictor-web={}", "0123456789abcdef".repeat(200));
    let forged = [&good[..good.len() - 1], "lictor-web=", "lictor-web=x", &address, &long, "lictor-web=\"\\\u{e4}\""];
    let changed = format!("{}{last}", &good[..good.len() - 1]);
    let upper = format!("lictor-web={}", good["lictor-web=".len()..].to_uppercase());
    let mut count = 0.0;
    for forged in forged.into_iter().chain([&*changed, &*upper]).filter(|forged| **forged != good) {
        let (home, new) = moved(&mut client, forged).await;
        assert_eq!(kept(&mut client, &new).await, home, "{forged}");
        count += 1.0;
    }
    assert_eq!(sessions(&proxy).await, [count, 1.0, count]);
}

#[tokio::test]
async fn a_cookie_that_can_be_followed_counts_even_behind_one_that_cannot() {
    let (origins, proxy) = start::<3>("sticky = {}\nejection = { consecutive_failures = 1 }").await;
    let mut client = Client::connect(proxy.address()).await;
    let (home, good) = begin(&mut client).await;
    // As browsers do that have one for an older path or domain as well.
    for both in [format!("lictor-web=old; {good}"), format!("{good}; lictor-web=old")] {
        for _ in 0..10 {
            assert_eq!(kept(&mut client, &both).await, home, "{both}");
        }
    }
    named(&origins, &home).stop().await;
    let (next, new) = moved(&mut client, &good).await;
    for _ in 0..10 {
        assert_eq!(kept(&mut client, &format!("{good}; {new}")).await, next, "nor behind one whose endpoint is out");
    }
    moved(&mut client, "lictor-web=old; lictor-web=older").await;
}

#[tokio::test]
async fn a_cookie_of_another_name_or_cluster_is_none() {
    let [one, two] = origins().await;
    let both = format!("endpoints = [\"{}\", \"{}\"]\nsticky = {{}}\n", one.address(), two.address());
    let text = format!(
        "[[routes]]\npath = '/web'\ncluster = 'web'\n[[routes]]\npath = '/api'\ncluster = 'api'\n[clusters.web]\n{both}[clusters.api]\n{both}"
    );
    let proxy = Proxy::start(&text);
    let mut client = Client::connect(proxy.address()).await;
    let get = |path: &str, cookie: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\ncookie: {cookie}\r\n\r\n");
    let (web, api) = (client.exchange(get("/web", "a=b")).await, client.exchange(get("/api", "a=b")).await);
    let pair = |answer: &Response| answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let (at_web, at_api) = (pair(&web), pair(&api));
    assert!(at_web.starts_with("lictor-web=") && at_api.starts_with("lictor-api="));
    let both = format!("{at_web}; {at_api}");
    for _ in 0..10 {
        // A browser sends both everywhere; either cluster reads its own.
        for (path, first) in [("/web", &web), ("/api", &api)] {
            let answer = client.exchange(get(path, &both)).await;
            assert_eq!((answer.text(), answer.header("set-cookie")), (first.text(), None), "{path}");
        }
    }
    let swapped = at_api.replace("lictor-api", "lictor-web");
    let answer = client.exchange(get("/web", &swapped)).await;
    assert!(answer.header("set-cookie").is_some(), "a name of one cluster means nothing in another");
}

#[tokio::test]
async fn a_client_whose_endpoint_leaves_the_list_goes_to_another() {
    let origins = origins::<3>().await;
    let proxy = Proxy::start(&to_endpoints(&addresses(&origins), "sticky = {}"));
    let mut client = Client::connect(proxy.address()).await;
    let (home, cookie) = begin(&mut client).await;
    let rest: Vec<SocketAddr> = origins.iter().filter(|origin| origin.name() != home).map(Origin::address).collect();
    proxy.app().reload(parse(&to_endpoints(&rest, "sticky = {}"))).await.unwrap();
    let (next, new) = moved(&mut client, &cookie).await;
    assert_ne!(next, home);
    // Even without a secret, reloads do not make it another.
    proxy
        .app()
        .reload(parse(&to_endpoints(&addresses(&origins), "sticky = {}\nsubset_size = 1\nretry = { attempts = 0 }")))
        .await
        .unwrap();
    for _ in 0..10 {
        assert_eq!(kept(&mut client, &new).await, next, "and stays there, whoever returns");
    }
    assert_eq!(kept(&mut client, &cookie).await, home, "the old name is as good as it was");
    assert_eq!(sessions(&proxy).await, [11.0, 1.0, 1.0]);
}

#[tokio::test]
async fn a_client_whose_endpoint_dies_goes_to_another_with_the_same_request() {
    let (origins, proxy) = start::<3>("sticky = {}\nejection = { consecutive_failures = 2 }").await;
    let mut client = Client::connect(proxy.address()).await;
    let (home, old) = begin(&mut client).await;
    let dead = named(&origins, &home);
    dead.stop().await;
    for _ in 0..2 {
        // Clients that have not heard of it yet.
        let (next, new) = moved(&mut client, &old).await;
        assert_ne!(next, home);
        assert_eq!(kept(&mut client, &new).await, next);
    }
    assert_eq!(standing(proxy.admin(), dead.address()).await, "ejected");
    dead.restart().await;
    assert_ne!(moved(&mut client, &old).await.0, home, "not while it is ejected");
}

#[tokio::test]
async fn proxies_with_one_secret_know_each_others_clients_and_others_do_not() {
    let origins = origins::<5>().await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "the-same-in-every-proxy").unwrap();
    let from_file = format!("sticky = {{ secret_file = '{}' }}", file.path().display());
    let start = |more: &str| Proxy::start(&to_endpoints(&addresses(&origins), more));
    let (one, two, other) = (start(SECRET), start(&from_file), start("sticky = { secret = 'another-secret-of-ours' }"));
    let none = start("sticky = {}");
    let mut client = Client::connect(one.address()).await;
    let (home, cookie) = begin(&mut client).await;
    let mut second = Client::connect(two.address()).await;
    for _ in 0..20 {
        assert_eq!(kept(&mut second, &cookie).await, home);
        assert_eq!(kept(&mut client, &cookie).await, home);
    }
    for stranger in [&other, &none] {
        let mut client = Client::connect(stranger.address()).await;
        moved(&mut client, &cookie).await;
        assert_eq!(sessions(stranger).await, [0.0, 0.0, 1.0]);
    }
}

#[tokio::test]
async fn an_answer_that_says_it_cannot_serve_binds_nobody() {
    let (origins, proxy) = start::<2>("sticky = {}\nejection = { consecutive_failures = 0 }").await;
    let mut client = Client::connect(proxy.address()).await;
    for status in [502, 503, 504] {
        all(&origins, &Script::answer(status, "sorry"));
        let answer = client.exchange(GET).await;
        assert_eq!((answer.status, answer.header("set-cookie")), (status, None));
    }
    all(&origins, &Script::answer(200, "well"));
    let answer = client.exchange(GET).await;
    let good = cookie(&answer).unwrap();
    all(&origins, &Script::answer(503, "sorry"));
    let answer = client.exchange(with(&good)).await;
    assert_eq!((answer.status, cookie(&answer)), (503, None), "nor does it let anybody go");
    for status in [500, 404, 204, 304] {
        all(&origins, &Script::answer(status, ""));
        let answer = client.exchange(GET).await;
        assert_eq!(answer.status, status);
        assert!(cookie(&answer).is_some(), "{status} is an answer like others");
    }
    assert_eq!(sessions(&proxy).await, [0.0, 5.0, 0.0]);
}

#[tokio::test]
async fn a_connection_that_switches_protocols_is_bound_as_well() {
    const UPGRADE: &str = "connection: upgrade\r\nupgrade: chat\r\n\r\n";
    let (origins, proxy) = start::<5>("sticky = {}").await;
    all(&origins, &Script::UpgradeEcho);
    let mut client = Client::connect(proxy.address()).await;
    let switched = client.exchange(format!("GET / HTTP/1.1\r\nhost: shop\r\n{UPGRADE}")).await;
    assert_eq!(switched.status, 101);
    let cookie_ = cookie(&switched).expect("a cookie");
    client.send("still there").await;
    assert_eq!(client.read(11).await, b"still there");
    let home = origins.iter().find(|origin| origin.hits() == 1).unwrap();
    for _ in 0..10 {
        let mut client = Client::connect(proxy.address()).await;
        let request = format!("GET / HTTP/1.1\r\nhost: shop\r\ncookie: {cookie_}\r\n{UPGRADE}");
        let switched = client.exchange(request).await;
        assert_eq!((switched.status, cookie(&switched)), (101, None));
    }
    assert_eq!(home.hits(), 11);
}

#[tokio::test]
async fn cookies_of_the_endpoint_stand_beside_ours() {
    let ([origin], proxy) = start("sticky = {}").await;
    let lines = ["a=1; Path=/", "lictor-api=2", "a=3; Expires=Wed, 09 Jun 2100 10:18:14 GMT"];
    let headers = lines.map(|line| ("Set-Cookie".to_owned(), line.to_owned())).to_vec();
    origin.always(Script::Answer { status: 200, headers, body: b"x".to_vec() });
    let mut client = Client::connect(proxy.address()).await;
    let answer = client.exchange(GET).await;
    let set = answer.every("set-cookie");
    assert_eq!((&set[..3], set.len()), (&lines[..], 4));
    let ours = cookie(&answer).unwrap();
    let answer = client.exchange(with(&ours)).await;
    assert_eq!(answer.every("set-cookie"), lines);
    assert_eq!(origin.requests()[1].header("cookie").as_deref(), Some(&*format!("theme=dark; {ours}; x=y")));
}

#[tokio::test]
async fn where_clients_are_not_bound_there_is_neither_a_cookie_nor_a_series() {
    let (_origins, proxy) = start::<2>("sticky = { enabled = false }").await;
    let answer = Client::connect(proxy.address()).await.exchange(with("lictor-web=x")).await;
    assert_eq!((answer.status, answer.header("set-cookie")), (200, None));
    let scrape = crate::support::client::get(proxy.admin(), "localhost", "/metrics").await.text();
    assert!(!scrape.contains("lictor_sessions_total{"));
}
