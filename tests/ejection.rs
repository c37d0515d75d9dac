//! Who is taken out for a while, who never is, and how one comes back.

use std::time::Duration;

use crate::support::app::{Proxy, to_endpoints};
use crate::support::client::{Client, eventually, get};
use crate::support::origin::{Origin, Script};
use crate::support::window::{endpoint, metric, standing, sum};

const SOON: Duration = Duration::from_secs(15);
const GET: &str = "GET /a HTTP/1.1\r\nhost: shop\r\n\r\n";

async fn start(names: &[&str], more: &str) -> (Vec<Origin>, Proxy) {
    let mut origins = Vec::new();
    for name in names {
        origins.push(Origin::start(name).await);
    }
    let addresses: Vec<_> = origins.iter().map(Origin::address).collect();
    (origins, Proxy::start(&to_endpoints(&addresses, &format!("policy = \"round_robin\"\n{more}"))))
}

async fn ejections(proxy: &Proxy, reason: &str) -> f64 {
    let enforced = "enforced=\"true\",unenforced_reason=\"\"";
    metric(proxy.admin(), &format!("lictor_ejections_total{{cluster=\"web\",reason=\"{reason}\",{enforced}}}")).await
}

async fn spared(proxy: &Proxy, reason: &str) -> f64 {
    let all = ["max_percent", "min_available"]
        .map(|why| format!("reason=\"{reason}\",enforced=\"false\",unenforced_reason=\"{why}\""));
    sum(proxy.admin(), "lictor_ejections_total", &all[0]).await
        + sum(proxy.admin(), "lictor_ejections_total", &all[1]).await
}

async fn in_state(proxy: &Proxy, state: &str) -> f64 {
    metric(proxy.admin(), &format!("lictor_cluster_endpoints{{cluster=\"web\",state=\"{state}\"}}")).await
}

async fn send(proxy: &Proxy, count: usize) -> Vec<u16> {
    let mut client = Client::connect(proxy.address()).await;
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(client.exchange(GET).await.status);
    }
    statuses
}

/// Sends until a request has reached that origin, which says nothing, and returns its client.
async fn trial(proxy: &Proxy, origin: &Origin) -> Client {
    let before = origin.hits();
    eventually("a trial", SOON, async || {
        let mut client = Client::connect(proxy.address()).await;
        client.send(GET).await;
        tokio::select! {
            biased;
            () = eventually("the trial arrives", SOON, async || origin.hits() > before) => Some(client),
            _ = client.response() => None,
        }
    })
    .await
}

#[tokio::test]
async fn three_failures_in_a_row_take_an_endpoint_out() {
    let (origins, proxy) = start(&["bad", "good"], "").await;
    let bad = &origins[0];
    for status in [502, 503, 504] {
        bad.once(Script::answer(status, "sorry"));
    }
    send(&proxy, 20).await;
    assert_eq!(bad.hits(), 3, "nothing goes there any more");
    assert_eq!(ejections(&proxy, "gateway").await, 1.0);
    assert_eq!((in_state(&proxy, "ejected").await, in_state(&proxy, "eligible").await), (1.0, 1.0));
    let view = endpoint(proxy.admin(), bad.address()).await;
    assert_eq!(view["standing"], "ejected");
    let left = view["ejected_for_seconds"].as_f64().unwrap();
    assert!(left > 0.0 && left <= 12.0, "ten seconds and up to a fifth: {left}");
}

#[tokio::test]
async fn failures_with_a_success_between_them_do_not_add_up() {
    let (origins, proxy) = start(&["moody", "good"], "").await;
    for round in 0..12 {
        origins[0].once(Script::answer(if round % 3 == 2 { 200 } else { 503 }, ""));
    }
    send(&proxy, 24).await;
    assert_eq!((origins[0].hits(), ejections(&proxy, "gateway").await), (12, 0.0));
}

#[tokio::test]
async fn other_errors_are_answers() {
    let (origins, proxy) = start(&["angry", "good"], "").await;
    for status in [500, 501, 505, 429, 404, 500, 500, 500] {
        origins[0].once(Script::answer(status, ""));
    }
    send(&proxy, 16).await;
    assert_eq!((origins[0].hits(), in_state(&proxy, "eligible").await), (8, 2.0));
}

#[tokio::test]
async fn gateway_errors_of_an_endpoint_are_passed_on_as_they_are() {
    let (origins, proxy) = start(&["only"], "").await;
    for status in [502, 503, 504] {
        let headers = vec![("retry-after".to_owned(), "77".to_owned())];
        origins[0].once(Script::Answer { status, headers, body: b"by the endpoint".to_vec() });
        let response = get(proxy.address(), "shop", "/").await;
        assert_eq!((response.status, response.header("retry-after")), (status, Some("77")));
        assert_eq!(response.text(), "by the endpoint");
    }
    assert_eq!(origins[0].hits(), 3, "an answer is not tried again");
}

#[tokio::test]
async fn refusals_and_resets_count_as_failures() {
    let (origins, proxy) = start(&["gone", "good"], "retry = { attempts = 1 }").await;
    origins[0].stop().await;
    assert_eq!(send(&proxy, 10).await, [200; 10]);
    assert_eq!(ejections(&proxy, "connect").await, 1.0);

    let (origins, proxy) = start(&["resetting", "good"], "retry = { attempts = 1 }").await;
    origins[0].always(Script::ResetBeforeHead);
    assert_eq!(send(&proxy, 10).await, [200; 10]);
    assert_eq!((ejections(&proxy, "reset").await, origins[0].hits()), (1.0, 3));
}

#[tokio::test]
async fn answers_that_break_off_count_as_failures() {
    let (origins, proxy) = start(&["breaking", "good"], "").await;
    origins[0].always(Script::ResetMidBody);
    for _ in 0..10 {
        let mut client = Client::connect(proxy.address()).await;
        client.send(GET).await;
        let _ = client.try_response().await;
    }
    assert_eq!((ejections(&proxy, "reset").await, origins[0].hits()), (1.0, 3));
}

#[tokio::test]
async fn one_request_tries_an_endpoint_before_others_follow() {
    let (origins, proxy) = start(&["bad", "good"], "ejection = { base = \"300ms\" }").await;
    let bad = &origins[0];
    bad.always(Script::answer(503, ""));
    eventually("it is out", SOON, async || {
        send(&proxy, 1).await;
        standing(proxy.admin(), bad.address()).await == "ejected"
    })
    .await;
    bad.always(Script::Hang);
    let silent = trial(&proxy, bad).await;
    let during = bad.hits();
    assert_eq!(in_state(&proxy, "probation").await, 1.0);
    assert_eq!(send(&proxy, 20).await, [200; 20]);
    assert_eq!(bad.hits(), during, "while the trial runs nobody else goes there");

    // A client that leaves says nothing of the endpoint: the next one is the trial.
    bad.always(Script::answer(200, "well again"));
    drop(silent);
    eventually("it is back", SOON, async || {
        send(&proxy, 1).await;
        standing(proxy.admin(), bad.address()).await == "eligible"
    })
    .await;
    let before = bad.hits();
    send(&proxy, 10).await;
    assert_eq!(bad.hits() - before, 5, "and has its full share");
}

#[tokio::test]
async fn an_endpoint_that_fails_its_trial_is_out_for_longer() {
    let (origins, proxy) = start(&["bad", "good"], "ejection = { base = \"1s\" }").await;
    let bad = &origins[0];
    bad.always(Script::answer(503, ""));
    send(&proxy, 6).await;
    assert_eq!((bad.hits(), ejections(&proxy, "gateway").await), (3, 1.0));
    eventually("the trial fails", SOON, async || {
        send(&proxy, 1).await;
        ejections(&proxy, "gateway").await == 2.0
    })
    .await;
    assert_eq!(bad.hits(), 4, "one trial");
    let left = endpoint(proxy.admin(), bad.address()).await["ejected_for_seconds"].as_f64().unwrap();
    assert!(left > 1.2 && left <= 2.4, "twice as long as the first: {left}");
}

#[tokio::test]
async fn the_last_endpoint_is_never_taken_out() {
    let (origins, proxy) = start(&["only"], "ejection = { max_percent = 100 }").await;
    origins[0].always(Script::answer(503, "sorry"));
    assert_eq!(send(&proxy, 10).await, [503; 10]);
    assert_eq!((origins[0].hits(), standing(proxy.admin(), origins[0].address()).await.as_str()), (10, "eligible"));
    assert!(spared(&proxy, "gateway").await >= 1.0);

    let (origins, proxy) = start(&["a", "b", "c"], "ejection = { max_percent = 100 }").await;
    origins.iter().for_each(|origin| origin.always(Script::answer(503, "sorry")));
    send(&proxy, 30).await;
    assert_eq!((in_state(&proxy, "ejected").await, in_state(&proxy, "eligible").await), (2.0, 1.0));
}

#[tokio::test]
async fn no_more_than_half_of_a_cluster_is_taken_out() {
    let (origins, proxy) = start(&["a", "b", "c", "d", "e"], "").await;
    origins.iter().for_each(|origin| origin.always(Script::answer(503, "sorry")));
    send(&proxy, 50).await;
    assert_eq!(
        (in_state(&proxy, "ejected").await, ejections(&proxy, "gateway").await),
        (3.0, 3.0),
        "of five, rounded up"
    );
    assert!(spared(&proxy, "gateway").await >= 1.0);
}

#[tokio::test]
async fn ejection_can_be_turned_off() {
    let (origins, proxy) = start(&["bad", "good"], "ejection = { consecutive_failures = 0 }").await;
    origins[0].always(Script::answer(503, ""));
    send(&proxy, 20).await;
    assert_eq!((origins[0].hits(), in_state(&proxy, "eligible").await), (10, 2.0));
}

#[tokio::test]
async fn workers_share_what_they_learn_of_an_endpoint() {
    let origins = [Origin::start("bad").await, Origin::start("good").await];
    let addresses = origins.each_ref().map(Origin::address);
    let proxy = Proxy::start(&format!("workers = 2\n{}", to_endpoints(&addresses, "policy = \"round_robin\"")));
    origins[0].always(Script::answer(503, ""));
    for _ in 0..40 {
        // A connection each, so that the kernel spreads them over the workers.
        get(proxy.address(), "shop", "/").await;
    }
    assert_eq!((origins[0].hits(), ejections(&proxy, "gateway").await), (3, 1.0));
}

#[tokio::test]
async fn a_cluster_chooses_which_failures_count_in_a_row() {
    let once = "retry = { attempts = 0 }";
    let (origins, proxy) = start(&["angry", "good"], &format!("{once}\nejection = {{ failures = \"5xx\" }}")).await;
    origins[0].always(Script::answer(500, ""));
    send(&proxy, 10).await;
    assert_eq!((ejections(&proxy, "5xx").await, origins[0].hits()), (1.0, 3));

    let (origins, proxy) = start(&["busy", "good"], &format!("{once}\nejection = {{ failures = \"connect\" }}")).await;
    origins[0].always(Script::answer(503, ""));
    send(&proxy, 10).await;
    assert_eq!(in_state(&proxy, "eligible").await, 2.0, "it was there");
    origins[0].stop().await;
    send(&proxy, 10).await;
    assert_eq!(ejections(&proxy, "connect").await, 1.0);
}

#[tokio::test]
async fn an_endpoint_that_breaks_off_now_and_then_is_found_out_beside_the_others() {
    let (origins, proxy) = start(&["moody", "good", "well"], "").await;
    for turn in 0..200 {
        origins[0].once(if turn % 3 == 0 { Script::ResetMidBody } else { Script::answer(200, "moody") });
    }
    eventually("it is out", SOON, async || {
        for _ in 0..30 {
            let mut client = Client::connect(proxy.address()).await;
            client.send(GET).await;
            let _ = client.try_response().await;
        }
        standing(proxy.admin(), origins[0].address()).await == "ejected"
    })
    .await;
    assert_eq!(ejections(&proxy, "success_rate").await, 1.0);
}

#[tokio::test]
async fn an_endpoint_that_is_slower_than_the_others_is_taken_out_where_that_is_asked_for() {
    let more = "ejection = { latency_factor = 4, min_requests = 5 }\nhedge = { percentile = 0 }";
    let (origins, proxy) = start(&["slow", "quick"], more).await;
    origins[0].always(Script::Delay(Duration::from_millis(50), Box::new(Script::answer(200, "slow"))));
    eventually("it is out", SOON, async || {
        send(&proxy, 20).await;
        standing(proxy.admin(), origins[0].address()).await == "ejected"
    })
    .await;
    assert_eq!(ejections(&proxy, "latency").await, 1.0);
}

#[tokio::test]
async fn a_dry_run_counts_what_it_would_have_done() {
    let (origins, proxy) = start(&["bad", "good"], "ejection = { dry_run = true }").await;
    origins[0].always(Script::answer(503, ""));
    send(&proxy, 20).await;
    let counted = "reason=\"gateway\",enforced=\"false\",unenforced_reason=\"dry_run\"";
    assert!(sum(proxy.admin(), "lictor_ejections_total", counted).await >= 1.0);
    assert_eq!((origins[0].hits(), in_state(&proxy, "eligible").await), (10, 2.0));
}

#[tokio::test]
async fn grpc_says_by_itself_how_it_went() {
    let kind = ("content-type".to_owned(), "application/grpc+proto".to_owned());
    let post = "POST /a.B/C HTTP/1.1\r\nhost: shop\r\ncontent-type: application/grpc\r\nte: trailers\r\ncontent-length: 0\r\n\r\n";
    let status = |code: &str| ("grpc-status".to_owned(), code.to_owned());
    let head_only =
        |code: &str| Script::Answer { status: 200, headers: vec![kind.clone(), status(code)], body: Vec::new() };
    let trailers = |code: &str| Script::Chunked { chunks: vec![b"x".to_vec()], trailers: vec![status(code)] };
    for (script, reason) in
        [(head_only("14"), Some("gateway")), (trailers("4"), Some("gateway")), (trailers("5"), None)]
    {
        // These origins speak nothing else.
        let (origins, proxy) = start(&["grpc", "other"], "protocol = \"http1\"").await;
        origins[0].always(script.clone());
        for _ in 0..10 {
            let mut client = Client::connect(proxy.address()).await;
            client.exchange(post).await;
        }
        match reason {
            Some(reason) => assert_eq!((ejections(&proxy, reason).await, origins[0].hits()), (1.0, 3), "{script:?}"),
            None => assert_eq!((in_state(&proxy, "eligible").await, origins[0].hits()), (2.0, 5), "{script:?}"),
        }
    }
}

#[tokio::test]
async fn who_came_back_and_breaks_off_again_is_out_at_once() {
    let (origins, proxy) = start(&["breaking", "good"], "ejection = { base = \"100ms\" }").await;
    origins[0].always(Script::ResetMidBody);
    let broken = async |count: usize| {
        for _ in 0..count {
            let mut client = Client::connect(proxy.address()).await;
            client.send(GET).await;
            let _ = client.try_response().await;
        }
    };
    broken(8).await;
    assert!(origins[0].hits() >= 3);
    let before = (ejections(&proxy, "reset").await, origins[0].hits());
    eventually("its trial is over", SOON, async || {
        broken(1).await;
        ejections(&proxy, "reset").await > before.0
    })
    .await;
    assert_eq!(origins[0].hits(), before.1 + 1, "not three more");
}
