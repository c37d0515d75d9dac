//! TLS as it was told: towards endpoints, complete with what its files hold, and for listeners, whose files are read by `tls`,
//! since they change by themselves.

use std::sync::Arc;

use rustls_pki_types::pem::Error;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

/// TLS to a cluster's endpoints. Files were read and fit together, so that what changed in one is another setting.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterTls {
    /// Whom to trust instead of the system's CAs.
    pub authorities: Option<Authorities>,
    /// Name to expect, and to ask for, instead of the endpoint's host.
    pub server_name: Option<ServerName<'static>>,
    /// Who we are, where endpoints ask.
    pub identity: Option<Identity>,
    /// False only where a service asks for it and the operator lets services do so.
    pub verify: bool,
}

/// A bundle of CA certificates.
#[derive(Debug, Clone, PartialEq)]
pub struct Authorities {
    /// The file.
    pub path: Arc<str>,
    /// What it held; at least one.
    pub certificates: Arc<[CertificateDer<'static>]>,
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// Our own certificate first.
    pub chain: Arc<[CertificateDer<'static>]>,
    /// The key of the first.
    pub key: Arc<PrivateKeyDer<'static>>,
}

/// TLS on a listener. What is in its files is the business of `tls`.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenerTls {
    /// The first is for clients that ask for no name, or for one that nobody has.
    pub certificates: Vec<CertificateFiles>,
    /// Prefix of more of them in Consul's KV store, with a slash at its end.
    pub kv: Option<String>,
    /// Whether TLS 1.2 is spoken as well as 1.3.
    pub tls12: bool,
    /// Whether clients are asked who they are.
    pub clients: Option<ClientAuth>,
    /// Whether a name that nobody has ends the handshake.
    pub strict_sni: bool,
}

/// A certificate in files.
#[derive(Debug, Clone, PartialEq)]
pub struct CertificateFiles {
    /// PEM certificate with its chain.
    pub cert: String,
    /// PEM key.
    pub key: String,
    /// DER answer of an OCSP responder.
    pub ocsp: Option<String>,
    /// Names to use it for, lower case, wildcards as `*.example.com`; those in the certificate if there are none.
    pub names: Vec<String>,
}

/// How clients show who they are.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientAuth {
    /// Whether those without a certificate are refused.
    pub required: bool,
    /// PEM bundle of the CAs that sign their certificates.
    pub ca: String,
    /// PEM bundle of revocation lists.
    pub crl: Option<String>,
}

impl super::Listener {
    /// True if a running listener can go on as the other: that is, if they differ in nothing but what its
    /// TLS says, and there not in where other certificates are followed.
    pub fn can_become(&self, other: &super::Listener) -> bool {
        let bare = |listener: &super::Listener| super::Listener { tls: None, ..listener.clone() };
        let kv = |listener: &super::Listener| listener.tls.as_ref().map(|tls| tls.kv.clone());
        kv(self) == kv(other) && bare(self) == bare(other)
    }
}

/// What is wrong with a PEM text, without a word of it: the error's own words repeat the line, which may be all of a key.
pub fn unreadable(error: &Error) -> String {
    match error {
        Error::IllegalSectionStart { .. } | Error::MissingSectionEnd { .. } => {
            "it is not PEM: a section has no beginning or no end; are its line breaks lost?".to_owned()
        }
        other => other.to_string(),
    }
}
