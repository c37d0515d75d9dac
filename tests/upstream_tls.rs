//! TLS towards endpoints: who is trusted, which protocol is agreed on, and connections that are used again.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use lictor::tls;
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::support::app::{Proxy, to_endpoints};
use crate::support::chain::{Authority, Leaf, Wish};
use crate::support::client::{Client, eventually, get};
use crate::support::h2::{H2Origin, Reply};
use crate::support::origin::{Origin, Script};
use crate::support::window::{endpoint, sum};

const SOON: Duration = Duration::from_secs(10);
const GET: &str = "GET /a HTTP/1.1\r\nhost: shop\r\n\r\n";
const POST: &str = "POST /a HTTP/1.1\r\nhost: shop\r\ncontent-length: 4\r\n\r\nbody";

/// TLS in front of origins: what was agreed on decides which.
struct Door {
    address: SocketAddr,
    kinds: Arc<Mutex<Vec<HandshakeKind>>>,
    close: Arc<Notify>,
    rekey: Arc<Notify>,
    rekeyed: Arc<Notify>,
    _tasks: JoinSet<()>,
}

/// What a door is like.
struct Plan<'a> {
    leaf: &'a Leaf,
    /// Whose clients are let in, if not everybody's.
    clients: Option<&'a Authority>,
    offers: &'a [&'a str],
    /// Where HTTP/1.1 goes, and where HTTP/2.
    to: (SocketAddr, SocketAddr),
}

impl Door {
    async fn open(plan: Plan<'_>) -> Door {
        let (acceptor, listener) = (acceptor(&plan), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let address = listener.local_addr().unwrap();
        let (close, rekey, rekeyed) = <(Arc<Notify>, Arc<Notify>, Arc<Notify>)>::default();
        let kinds = Arc::<Mutex<Vec<HandshakeKind>>>::default();
        let (seen, notes, to) =
            (Arc::clone(&kinds), (Arc::clone(&close), Arc::clone(&rekey), Arc::clone(&rekeyed)), plan.to);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, seen, (closing, rekeying, told)) = (acceptor.clone(), Arc::clone(&seen), notes.clone());
                open.spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    seen.lock().unwrap().extend(stream.get_ref().1.handshake_kind());
                    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    let mut origin = TcpStream::connect(if is_h2 { to.1 } else { to.0 }).await.unwrap();
                    loop {
                        tokio::select! {
                            _ = copy_bidirectional(&mut stream, &mut origin) => break,
                            // In peace: with a close_notify.
                            () = closing.notified() => break drop(stream.shutdown().await),
                            () = rekeying.notified() => {
                                stream.get_mut().1.refresh_traffic_keys().unwrap();
                                stream.flush().await.unwrap();
                                told.notify_one();
                            }
                        }
                    }
                });
            }
        });
        Door { address, kinds, close, rekey, rekeyed, _tasks: tasks }
    }

    fn handshakes(&self) -> Vec<HandshakeKind> {
        self.kinds.lock().unwrap().clone()
    }
}

fn acceptor(plan: &Plan<'_>) -> TlsAcceptor {
    let chain = CertificateDer::pem_slice_iter(plan.leaf.chain.as_bytes()).collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(plan.leaf.key.as_bytes()).unwrap();
    let builder = ServerConfig::builder_with_provider(tls::provider()).with_safe_default_protocol_versions().unwrap();
    let builder = match plan.clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(clients.pem().as_bytes()).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), tls::provider());
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = plan.offers.iter().map(|offer| offer.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

/// A root of ours, and two origins.
struct Stage {
    root: Authority,
    folder: TempDir,
    old: Origin,
    new: H2Origin,
}

impl Stage {
    async fn new() -> Stage {
        let stage = Stage {
            root: Authority::root("our root"),
            folder: tempfile::tempdir().unwrap(),
            old: Origin::start("old").await,
            new: H2Origin::start().await,
        };
        std::fs::write(stage.folder.path().join("ca.pem"), stage.root.pem()).unwrap();
        stage
    }

    /// A door with a good certificate.
    async fn door(&self, offers: &[&str]) -> Door {
        self.door_with(&self.root.leaf(&["api.internal"]), None, offers).await
    }

    async fn door_with(&self, leaf: &Leaf, clients: Option<&Authority>, offers: &[&str]) -> Door {
        Door::open(Plan { leaf, clients, offers, to: (self.old.address(), self.new.address()) }).await
    }

    fn tls(&self, more: &str) -> String {
        let ca = self.folder.path().join("ca.pem");
        format!("tls = {{ ca = '{}', server_name = 'api.internal'{more} }}\n", ca.display())
    }

    fn proxy(&self, doors: &[&Door], more: &str) -> Proxy {
        let addresses: Vec<SocketAddr> = doors.iter().map(|door| door.address).collect();
        Proxy::start(&to_endpoints(&addresses, &format!("{}{more}", self.tls(""))))
    }
}

async fn text(proxy: &Proxy) -> String {
    get(proxy.address(), "shop", "/").await.text()
}

#[tokio::test]
async fn what_both_sides_can_do_is_spoken_and_http_2_rather_than_http_1() {
    let stage = Stage::new().await;
    for (offers, more, spoken) in [
        (&["h2", "http/1.1"][..], "", "one"),
        (&["http/1.1"], "", "old"),
        (&[], "", "old"),
        (&["h2", "http/1.1"], "protocol = \"http1\"", "old"),
        (&["h2", "http/1.1"], "protocol = \"h2\"", "one"),
    ] {
        let door = stage.door(offers).await;
        let proxy = stage.proxy(&[&door], more);
        assert_eq!(
            (text(&proxy).await, text(&proxy).await),
            (spoken.to_owned(), spoken.to_owned()),
            "{offers:?} {more}"
        );
        assert_eq!(door.handshakes().len(), 1, "the connection is used again: {offers:?} {more}");
    }
    assert_eq!(stage.new.asked()[0].uri.scheme_str(), Some("https"));
}

#[tokio::test]
async fn a_connection_is_used_again_also_for_what_could_not_be_repeated() {
    let stage = Stage::new().await;
    let door = stage.door(&["http/1.1"]).await;
    let proxy = stage.proxy(&[&door], "");
    let mut client = Client::connect(proxy.address()).await;
    for request in [POST, GET, POST, GET] {
        assert_eq!(client.exchange(request).await.text(), "old");
        // What TLS says for itself lies unread in between, as tickets for another session may, and is no end.
        door.rekey.notify_waiters();
        door.rekeyed.notified().await;
    }
    assert_eq!(door.handshakes().len(), 1);
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_not_used() {
    let stage = Stage::new().await;
    for offers in [&["http/1.1"][..], &["h2"]] {
        let door = stage.door(offers).await;
        let proxy = stage.proxy(&[&door], "retry = { attempts = 0 }");
        text(&proxy).await;
        let open = || stage.old.connections() + stage.new.open();
        door.close.notify_waiters();
        eventually("it is closed", SOON, async || open() == 0).await;
        let answer = Client::connect(proxy.address()).await.exchange(POST).await;
        assert_eq!((answer.status, door.handshakes().len()), (200, 2), "{offers:?}");
    }
}

#[tokio::test]
async fn sessions_are_resumed() {
    let stage = Stage::new().await;
    let door = stage.door(&["http/1.1"]).await;
    let proxy = stage.proxy(&[&door], "");
    for _ in 0..3 {
        stage.old.once(Script::CloseAfter(Box::new(Script::answer(200, "bye"))));
        assert_eq!(text(&proxy).await, "bye");
    }
    assert_eq!(door.handshakes(), [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed]);
}

#[tokio::test]
async fn whoever_cannot_prove_who_he_is_gets_nothing_and_others_are_tried() {
    let stage = Stage::new().await;
    let stranger = Authority::root("their root");
    let expired = Wish { names: &["api.internal"], days: Some(-1), ..Wish::default() };
    for leaf in [stage.root.leaf(&["other.internal"]), stage.root.issue(&expired), stranger.leaf(&["api.internal"])] {
        for more in ["", "protocol = \"http1\"", "protocol = \"h2\""] {
            let bad = stage.door_with(&leaf, None, &["h2", "http/1.1"]).await;
            let proxy = stage.proxy(&[&bad], more);
            let answer = Client::connect(proxy.address()).await.exchange(POST).await;
            assert_eq!((answer.status, answer.text().as_str()), (502, "the endpoint could not be reached by TLS\n"));
            assert!(sum(proxy.admin(), "lictor_attempts_total", "\"connect\"").await >= 1.0, "it is to blame");
            assert!(bad.handshakes().is_empty());
        }
    }
    assert_eq!((stage.old.hits(), stage.new.asked().len()), (0, 0));
    let (bad, good) =
        (stage.door_with(&stranger.leaf(&["api.internal"]), None, &["h2"]).await, stage.door(&["h2"]).await);
    let proxy = stage.proxy(&[&bad, &good], "policy = \"round_robin\"");
    for _ in 0..4 {
        assert_eq!(Client::connect(proxy.address()).await.exchange(POST).await.text(), "one");
    }
}

#[tokio::test]
async fn an_endpoint_that_asks_who_we_are_is_told() {
    let stage = Stage::new().await;
    let us = stage.root.leaf(&["us.example"]).write(stage.folder.path(), "us");
    let us = us.replace("cert =", "client_cert =").replace("key =", "client_key =");
    for offers in [&["h2"][..], &["http/1.1"]] {
        let leaf = stage.root.leaf(&["api.internal"]);
        let door = stage.door_with(&leaf, Some(&stage.root), offers).await;
        let known = Proxy::start(&to_endpoints(&[door.address], &stage.tls(&format!(", {us}"))));
        assert_eq!(get(known.address(), "shop", "/").await.status, 200);
        let until = async |proxy: &Proxy| {
            sum(proxy.admin(), "lictor_cluster_certificate_expiry_timestamp_seconds", "cluster=\"web\"").await
        };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!(until(&known).await > now, "how long we can go on doing so is known");
        let unknown = Proxy::start(&to_endpoints(&[door.address], &stage.tls("")));
        assert_eq!(get(unknown.address(), "shop", "/").await.status, 502);
        assert_eq!(until(&unknown).await, 0.0);
    }
}

#[tokio::test]
async fn clusters_that_share_an_address_do_not_share_connections() {
    let stage = Stage::new().await;
    let door = stage.door(&["h2", "http/1.1"]).await;
    let one = format!("[[routes]]\nhost = \"a\"\ncluster = \"a\"\n[clusters.a]\nendpoints = [\"{}\"]\n", door.address);
    let two = format!("[[routes]]\nhost = \"b\"\ncluster = \"b\"\n[clusters.b]\nendpoints = [\"{}\"]\n", door.address);
    let proxy = Proxy::start(&format!("{one}{}{two}", stage.tls("")));
    assert_eq!(get(proxy.address(), "a", "/").await.text(), "one");
    // In the clear, and so not understood.
    assert_eq!(get(proxy.address(), "b", "/").await.status, 502);
    assert_eq!(get(proxy.address(), "a", "/").await.text(), "one");
    assert_eq!(door.handshakes().len(), 1);
}

#[tokio::test]
async fn a_websocket_goes_by_http_1_where_both_could_be_spoken() {
    let stage = Stage::new().await;
    let door = stage.door(&["h2", "http/1.1"]).await;
    let proxy = stage.proxy(&[&door], "");
    assert_eq!(text(&proxy).await, "one");
    stage.old.once(Script::UpgradeEcho);
    let mut client = Client::connect(proxy.address()).await;
    client.send("GET / HTTP/1.1\r\nhost: shop\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n").await;
    let (head, _) = client.head().await;
    assert_eq!(head.status, 101);
    client.send("hello").await;
    assert_eq!(client.read(5).await, b"hello");
}

#[tokio::test]
async fn probes_are_secured_as_requests_are() {
    let stage = Stage::new().await;
    let door = stage.door(&["h2", "http/1.1"]).await;
    let head = vec![("content-type", "application/grpc")];
    let (pieces, trailers) = (vec![vec![0, 0, 0, 0, 2, 8, 1]], vec![("grpc-status", "0")]);
    stage.new.once(Reply::Whole { head, pieces, trailers });
    let refusing = stage.door_with(&Authority::root("another").leaf(&["api.internal"]), None, &["http/1.1"]).await;
    for (kind, door, expected) in
        [("http", &door, "passing"), ("grpc", &door, "passing"), ("http", &refusing, "failing")]
    {
        let proxy = stage.proxy(&[door], &format!("probe = {{ kind = \"{kind}\" }}"));
        let found = async || endpoint(proxy.admin(), door.address).await["probe"].as_str().map(str::to_owned);
        eventually("something is found", SOON, async || found().await.is_some()).await;
        assert_eq!(found().await.as_deref(), Some(expected), "{kind}");
    }
    assert_eq!((stage.old.hits(), stage.new.asked()[0].uri.scheme_str()), (1, Some("https")));
}
