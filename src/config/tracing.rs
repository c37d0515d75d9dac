//! Which requests are traced, and where spans go.

use std::time::Duration;

use http::HeaderName;

use super::{ClientTls, Secret};

/// How requests are traced.
#[derive(Debug, Clone, PartialEq)]
pub struct Tracing {
    /// The collector: where spans are posted by OTLP over HTTP.
    pub endpoint: String,
    /// Share of requests without a trace that begin one, 0 to 1.
    pub sample: f64,
    /// Who we are in traces.
    pub service_name: String,
    /// Sent along with spans.
    pub headers: Vec<(HeaderName, Secret)>,
    /// TLS to the collector.
    pub tls: ClientTls,
    /// For a batch to be taken.
    pub timeout: Duration,
    /// Requests that wait to be sent; those beyond are not recorded.
    pub queue: usize,
}
