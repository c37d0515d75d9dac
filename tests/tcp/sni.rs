//! TLS passed through by the name that a client asks for: it is the origin that has the certificate.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::ended;
use crate::support::app::Proxy;
use crate::support::client::{Client, eventually};
use crate::support::raw::Raw;

/// An origin that speaks TLS with a certificate of its own and says its name.
struct Secret {
    address: SocketAddr,
    roots: RootCertStore,
    _serving: JoinHandle<()>,
}

impl Secret {
    async fn start(say: &'static str, names: &[&str]) -> Secret {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let config = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
        let (acceptor, listener) =
            (TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut word = [0; 5];
                    if stream.read_exact(&mut word).await.is_ok() {
                        let _ = stream.write_all(&[say.as_bytes(), &word].concat()).await;
                        let _ = stream.shutdown().await;
                    }
                });
            }
        });
        Secret { address, roots, _serving: serving }
    }

    /// Asks for this name at that address, and trusts this origin alone.
    async fn ask(&self, at: SocketAddr, name: &str) -> std::io::Result<String> {
        let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(self.roots.clone()).with_no_client_auth();
        let stream = TcpStream::connect(at).await?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        stream.write_all(b"hello").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A listener with these names for the cluster `one`, `*.example.com` for `two`, and `more` keys for itself.
fn by_name(names: &str, one: SocketAddr, two: SocketAddr, more: &str) -> String {
    format!(
        "[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\nprotocol = \"tcp\"\n{more}\n\
         [[listeners.sni]]\nnames = [{names}]\ncluster = \"one\"\n\
         [[listeners.sni]]\nnames = [\"*.example.com\"]\ncluster = \"two\"\n\
         [clusters.one]\nendpoints = [\"{one}\"]\n[clusters.two]\nendpoints = [\"{two}\"]\n"
    )
}

/// A greeting of TLS that asks for this name.
fn greeting(name: &str) -> Vec<u8> {
    let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

#[tokio::test]
async fn the_name_that_a_client_asks_for_decides_and_the_origin_has_the_certificate() {
    let one = Secret::start("one ", &["db.example.com", "other.test"]).await;
    let two = Secret::start("two ", &["web.example.com", "a.b.example.com", "else.test"]).await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let text = by_name("\"db.example.com\"", one.address, two.address, "cluster = \"two\"");
    let proxy = Proxy::start(&format!("{text}[access_log]\nformat = \"json\"\npath = {log:?}\n"));
    assert_eq!(one.ask(proxy.address(), "db.example.com").await.unwrap(), "one hello");
    assert_eq!(one.ask(proxy.address(), "DB.Example.COM").await.unwrap(), "one hello");
    assert_eq!(two.ask(proxy.address(), "web.example.com").await.unwrap(), "two hello");
    assert_eq!(two.ask(proxy.address(), "a.b.example.com").await.unwrap(), "two hello");
    assert_eq!(two.ask(proxy.address(), "else.test").await.unwrap(), "two hello", "all others");
    assert!(one.ask(proxy.address(), "other.test").await.is_err(), "it went to somebody with another certificate");
    proxy.drain().await;
    let lines = std::fs::read_to_string(log).unwrap();
    for name in ["db.example.com", "web.example.com", "else.test", "other.test"] {
        assert!(lines.contains(&format!("\"server_name\":\"{name}\"")), "{name}: {lines}");
    }
}

#[tokio::test]
async fn a_name_that_nobody_takes_is_closed_where_there_is_no_other_cluster() {
    let (one, two) = (Raw::start().await, Raw::start().await);
    let proxy = Proxy::start(&by_name("\"db.example.com\"", one.address(), two.address(), ""));
    for bytes in
        [greeting("example.com"), greeting("db.example.org"), greeting("127.0.0.1"), b"GET / HTTP/1.1\r\n".into()]
    {
        let mut client = Client::connect(proxy.address()).await;
        client.send(&bytes).await;
        // With a reset, where it was closed before all was read.
        assert_eq!(client.closed().await.unwrap_or_default(), b"");
    }
    eventually("they are counted", super::SOON, async || ended(&proxy, "no_cluster").await == 4.0).await;
}

#[tokio::test]
async fn what_is_not_tls_goes_where_all_others_go_and_loses_nothing() {
    let (one, two) = (Raw::start().await, Raw::start().await);
    let proxy = Proxy::start(&by_name("\"db.example.com\"", one.address(), two.address(), "cluster = \"one\""));
    let wrong = [greeting("web.example.com"), vec![0; 3]].concat();
    let foreign: [&[u8]; 4] =
        [b"SSH-2.0-x\r\n", b"\0", b"\x16garbage that is none", &[&[22, 3, 1, 0xff, 0xff], &wrong[..]].concat()];
    for bytes in foreign {
        let mut client = Client::connect(proxy.address()).await;
        client.send(bytes).await;
        let (heard, mut served) = one.accept_after(bytes.len()).await;
        assert_eq!(heard, bytes);
        served.send("who is there").await;
        assert_eq!(client.read(12).await, b"who is there");
    }
}

#[tokio::test]
async fn a_greeting_may_come_in_pieces_and_with_more_behind_it() {
    let (one, two) = (Raw::start().await, Raw::start().await);
    let proxy = Proxy::start(&by_name("\"db.example.com\"", one.address(), two.address(), ""));
    let bytes = [greeting("db.example.com"), b"and more".to_vec()].concat();
    let mut client = Client::connect(proxy.address()).await;
    for piece in bytes.chunks(97) {
        client.send(piece).await;
        tokio::task::yield_now().await;
    }
    let (heard, _served) = one.accept_after(bytes.len()).await;
    assert!(heard == bytes);

    // In several records, as some clients split it.
    let whole = greeting("web.example.com");
    let (head, body) = whole.split_at(5);
    let record = |part: &[u8]| [&head[..3], &u16::try_from(part.len()).unwrap().to_be_bytes(), part].concat();
    let split: Vec<u8> = body.chunks(50).flat_map(record).collect();
    let mut client = Client::connect(proxy.address()).await;
    client.send(&split).await;
    let (heard, _served) = two.accept_after(split.len()).await;
    assert!(heard == split);
}

#[tokio::test]
async fn a_client_that_does_not_greet_in_time_is_closed() {
    let (one, two) = (Raw::start().await, Raw::start().await);
    let more = "cluster = \"one\"\ntimeouts = { request_header = \"100ms\" }";
    let proxy = Proxy::start(&by_name("\"db.example.com\"", one.address(), two.address(), more));
    let whole = greeting("db.example.com");
    for bytes in [&b""[..], &whole[..40]] {
        let mut client = Client::connect(proxy.address()).await;
        client.send(bytes).await;
        assert_eq!(client.closed().await.unwrap(), b"");
    }
    let mut client = Client::connect(proxy.address()).await;
    client.send(&whole[..40]).await;
    client.finish().await;
    assert_eq!(client.closed().await.unwrap(), b"");
    eventually("they are counted", super::SOON, async || ended(&proxy, "no_greeting").await == 3.0).await;
}
