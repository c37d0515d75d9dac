//! Who serves first and who stands by: slow starters, endpoints that are further away, and those outside of a subset.

use std::collections::BTreeSet;

use super::*;
use crate::support::app::parse;
use crate::support::window::{endpoint, standing};

/// So long that nothing of it passes while a test runs.
const SLOW: &str = "policy = \"round_robin\"\nslow_start = { window = \"10h\", start_percent = 10 }";

async fn percent(proxy: &Proxy, origin: &Origin) -> u64 {
    endpoint(proxy.admin(), origin.address()).await["weight_percent"].as_u64().unwrap()
}

#[tokio::test]
async fn an_endpoint_that_joins_begins_with_a_part_of_its_share_and_the_first_ones_do_not() {
    let origins = origins::<4>().await;
    let proxy = Proxy::start(&to_endpoints(&addresses(&origins[..3]), SLOW));
    assert_eq!(during(&origins, send(&proxy, 30)).await, [10, 10, 10, 0]);
    proxy.app().reload(parse(&to_endpoints(&addresses(&origins), SLOW))).await.unwrap();
    // Ten tenths for each that was there, one for the new one.
    assert_eq!(during(&origins, send(&proxy, 62)).await, [20, 20, 20, 2]);
    assert_eq!((percent(&proxy, &origins[0]).await, percent(&proxy, &origins[3]).await), (100, 10));
    // A list that only repeats it does not begin anew, and one without a window ends it.
    let off = to_endpoints(&addresses(&origins), "policy = \"round_robin\"");
    proxy.app().reload(parse(&off)).await.unwrap();
    assert_eq!(during(&origins, send(&proxy, 40)).await, [10; 4]);
}

#[tokio::test]
async fn slow_starters_take_a_part_of_their_share_under_policies_of_chance_too() {
    for policy in ["random", "p2c", "least_connections", "ewma"] {
        let more = SLOW.replace("round_robin", policy);
        let origins = origins::<3>().await;
        let proxy = Proxy::start(&to_endpoints(&addresses(&origins[..2]), &more));
        send(&proxy, 2).await;
        proxy.app().reload(parse(&to_endpoints(&addresses(&origins), &more))).await.unwrap();
        let counts = during(&origins, send(&proxy, 600)).await;
        // One of 21, or what two draws make of it, where its share is one of three.
        assert!(counts[2] > 0 && counts[2] < 120, "{policy}: {counts:?}");
    }
}

#[tokio::test]
async fn an_endpoint_that_was_ejected_comes_back_with_a_part_of_its_share() {
    let ejection = "ejection = { consecutive_failures = 1, base = \"100ms\" }";
    let (origins, proxy) = start::<3>(&format!("{SLOW}\n{ejection}")).await;
    origins[1].once(Script::answer(503, "sorry"));
    let mut client = Client::connect(proxy.address()).await;
    eventually("it fails", SOON, async || {
        client.exchange(GET).await;
        origins[1].hits() == 1
    })
    .await;
    eventually("it is back", SOON, async || {
        client.exchange(GET).await;
        standing(proxy.admin(), origins[1].address()).await == "eligible"
    })
    .await;
    assert_eq!(during(&origins, send(&proxy, 42)).await, [20, 2, 20]);
}

/// Endpoints by the first letter of their zone, seen from zone `near`.
async fn zones<const N: usize>(zones: [&str; N], more: &str) -> ([Origin; N], Proxy) {
    let origins = origins::<N>().await;
    let endpoints = origins.iter().zip(zones.map(|zone| format!("zone = \"{zone}\"")));
    let proxy = Proxy::start(&format!("[place]\nzone = \"near\"\n{}", to_each(endpoints, more)));
    (origins, proxy)
}

const ZONE: &str = "locality = { prefer = [\"zone\"] }";

#[tokio::test]
async fn requests_stay_in_the_zone_while_all_of_it_serves() {
    let (origins, proxy) = zones(["near", "far", "near", "other"], &format!("policy = \"round_robin\"\n{ZONE}")).await;
    send(&proxy, 40).await;
    assert_eq!(hits(&origins), [20, 0, 20, 0]);
    let mut tiers = Vec::new();
    for origin in &origins {
        tiers.push(endpoint(proxy.admin(), origin.address()).await["tier"].as_u64());
    }
    assert_eq!(tiers, [Some(0), Some(1), Some(0), Some(1)]);
    let (origins, proxy) = zones(["near", "far"], "policy = \"round_robin\"").await;
    send(&proxy, 40).await;
    assert_eq!(hits(&origins), [20, 20], "nobody is preferred unless that is asked for");
    assert!(endpoint(proxy.admin(), origins[0].address()).await["tier"].is_null());
}

#[tokio::test]
async fn what_a_dead_endpoint_cannot_serve_in_the_zone_is_what_leaves_it() {
    let more = format!("policy = \"round_robin\"\n{ZONE}\nejection = {{ consecutive_failures = 1 }}");
    let (origins, proxy) = zones(["near", "near", "far", "far"], &more).await;
    origins[0].stop().await;
    send(&proxy, 2).await;
    assert_eq!(standing(proxy.admin(), origins[0].address()).await, "ejected");
    let counts = during(&origins, send(&proxy, 400)).await;
    // The one that is left carries what it did.
    assert_eq!(counts[0], 0);
    assert!(is_about(counts[1], 400, 0.5), "{counts:?}");
    assert!(counts[2].abs_diff(counts[3]) <= 1 && counts.iter().sum::<usize>() == 400, "{counts:?}");
}

#[tokio::test]
async fn a_zone_may_be_asked_to_carry_more_before_others_help() {
    let more = "policy = \"round_robin\"\nlocality = { prefer = [\"zone\"], overprovisioning = 2.0 }\n\
                ejection = { consecutive_failures = 1 }";
    let (origins, proxy) = zones(["near", "near", "far"], more).await;
    origins[0].stop().await;
    send(&proxy, 2).await;
    assert_eq!(during(&origins, send(&proxy, 40)).await, [0, 40, 0]);
}

#[tokio::test]
async fn a_retry_leaves_the_zone_where_nobody_else_is_in_it() {
    for policy in POLICIES {
        let more = format!("policy = \"{policy}\"\n{ZONE}\nejection = {{ consecutive_failures = 0 }}");
        let (origins, proxy) = zones(["near", "far"], &more).await;
        origins[0].always(Script::ResetBeforeHead);
        send(&proxy, 10).await;
        assert_eq!(hits(&origins), [10, 10], "{policy}");

        let (origins, proxy) = zones(["near", "far", "near"], &more).await;
        origins[0].always(Script::ResetBeforeHead);
        send(&proxy, 10).await;
        assert_eq!(origins[1].hits(), 0, "{policy}: while there is somebody, it stays");
    }
}

#[tokio::test]
async fn a_zone_without_endpoints_sends_all_its_requests_further() {
    let (origins, proxy) = zones(["far", "other"], &format!("policy = \"round_robin\"\n{ZONE}")).await;
    send(&proxy, 20).await;
    assert_eq!(hits(&origins), [10, 10]);
}

/// Who serves, each as often as the others of so many.
async fn serving(origins: &[Origin], proxy: &Proxy, size: usize) -> BTreeSet<String> {
    let counts = during(origins, send(proxy, size * 10)).await;
    let named = || counts.iter().zip(origins).filter(|(count, _)| **count > 0);
    assert!(named().all(|(count, _)| *count == 10), "{counts:?}");
    named().map(|(_, origin)| origin.name().to_owned()).collect()
}

#[tokio::test]
async fn a_subset_serves_and_another_takes_the_place_of_one_that_dies() {
    let more = "policy = \"round_robin\"\nsubset_size = 3\nejection = { consecutive_failures = 1 }";
    let (origins, proxy) = start::<8>(more).await;
    let before = serving(&origins, &proxy, 3).await;
    assert_eq!(before.len(), 3);
    assert_eq!(serving(&origins, &proxy, 3).await, before, "the same ones each time");
    let dead = origins.iter().find(|origin| before.contains(origin.name())).unwrap();
    dead.stop().await;
    // All are answered: the failure is tried again within the subset, and costs the dead one its place.
    send(&proxy, 3).await;
    let after = serving(&origins, &proxy, 3).await;
    assert_eq!((after.len(), before.intersection(&after).count()), (3, 2));
    assert!(!after.contains(dead.name()));
}

#[tokio::test]
async fn a_list_that_changes_changes_a_subset_by_one_at_most() {
    let origins = origins::<8>().await;
    let text = |origins: &[&Origin]| {
        let addresses: Vec<SocketAddr> = origins.iter().map(|origin| origin.address()).collect();
        parse(&to_endpoints(&addresses, "policy = \"round_robin\"\nsubset_size = 3"))
    };
    let proxy = Proxy::start(&to_endpoints(&addresses(&origins[..7]), "policy = \"round_robin\"\nsubset_size = 3"));
    let first = serving(&origins, &proxy, 3).await;
    proxy.app().reload(text(&origins.iter().collect::<Vec<_>>())).await.unwrap();
    let joined = serving(&origins, &proxy, 3).await;
    assert!(joined.intersection(&first).count() >= 2, "{first:?}, {joined:?}");
    let leaving = joined.first().unwrap().clone();
    let rest: Vec<&Origin> = origins.iter().filter(|origin| origin.name() != leaving).collect();
    proxy.app().reload(text(&rest)).await.unwrap();
    let left = serving(&origins, &proxy, 3).await;
    assert!(!left.contains(&leaving) && left.intersection(&joined).count() == 2, "{joined:?}, {left:?}");
}
