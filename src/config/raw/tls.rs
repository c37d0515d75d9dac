//! `listeners.tls`, as it is written.

use serde::Deserialize;

/// `listeners.tls`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerTls {
    /// False to leave it off.
    pub enabled: Option<bool>,
    /// Certificates in files.
    #[serde(default)]
    pub certificates: Vec<Certificate>,
    /// Prefix of certificates in Consul's KV store.
    pub kv: Option<String>,
    /// `1.2` or `1.3`.
    pub min_version: Option<String>,
    /// `none`, `optional` or `required`.
    pub client_auth: Option<String>,
    /// PEM bundle of the CAs that sign clients' certificates.
    pub client_ca: Option<String>,
    /// PEM bundle of revocation lists.
    pub client_crl: Option<String>,
    /// Whether a name without a certificate ends the handshake.
    pub strict_sni: Option<bool>,
}

/// One of `listeners.tls.certificates`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// PEM certificate with its chain.
    pub cert: String,
    /// PEM key.
    pub key: String,
    /// DER answer of an OCSP responder.
    pub ocsp: Option<String>,
    /// Names to use it for.
    pub names: Option<Vec<String>>,
}
