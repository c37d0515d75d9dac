//! Whom a handshake in the mesh believes, either way: certificates as a mesh signs them, and as it never would.

use std::sync::Arc;
use std::time::Duration;

use lictor::config::{self, Environment};
use lictor::tls::{Alpn, Client, Gate, Handshake, Mesh, MeshServer, Peer, Stream, explain};
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::support::chain::{Authority, Leaf, Wish};
use crate::support::tls::Caller;

type Shaken = tokio_rustls::client::TlsStream<TcpStream>;

const DOMAIN: &str = "11111111-2222-3333-4444-555555555555.consul";
const WEB: &str = "/ns/default/dc/dc1/svc/web";

/// Two roots, as in the middle of a rotation, and somebody who signs for each; and us, who are `edge`.
struct Stage {
    roots: [Authority; 2],
    signers: [Authority; 2],
    mesh: Arc<Mesh>,
}

impl Stage {
    fn set() -> Stage {
        let roots = [Authority::root("old"), Authority::root("new")];
        let signers = [roots[0].intermediate("of old"), roots[1].intermediate("of new")];
        let mesh = Mesh::new(Arc::default());
        let pems = [roots[0].pem(), roots[1].pem()];
        // Its letters are compared in lower case.
        assert!(mesh.trust(&DOMAIN.to_uppercase(), &[&pems[0], &pems[1]]).unwrap());
        assert!(!mesh.trust(DOMAIN, &[&pems[0], &pems[1]]).unwrap(), "that is the same");
        let own = leaf(&signers[1], &uri("/ns/default/dc/dc1/svc/edge"));
        assert!(mesh.identify(&own.chain, &own.key).unwrap());
        Stage { roots, signers, mesh }
    }

    /// Certificates that are to be believed for `web`, and some that are not, each with what is said of it.
    fn leaves(&self) -> Vec<(Leaf, Option<&'static str>)> {
        let signer = &self.signers[0];
        let issue = |wish: Wish<'_>| signer.issue(&wish);
        let (own, other) = (uri(WEB), uri("/ns/default/dc/dc1/svc/api"));
        let foreign = format!("spiffe://99999999-2222-3333-4444-555555555555.consul{WEB}");
        let (stranger, impostor) = (Authority::root("stranger"), Authority::root("old"));
        vec![
            (leaf(signer, &own), None),
            (leaf(&self.roots[0], &own), None),
            (leaf(&self.signers[1], &own), None),
            (leaf(signer, &own.replace(".consul", ".CONSUL")), None),
            (leaf(&stranger, &own), Some("no root of the mesh vouches for")),
            (leaf(&impostor, &own), Some("BadSignature")),
            (leaf(signer, &foreign), Some("is not of the trust domain")),
            (issue(Wish { uri: Some(&own), days: Some(-1), ..Wish::default() }), Some("expired at")),
            (issue(Wish { uri: Some(&own), other_uri: Some(&other), ..Wish::default() }), Some("not for one service")),
            (issue(Wish { names: &["web.example", "127.0.0.1"], ..Wish::default() }), Some("not for one service")),
            (issue(Wish { common_name: Some(&own), ..Wish::default() }), Some("not for one service")),
            (leaf(signer, &uri("/agent/client/dc/dc1/id/n")), Some("not for one service")),
            (leaf(signer, "https://a.example/ns/default/dc/dc1/svc/web"), Some("not for one service")),
        ]
    }
}

fn uri(path: &str) -> String {
    format!("spiffe://{DOMAIN}{path}")
}

fn leaf(signer: &Authority, uri: &str) -> Leaf {
    signer.issue(&Wish { uri: Some(uri), ..Wish::default() })
}

fn parts(leaf: &Leaf) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = CertificateDer::pem_slice_iter(leaf.chain.as_bytes()).collect::<Result<_, _>>().unwrap();
    (chain, PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap())
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (client, server) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (client.unwrap(), server.unwrap().0)
}

/// Calls somebody who shows this certificate and has to be of that path; says why it was not believed.
async fn call(mesh: &Arc<Mesh>, shown: &Leaf, path: Option<&str>) -> Result<(), String> {
    let (chain, key) = parts(shown);
    let builder = ServerConfig::builder_with_provider(lictor::tls::provider());
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let acceptor = TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).unwrap()));
    let (client, server) = pair().await;
    let identity = path.map(Arc::from);
    let peer = Peer { host: "127.0.0.1", identity: identity.as_ref() };
    let calling = Client::of_mesh(mesh).unwrap();
    let (called, _) = tokio::join!(calling.connect(client, peer, Alpn::Http1), acceptor.accept(server));
    called.map(drop).map_err(|error| explain(&error).to_string())
}

/// Is called by somebody with this certificate, and says why it was not let in.
async fn called(stage: &Stage, gate: &Arc<Gate>, by: Option<&Leaf>) -> Result<Handshake, String> {
    let server = server(stage, gate);
    let (client, accepting) = pair().await;
    let connector = TlsConnector::from(Arc::new(credulous(by)));
    let connecting = connector.connect(ServerName::try_from("a.example").unwrap(), client);
    // It leaves as soon as it has heard.
    let connecting = async { drop(connecting.await) };
    let (accepted, ()) = tokio::join!(server.accept(accepting), connecting);
    accepted.map(|(_, told): (Stream, _)| told).map_err(|error| error.to_string())
}

/// Our side of the mesh.
fn server(stage: &Stage, gate: &Arc<Gate>) -> Arc<MeshServer> {
    let text = "[mesh]\nservice='edge'\n[[listeners]]\nname='edge'\nbind='127.0.0.1:0'\nmesh=true";
    let config = config::parse(text, &Environment::default()).unwrap();
    MeshServer::new(&config.listeners[0], (&stage.mesh, gate), Arc::default()).unwrap()
}

/// A client with this certificate that believes everybody: it is not about what it believes.
fn credulous(is: Option<&Leaf>) -> ClientConfig {
    let anybody = Authority::root("anybody");
    let mut config = ClientConfig::clone(&Caller { is, ..Caller::trusting(&anybody) }.config());
    config.dangerous().set_certificate_verifier(Arc::new(crate::support::tls::Seen::default()));
    config
}

#[tokio::test]
async fn whoever_is_called_has_to_be_the_service_that_was_to_be_called() {
    let stage = Stage::set();
    for (leaf, refused) in stage.leaves() {
        let result = call(&stage.mesh, &leaf, Some(WEB)).await;
        match (refused, &result) {
            (None, Ok(())) => {}
            (Some(words), Err(said)) if said.contains(words) => {}
            _ => panic!("{refused:?}: {result:?}"),
        }
    }
    let own = leaf(&stage.signers[0], &uri(WEB));
    for path in ["/ns/default/dc/dc2/svc/web", "/ns/default/dc/dc1/svc/Web", "/ns/default/dc/dc1/svc/we"] {
        let said = call(&stage.mesh, &own, Some(path)).await.unwrap_err();
        assert!(said.contains(&format!("\"{}\" was expected", uri(path))), "{said}");
    }
    let said = call(&stage.mesh, &own, None).await.unwrap_err();
    assert!(said.contains("nobody has said who the endpoint has to be"), "{said}");
}

#[tokio::test]
async fn whoever_calls_has_to_be_some_service_of_our_mesh() {
    let stage = Stage::set();
    let (gate, mut questions) = Gate::new(Duration::from_secs(60), Arc::default());
    let answering = Arc::clone(&gate);
    let answers = tokio::spawn(async move {
        while let Some(pass) = questions.next().await {
            answering.answered(&pass, Ok((true, "why not".into())));
        }
    });
    for (leaf, refused) in stage.leaves() {
        let result = called(&stage, &gate, Some(&leaf)).await;
        match (refused, &result) {
            (None, Ok(told)) => assert_eq!(told.identity.as_ref().unwrap().uris, [uri(WEB)]),
            (Some(words), Err(said)) if said.contains(words) => {}
            _ => panic!("{refused:?}: {result:?}"),
        }
    }
    assert!(called(&stage, &gate, None).await.is_err());
    answers.abort();
}

#[tokio::test]
async fn nothing_is_believed_before_it_is_known_whom_to_trust_and_the_last_stays_if_the_next_is_of_no_use() {
    let stage = Stage::set();
    let own = leaf(&stage.signers[0], &uri(WEB));
    let nothing = Mesh::new(Arc::default());
    assert!(call(&nothing, &own, Some(WEB)).await.is_err());
    let now = std::time::SystemTime::now();
    assert_eq!(nothing.ready(now).unwrap_err().to_string(), "the mesh's roots are not known yet");
    nothing.trust(DOMAIN, &[&stage.roots[0].pem()]).unwrap();
    assert_eq!(nothing.ready(now).unwrap_err().to_string(), "we have no certificate of the mesh yet");
    for (domain, pems) in [(DOMAIN, &["no certificate"][..]), (DOMAIN, &[]), ("two words", &[&*stage.roots[1].pem()])] {
        assert!(nothing.trust(domain, pems).is_err());
    }
    assert!(call(&nothing, &own, Some(WEB)).await.is_ok());
    let machine = leaf(&stage.signers[0], &uri("/agent/client/dc/dc1/id/n"));
    let others = leaf(&stage.signers[0], &uri(WEB));
    assert!(nothing.identify(&machine.chain, &machine.key).is_err());
    let said = nothing.identify(&own.chain, &others.key).unwrap_err();
    assert!(said.contains("is not the key"), "{said}");
    nothing.identify(&own.chain, &own.key).unwrap();
    assert!(nothing.ready(now).is_ok());
    let later = now + Duration::from_secs(100 * 24 * 60 * 60);
    assert!(nothing.ready(later).unwrap_err().to_string().contains("expired at"));
}

#[tokio::test]
async fn a_new_certificate_is_shown_from_the_next_handshake_on_and_connections_of_before_stay() {
    let stage = Stage::set();
    let (gate, mut questions) = Gate::new(Duration::from_secs(60), Arc::default());
    let answering = Arc::clone(&gate);
    let answers = tokio::spawn(async move {
        while let Some(pass) = questions.next().await {
            answering.answered(&pass, Ok((true, "why not".into())));
        }
    });
    let web = leaf(&stage.signers[0], &uri(WEB));
    let edge = || leaf(&stage.signers[0], &uri("/ns/default/dc/dc1/svc/edge"));
    let (first, second) = (edge(), edge());
    stage.mesh.identify(&first.chain, &first.key).unwrap();
    let config = Side::of(&stage, &gate);
    let (mut one, mut of_one, shown) = config.connect(&web).await;
    assert_eq!(shown, parts(&first).0, "with its whole chain");
    assert!(stage.mesh.identify(&second.chain, &second.key).unwrap());
    // And only the other root is trusted from now on.
    stage.mesh.trust(DOMAIN, &[&stage.roots[1].pem()]).unwrap();
    one.write_all(b"still").await.unwrap();
    let mut read = [0; 5];
    of_one.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"still");
    let newer = leaf(&stage.signers[1], &uri(WEB));
    assert_eq!(config.connect(&newer).await.2, parts(&second).0);
    assert!(called(&stage, &gate, Some(&web)).await.is_err(), "what was to be trusted before is not any more");
    answers.abort();
}

/// Our side of the mesh, and clients of it.
struct Side(Arc<MeshServer>);

impl Side {
    fn of(stage: &Stage, gate: &Arc<Gate>) -> Self {
        Side(server(stage, gate))
    }

    /// A connection from both its ends, and the chain that the client was shown.
    async fn connect(&self, by: &Leaf) -> (Shaken, Stream, Vec<CertificateDer<'static>>) {
        let (client, accepting) = pair().await;
        let connector = TlsConnector::from(Arc::new(credulous(Some(by))));
        let connecting = connector.connect(ServerName::try_from("a.example").unwrap(), client);
        let (accepted, connected) = tokio::join!(self.0.accept(accepting), connecting);
        let connected = connected.unwrap();
        let chain = connected.get_ref().1.peer_certificates().unwrap().to_vec();
        (connected, accepted.unwrap().0, chain)
    }
}
