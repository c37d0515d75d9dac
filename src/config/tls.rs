//! TLS as it was told: towards endpoints, complete with what its files hold, and for listeners, whose files are read by `tls`,
//! since they change by themselves.

use std::sync::Arc;

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
