//! A client that speaks TLS as a test wants it: whom it trusts, who it is, what it offers.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::chain::{Authority, Leaf};

/// How long a step may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a client is like.
pub struct Caller<'a> {
    pub trusts: &'a Authority,
    pub is: Option<&'a Leaf>,
    pub offers: &'a [&'a str],
    pub speaks: &'a [&'static SupportedProtocolVersion],
    /// Whether it can check RSA signatures and no other.
    pub knows_only_rsa: bool,
}

impl<'a> Caller<'a> {
    /// One that trusts this root, and is nobody in particular.
    pub fn trusting(trusts: &'a Authority) -> Caller<'a> {
        let speaks = rustls::ALL_VERSIONS;
        Caller { trusts, is: None, offers: &[], speaks, knows_only_rsa: false }
    }

    /// Its configuration; connections that are made with the same share their sessions.
    pub fn config(&self) -> Arc<ClientConfig> {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        if self.knows_only_rsa {
            // In both of the places where rustls keeps them.
            let is_rsa = |scheme: SignatureScheme| format!("{scheme:?}").starts_with("RSA");
            let mapping = provider.signature_verification_algorithms.mapping.iter();
            let mapping: Vec<_> = mapping.filter(|(scheme, _)| is_rsa(*scheme)).copied().collect();
            provider.signature_verification_algorithms.mapping = mapping.leak();
        }
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.trusts.pem().as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(self.speaks);
        let builder = builder.unwrap().with_root_certificates(roots);
        let mut config = match self.is {
            Some(leaf) => {
                let chain = CertificateDer::pem_slice_iter(leaf.chain.as_bytes()).collect::<Result<_, _>>().unwrap();
                let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.offers.iter().map(|offer| offer.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// Connects and asks for that name.
    pub async fn connect(&self, address: SocketAddr, name: &str) -> io::Result<TlsStream<TcpStream>> {
        connect(&self.config(), address, name).await
    }

    /// Asks for "/" and returns the whole answer as text.
    pub async fn get(&self, address: SocketAddr, name: &str) -> io::Result<String> {
        get(&mut self.connect(address, name).await?).await
    }
}

/// Connects with this configuration and asks for that name.
pub async fn connect(config: &Arc<ClientConfig>, address: SocketAddr, name: &str) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let stream = TcpStream::connect(address).await?;
    let shaking = TlsConnector::from(Arc::clone(config)).connect(name, stream);
    timeout(PATIENCE, shaking).await.expect("a handshake that takes so long hangs")
}

/// Asks for "/" and returns the whole answer, until the connection closes, as text.
pub async fn get(stream: &mut TlsStream<TcpStream>) -> io::Result<String> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n").await?;
    let mut text = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut text)).await.expect("an answer that takes so long hangs")?;
    Ok(text)
}

/// Who the other side is by the certificate that it showed.
pub fn shown(stream: &TlsStream<TcpStream>) -> lictor::tls::Facts {
    lictor::tls::Facts::of(&stream.get_ref().1.peer_certificates().unwrap()[0]).unwrap()
}

/// The OCSP answer that a server hands on.
pub async fn staple(trusts: &Authority, address: SocketAddr, name: &str) -> Vec<u8> {
    let mut config = (*Caller::trusting(trusts).config()).clone();
    let seen = Arc::new(Seen::default());
    config.dangerous().set_certificate_verifier(Arc::clone(&seen) as Arc<dyn ServerCertVerifier>);
    connect(&Arc::new(config), address, name).await.unwrap();
    seen.0.lock().unwrap().clone()
}

/// Believes everybody, and keeps the OCSP answer.
#[derive(Debug, Default)]
pub struct Seen(Mutex<Vec<u8>>);

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.0.lock().unwrap() = ocsp.to_vec();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        lictor::tls::provider().signature_verification_algorithms.supported_schemes()
    }
}
