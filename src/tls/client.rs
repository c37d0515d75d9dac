//! TLS towards a cluster's endpoints: one [`Client`] for each setting, shared by whoever dials. Sessions are resumed among its
//! connections and with nobody else's, so that other settings never inherit a trust that was checked under these.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

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
        let offering = |alpn: Alpn| {
            let mut config = plain.clone();
            config.alpn_protocols = alpn.protocols().iter().map(|protocol| protocol.to_vec()).collect();
            Arc::new(config)
        };
        let configs = [Alpn::Nothing, Alpn::Http1, Alpn::Http2, Alpn::Either].map(offering);
        Ok(Client { configs, server_name: settings.server_name.clone() })
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

    /// The handshake, on a connection to the endpoint with that host. [`explain`] says why it failed.
    pub async fn connect(&self, stream: TcpStream, host: &str, alpn: Alpn) -> io::Result<Stream> {
        let name = self.server_name(host).map_err(io::Error::other)?;
        let stream = TlsConnector::from(Arc::clone(self.config(alpn))).connect(name, stream).await?;
        Ok(Stream::Tls(Box::new(stream.into())))
    }
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
