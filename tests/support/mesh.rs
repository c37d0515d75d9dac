//! Services of a mesh as they are without lictor: certificates out of a real Consul, and TLS as it asks for it, on either side.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lictor::tls::{Facts, provider};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig, SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::chain::Leaf;
use super::consul::Catalog;

/// How long a step may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A service's certificate, and whom it trusts.
#[derive(Clone)]
pub struct Party {
    pub leaf: Leaf,
    pub roots: String,
    pub domain: String,
}

impl Party {
    /// That of a service in this Consul.
    pub async fn of(consul: &Catalog, service: &str) -> Party {
        let leaf = consul.get(&format!("/v1/agent/connect/ca/leaf/{service}")).await;
        let text = |name: &str| leaf[name].as_str().unwrap().to_owned();
        let leaf = Leaf { chain: text("CertPEM"), key: text("PrivateKeyPEM") };
        let roots = consul.get("/v1/agent/connect/ca/roots").await;
        let pems = roots["Roots"].as_array().unwrap().iter().map(|root| root["RootCert"].as_str().unwrap());
        Party { leaf, roots: pems.collect(), domain: roots["TrustDomain"].as_str().unwrap().to_owned() }
    }

    /// The name of a service of the same mesh.
    pub fn name(&self, service: &str) -> String {
        format!("spiffe://{}/ns/default/dc/dc1/svc/{service}", self.domain)
    }

    /// How it calls somebody who has to have that name.
    pub fn calling(&self, name: &str) -> Arc<ClientConfig> {
        let verifier = Expecting { roots: self.trusted(), name: name.to_owned() };
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        Arc::new(builder.with_client_auth_cert(self.chain(), self.key()).unwrap())
    }

    /// How it is called by whoever is of the mesh.
    fn called(&self) -> Arc<ServerConfig> {
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(self.trusted()), provider()).build().unwrap();
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_client_cert_verifier(clients);
        Arc::new(builder.with_single_cert(self.chain(), self.key()).unwrap())
    }

    fn trusted(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(self.roots.as_bytes()) {
            roots.add(root.unwrap()).unwrap();
        }
        roots
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.leaf.chain.as_bytes()).collect::<Result<_, _>>().unwrap()
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.leaf.key.as_bytes()).unwrap()
    }
}

/// An instance that speaks the mesh's TLS itself, in front of an origin that does not.
pub struct Native {
    address: SocketAddr,
    callers: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Native {
    /// One that shows this party's certificate.
    pub async fn start(party: &Party, origin: SocketAddr) -> Native {
        let (acceptor, listener) = (TlsAcceptor::from(party.called()), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let (address, callers) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<String>>>::default());
        let (seen, mut tasks) = (Arc::clone(&callers), JoinSet::new());
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
                open.spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let caller = Facts::of(&stream.get_ref().1.peer_certificates().unwrap()[0]).unwrap();
                    seen.lock().unwrap().extend(caller.uris);
                    let mut origin = TcpStream::connect(origin).await.unwrap();
                    let _ = copy_bidirectional(&mut stream, &mut origin).await;
                });
            }
        });
        Native { address, callers, _tasks: tasks }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The names of those who have called it so far, a connection each.
    pub fn callers(&self) -> Vec<String> {
        self.callers.lock().unwrap().clone()
    }

    /// Registers it as an instance of a service that needs no sidecar.
    pub async fn register(&self, consul: &Catalog, service: &str) {
        self.register_as(consul, json!({ "Name": service, "Connect": { "Native": true } })).await;
    }

    /// Registers it as a sidecar of a service that is not registered itself.
    pub async fn register_sidecar(&self, consul: &Catalog, service: &str) {
        let proxy = json!({ "DestinationServiceName": service });
        let sidecar = json!({ "Name": format!("{service}-sidecar-proxy"), "Kind": "connect-proxy", "Proxy": proxy });
        self.register_as(consul, sidecar).await;
    }

    /// Registers it with its address as what that says of it.
    pub async fn register_as(&self, consul: &Catalog, mut service: serde_json::Value) {
        let own =
            json!({ "ID": format!("at-{}", self.address.port()), "Address": "127.0.0.1", "Port": self.address.port() });
        service.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        consul.register(service).await;
    }
}

/// A connection to lictor, from inside the mesh.
pub struct Call(TlsStream<TcpStream>);

impl Call {
    /// Calls; an error if the handshake fails.
    pub async fn open(config: &Arc<ClientConfig>, address: SocketAddr) -> io::Result<Call> {
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("whatever.example").unwrap();
        let shaking = TlsConnector::from(Arc::clone(config)).connect(name, stream);
        Ok(Call(timeout(PATIENCE, shaking).await.expect("a handshake that takes so long hangs")?))
    }

    /// The connection itself.
    pub fn into_stream(self) -> TlsStream<TcpStream> {
        self.0
    }

    /// Asks for "/" and returns the answer's body; an error if the connection ends before.
    pub async fn get(&mut self) -> io::Result<String> {
        self.send("GET / HTTP/1.1\r\nhost: shop\r\n\r\n").await?;
        let head = self.until(b"\r\n\r\n").await?.to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap().parse().unwrap();
        let mut body = vec![0; length];
        timeout(PATIENCE, self.0.read_exact(&mut body)).await.expect("an answer that takes so long hangs")?;
        Ok(String::from_utf8(body).unwrap())
    }

    pub async fn send(&mut self, text: &str) -> io::Result<()> {
        self.0.write_all(text.as_bytes()).await?;
        self.0.flush().await
    }

    /// What comes, up to and with that.
    pub async fn until(&mut self, end: &[u8]) -> io::Result<String> {
        let mut read = Vec::new();
        while !read.ends_with(end) {
            let mut byte = [0];
            timeout(PATIENCE, self.0.read_exact(&mut byte)).await.expect("an answer that takes so long hangs")?;
            read.push(byte[0]);
        }
        Ok(String::from_utf8_lossy(&read).into_owned())
    }

    /// Returns once the other side has closed, and has sent nothing before.
    pub async fn closed(&mut self) {
        let read = timeout(PATIENCE, self.0.read(&mut [0])).await.expect("it is still open");
        assert!(!matches!(read, Ok(1..)), "something came");
    }
}

/// Calls and asks once.
pub async fn ask(config: &Arc<ClientConfig>, address: SocketAddr) -> io::Result<String> {
    Call::open(config, address).await?.get().await
}

/// Believes whoever one of the roots vouches for, if it has that name and no other.
#[derive(Debug)]
struct Expecting {
    roots: RootCertStore,
    name: String,
}

impl ServerCertVerifier for Expecting {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let algorithms = provider().signature_verification_algorithms.all;
        let parsed = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms)?;
        if Facts::of(end_entity).unwrap().uris != [self.name.clone()] {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
