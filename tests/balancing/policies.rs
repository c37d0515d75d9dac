//! How each policy spreads requests.

use serde_json::Value;

use super::*;
use crate::support::app::parse;
use crate::support::window::{endpoint, in_flight};

#[tokio::test]
async fn turns_are_in_proportion_to_weight_to_the_request() {
    let origins = origins::<3>().await;
    let proxy = Proxy::start(&to_weighted(&origins, &[1, 2, 3], "policy = \"round_robin\""));
    send(&proxy, 60).await;
    assert_eq!(hits(&origins), [10, 20, 30]);
}

#[tokio::test]
async fn chance_goes_by_weight() {
    for policy in ["random", "p2c", "least_connections"] {
        let origins = origins::<3>().await;
        let proxy = Proxy::start(&to_weighted(&origins, &[1, 2, 3], &format!("policy = \"{policy}\"")));
        send(&proxy, 600).await;
        let hits = hits(&origins);
        for (count, share) in hits.iter().zip([1.0 / 6.0, 2.0 / 6.0, 3.0 / 6.0]) {
            assert!(is_about(*count, 600, share), "{policy}: {hits:?}");
        }
    }
}

#[tokio::test]
async fn least_connections_is_exact_over_all_workers() {
    let origins = origins::<6>().await;
    all(&origins, &Script::Hang);
    let cluster = to_endpoints(&addresses(&origins), "policy = \"least_connections\"");
    let proxy = Proxy::start(&format!("workers = 2\n{cluster}"));
    let held = hold(&proxy, &origins, 60, GET).await;
    assert_eq!(hits(&origins), [10; 6]);
    for origin in &origins {
        assert_eq!(endpoint(proxy.admin(), origin.address()).await["in_flight"], 10);
    }
    drop(held);
}

#[tokio::test]
async fn least_connections_gives_double_the_weight_double_the_requests_exactly() {
    let origins = origins::<4>().await;
    all(&origins, &Script::Hang);
    let cluster = to_weighted(&origins, &[2, 1, 2, 1], "policy = \"least_connections\"");
    let proxy = Proxy::start(&format!("workers = 2\n{cluster}"));
    let held = hold(&proxy, &origins, 36, GET).await;
    assert_eq!(hits(&origins), [12, 6, 12, 6]);
    drop(held);
}

#[tokio::test]
async fn least_connections_forgets_requests_whose_clients_left() {
    let (origins, proxy) = start::<3>("policy = \"least_connections\"").await;
    all(&origins, &Script::Hang);
    let mut held = hold(&proxy, &origins, 12, GET).await;
    assert_eq!(hits(&origins), [4; 3]);
    held.truncate(5);
    eventually("their requests have ended", SOON, async || in_flight(proxy.admin()).await == 5.0).await;
    let mut carried = Vec::new();
    for origin in &origins {
        carried.push(endpoint(proxy.admin(), origin.address()).await["in_flight"].as_u64().unwrap());
    }
    // Nobody carried more than four, so seven more make four for everybody.
    let counts = during(&origins, async { held.extend(hold(&proxy, &origins, 7, GET).await) }).await;
    let together: Vec<u64> = carried.iter().zip(&counts).map(|(carried, more)| carried + *more as u64).collect();
    assert_eq!(together, [4; 3], "{carried:?} and {counts:?}");
    drop(held);
}

/// In how many seconds an endpoint is expected to answer.
async fn expectation(proxy: &Proxy, origin: &Origin) -> Option<f64> {
    match &endpoint(proxy.admin(), origin.address()).await["expected_latency_seconds"] {
        Value::Null => None,
        seconds => Some(seconds.as_f64().unwrap()),
    }
}

#[tokio::test]
async fn ewma_asks_whoever_is_expected_to_answer_sooner() {
    const LATE: Duration = Duration::from_millis(60);
    let ([quick, slow], proxy) = start("policy = \"ewma\"").await;
    slow.once(Script::Delay(LATE, Box::new(Script::answer(200, "late"))));
    // Who has never answered is tried first.
    send(&proxy, 2).await;
    assert_eq!((quick.hits(), slow.hits()), (1, 1));
    assert!(expectation(&proxy, &slow).await.unwrap() > LATE.as_secs_f64() / 2.0, "it has just taken that long");
    let mut client = Client::connect(proxy.address()).await;
    for round in 0..50 {
        // What is expected of either fades in step, so that who is ahead now is ahead when the request is placed.
        let (of_quick, of_slow) =
            (expectation(&proxy, &quick).await.unwrap(), expectation(&proxy, &slow).await.unwrap());
        let who = client.exchange(GET).await.text();
        let expected = if of_quick < of_slow { quick.name() } else { slow.name() };
        assert_eq!(who, expected, "request {round}: {of_quick} and {of_slow}");
    }
}

#[tokio::test]
async fn ewma_takes_an_endpoint_that_fails_fast_for_a_slow_one() {
    // However long the requests take: what is expected hardly fades.
    let more =
        "policy = \"ewma\"\newma = { penalty = \"1h\", decay = \"1h\" }\nejection = { consecutive_failures = 0 }";
    let (origins, proxy) = start::<3>(more).await;
    origins[0].always(Script::answer(503, "sorry"));
    let mut client = Client::connect(proxy.address()).await;
    for _ in 0..100 {
        client.exchange(GET).await;
    }
    // Two are drawn each time, so it has somebody better beside it once everybody has been tried.
    assert_eq!(hits(&origins)[0], 1, "{:?}", hits(&origins));
    assert!(expectation(&proxy, &origins[0]).await.unwrap() > 3000.0);
}

#[tokio::test]
async fn ewma_leaves_an_endpoint_alone_that_is_tried_for_the_first_time_and_silent() {
    let ([silent, good], proxy) = start("policy = \"ewma\"").await;
    silent.always(Script::Hang);
    let held = eventually("one of the first two requests tries it", SOON, async || {
        let mut client = Client::connect(proxy.address()).await;
        client.send(GET).await;
        tokio::select! {
            biased;
            () = eventually("it arrives", SOON, async || silent.hits() > 0) => Some(client),
            _ = client.response() => None,
        }
    });
    let held = held.await;
    send(&proxy, 40).await;
    assert_eq!(silent.hits(), 1);
    assert!(good.hits() >= 40);
    drop(held);
}

#[tokio::test]
async fn whatever_the_policy_a_retry_goes_to_somebody_else() {
    for policy in POLICIES {
        let more =
            format!("policy = \"{policy}\"\nhash = {{ keys = ['path'] }}\nejection = {{ consecutive_failures = 0 }}");
        let (origins, proxy) = start::<3>(&more).await;
        origins[..2].iter().for_each(|origin| origin.always(Script::ResetBeforeHead));
        let mut client = Client::connect(proxy.address()).await;
        for round in 0..40 {
            let mut who = String::new();
            let request = format!("GET /{round} HTTP/1.1\r\nhost: shop\r\n\r\n");
            let counts = during(&origins, async { who = client.exchange(request).await.text() }).await;
            assert_eq!(who, origins[2].name(), "{policy}, request {round}");
            assert!(counts.iter().all(|count| *count <= 1), "{policy}, request {round}: nobody twice: {counts:?}");
        }
        assert!(origins[0].hits() + origins[1].hits() > 0, "{policy}: somebody failed at all");
    }
}

#[tokio::test]
async fn whatever_the_policy_everybody_is_tried_before_a_request_fails() {
    for policy in POLICIES {
        let more =
            format!("policy = \"{policy}\"\nejection = {{ consecutive_failures = 0 }}\nretry = {{ attempts = 3 }}");
        let (origins, proxy) = start::<4>(&more).await;
        all(&origins, &Script::ResetBeforeHead);
        let answer = Client::connect(proxy.address()).await.exchange(GET).await;
        assert_eq!((answer.status, hits(&origins)), (502, vec![1; 4]), "{policy}");
    }
}

#[tokio::test]
async fn the_policy_can_change_while_requests_run() {
    let origins = origins::<3>().await;
    all(&origins, &Script::Hang);
    let text = |policy: &str| to_endpoints(&addresses(&origins), &format!("policy = \"{policy}\""));
    let proxy = Proxy::start(&text("round_robin"));
    let mut held = hold(&proxy, &origins, 3, GET).await;
    for policy in POLICIES.iter().rev().chain(&["least_connections"]) {
        proxy.app().reload(parse(&text(policy))).await.unwrap();
        held.extend(hold(&proxy, &origins, 2, GET).await);
    }
    // Whatever was counted in between, the last of the policies knows who carries how much, and evens it out.
    let most = hits(&origins).into_iter().max().unwrap();
    let gaps: usize = hits(&origins).iter().map(|count| most - count).sum();
    held.extend(hold(&proxy, &origins, gaps, GET).await);
    assert_eq!(hits(&origins), [most; 3]);
    drop(held);
    let is_idle = async || in_flight(proxy.admin()).await == 0.0;
    eventually("all have ended", SOON, is_idle).await;
}
