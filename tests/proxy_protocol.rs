//! The PROXY protocol: from balancers that are trusted, and to endpoints that expect it, byte for byte.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::app::{Proxy, to_endpoints};
use crate::support::client::{Client, eventually};
use crate::support::origin::Origin;
use crate::support::raw::Raw;
use crate::support::window::{metric, sum};

const SOON: Duration = Duration::from_secs(10);
const GET: &str = "GET / HTTP/1.1\r\nhost: shop\r\n\r\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The listener `edge` with these keys.
fn listener(more: &str) -> String {
    format!("[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\n{more}\n")
}

/// One that expects headers from these networks, in front of an origin.
async fn expecting(networks: &str, more: &str) -> (Origin, Proxy) {
    let origin = Origin::start("one").await;
    let edge = listener(&format!("proxy_protocol = true\ntrusted_networks = [{networks}]\n{more}"));
    let proxy = Proxy::start(&format!("{edge}{}", to_endpoints(&[origin.address()], "")));
    (origin, proxy)
}

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

/// The header of version 1 that says who this client is.
fn line(client: SocketAddr, proxy: SocketAddr) -> Vec<u8> {
    let (from, to) = (client.port(), proxy.port());
    format!("PROXY TCP4 {} {} {from} {to}\r\n", client.ip(), proxy.ip()).into_bytes()
}

/// The same of version 2.
fn binary(client: SocketAddr, proxy: SocketAddr) -> Vec<u8> {
    let (from, to) = (client.port().to_be_bytes(), proxy.port().to_be_bytes());
    let octets = |address: SocketAddr| match address {
        SocketAddr::V4(address) => address.ip().octets(),
        SocketAddr::V6(_) => panic!("{address}"),
    };
    v2(0x21, 0x11, &[&octets(client)[..], &octets(proxy), &from, &to].concat())
}

async fn refused(proxy: &Proxy, reason: &str) -> f64 {
    let labels = format!("listener=\"edge\",reason=\"{reason}\"");
    sum(proxy.admin(), "lictor_proxy_protocol_refused_total", &labels).await
}

#[tokio::test]
async fn the_address_in_a_header_is_the_clients() {
    let (origin, proxy) = expecting("\"127.0.0.0/8\"", "").await;
    let six = [&[0x20, 0x01, 0x0d, 0xb8][..], &[0; 11], &[1], &[0; 15], &[1], &[1, 2, 3, 4]].concat();
    let tlvs = [&[203, 0, 113, 8, 10, 0, 0, 1, 0, 1, 0, 2][..], &[0x02, 0, 4], b"shop"].concat();
    let said = [
        (b"PROXY TCP4 203.0.113.7 10.0.0.1 5000 80\r\n".to_vec(), "203.0.113.7"),
        (b"PROXY TCP6 2001:db8::7 ::1 5000 80\r\n".to_vec(), "2001:db8::7"),
        (b"PROXY TCP6 ::ffff:203.0.113.9 ::1 5000 80\r\n".to_vec(), "203.0.113.9"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (v2(0x21, 0x11, &tlvs), "203.0.113.8"),
        (v2(0x21, 0x21, &six), "2001:db8::1"),
        (v2(0x20, 0x00, &[]), "127.0.0.1"),
    ];
    for (header, address) in &said {
        let mut client = Client::connect(proxy.address()).await;
        // All in one piece, and two requests, for which it holds.
        let bytes = [&header[..], GET.as_bytes(), GET.as_bytes()].concat();
        assert_eq!(client.exchange(bytes).await.text(), "one");
        assert_eq!(client.response().await.text(), "one");
        for request in &origin.requests()[origin.hits() - 2..] {
            assert_eq!(request.header("x-forwarded-for").as_deref(), Some(*address));
        }
    }
    // One byte at a time.
    for (header, _) in &said {
        let mut client = Client::connect(proxy.address()).await;
        for byte in header {
            client.send([*byte]).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(client.exchange(GET).await.text(), "one");
    }
    assert_eq!(sum(proxy.admin(), "lictor_proxy_protocol_refused_total", "").await, 0.0);
}

#[tokio::test]
async fn a_header_from_somebody_who_is_not_trusted_closes_the_connection() {
    let (origin, proxy) = expecting("\"127.0.0.2\", \"10.0.0.0/8\"", "").await;
    let forged = format!("PROXY TCP4 203.0.113.7 10.0.0.1 5000 80\r\n{GET}");
    for bytes in [&forged, GET, ""] {
        let mut client = Client::connect(proxy.address()).await;
        let _ = client.try_send(bytes).await;
        assert_eq!(client.closed().await.unwrap_or_default(), b"");
    }
    eventually("they are counted", SOON, async || refused(&proxy, "untrusted").await == 3.0).await;
    let mut client = Client::connect_from([127, 0, 0, 2].into(), proxy.address()).await;
    assert_eq!(client.exchange(forged).await.text(), "one");
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn a_connection_without_a_right_header_is_closed() {
    let (origin, proxy) = expecting("\"127.0.0.0/8\"", "").await;
    let wrong = [
        GET.as_bytes().to_vec(),
        [b"PROXY TCP4 203.0.113.7 10.0.0.1 5000 080\r\n", GET.as_bytes()].concat(),
        [b"PROXY TCP4 203.0.113.7 10.0.0.1 5000 80\n", GET.as_bytes()].concat(),
        [b"\r\nPROXY TCP4 203.0.113.7 10.0.0.1 5000 80\r\n", GET.as_bytes()].concat(),
        [&v2(0x22, 0x11, &[0; 12])[..], GET.as_bytes()].concat(),
        [&v2(0x21, 0x11, &[0; 11])[..], GET.as_bytes()].concat(),
        v2(0x21, 0x11, &[0; 4000]),
    ];
    for bytes in &wrong {
        let mut client = Client::connect(proxy.address()).await;
        let _ = client.try_send(bytes).await;
        assert_eq!(client.closed().await.unwrap_or_default(), b"");
    }
    eventually("they are counted", SOON, async || refused(&proxy, "malformed").await == wrong.len() as f64).await;
    let mut client = Client::connect(proxy.address()).await;
    client.send("PROXY ").await;
    client.finish().await;
    assert_eq!(client.closed().await.unwrap_or_default(), b"");
    eventually("it is counted", SOON, async || refused(&proxy, "closed").await == 1.0).await;
    assert_eq!(origin.hits(), 0);
}

#[tokio::test]
async fn a_header_has_its_time() {
    let (_origin, proxy) = expecting("\"127.0.0.0/8\"", "timeouts = { request_header = \"100ms\" }").await;
    for bytes in ["", "PROXY TCP4 "] {
        let mut client = Client::connect(proxy.address()).await;
        client.send(bytes).await;
        assert_eq!(client.closed().await.unwrap(), b"");
    }
    eventually("they are counted", SOON, async || refused(&proxy, "timeout").await == 2.0).await;
}

#[tokio::test]
async fn a_header_is_a_bad_request_where_none_is_expected() {
    let origin = Origin::start("one").await;
    let proxy = Proxy::start(&to_endpoints(&[origin.address()], ""));
    let mut client = Client::connect(proxy.address()).await;
    let answer = client.exchange(format!("PROXY TCP4 203.0.113.7 10.0.0.1 5000 80\r\n{GET}")).await;
    assert_eq!((answer.status, origin.hits()), (400, 0));
}

#[tokio::test]
async fn endpoints_are_told_of_the_client_of_each_request() {
    for (version, header) in [("v1", line as fn(_, _) -> _), ("v2", binary)] {
        let origin = Raw::start().await;
        let more = format!("proxy_protocol = \"{version}\"");
        let proxy = Proxy::start(&to_endpoints(&[origin.address()], &more));
        for _ in 0..2 {
            let mut client = Client::connect(proxy.address()).await;
            let expected = header(client.local_address(), proxy.address());
            for _ in 0..2 {
                client.send(GET).await;
                let (heard, mut served) = origin.accept_after(expected.len() + 16).await;
                assert_eq!(heard, [&expected[..], b"GET / HTTP/1.1\r\n"].concat(), "{version}");
                served.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                assert_eq!(client.response().await.text(), "ok");
                // It is the client's alone, and not kept.
                served.closed().await.unwrap();
            }
        }
        let connections = metric(proxy.admin(), "lictor_cluster_connections{cluster=\"web\"}").await;
        assert_eq!(connections, 0.0);
    }
}

#[tokio::test]
async fn what_one_balancer_says_is_passed_on_to_the_next() {
    for (version, header) in [("v1", line as fn(_, _) -> _), ("v2", binary)] {
        let origin = Raw::start().await;
        let edge =
            listener("proxy_protocol = true\ntrusted_networks = [\"127.0.0.1\"]\nprotocol = \"tcp\"\ncluster = \"db\"");
        let cluster = format!("[clusters.db]\nendpoints = [\"{}\"]\nproxy_protocol = \"{version}\"", origin.address());
        let proxy = Proxy::start(&format!("{edge}{cluster}"));
        let (far, front) = ("203.0.113.7:5000".parse().unwrap(), "198.51.100.1:443".parse().unwrap());
        let mut client = Client::connect(proxy.address()).await;
        client.send([&binary(far, front)[..], b"hello"].concat()).await;
        let expected = [header(far, front), b"hello".to_vec()].concat();
        let (heard, mut served) = origin.accept_after(expected.len()).await;
        assert_eq!(heard, expected, "{version}");
        served.send("there").await;
        assert_eq!(client.read(5).await, b"there");

        // Without a client of its own it is the connection that counts.
        let mut client = Client::connect(proxy.address()).await;
        client.send("PROXY UNKNOWN\r\n").await;
        let expected = header(client.local_address(), proxy.address());
        assert_eq!(origin.accept_after(expected.len()).await.0, expected);
    }
}

#[tokio::test]
async fn probes_speak_for_themselves() {
    for (version, header) in [("v1", b"PROXY UNKNOWN\r\n".to_vec()), ("v2", v2(0x20, 0, &[]))] {
        let origin = Raw::start().await;
        let more = format!("proxy_protocol = \"{version}\"\nprobe = {{ path = \"/well\" }}");
        let proxy = Proxy::start(&to_endpoints(&[origin.address()], &more));
        let expected = [header, b"GET /well HTTP/1.1\r\n".to_vec()].concat();
        let (heard, mut served) = origin.accept_after(expected.len()).await;
        assert_eq!(heard, expected, "{version}");
        served.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        let well = "lictor_probes_total{cluster=\"web\",result=\"success\"}";
        eventually("it is well", SOON, async || metric(proxy.admin(), well).await == 1.0).await;
    }
}
