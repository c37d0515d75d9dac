//! `[admin]`, as it is written.

use serde::Deserialize;

use super::ListenerTls;

/// `[admin]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// `address:port`, or `unix:` and a path.
    pub bind: String,
    /// Rights of the socket's file, octal.
    pub mode: Option<String>,
    /// What clients have to know.
    pub token: Option<String>,
    /// File that holds it.
    pub token_file: Option<String>,
    /// Names that clients may call the window by.
    pub names: Option<Vec<String>>,
    /// Whether figures are shown to everybody.
    pub anonymous_metrics: Option<bool>,
    /// TLS towards clients.
    pub tls: Option<ListenerTls>,
}
