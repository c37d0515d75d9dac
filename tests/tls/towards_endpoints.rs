//! What clusters' connections are secured with, apart from the requests on them.

use std::net::SocketAddr;
use std::sync::Arc;

use lictor::app::App;
use lictor::config::{self, ClusterTls, Environment};
use lictor::tls::{Alpn, Client, Peer, explain};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::support::app::parse;
use crate::support::chain::{Authority, Leaf, Wish};

/// The `tls` of a cluster that is written like this, or what is wrong with it.
fn written(tls: &str) -> Result<ClusterTls, String> {
    let text = format!(
        "[[listeners]]\nname='a'\nbind='127.0.0.1:0'\n[clusters.a]\nendpoints=['127.0.0.1:1']\ntls = {{ {tls} }}"
    );
    let config = config::parse(&text, &Environment::default()).map_err(|error| error.to_string())?;
    Ok(config.clusters[0].tls.clone().unwrap())
}

/// Accepts connections with this certificate, and asks clients for one of `clients` if there are any.
async fn endpoint(leaf: &Leaf, clients: Option<&Authority>) -> SocketAddr {
    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};
    let chain = CertificateDer::pem_slice_iter(leaf.chain.as_bytes()).collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
    let provider = lictor::tls::provider();
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(clients.pem().as_bytes()).unwrap()).unwrap();
            let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let (acceptor, listener) = (TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                // Whether a client was accepted, it learns with the first byte.
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"x").await;
                kept.push(stream);
            }
        }
    });
    address
}

async fn reach(settings: &ClusterTls, address: SocketAddr, host: &str, alpn: Alpn) -> Result<Option<Vec<u8>>, String> {
    let stream = TcpStream::connect(address).await.unwrap();
    let connected = Client::new(settings).unwrap().connect(stream, Peer { host, identity: None }, alpn).await;
    let mut stream = connected.map_err(|error| explain(&error).to_string())?;
    let read = tokio::io::AsyncReadExt::read_u8(&mut stream).await;
    read.map_err(|error| explain(&error).to_string())?;
    Ok(stream.alpn().map(<[u8]>::to_vec))
}

#[tokio::test]
async fn a_refused_certificate_is_explained_by_what_was_expected_and_what_came() {
    let (root, folder) = (Authority::root("our root"), tempfile::tempdir().unwrap());
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, root.pem()).unwrap();
    let settings = written(&format!("ca = '{}'", ca.display())).unwrap();
    let leaf = root.leaf(&["a.example", "*.b.example", "10.1.2.3"]);
    let address = endpoint(&leaf, None).await;
    assert_eq!(reach(&settings, address, "a.example", Alpn::Nothing).await, Ok(None));
    let why = reach(&settings, address, "c.example", Alpn::Nothing).await.unwrap_err();
    let names = "\"a.example\", \"*.b.example\", \"10.1.2.3\"";
    assert_eq!(why, format!("the certificate is for {names}; \"c.example\" was expected"));
    let why = reach(&settings, address, "127.0.0.1", Alpn::Nothing).await.unwrap_err();
    assert_eq!(why, format!("the certificate is for {names}; \"127.0.0.1\" was expected"));

    let expired = root.issue(&Wish { names: &["a.example"], days: Some(-1), ..Wish::default() });
    let why = reach(&settings, endpoint(&expired, None).await, "a.example", Alpn::Nothing).await.unwrap_err();
    assert!(why.starts_with("the certificate for \"a.example\" expired at 20"), "{why}");

    let stranger = Authority::root("their root").leaf(&["a.example"]);
    let why = reach(&settings, endpoint(&stranger, None).await, "a.example", Alpn::Nothing).await.unwrap_err();
    let expected = "the certificate for \"a.example\" is signed by \"CN=their root\", which nobody vouches for in ";
    assert_eq!(why, format!("{expected}{}", ca.display()));
}

#[tokio::test]
async fn a_cluster_can_name_its_endpoints_offer_protocols_and_show_who_it_is() {
    let (root, folder) = (Authority::root("our root"), tempfile::tempdir().unwrap());
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, root.pem()).unwrap();
    let ca = format!("ca = '{}', server_name = 'api.internal'", ca.display());
    let address = endpoint(&root.leaf(&["api.internal"]), Some(&root)).await;
    let us = root.leaf(&["us.example"]).write(folder.path(), "us");
    let us = us.replace("cert =", "client_cert =").replace("key =", "client_key =");
    let known = written(&format!("{ca}, {us}")).unwrap();
    for (alpn, agreed) in [(Alpn::Nothing, None), (Alpn::Http1, Some("http/1.1")), (Alpn::Either, Some("h2"))] {
        let agreed = agreed.map(|agreed| agreed.as_bytes().to_vec());
        assert_eq!(reach(&known, address, "127.0.0.1", alpn).await, Ok(agreed));
    }
    let why = reach(&written(&ca).unwrap(), address, "127.0.0.1", Alpn::Http2).await.unwrap_err();
    assert_eq!(why, "the other side ended the handshake: CertificateRequired");
}

#[test]
fn what_is_wrong_with_the_files_is_said_with_its_line() {
    let (root, folder) = (Authority::root("root"), tempfile::tempdir().unwrap());
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("empty.pem"), "").unwrap();
    root.leaf(&["a"]).write(folder.path(), "a");
    root.leaf(&["b"]).write(folder.path(), "b");
    let said = |tls: &str| written(tls).unwrap_err();
    let gone = said("ca = '/nowhere/ca.pem'");
    assert!(gone.starts_with("6: clusters.a.tls.ca: /nowhere/ca.pem cannot be read: "), "{gone}");
    let empty = said(&format!("ca = '{}'", path("empty.pem")));
    assert_eq!(empty, format!("6: clusters.a.tls.ca: {} holds no PEM certificate", path("empty.pem")));
    let other = said(&format!("client_cert = '{}', client_key = '{}'", path("a.pem"), path("b.key")));
    assert!(other.contains("b.key is not the key of the certificate in "), "{other}");
    let half = said(&format!("client_cert = '{}'", path("a.pem")));
    assert!(half.contains("needs client_cert and client_key, both"), "{half}");
    assert!(said("server_name = 'a b'").contains("\"a b\" is not a name"));
}

#[test]
fn nothing_of_a_key_is_in_what_is_said_of_it() {
    let (leaf, folder) = (Authority::root("our root").leaf(&["a.example"]), tempfile::tempdir().unwrap());
    leaf.write(folder.path(), "a");
    let file = |end: &str| folder.path().join(format!("a.{end}")).display().to_string();
    // On one line, as it comes out of an environment or a JSON document.
    for line in [leaf.key.replace('\n', "\\n"), leaf.key.replace('\n', "")] {
        std::fs::write(file("key"), &line).unwrap();
        let client = format!("client_cert = '{}', client_key = '{}'", file("pem"), file("key"));
        let listener = format!(
            "[[listeners]]\nname = 'edge'\nbind = '127.0.0.1:0'\n[listeners.tls]\n\
             certificates = [{{ cert = '{}', key = '{}' }}]\n",
            file("pem"),
            file("key")
        );
        let started = App::start(parse(&listener));
        for said in [written(&client).unwrap_err(), started.err().unwrap().to_string()] {
            let (secret, numbers) = (&line[40..50], format!("{:?}", &line.as_bytes()[40..50]));
            assert!(said.contains(&file("key")), "{said}");
            assert!(!said.contains(secret) && !said.contains(numbers.trim_matches(['[', ']'])), "{said}");
        }
    }
}
