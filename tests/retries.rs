//! After what a request is tried again, how often, with what body, and when a second attempt runs beside the first.

use std::time::{Duration, Instant};

use crate::support::app::{Proxy, to_endpoints};
use crate::support::client::{Client, eventually, get};
use crate::support::origin::{Origin, Script};
use crate::support::window::{metric, standing, sum};

const SOON: Duration = Duration::from_secs(10);
const GET: &str = "GET /a HTTP/1.1\r\nhost: shop\r\n\r\n";
const POST: &str = "POST /a HTTP/1.1\r\nhost: shop\r\ncontent-length: 4\r\n\r\nbody";
/// Turns in order and nobody taken out, so that a test knows who is asked.
const IN_TURN: &str = "policy = \"round_robin\"\nejection = { consecutive_failures = 0, outlier_percent = 0 }";

async fn pair(more: &str) -> ([Origin; 2], Proxy) {
    let origins = [Origin::start("one").await, Origin::start("two").await];
    let proxy = Proxy::start(&to_endpoints(&origins.each_ref().map(Origin::address), more));
    (origins, proxy)
}

/// The same, the one that is asked next first.
async fn in_turn(more: &str) -> ([Origin; 2], Proxy) {
    let (mut origins, proxy) = pair(more).await;
    if get(proxy.address(), "shop", "/").await.text() == origins[0].name() {
        origins.reverse();
    }
    (origins, proxy)
}

async fn refused(proxy: &Proxy, reason: &str) -> f64 {
    metric(proxy.admin(), &format!("lictor_retries_refused_total{{cluster=\"web\",reason=\"{reason}\"}}")).await
}

async fn hedges(proxy: &Proxy, result: &str) -> f64 {
    metric(proxy.admin(), &format!("lictor_hedges_total{{cluster=\"web\",result=\"{result}\"}}")).await
}

async fn exchange(proxy: &Proxy, request: impl AsRef<[u8]>) -> (u16, String) {
    let answer = Client::connect(proxy.address()).await.exchange(request).await;
    (answer.status, answer.text())
}

fn hits(origins: &[Origin; 2]) -> [usize; 2] {
    origins.each_ref().map(Origin::hits)
}

#[tokio::test]
async fn an_answer_that_says_it_failed_is_asked_for_elsewhere_where_that_is_safe() {
    for status in [500, 502, 503, 504] {
        let (origins, proxy) = in_turn(IN_TURN).await;
        origins[0].always(Script::answer(status, "sorry"));
        assert_eq!(exchange(&proxy, GET).await, (200, origins[1].name().to_owned()), "{status}");
        assert_eq!(hits(&origins), [1, 2]);
        let saved = metric(proxy.admin(), "lictor_retried_requests_total{cluster=\"web\",outcome=\"success\"}").await;
        assert_eq!(saved, 1.0);
        origins[1].always(Script::answer(status, "sorry"));
        assert_eq!(exchange(&proxy, POST).await, (status, "sorry".to_owned()));
        assert_eq!((hits(&origins).iter().sum::<usize>(), refused(&proxy, "method").await), (4, 1.0));
    }
    for status in [501, 505, 429, 404] {
        let (origins, proxy) = in_turn(IN_TURN).await;
        origins[0].always(Script::answer(status, "no"));
        assert_eq!(exchange(&proxy, GET).await, (status, "no".to_owned()));
        assert_eq!(hits(&origins), [1, 1]);
    }
}

#[tokio::test]
async fn a_cluster_chooses_after_what() {
    let (origins, proxy) = pair(&format!("{IN_TURN}\nretry = {{ on = [\"connect\", \"429\"] }}")).await;
    for (script, expected) in [
        (Script::answer(503, "sorry"), (503, "sorry".to_owned())),
        (Script::ResetBeforeHead, (502, "the endpoint closed the connection before it answered\n".to_owned())),
    ] {
        origins.iter().for_each(|origin| origin.once(script.clone()));
        assert_eq!(exchange(&proxy, GET).await, expected);
        assert_eq!(exchange(&proxy, GET).await, expected);
    }
    assert_eq!(refused(&proxy, "not_chosen").await, 2.0);
    origins.iter().for_each(|origin| origin.once(Script::answer(429, "")));
    assert_eq!(exchange(&proxy, GET).await.0, 429, "there is nobody else");
    assert_eq!(exchange(&proxy, GET).await.0, 200);
    let (origins, proxy) = in_turn(&format!("{IN_TURN}\nretry = {{ non_idempotent = true }}")).await;
    origins[0].once(Script::ResetBeforeHead);
    assert_eq!(exchange(&proxy, POST).await, (200, origins[1].name().to_owned()));
    assert_eq!(origins[1].requests()[1].body, b"body");
}

#[tokio::test]
async fn a_body_that_was_kept_is_sent_again_as_it_was() {
    let (origins, proxy) = pair(IN_TURN).await;
    let short: String = (0..6_000).map(|number| format!("{number:04} ")).collect();
    let chunks = format!("4\r\nfour\r\n{:x}\r\n{short}\r\n0\r\nX-Sum: 7\r\n\r\n", short.len());
    for (headers, body, sent) in [
        (format!("content-length: {}", short.len()), short.clone(), short.clone()),
        ("transfer-encoding: chunked".to_owned(), chunks, format!("four{short}")),
    ] {
        for failure in [Script::ResetBeforeHead, Script::answer(503, "later")] {
            origins.iter().for_each(|origin| origin.once(failure.clone()));
            let put = format!("PUT /a HTTP/1.1\r\nhost: shop\r\n{headers}\r\n\r\n{body}");
            let answer = exchange(&proxy, &put).await;
            let failed_twice = matches!(failure, Script::Answer { .. });
            // A reset is tried a third time; an answer only where somebody is left to ask.
            assert_eq!(answer.0, if failed_twice { 503 } else { 200 }, "{failure:?}");
            let got: Vec<Vec<u8>> = origins.iter().map(|origin| origin.requests().pop().unwrap().body).collect();
            assert!(got.iter().all(|got| got == sent.as_bytes()), "{failure:?}");
        }
    }
    assert!(origins[0].requests().iter().any(|request| !request.trailers.is_empty()), "trailers as well");
    let long = "x".repeat(100_000);
    origins.iter().for_each(|origin| origin.once(Script::ResetBeforeHead));
    let put = format!("PUT /a HTTP/1.1\r\nhost: shop\r\ncontent-length: {}\r\n\r\n{long}", long.len());
    assert_eq!((exchange(&proxy, &put).await.0, refused(&proxy, "body").await), (502, 1.0), "too long to be kept");
}

#[tokio::test]
async fn an_attempt_that_takes_its_time_is_given_up_for_another_one() {
    for timeouts in ["per_try = \"100ms\"", "first_byte = \"100ms\""] {
        let (origins, proxy) = in_turn(&format!("{IN_TURN}\ntimeouts = {{ {timeouts} }}")).await;
        origins[0].always(Script::Hang);
        assert_eq!(exchange(&proxy, GET).await, (200, origins[1].name().to_owned()), "{timeouts}");
        eventually("the one that was given up learns of it", SOON, async || origins[0].connections() == 0).await;
        origins[1].always(Script::Hang);
        let (status, text) = exchange(&proxy, POST).await;
        assert_eq!((status, text.as_str()), (504, "the endpoint did not answer in time\n"));
        assert_eq!(refused(&proxy, "method").await, 1.0);
        let late = metric(proxy.admin(), "lictor_attempts_total{cluster=\"web\",outcome=\"timeout\"}").await;
        assert_eq!(late, 2.0);
    }
}

#[tokio::test]
async fn who_is_alone_is_asked_again_only_when_it_says_itself_that_it_may_be() {
    let origin = Origin::start("only").await;
    let after = |seconds: &str| {
        let headers = vec![("retry-after".to_owned(), seconds.to_owned())];
        Script::Answer { status: 503, headers, body: b"sorry".to_vec() }
    };
    let more = format!("{IN_TURN}\ntimeouts = {{ request = \"20s\" }}");
    let proxy = Proxy::start(&to_endpoints(&[origin.address()], &more));
    origin.once(Script::answer(503, "sorry"));
    assert_eq!((exchange(&proxy, GET).await.0, origin.hits()), (503, 1), "it would answer the same");
    assert_eq!(refused(&proxy, "no_other_endpoint").await, 1.0);
    origin.once(after("60"));
    assert_eq!((exchange(&proxy, GET).await.0, origin.hits()), (503, 2), "that does not fit into the request's time");
    origin.once(after("1"));
    let began = Instant::now();
    assert_eq!(exchange(&proxy, GET).await, (200, "only".to_owned()));
    assert!(began.elapsed() >= Duration::from_secs(1), "asked again after {:?}", began.elapsed());
}

#[tokio::test]
async fn an_applications_error_stays_with_whom_the_client_is_bound_to() {
    let (origins, proxy) = pair(&format!("{IN_TURN}\nsticky = {{}}")).await;
    let mut client = Client::connect(proxy.address()).await;
    let first = client.exchange(GET).await;
    let cookie = first.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let bound = format!("GET /a HTTP/1.1\r\nhost: shop\r\ncookie: {cookie}\r\n\r\n");
    let [home, other] = if first.text() == "one" { [0, 1] } else { [1, 0] };
    origins[home].once(Script::answer(500, "mine"));
    assert_eq!(client.exchange(&bound).await.text(), "mine");
    origins[home].once(Script::answer(503, "not now"));
    assert_eq!(client.exchange(&bound).await.text(), origins[other].name());
}

/// A pair whose latencies are known, so that it hedges from 100 ms on.
async fn impatient(more: &str) -> ([Origin; 2], Proxy) {
    let (origins, proxy) = in_turn(&format!("{IN_TURN}\nhedge = {{ min = \"100ms\" }}\n{more}")).await;
    for _ in 0..40 {
        get(proxy.address(), "shop", "/").await;
    }
    (origins, proxy)
}

#[tokio::test]
async fn a_second_attempt_answers_where_the_first_hangs_and_that_one_is_given_up() {
    let (origins, proxy) = impatient("").await;
    origins[0].always(Script::Hang);
    let began = Instant::now();
    assert_eq!(exchange(&proxy, GET).await, (200, origins[1].name().to_owned()));
    assert!(began.elapsed() >= Duration::from_millis(100), "after {:?}", began.elapsed());
    assert_eq!(hedges(&proxy, "won").await, 1.0);
    eventually("the first is given up", SOON, async || origins[0].connections() == 0).await;
    let late = metric(proxy.admin(), "lictor_attempts_total{cluster=\"web\",outcome=\"timeout\"}").await;
    assert_eq!(late, 1.0, "it had far more time");
}

#[tokio::test]
async fn the_first_attempt_answers_if_it_is_the_first_to_answer() {
    let (origins, proxy) = impatient("").await;
    origins[0].once(Script::Delay(Duration::from_millis(300), Box::new(Script::answer(200, "late"))));
    origins[1].always(Script::Hang);
    assert_eq!(exchange(&proxy, GET).await, (200, "late".to_owned()));
    assert_eq!((hedges(&proxy, "lost").await, origins[1].hits()), (1.0, 22));
    eventually("the second is given up", SOON, async || origins[1].connections() == 0).await;
    let idle = async || sum(proxy.admin(), "lictor_cluster_in_flight", "").await == 0.0;
    eventually("the first is over as well", SOON, idle).await;
}

#[tokio::test]
async fn a_hedge_that_fails_leaves_the_first_attempt_to_answer() {
    for failure in [Script::ResetBeforeHead, Script::answer(503, "no")] {
        let (origins, proxy) = impatient("").await;
        origins[0].once(Script::Delay(Duration::from_millis(400), Box::new(Script::answer(200, "late"))));
        origins[1].always(failure);
        assert_eq!(exchange(&proxy, GET).await, (200, "late".to_owned()));
    }
}

#[tokio::test]
async fn what_must_not_be_done_twice_is_not_hedged() {
    let (origins, proxy) = impatient("").await;
    origins[0].always(Script::Delay(Duration::from_millis(300), Box::new(Script::answer(200, "late"))));
    assert_eq!(exchange(&proxy, POST).await, (200, "late".to_owned()));
    let (origins, proxy) = impatient("retry = { attempts = 0 }").await;
    origins[0].always(Script::Delay(Duration::from_millis(300), Box::new(Script::answer(200, "late"))));
    assert_eq!(exchange(&proxy, GET).await, (200, "late".to_owned()));
    assert_eq!(hedges(&proxy, "won").await + hedges(&proxy, "lost").await, 0.0);
}

#[tokio::test]
async fn an_endpoint_that_is_overtaken_again_and_again_is_taken_out() {
    let origins = [Origin::start("slow").await, Origin::start("quick").await];
    let more = "policy = \"round_robin\"\nhedge = { min = \"50ms\" }";
    let proxy = Proxy::start(&to_endpoints(&origins.each_ref().map(Origin::address), more));
    for _ in 0..40 {
        get(proxy.address(), "shop", "/").await;
    }
    origins[0].always(Script::Delay(Duration::from_secs(5), Box::new(Script::answer(200, "slow"))));
    for _ in 0..8 {
        assert_eq!(exchange(&proxy, GET).await, (200, "quick".to_owned()));
    }
    assert_eq!(standing(proxy.admin(), origins[0].address()).await, "ejected");
}

#[tokio::test]
async fn a_word_to_an_idle_connection_does_not_take_the_requests_head_away() {
    let origin = Origin::start("one").await;
    let proxy = Proxy::start(&to_endpoints(&[origin.address()], IN_TURN));
    get(proxy.address(), "shop", "/").await;
    origin
        .once(Script::Raw(b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_vec()));
    let put = "PUT /a HTTP/1.1\r\nhost: shop\r\nauthorization: me\r\ncontent-length: 4\r\n\r\nbody";
    assert_eq!(exchange(&proxy, put).await, (200, "one".to_owned()));
    let again = origin.requests().pop().unwrap();
    let field = |name| again.header(name);
    assert_eq!((field("host"), field("authorization")), (Some("shop".to_owned()), Some("me".to_owned())));
    assert_eq!((field("content-length"), again.body), (Some("4".to_owned()), b"body".to_vec()));
}

#[tokio::test]
async fn an_attempt_that_has_failed_leaves_its_room_to_the_next() {
    let origin = Origin::start("one").await;
    let more = format!("{IN_TURN}\nlimits = {{ endpoint_in_flight = 1 }}");
    let proxy = Proxy::start(&to_endpoints(&[origin.address()], &more));
    origin.once(Script::ResetBeforeHead);
    assert_eq!(exchange(&proxy, GET).await, (200, "one".to_owned()));
}
