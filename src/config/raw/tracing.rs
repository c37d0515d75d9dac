//! `[tracing]` as it is written.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::duration;

/// `[tracing]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tracing {
    /// Where spans go: the whole URL.
    pub endpoint: String,
    /// Share of requests without a trace that begin one, 0 to 1.
    pub sample: Option<f64>,
    /// Who we are in traces.
    pub service_name: Option<String>,
    /// Sent along with spans.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// PEM bundle that signs the collector's certificate.
    pub ca_file: Option<String>,
    /// For a batch to be taken.
    #[serde(default, deserialize_with = "duration")]
    pub timeout: Option<Duration>,
    /// Requests that wait to be sent.
    pub queue: Option<usize>,
}
