//! TLS towards clients: which certificate they are shown, what is spoken, and what becomes of those who do not get as far.

mod clients;
mod names;
mod renewal;
mod routes;
mod stored;
mod towards_endpoints;

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::support::app::{Proxy, to_endpoints};
use crate::support::chain::{Authority, Leaf};
use crate::support::client::{Client, eventually};
use crate::support::origin::{Origin, Script};
use crate::support::tls::{Caller, connect, get};
use crate::support::window::metric;

/// A look is taken once a second, and a broken file needs two; far more than a busy machine needs for that.
const SOON: Duration = Duration::from_secs(20);

/// A root, one below it that signs, an origin, and a folder for files.
struct Stage {
    root: Authority,
    signer: Authority,
    folder: TempDir,
    origin: Origin,
}

impl Stage {
    async fn set() -> Stage {
        let root = Authority::root("root");
        let signer = root.intermediate("signer");
        Stage { root, signer, folder: tempfile::tempdir().unwrap(), origin: Origin::start("a").await }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A configuration with a listener of these certificates, in their order, and more keys of `listeners.tls`.
    fn text(&self, certificates: &[(&str, Leaf)], more: &str) -> String {
        let written = certificates.iter().map(|(name, leaf)| format!("{{ {} }}", leaf.write(self.path(), name)));
        let written: Vec<String> = written.collect();
        let tls = format!("[listeners.tls]\ncertificates = [{}]\n{more}\n", written.join(", "));
        to_endpoints(&[self.origin.address()], "") + &listener(&tls)
    }

    fn start(&self, certificates: &[(&str, Leaf)], more: &str) -> Proxy {
        Proxy::start(&self.text(certificates, more))
    }
}

fn listener(tls: &str) -> String {
    format!("[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\n{tls}")
}

async fn handshakes(proxy: &Proxy, result: &str) -> f64 {
    metric(proxy.admin(), &format!("lictor_tls_handshakes_total{{listener=\"edge\",result=\"{result}\"}}")).await
}

/// Waits until so many handshakes have ended like this.
async fn until_handshakes(proxy: &Proxy, result: &str, count: f64) {
    let look = async || handshakes(proxy, result).await == count;
    eventually(&format!("{count} handshakes {result}"), SOON, look).await;
}

#[tokio::test]
async fn a_request_by_tls_is_served_and_the_endpoint_is_told_that_it_was_https() {
    let stage = Stage::set().await;
    let proxy = stage.start(&[("a", stage.signer.leaf(&["a.example"]))], "");
    let answer = Caller::trusting(&stage.root).get(proxy.address(), "a.example").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!(stage.origin.requests()[0].header("x-forwarded-proto").as_deref(), Some("https"));
    assert_eq!(handshakes(&proxy, "ok").await, 1.0);
    proxy.drain().await;
}

#[tokio::test]
async fn both_versions_are_spoken_unless_only_the_newer_one_is_wanted() {
    let stage = Stage::set().await;
    let leaf = stage.signer.leaf(&["a.example"]);
    let proxy = stage.start(&[("a", leaf.clone())], "");
    let strict = stage.start(&[("a", leaf)], "min_version = '1.3'");
    let old = Caller { speaks: &[&rustls::version::TLS12], ..Caller::trusting(&stage.root) };
    let new = Caller { speaks: &[&rustls::version::TLS13], ..Caller::trusting(&stage.root) };
    for caller in [&old, &new] {
        assert!(caller.get(proxy.address(), "a.example").await.unwrap().starts_with("HTTP/1.1 200"));
    }
    assert!(new.get(strict.address(), "a.example").await.is_ok());
    assert!(old.get(strict.address(), "a.example").await.is_err());
    until_handshakes(&strict, "protocol", 1.0).await;
}

#[tokio::test]
async fn the_protocol_is_agreed_on_where_the_client_offers_one_that_is_spoken() {
    let stage = Stage::set().await;
    let leaf = stage.signer.leaf(&["a.example"]);
    let proxy = stage.start(&[("a", leaf.clone())], "");
    let caller = |offers| Caller { offers, ..Caller::trusting(&stage.root) };
    let old =
        Proxy::start(&stage.text(&[("a", leaf)], "").replace("[listeners.tls]", "http2 = false\n[listeners.tls]"));
    let agreed = async |proxy: &Proxy, offers| {
        let stream = caller(offers).connect(proxy.address(), "a.example").await?;
        std::io::Result::Ok(stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec))
    };
    let some = |protocol: &str| Some(protocol.as_bytes().to_vec());
    assert_eq!(agreed(&proxy, &["http/1.1"]).await.unwrap(), some("http/1.1"));
    assert_eq!(agreed(&proxy, &["http/1.1", "h2"]).await.unwrap(), some("h2"));
    assert_eq!(agreed(&old, &["http/1.1", "h2"]).await.unwrap(), some("http/1.1"));
    assert_eq!(agreed(&proxy, &[]).await.unwrap(), None);
    for (proxy, offers) in [(&proxy, &["smtp"]), (&old, &["h2"])] {
        assert!(agreed(proxy, offers).await.is_err(), "what nobody speaks must not be spoken to");
    }
}

#[tokio::test]
async fn requests_by_http2_come_through_where_it_was_agreed_on() {
    let stage = Stage::set().await;
    let proxy = stage.start(&[("a", stage.signer.leaf(&["a.example"]))], "");
    let caller = Caller { offers: &["h2"], ..Caller::trusting(&stage.root) };
    let stream = caller.connect(proxy.address(), "a.example").await.unwrap();
    let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("https://a.example/x").body(()).unwrap();
    let (answer, _) = send.send_request(request, true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);
    assert_eq!(stage.origin.requests()[0].header("x-forwarded-proto").as_deref(), Some("https"));
}

#[tokio::test]
async fn a_session_is_resumed_by_both_versions() {
    let stage = Stage::set().await;
    let proxy = stage.start(&[("a", stage.signer.leaf(&["a.example"]))], "");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = Caller { speaks: &[version], ..Caller::trusting(&stage.root) }.config();
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let mut stream = connect(&config, proxy.address(), "a.example").await.unwrap();
            assert!(get(&mut stream).await.unwrap().starts_with("HTTP/1.1 200"));
            kinds.push(stream.get_ref().1.handshake_kind().unwrap());
        }
        assert_eq!(kinds, [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed], "{version:?}");
    }
}

#[tokio::test]
async fn who_speaks_http_where_tls_is_spoken_is_told_so() {
    let stage = Stage::set().await;
    let proxy = stage.start(&[("a", stage.signer.leaf(&["a.example"]))], "");
    let mut client = Client::connect(proxy.address()).await;
    let answer = client.exchange("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
    assert_eq!((answer.status, &*answer.text()), (400, "This port speaks TLS only"));
    until_handshakes(&proxy, "protocol", 1.0).await;
    assert_eq!(stage.origin.hits(), 0);
}

#[tokio::test]
async fn who_does_not_go_on_with_the_handshake_loses_the_connection_and_its_place() {
    let stage = Stage::set().await;
    let text = stage.text(&[("a", stage.signer.leaf(&["a.example"]))], "[listeners.timeouts]\ntls = '200ms'");
    let proxy = Proxy::start(&format!("max_connections = 1\n{text}"));
    // The beginning of a record, and nothing more of it.
    let mut silent = tokio::net::TcpStream::connect(proxy.address()).await.unwrap();
    silent.write_all(&[0x16, 3, 1, 2, 0, 1]).await.unwrap();
    // Whoever comes next gets the one place.
    assert!(Caller::trusting(&stage.root).get(proxy.address(), "a.example").await.unwrap().contains("200 OK"));
    assert_eq!((handshakes(&proxy, "timeout").await, handshakes(&proxy, "ok").await), (1.0, 1.0));
}

#[tokio::test]
async fn an_unfinished_handshake_does_not_hold_up_a_drain() {
    let stage = Stage::set().await;
    let proxy = stage.start(&[("a", stage.signer.leaf(&["a.example"]))], "");
    let mut silent = tokio::net::TcpStream::connect(proxy.address()).await.unwrap();
    silent.write_all(&[0x16, 3, 1, 2, 0, 1]).await.unwrap();
    let open = async || metric(proxy.admin(), "lictor_connections_open{listener=\"edge\"}").await == 1.0;
    eventually("it is accepted", SOON, open).await;
    let begun = std::time::Instant::now();
    proxy.drain().await;
    // Its handshake may take ten seconds, and so may the drain.
    assert!(begun.elapsed() < Duration::from_secs(8));
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_let_go_though_tls_takes_what_its_socket_does_not() {
    let stage = Stage::set().await;
    stage.origin.always(Script::answer(200, vec![b'x'; 8 << 10]));
    let text = stage.text(&[("a", stage.signer.leaf(&["a.example"]))], "");
    let proxy = Proxy::start(&text.replace("[listeners.tls]", "timeouts = { idle = \"300ms\" }\n[listeners.tls]"));
    let mut stream = Caller::trusting(&stage.root).connect(proxy.address(), "a.example").await.unwrap();
    let asking = async { while stream.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await.is_ok() {} };
    assert!(timeout(SOON, asking).await.is_ok(), "it asks and asks, and reads no answer");
}
