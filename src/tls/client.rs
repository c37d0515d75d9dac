//! TLS towards a cluster's endpoints: one [`Client`] for each setting, shared by whoever dials. Sessions are resumed among its
//! connections and with nobody else's, so that other settings never inherit a trust that was checked under these.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::ClientConfig;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::mesh::{Callee, Mesh, Unready};
use super::verify::{self, Refusal};
use super::{Error, Stream, provider, roots, system_roots};
use crate::config::ClusterTls;

/// What is offered by ALPN (RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    /// Nothing: bytes that are not HTTP, or whose protocol is known.
    Nothing,
    /// HTTP/1.1 alone.
    Http1,
    /// HTTP/2 alone.
    Http2,
    /// HTTP/2 rather than HTTP/1.1.
    Either,
}

/// What connections to a cluster's endpoints are secured with.
#[derive(Debug)]
pub struct Client {
    configs: [Arc<ClientConfig>; 4],
    server_name: Option<ServerName<'static>>,
    /// For endpoints in the mesh: what is known of it.
    mesh: Option<Arc<Mesh>>,
}

/// Whom a connection leads to, and who that has to be.
#[derive(Debug, Clone, Copy)]
pub struct Peer<'a> {
    /// Its host, which may be an address.
    pub host: &'a str,
    /// In the mesh: the path of its name there.
    pub identity: Option<&'a Arc<str>>,
}

impl Client {
    /// A client with these settings. Reads the system's CAs if there are none of its own.
    pub fn new(settings: &ClusterTls) -> Result<Client, Error> {
        let provider = provider();
        let builder =
            ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
        let (roots, whose) = match &settings.authorities {
            Some(authorities) => (roots(&authorities.path, &authorities.certificates)?, &*authorities.path),
            None => (system_roots(), "the system's CA certificates"),
        };
        let builder = builder.dangerous().with_custom_certificate_verifier(verify::explaining(
            roots,
            whose,
            settings.verify,
            &provider,
        )?);
        let plain = match &settings.identity {
            Some(identity) => {
                let key = provider.key_provider.load_private_key(identity.key.clone_key())?;
                let identity = CertifiedKey::new(identity.chain.to_vec(), key);
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity)))
            }
            None => builder.with_no_client_auth(),
        };
        Ok(Client { configs: offers(&plain), server_name: settings.server_name.clone(), mesh: None })
    }

    /// A client for endpoints in the mesh.
    pub fn of_mesh(mesh: &Arc<Mesh>) -> Result<Client, Error> {
        Ok(Client { configs: offers(&mesh.client()?), server_name: None, mesh: Some(Arc::clone(mesh)) })
    }

    /// Whether a connection can be secured just now, and why not: nothing that the other side could help.
    pub fn ready(&self) -> Result<(), Unready> {
        self.mesh.as_ref().map_or(Ok(()), |mesh| mesh.ready(SystemTime::now()))
    }

    /// The configuration that offers so much. All of a client's share their sessions.
    pub fn config(&self, alpn: Alpn) -> &Arc<ClientConfig> {
        &self.configs[alpn as usize]
    }

    /// The name to expect of the endpoint with that host, which may be an address: the one that was told, or else the host's.
    pub fn server_name(&self, host: &str) -> Result<ServerName<'static>, Error> {
        match &self.server_name {
            Some(name) => Ok(name.clone()),
            None => ServerName::try_from(host.to_owned()).map_err(|_| Error::Name(host.to_owned())),
        }
    }

    /// The handshake, on a connection that leads there. [`explain`] says why it failed.
    pub async fn connect(&self, stream: TcpStream, peer: Peer<'_>, alpn: Alpn) -> io::Result<Stream> {
        let name = self.server_name(peer.host).map_err(io::Error::other)?;
        let config = match &self.mesh {
            None => Arc::clone(self.config(alpn)),
            Some(mesh) => self.calling(mesh, peer.identity, alpn)?,
        };
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        Ok(Stream::Tls(Box::new(stream.into())))
    }

    /// The configuration for the one that has to be that. Made for a connection: beside its handshake that costs nothing, and
    /// nothing has to be forgotten later.
    fn calling(&self, mesh: &Arc<Mesh>, identity: Option<&Arc<str>>, alpn: Alpn) -> io::Result<Arc<ClientConfig>> {
        let path =
            identity.ok_or_else(|| io::Error::other("nobody has said who the endpoint has to be in the mesh"))?;
        let mut config = ClientConfig::clone(self.config(alpn));
        let callee = Callee { mesh: Arc::clone(mesh), path: Arc::clone(path) };
        config.dangerous().set_certificate_verifier(Arc::new(callee));
        Ok(Arc::new(config))
    }
}

/// The same for everything that can be offered. All share their sessions.
fn offers(plain: &ClientConfig) -> [Arc<ClientConfig>; 4] {
    [Alpn::Nothing, Alpn::Http1, Alpn::Http2, Alpn::Either].map(|alpn| {
        let mut config = plain.clone();
        config.alpn_protocols = alpn.protocols().iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    })
}

impl Alpn {
    fn protocols(self) -> &'static [&'static [u8]] {
        match self {
            Alpn::Nothing => &[],
            Alpn::Http1 => &[b"http/1.1"],
            Alpn::Http2 => &[b"h2"],
            Alpn::Either => &[b"h2", b"http/1.1"],
        }
    }
}

/// True if the other side did not like who we are. With TLS 1.3 it says so behind the handshake, and has taken nothing else by then.
pub fn is_refusal(error: &io::Error) -> bool {
    use rustls::AlertDescription as Alert;
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::AlertReceived(alert)) = tls else { return false };
    matches!(
        alert,
        Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
    )
}

/// Why a handshake failed, in words that say what was expected and what came.
pub fn explain(error: &io::Error) -> impl fmt::Display {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other))) => {
            other.0.downcast_ref::<Refusal>().map_or_else(|| other.to_string(), Refusal::to_string)
        }
        Some(rustls::Error::AlertReceived(alert)) => format!("the other side ended the handshake: {alert:?}"),
        Some(other) => other.to_string(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "the other side closed during the handshake".to_owned(),
        None => error.to_string(),
    }
}
