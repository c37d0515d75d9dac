//! `[registration]`, as it is written.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::duration;

/// `[registration]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// Name of the service that lictor is an instance of.
    pub name: Option<String>,
    /// Name of the instance.
    pub id: Option<String>,
    /// The listener that is entered.
    pub listener: Option<String>,
    /// Where others find it.
    pub address: Option<String>,
    /// Where others find it.
    pub port: Option<u16>,
    /// What is asked for by.
    pub tags: Option<Vec<String>>,
    /// What else there is to say.
    pub meta: Option<BTreeMap<String, String>>,
    /// Share of requests.
    pub weights: Option<Weights>,
    /// Whether it speaks the mesh's TLS itself.
    pub connect_native: Option<bool>,
    /// How long it may be critical before it is forgotten.
    #[serde(default, deserialize_with = "duration")]
    pub deregister_critical_after: Option<Duration>,
    /// By what it is known to be well.
    pub checks: Option<Vec<Check>>,
    /// Applications beside this process.
    #[serde(default)]
    pub services: Vec<Neighbour>,
}

/// One of `registration.services`: see [`Registration`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Neighbour {
    /// Name of the service.
    pub name: String,
    /// Name of the instance.
    pub id: Option<String>,
    /// Where others find it.
    pub address: Option<String>,
    /// Where others find it.
    pub port: Option<u16>,
    /// What is asked for by.
    pub tags: Option<Vec<String>>,
    /// What else there is to say.
    pub meta: Option<BTreeMap<String, String>>,
    /// Share of requests.
    pub weights: Option<Weights>,
    /// Whether it speaks the mesh's TLS itself.
    pub connect_native: Option<bool>,
    /// How long it may be critical before it is forgotten.
    #[serde(default, deserialize_with = "duration")]
    pub deregister_critical_after: Option<Duration>,
    /// By what it is known to be well.
    pub checks: Option<Vec<Check>>,
    /// Whether it stays when lictor ends.
    pub keep: Option<bool>,
}

/// `weights`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weights {
    /// While all is well.
    pub passing: Option<u32>,
    /// While a check warns.
    pub warning: Option<u32>,
}

/// One of `checks`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// `ttl`, `http`, `tcp`, `grpc` or `command`.
    pub kind: Option<String>,
    /// What people see.
    pub name: Option<String>,
    /// For `ttl`: longest silence.
    #[serde(default, deserialize_with = "duration")]
    pub ttl: Option<Duration>,
    /// For `http`: a URL, or a path of the service's own.
    pub url: Option<String>,
    /// For `tcp` and `grpc`: `host:port`.
    pub address: Option<String>,
    /// For `grpc`: the service that is asked for.
    pub service: Option<String>,
    /// For `grpc`: whether it is spoken over TLS.
    pub tls: Option<bool>,
    /// For `command`: the program and its arguments.
    pub command: Option<Vec<String>>,
    /// From one question to the next.
    #[serde(default, deserialize_with = "duration")]
    pub interval: Option<Duration>,
    /// How long one may take.
    #[serde(default, deserialize_with = "duration")]
    pub timeout: Option<Duration>,
    /// Successes in a row that it takes to be well again.
    pub rise: Option<u32>,
    /// Failures in a row that it takes to be critical.
    pub fall: Option<u32>,
}
