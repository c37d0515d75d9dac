//! How endpoints are asked whether they are well, apart from requests.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::ProxyProtocol;

/// What is asked of an endpoint, how often, and what follows from the answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    /// What is asked.
    pub kind: ProbeKind,
    /// From the beginning of one to that of the next.
    pub interval: Duration,
    /// Share of the interval, 0 to 1, that is added to it at most, by chance.
    pub jitter: f64,
    /// From the first packet to the end of what is read of the answer.
    pub timeout: Duration,
    /// Successes in a row that bring an endpoint back; at least 1.
    pub rise: u32,
    /// Failures in a row that take it out; at least 1.
    pub fall: u32,
    /// Where it is asked, if not where it serves.
    pub port: Option<u16>,
    /// What the connection begins with: as those for clients, where it is made to the same port.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Whether `rise` successes end an ejection as well.
    pub return_ejected: bool,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub enum ProbeKind {
    /// Whether a connection stands.
    Tcp,
    /// Whether this request is answered as it should be.
    Http(HttpProbe),
    /// Whether `grpc.health.v1.Health/Check` says that it serves, by HTTP/2 in plain text.
    Grpc(GrpcProbe),
}

/// A request, and what its answer should be.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpProbe {
    /// A token such as `GET`.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The `Host` instead of the endpoint's address.
    pub host: Option<String>,
    /// Any of these is well.
    pub statuses: Vec<RangeInclusive<u16>>,
    /// What the first 64 KiB of the body should contain.
    pub body: Option<String>,
}

/// A question about a service.
#[derive(Debug, Clone, PartialEq)]
pub struct GrpcProbe {
    /// The service's name; empty for the server as a whole.
    pub service: String,
    /// The `:authority` instead of the endpoint's address.
    pub host: Option<String>,
}
