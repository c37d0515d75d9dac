//! Whose word on where a request came from is believed: that of peers in `trusted_networks`, and of nobody else.

use std::net::{IpAddr, Ipv4Addr};

use crate::support::app::{Proxy, to_endpoints};
use crate::support::client::{Client, Fields};
use crate::support::origin::{Origin, Request};

const BALANCER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A proxy that believes 127.0.0.8 and 127.0.0.9.
fn trusting(rest: &str) -> Proxy {
    Proxy::start(&format!(
        "[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\ntrusted_networks = [\"127.0.0.8/31\"]\n{rest}"
    ))
}

/// What an origin receives when this address sends a request with these lines.
async fn received(from: IpAddr, lines: &str) -> Request {
    let origin = Origin::start("one").await;
    let proxy = trusting(&to_endpoints(&[origin.address()], ""));
    let mut client = Client::connect_from(from, proxy.address()).await;
    let response = client.exchange(format!("GET / HTTP/1.1\r\nhost: shop\r\n{lines}\r\n")).await;
    assert_eq!(response.status, 200, "{lines:?}: {}", response.text());
    origin.requests().remove(0)
}

fn values(fields: &Fields, name: &str) -> Vec<String> {
    fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone()).collect()
}

fn all_there_is() -> String {
    format!(
        "x-forwarded-for: 192.0.2.1\r\nx-forwarded-for: 192.0.2.2, 192.0.2.3\r\nvia: 1.0 fred\r\nx-forwarded-proto: https\r\n\
         x-forwarded-host: www\r\nx-forwarded-port: 443\r\nx-real-ip: 192.0.2.1\r\nx-request-id: abc-123\r\n\
         forwarded: for=192.0.2.1\r\ntraceparent: {TRACE}\r\ntracestate: a=b\r\nx-lictor-mirror: true\r\n"
    )
}

#[tokio::test]
async fn a_trusted_peer_is_believed() {
    let request = received(BALANCER, &all_there_is()).await;
    let headers = request.headers();
    for (name, value) in [
        ("x-forwarded-for", "192.0.2.1, 192.0.2.2, 192.0.2.3, 127.0.0.9"),
        ("via", "1.0 fred, 1.1 lictor"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "www"),
        ("x-forwarded-port", "443"),
        ("x-real-ip", "192.0.2.1"),
        ("x-request-id", "abc-123"),
        ("forwarded", "for=192.0.2.1, for=127.0.0.9;host=\"shop\";proto=http"),
        ("traceparent", TRACE),
        ("tracestate", "a=b"),
    ] {
        assert_eq!(values(&headers, name), [value], "{name}");
    }
}

#[tokio::test]
async fn a_stranger_says_nothing_of_where_its_requests_came_from() {
    let request = received(STRANGER, &all_there_is()).await;
    let headers = request.headers();
    for (name, value) in [
        ("x-forwarded-for", "127.0.0.1"),
        ("via", "1.0 fred, 1.1 lictor"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "shop"),
    ] {
        assert_eq!(values(&headers, name), [value], "{name}");
    }
    for name in ["x-forwarded-port", "x-real-ip", "forwarded", "tracestate", "x-lictor-mirror"] {
        assert_eq!(values(&headers, name), [""; 0], "{name}");
    }
    let ids = values(&headers, "x-request-id");
    assert!(ids.len() == 1 && ids[0].len() == 32, "{ids:?}");
    let traces = values(&headers, "traceparent");
    assert!(traces.len() == 1 && traces[0].len() == TRACE.len() && traces[0][3..35] != TRACE[3..35], "{traces:?}");
    assert!(!request.head.contains("192.0.2."), "{}", request.head);
}

#[tokio::test]
async fn a_peer_is_trusted_for_its_address_and_not_for_what_it_says() {
    let request = received(STRANGER, "x-forwarded-for: 127.0.0.9\r\n").await;
    assert_eq!(values(&request.headers(), "x-forwarded-for"), ["127.0.0.1"]);
}

#[tokio::test]
async fn neither_connection_nor_another_spelling_strips_or_shadows_what_we_say() {
    let named = "X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, X-Request-Id, Via, X-Real-IP, Forwarded";
    let lines = format!(
        "connection: {named}\r\nx-forwarded-for: 192.0.2.1\r\nx_forwarded_for: 6.6.6.6\r\nX-Forwarded_For: 6.6.6.6\r\n\
         x_forwarded_proto: https\r\nx_real_ip: 6.6.6.6\r\nx_request_id: 6.6.6.6\r\nx-request-id: mine\r\n"
    );
    for (peer, chain, id) in [(BALANCER, "192.0.2.1, 127.0.0.9", Some("mine")), (STRANGER, "127.0.0.1", None)] {
        let request = received(peer, &lines).await;
        let headers = request.headers();
        assert_eq!(values(&headers, "x-forwarded-for"), [chain]);
        assert_eq!(values(&headers, "x-forwarded-proto"), ["http"]);
        assert_eq!(values(&headers, "x-forwarded-host"), ["shop"]);
        assert_eq!(values(&headers, "via"), ["1.1 lictor"]);
        assert_eq!(headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("x-request-id")).count(), 1);
        assert!(id.is_none_or(|id| values(&headers, "x-request-id") == [id]));
        assert!(!request.head.contains('_') && !request.head.contains("6.6.6.6"), "{}", request.head);
    }
}

#[tokio::test]
async fn a_request_that_names_no_trace_gets_none() {
    assert_eq!(received(STRANGER, "").await.header("traceparent"), None);
    let request = received(BALANCER, "traceparent: 00-x\r\ntracestate: a=b\r\n").await;
    assert_eq!(request.header("tracestate"), None);
    assert_eq!(
        request.header("traceparent").map(|parent| parent.len()),
        Some(TRACE.len()),
        "a new one for a broken one"
    );
}

#[tokio::test]
async fn clients_behind_a_trusted_peer_are_told_apart() {
    let mut origins = Vec::new();
    for name in ["one", "two", "three", "four"] {
        origins.push(Origin::start(name).await);
    }
    let addresses: Vec<_> = origins.iter().map(Origin::address).collect();
    let proxy = trusting(&to_endpoints(&addresses, "policy = \"consistent_hash\"\nhash = { load_factor = 0 }"));
    let ask = async |from: IpAddr, client: &str| {
        let mut connection = Client::connect_from(from, proxy.address()).await;
        let lines = format!("x-forwarded-for: {client}, 127.0.0.8\r\n");
        connection.exchange(format!("GET / HTTP/1.1\r\nhost: shop\r\n{lines}\r\n")).await.text()
    };
    let mut served = std::collections::BTreeSet::new();
    for client in 0..32 {
        let client = format!("192.0.2.{client}");
        let first = ask(BALANCER, &client).await;
        assert_eq!(ask(BALANCER, &format!("6.6.6.6, {client}")).await, first, "by the nearest that is not trusted");
        served.insert(first);
    }
    assert!(served.len() > 1, "{served:?}");
    let stranger = ask(STRANGER, "192.0.2.1").await;
    for client in 0..8 {
        assert_eq!(ask(STRANGER, &format!("192.0.2.{client}")).await, stranger, "by its own address alone");
    }
}
