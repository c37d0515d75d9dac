//! Endpoints that are asked whether they are well, apart from requests: what counts, and what follows from it.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::app::{Proxy, parse, to_endpoints};
use crate::support::client::{Client, eventually, get};
use crate::support::grpc::{Answer, Health, state};
use crate::support::origin::{Origin, Script};
use crate::support::visitor::shares;
use crate::support::window::{counted, endpoint, metric, standing};

mod kinds;

const SOON: Duration = Duration::from_secs(15);
/// Often, and without chance.
const OFTEN: &str = "interval = \"20ms\", jitter = 0.0";

/// A catch-all route to these origins, in turns, with this `probe` and `more` keys.
fn probed(origins: &[&Origin], probe: &str, more: &str) -> String {
    let addresses: Vec<_> = origins.iter().map(|origin| origin.address()).collect();
    to_endpoints(&addresses, &format!("policy = \"round_robin\"\nprobe = {{ {probe} }}\n{more}"))
}

/// What probes say of an endpoint: `passing`, `failing`, or nothing.
async fn finding(proxy: &Proxy, address: SocketAddr) -> String {
    endpoint(proxy.admin(), address).await["probe"].as_str().unwrap_or("nothing").to_owned()
}

async fn found(proxy: &Proxy, address: SocketAddr, expected: &str) {
    eventually(expected, SOON, async || finding(proxy, address).await == expected).await;
}

async fn probes(proxy: &Proxy, result: &str) -> f64 {
    metric(proxy.admin(), &format!("lictor_probes_total{{cluster=\"web\",result=\"{result}\"}}")).await
}

/// Waits until there are so many more probes of that result than now.
async fn more_probes(proxy: &Proxy, result: &str, more: f64) {
    let before = probes(proxy, result).await;
    eventually("more probes", SOON, async || probes(proxy, result).await >= before + more).await;
}

async fn in_state(proxy: &Proxy, state: &str) -> f64 {
    metric(proxy.admin(), &format!("lictor_cluster_endpoints{{cluster=\"web\",state=\"{state}\"}}")).await
}

#[tokio::test]
async fn an_endpoint_that_fails_its_probes_gets_no_requests_until_it_passes_them() {
    let (sick, well) = (Origin::start("sick").await, Origin::start("well").await);
    let proxy = Proxy::start(&probed(&[&sick, &well], OFTEN, ""));
    found(&proxy, sick.address(), "passing").await;
    sick.always(Script::answer(500, "an application's error, which ejects nobody"));
    found(&proxy, sick.address(), "failing").await;
    assert_eq!((in_state(&proxy, "unhealthy").await, in_state(&proxy, "eligible").await), (1.0, 1.0));
    assert_eq!(shares(&proxy, "shop", 20).await, [("well".to_owned(), 20)].into());

    sick.always(Script::answer(200, "sick"));
    found(&proxy, sick.address(), "passing").await;
    assert_eq!(shares(&proxy, "shop", 20).await, [("sick".to_owned(), 10), ("well".to_owned(), 10)].into());
    assert_eq!((in_state(&proxy, "unhealthy").await, in_state(&proxy, "eligible").await), (0.0, 2.0));
}

#[tokio::test]
async fn without_a_probe_nobody_is_asked() {
    let origin = Origin::start("only").await;
    let proxy = Proxy::start(&to_endpoints(&[origin.address()], ""));
    assert_eq!(get(proxy.address(), "shop", "/").await.status, 200);
    assert_eq!((origin.hits(), finding(&proxy, origin.address()).await.as_str()), (1, "nothing"));
    let off = Origin::start("off").await;
    let proxy = Proxy::start(&probed(&[&off], "enabled = false", ""));
    assert_eq!(get(proxy.address(), "shop", "/").await.status, 200);
    assert_eq!((off.hits(), finding(&proxy, off.address()).await.as_str()), (1, "nothing"));
}

#[tokio::test]
async fn the_first_probe_decides_and_after_it_a_row_does() {
    let (origin, other) = (Origin::start("first").await, Origin::start("other").await);
    origin.once(Script::answer(503, ""));
    // Once out, it is out for the test.
    let proxy = Proxy::start(&probed(&[&origin, &other], &format!("{OFTEN}, rise = 1000"), ""));
    found(&proxy, origin.address(), "failing").await;
    assert_eq!(probes(&proxy, "status").await, 1.0);

    let origin = Origin::start("row").await;
    let proxy = Proxy::start(&probed(&[&origin, &other], &format!("{OFTEN}, fall = 3, rise = 1000"), ""));
    found(&proxy, origin.address(), "passing").await;
    for status in [503, 503, 200, 503, 503, 200] {
        origin.once(Script::answer(status, ""));
    }
    eventually("six probes", SOON, async || probes(&proxy, "status").await == 4.0).await;
    more_probes(&proxy, "success", 4.0).await;
    assert_eq!(finding(&proxy, origin.address()).await, "passing");
    origin.always(Script::answer(503, ""));
    found(&proxy, origin.address(), "failing").await;
    assert!(probes(&proxy, "status").await >= 7.0);
}

#[tokio::test]
async fn it_takes_a_row_of_successes_to_come_back() {
    let (origin, other) = (Origin::start("ill").await, Origin::start("other").await);
    origin.always(Script::answer(503, ""));
    // Once back, it is back for the test.
    let proxy = Proxy::start(&probed(&[&origin, &other], &format!("{OFTEN}, fall = 1000, rise = 3"), ""));
    found(&proxy, origin.address(), "failing").await;
    for status in [200, 200, 503, 200, 200] {
        origin.once(Script::answer(status, ""));
    }
    eventually("five probes", SOON, async || origin.requests().len() >= 8).await;
    more_probes(&proxy, "status", 2.0).await;
    assert_eq!(finding(&proxy, origin.address()).await, "failing");
    origin.always(Script::answer(200, ""));
    found(&proxy, origin.address(), "passing").await;
}

#[tokio::test]
async fn if_all_fail_their_probes_all_serve() {
    let (a, b) = (Origin::start("a").await, Origin::start("b").await);
    let probe = format!("{OFTEN}, statuses = [204]");
    let proxy = Proxy::start(&probed(&[&a, &b], &probe, ""));
    eventually("all fail", SOON, async || in_state(&proxy, "unhealthy").await == 2.0).await;
    counted(proxy.admin(), "lictor_cluster_panic{cluster=\"web\"}", 1.0).await;
    assert_eq!(shares(&proxy, "shop", 10).await, [("a".to_owned(), 5), ("b".to_owned(), 5)].into());
    // Unless the probes are never to be disbelieved.
    let proxy = Proxy::start(&probed(&[&a, &b], &probe, "panic_percent = 0"));
    eventually("all fail", SOON, async || in_state(&proxy, "unhealthy").await == 2.0).await;
    assert_eq!(shares(&proxy, "shop", 10).await, [("503".to_owned(), 10)].into());
}

#[tokio::test]
async fn sessions_move_on_from_an_endpoint_that_fails_its_probes() {
    let (a, b) = (Origin::start("a").await, Origin::start("b").await);
    let proxy = Proxy::start(&probed(&[&a, &b], OFTEN, "sticky = {}"));
    let first = get(proxy.address(), "shop", "/").await;
    let (cookie, _) = first.header("set-cookie").unwrap().split_once(';').unwrap();
    let (home, other) = if first.text() == "a" { (&a, &b) } else { (&b, &a) };
    let request = format!("GET / HTTP/1.1\r\nhost: shop\r\ncookie: {cookie}\r\n\r\n");
    let mut client = Client::connect(proxy.address()).await;
    assert_eq!(client.exchange(&request).await.text(), home.name());
    home.always(Script::answer(500, "home"));
    found(&proxy, home.address(), "failing").await;
    assert_eq!(client.exchange(&request).await.text(), other.name());
}

#[tokio::test]
async fn an_ejected_endpoint_that_passes_its_probes_is_back_before_its_time() {
    let (moody, good) = (Origin::start("moody").await, Origin::start("good").await);
    // A connection says nothing about the answers, which are the ones that eject.
    let text = |more: &str| {
        let probe = format!("kind = \"tcp\", {OFTEN}, rise = 50{more}");
        probed(&[&moody, &good], &probe, "ejection = { base = \"5m\" }")
    };
    for (more, returns) in [("", true), (", return_ejected = false", false)] {
        let proxy = Proxy::start(&text(more));
        found(&proxy, moody.address(), "passing").await;
        (0..3).for_each(|_| moody.once(Script::answer(503, "")));
        assert_eq!(shares(&proxy, "shop", 6).await, [("good".to_owned(), 6)].into(), "the other one stands in");
        assert_eq!(standing(proxy.admin(), moody.address()).await, "ejected");
        if returns {
            let back = async || standing(proxy.admin(), moody.address()).await == "eligible";
            eventually("it is back", SOON, back).await;
            assert_eq!(shares(&proxy, "shop", 4).await, [("good".to_owned(), 2), ("moody".to_owned(), 2)].into());
        } else {
            more_probes(&proxy, "success", 150.0).await;
            assert_eq!(standing(proxy.admin(), moody.address()).await, "ejected");
        }
    }
}

#[tokio::test]
async fn what_probes_found_outlives_a_reload_that_leaves_them_on() {
    let (sick, well) = (Origin::start("sick").await, Origin::start("well").await);
    sick.always(Script::answer(500, ""));
    // One probe in the test: the first.
    let text = |more: &str| probed(&[&sick, &well], "interval = \"1h\"", more);
    let proxy = Proxy::start(&text(""));
    found(&proxy, sick.address(), "failing").await;
    proxy.app().reload(parse(&text("retry = { attempts = 1 }"))).await.unwrap();
    assert_eq!((finding(&proxy, sick.address()).await.as_str(), sick.hits()), ("failing", 1));
    assert_eq!(shares(&proxy, "shop", 4).await, [("well".to_owned(), 4)].into());
}

#[tokio::test]
async fn probes_end_with_their_endpoint_and_with_a_reload_that_turns_them_off() {
    let (sick, gone, well) = (Origin::start("sick").await, Origin::start("gone").await, Origin::start("well").await);
    sick.always(Script::answer(500, "sick"));
    // Asked all along: by its probes we know the time.
    let clock = Origin::start("clock").await;
    let with_clock = |text: String| {
        text + &format!("[clusters.clock]\nendpoints = [\"{}\"]\nprobe = {{ {OFTEN} }}\n", clock.address())
    };
    let ticks = async |count: usize| {
        let before = clock.hits();
        eventually("the clock ticks", SOON, async || clock.hits() >= before + count).await;
    };
    let proxy = Proxy::start(&with_clock(probed(&[&sick, &gone, &well], OFTEN, "")));
    found(&proxy, sick.address(), "failing").await;
    eventually("it is asked", SOON, async || gone.hits() > 2).await;

    proxy.app().reload(parse(&with_clock(probed(&[&sick, &well], OFTEN, "")))).await.unwrap();
    ticks(2).await;
    let (before, others) = (gone.hits(), well.hits());
    ticks(10).await;
    assert_eq!(gone.hits(), before, "gone, and not asked any more");
    assert!(well.hits() > others && finding(&proxy, sick.address()).await == "failing");

    proxy.app().reload(parse(&with_clock(probed(&[&sick, &well], "enabled = false", "")))).await.unwrap();
    found(&proxy, sick.address(), "nothing").await;
    ticks(2).await;
    let before = (sick.hits(), well.hits());
    ticks(10).await;
    assert_eq!((sick.hits(), well.hits()), before);
    assert_eq!(in_state(&proxy, "eligible").await, 2.0);
}

#[tokio::test]
async fn a_reload_that_asks_something_else_takes_effect() {
    let (origin, other) = (Origin::start("origin").await, Origin::start("other").await);
    let proxy = Proxy::start(&probed(&[&origin, &other], &format!("{OFTEN}, path = \"/old\""), ""));
    found(&proxy, origin.address(), "passing").await;
    let asked = format!("{OFTEN}, path = \"/new\", statuses = [418], fall = 2");
    proxy.app().reload(parse(&probed(&[&origin, &other], &asked, ""))).await.unwrap();
    found(&proxy, origin.address(), "failing").await;
    let requests = origin.requests();
    assert_eq!(requests.first().unwrap().target(), "/old");
    assert!(requests.iter().filter(|request| request.target() == "/new").count() >= 2, "a row, not the first");
}

#[tokio::test]
async fn probes_take_from_the_retry_budget_and_are_not_bound_by_it() {
    let (resetting, asked) = (Origin::start("resetting").await, Origin::start("asked").await);
    resetting.always(Script::ResetBeforeHead);
    let port = asked.address().port();
    let probe = format!("interval = \"10ms\", jitter = 0.0, port = {port}");
    let more = "retry = { attempts = 1, budget = 0.0 }\nejection = { consecutive_failures = 0 }";
    let proxy = Proxy::start(&probed(&[&resetting], &probe, more));
    // More than there are in the budget at all.
    eventually("many probes", SOON, async || asked.hits() > 150).await;
    let refused =
        async || metric(proxy.admin(), "lictor_retries_refused_total{cluster=\"web\",reason=\"budget\"}").await;
    eventually("a retry is refused", SOON, async || {
        // Some at once: the budget is one of a time, in which a busy machine has no room for many one after the other.
        let requests: Vec<_> = (0..10).map(|_| tokio::spawn(get(proxy.address(), "shop", "/"))).collect();
        for request in requests {
            assert_eq!(request.await.unwrap().status, 502);
        }
        refused().await > 0.0
    })
    .await;
    let retries = metric(proxy.admin(), "lictor_retries_total{cluster=\"web\",reason=\"reset\"}").await;
    assert!((1.0..100.0).contains(&retries), "fewer than without probes, and not none: {retries}");
    let before = asked.hits();
    eventually("probes go on", SOON, async || asked.hits() > before + 10).await;
}
