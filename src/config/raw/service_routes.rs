//! `[service_routes]` as it is written.

use serde::Deserialize;

/// `[service_routes]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceRoutes {
    /// Whether services may claim routes at all.
    pub enabled: Option<bool>,
    /// What the tags begin with by which they do.
    pub tag_prefix: Option<String>,
    /// Who may: names, with `*` for any text.
    pub services: Option<Vec<String>>,
    /// Which hosts may be claimed.
    pub hosts: Option<Vec<String>>,
    /// Below which paths.
    pub paths: Option<Vec<String>>,
    /// Most services that are followed for it.
    pub max_services: Option<usize>,
    /// Key of route commands in Consul's KV store, and prefix of more.
    pub kv: Option<String>,
    /// Whether services may have their certificates go unchecked.
    pub tls_skip_verify: Option<bool>,
}
