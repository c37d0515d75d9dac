//! What a handshake with a client told, and the ways in which one fails.

use std::io;
use std::sync::Arc;

use rustls::{CipherSuite, ServerConnection};

use super::Facts;
use super::mesh::{Admission, Denied};
use crate::metrics;

/// What a client said of itself while its connection was secured.
#[derive(Debug, Clone, Default)]
pub struct Handshake {
    /// The name that it asked for (SNI), lower case.
    pub server_name: Option<Arc<str>>,
    /// Whether HTTP/2 was agreed on by ALPN.
    pub is_http2: bool,
    /// Whether this is TLS 1.3, not 1.2.
    pub is_tls13: bool,
    /// The cipher suite, by its standard name.
    pub cipher: &'static str,
    /// Whether it goes on with a session of before.
    pub is_resumed: bool,
    /// Whether it is known by now what will be spoken; if not, HTTP/2 may begin without a word before.
    pub is_settled: bool,
    /// Who it is, if it showed a certificate.
    pub identity: Option<Arc<Identity>>,
    /// Its right to be here, where that can be revoked.
    pub admission: Option<Admission>,
}

/// Who a client is by its certificate, which was checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// URIs, such as SPIFFE IDs.
    pub uris: Vec<String>,
    /// DNS names, lower case.
    pub dns: Vec<String>,
    /// The common name of the subject.
    pub common_name: Option<String>,
}

/// Why a connection could not be secured.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Not in time.
    #[error("the handshake took too long")]
    Timeout,
    /// HTTP without TLS came.
    #[error("a request without TLS came")]
    Plain,
    /// There is no certificate for the name.
    #[error("there is no certificate for what the client asked for")]
    NoCertificate,
    /// The client showed none, or not the right one.
    #[error("the client's certificate is not accepted: {0}")]
    ClientCertificate(rustls::Error),
    /// It is who it says, and may not come in.
    #[error(transparent)]
    Denied(Denied),
    /// Whatever came is no TLS that we speak.
    #[error("{0}")]
    Protocol(rustls::Error),
    /// The client left, or ended it.
    #[error("{0}")]
    Ended(io::Error),
}

impl Handshake {
    pub(super) fn of(connection: &ServerConnection) -> Self {
        let own = connection.peer_certificates().and_then(|chain| Facts::of(chain.first()?));
        let identity = own.map(|Facts { uris, dns, common_name, .. }| Identity { uris, dns, common_name });
        Handshake {
            server_name: connection.server_name().map(|name| name.to_ascii_lowercase().into()),
            is_http2: connection.alpn_protocol() == Some(b"h2"),
            is_tls13: connection.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3),
            cipher: connection.negotiated_cipher_suite().map_or("unknown", |suite| standard(suite.suite())),
            is_resumed: connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
            is_settled: true,
            identity: identity.map(Arc::new),
            admission: None,
        }
    }
}

/// A cipher suite by its standard name (IANA's); the library has another one for those of TLS 1.3.
fn standard(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or("unknown"),
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::AlertReceived(_)) | None => Refused::Ended(error),
            // How rustls says that the resolver found none; a test holds it to that.
            Some(rustls::Error::General(text)) if text.contains("no server certificate") => Refused::NoCertificate,
            Some(tls @ (rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_))) => {
                Refused::ClientCertificate(tls.clone())
            }
            Some(tls) => Refused::Protocol(tls.clone()),
        }
    }
}

impl Refused {
    pub(super) fn figure(&self) -> metrics::Handshake {
        match self {
            Refused::Timeout => metrics::Handshake::Timeout,
            Refused::NoCertificate => metrics::Handshake::NoCertificate,
            Refused::ClientCertificate(_) => metrics::Handshake::ClientCertificate,
            Refused::Denied(_) => metrics::Handshake::Denied,
            Refused::Plain | Refused::Protocol(_) => metrics::Handshake::Protocol,
            Refused::Ended(_) => metrics::Handshake::Other,
        }
    }
}
