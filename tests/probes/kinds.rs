//! What is asked, and which answers are well.

use super::*;

#[tokio::test]
async fn an_http_probe_asks_as_it_is_told() {
    let origin = Origin::start("origin").await;
    let asked =
        "path = \"/health?deep=1\", method = \"OPTIONS\", host = \"shop.example.com\", statuses = [204, \"300-301\"]";
    origin.always(Script::answer(301, ""));
    let proxy = Proxy::start(&probed(&[&origin], &format!("{OFTEN}, {asked}"), ""));
    found(&proxy, origin.address(), "passing").await;
    let request = &origin.requests()[0];
    assert_eq!((request.method(), request.target()), ("OPTIONS", "/health?deep=1"));
    assert_eq!(request.header("host").as_deref(), Some("shop.example.com"));
    assert_eq!(request.header("user-agent"), Some(format!("lictor/{}", env!("CARGO_PKG_VERSION"))));
    for (status, expected) in [(200, "failing"), (204, "passing"), (302, "failing"), (300, "passing")] {
        origin.always(Script::answer(status, ""));
        found(&proxy, origin.address(), expected).await;
    }
    assert!(origin.accepted() >= origin.hits(), "a connection each");
}

#[tokio::test]
async fn by_default_a_probe_gets_the_root_of_its_endpoint() {
    let origin = Origin::start("origin").await;
    let proxy = Proxy::start(&probed(&[&origin], OFTEN, ""));
    found(&proxy, origin.address(), "passing").await;
    let request = &origin.requests()[0];
    assert_eq!((request.method(), request.target()), ("GET", "/"));
    assert_eq!(request.header("host"), Some(origin.address().to_string()));
    origin.always(Script::answer(404, ""));
    found(&proxy, origin.address(), "failing").await;
}

#[tokio::test]
async fn a_body_has_to_contain_what_is_expected_within_its_first_64_kib() {
    let origin = Origin::start("origin").await;
    let chunked = |chunks: &[&[u8]]| Script::Chunked {
        chunks: chunks.iter().map(|chunk| chunk.to_vec()).collect(),
        trailers: Vec::new(),
    };
    origin.always(chunked(&[b"{ \"state\": \"all ", b"g", b"ood\" }"]));
    let proxy = Proxy::start(&probed(&[&origin], &format!("{OFTEN}, body = \"all good\", rise = 1, fall = 1"), ""));
    found(&proxy, origin.address(), "passing").await;
    origin.always(Script::answer(200, "all bad"));
    found(&proxy, origin.address(), "failing").await;
    assert!(probes(&proxy, "body").await >= 1.0);
    origin.always(Script::answer(200, format!("{}all good", "-".repeat(64 * 1024 - 8))));
    found(&proxy, origin.address(), "passing").await;
    origin.always(Script::answer(200, format!("{}all good", "-".repeat(64 * 1024 - 7))));
    found(&proxy, origin.address(), "failing").await;
}

#[tokio::test]
async fn what_is_no_answer_is_a_failure_and_counted_by_its_kind() {
    let origin = Origin::start("origin").await;
    let proxy = Proxy::start(&probed(&[&origin], &format!("{OFTEN}, timeout = \"100ms\", fall = 1"), ""));
    found(&proxy, origin.address(), "passing").await;
    for (script, result) in [
        (Script::Hang, "timeout"),
        (Script::ResetBeforeHead, "reset"),
        (Script::CloseBeforeHead, "reset"),
        (Script::Raw(b"SSH-2.0-x\r\n\r\n".to_vec()), "reset"),
        (Script::answer(503, ""), "status"),
    ] {
        let before = probes(&proxy, result).await;
        origin.always(script.clone());
        eventually(result, SOON, async || probes(&proxy, result).await > before).await;
        assert_eq!(finding(&proxy, origin.address()).await, "failing", "{script:?}");
        origin.always(Script::answer(200, ""));
        found(&proxy, origin.address(), "passing").await;
    }
    // The kernel accepts, and nobody reads.
    origin.pause();
    let before = probes(&proxy, "timeout").await;
    eventually("timeout", SOON, async || probes(&proxy, "timeout").await > before).await;
    origin.resume();
    found(&proxy, origin.address(), "passing").await;
    origin.stop().await;
    eventually("connect", SOON, async || probes(&proxy, "connect").await > 0.0).await;
    assert_eq!(finding(&proxy, origin.address()).await, "failing");
}

#[tokio::test]
async fn an_answer_that_comes_with_the_end_of_its_connection_counts() {
    let origin = Origin::start("origin").await;
    origin.always(Script::CloseAfter(Box::new(Script::answer(200, "whole"))));
    let probe = format!("{OFTEN}, body = \"whole\", fall = 1");
    let proxy = Proxy::start(&probed(&[&origin], &probe, ""));
    more_probes(&proxy, "success", 20.0).await;
    assert_eq!(probes(&proxy, "reset").await, 0.0);
}

#[tokio::test]
async fn a_tcp_probe_asks_whether_somebody_listens() {
    let origin = Origin::start("origin").await;
    let proxy = Proxy::start(&probed(&[&origin], &format!("kind = \"tcp\", {OFTEN}"), ""));
    found(&proxy, origin.address(), "passing").await;
    origin.stop().await;
    found(&proxy, origin.address(), "failing").await;
    origin.restart().await;
    found(&proxy, origin.address(), "passing").await;
    assert_eq!(origin.hits(), 0, "and says nothing");
}

#[tokio::test]
async fn another_port_can_be_asked() {
    let (origin, health) = (Origin::start("origin").await, Origin::start("health").await);
    let port = health.address().port();
    let proxy = Proxy::start(&probed(&[&origin], &format!("{OFTEN}, port = {port}"), ""));
    found(&proxy, origin.address(), "passing").await;
    health.always(Script::answer(503, ""));
    found(&proxy, origin.address(), "failing").await;
    assert_eq!(origin.hits(), 0);
    assert_eq!(health.requests()[0].header("host"), Some(health.address().to_string()));
}

#[tokio::test]
async fn a_grpc_probe_asks_the_health_service() {
    let health = Health::start().await;
    let probe = |more: &str| {
        let probe = format!("probe = {{ kind = \"grpc\", {OFTEN}, rise = 1, fall = 1{more} }}");
        to_endpoints(&[health.address()], &probe)
    };
    let proxy = Proxy::start(&probe(", service = \"shop.Cart\", host = \"shop.example.com\""));
    found(&proxy, health.address(), "passing").await;
    let question = health.questions().remove(0);
    assert_eq!(question.uri, "http://shop.example.com/grpc.health.v1.Health/Check");
    assert_eq!(question.message, b"\0\0\0\0\x0b\x0a\x09shop.Cart");
    assert_eq!(
        (&question.headers["content-type"], &question.headers["te"]),
        (&"application/grpc".parse().unwrap(), &"trailers".parse().unwrap())
    );
    for (answer, expected) in [
        (state(2), "failing"),
        (state(1), "passing"),
        (Answer::Status("12"), "failing"),
        (state(1), "passing"),
        (Answer::Message(vec![0, 0, 0, 0, 0]), "failing"),
        (state(1), "passing"),
        (Answer::NoTrailers(vec![0, 0, 0, 0, 2, 8, 1]), "failing"),
    ] {
        health.answer(answer);
        found(&proxy, health.address(), expected).await;
    }
    assert_eq!(probes(&proxy, "reset").await, 0.0);

    drop(proxy);
    health.answer(state(1));
    let proxy = Proxy::start(&probe(""));
    found(&proxy, health.address(), "passing").await;
    assert_eq!(health.questions().last().unwrap().message, [0; 5], "the server as a whole");
}

#[tokio::test]
async fn a_grpc_probe_of_somebody_who_speaks_something_else_fails() {
    let (origin, hung) = (Origin::start("http1").await, Origin::start("hung").await);
    hung.pause();
    let probe = format!("kind = \"grpc\", {OFTEN}, timeout = \"100ms\"");
    let proxy = Proxy::start(&probed(&[&origin, &hung], &probe, ""));
    found(&proxy, origin.address(), "failing").await;
    found(&proxy, hung.address(), "failing").await;
    assert!(probes(&proxy, "timeout").await > 0.0);
}
