//! `[[routes]]` as they are written.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Retry, Timeouts};

/// `[[routes]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Label in metrics.
    pub name: Option<String>,
    /// Exact or `*.` wildcard.
    pub host: Option<String>,
    /// Prefix on a segment boundary.
    pub path: Option<String>,
    /// One of these.
    pub methods: Option<Vec<String>>,
    /// All of these.
    #[serde(default)]
    pub headers: Vec<Condition>,
    /// All of these.
    #[serde(default)]
    pub query: Vec<Condition>,
    /// The client in one of these.
    pub client_networks: Option<Vec<String>>,
    /// One of these in the TLS handshake.
    pub server_names: Option<Vec<String>>,
    /// One of these in the client's certificate.
    pub identities: Option<Vec<String>>,
    /// Name of a cluster.
    pub cluster: Option<String>,
    /// Several clusters by weight.
    pub split: Option<Vec<Share>>,
    /// What ties a client to its part of a split.
    pub split_by: Option<String>,
    /// Sends the client elsewhere.
    pub redirect: Option<Redirect>,
    /// Answers by itself.
    pub respond: Option<Respond>,
    /// In place of the prefix in `path`.
    pub replace_prefix: Option<String>,
    /// In place of the request's `Host`.
    pub host_header: Option<String>,
    /// What is changed in the request's head.
    pub request_headers: Option<Headers>,
    /// What is changed in the answer's head.
    pub response_headers: Option<Headers>,
    /// Where a copy goes.
    pub mirror: Option<Mirror>,
    /// Over those of the cluster.
    pub timeouts: Option<Timeouts>,
    /// Over that of the cluster.
    pub retry: Option<Retry>,
}

/// One of `routes.headers` or `routes.query`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// Of the header or parameter.
    pub name: String,
    /// The whole value.
    pub value: Option<String>,
    /// Its beginning.
    pub prefix: Option<String>,
    /// What the whole of it looks like.
    pub regex: Option<String>,
    /// Whether it is there at all.
    pub present: Option<bool>,
}

/// One of `routes.split`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// Name of a cluster.
    pub cluster: String,
    /// Share relative to the others.
    pub weight: Option<u32>,
}

/// `routes.redirect`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// Another host.
    pub host: Option<String>,
    /// Another port.
    pub port: Option<u16>,
    /// In place of the whole path.
    pub path: Option<String>,
    /// In place of the route's prefix.
    pub prefix: Option<String>,
    /// 301, 302, 303, 307 or 308.
    pub status: Option<u16>,
}

/// `routes.respond`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Respond {
    /// 200 to 599.
    pub status: Option<u16>,
    /// As it is.
    pub body: Option<String>,
    /// Of the body.
    pub content_type: Option<String>,
}

/// `routes.request_headers` and `routes.response_headers`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Headers {
    /// In place of all that have the name.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// Beside those that have the name.
    #[serde(default)]
    pub add: BTreeMap<String, String>,
    /// Names.
    #[serde(default)]
    pub remove: Vec<String>,
}

/// `routes.mirror`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    /// Name of a cluster.
    pub cluster: String,
    /// Share of the requests.
    pub percent: Option<f64>,
}
