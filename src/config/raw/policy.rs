//! The keys that clusters and the defaults share, as they are written.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use super::{duration, durations};

/// `[defaults]`, and the same keys of a cluster.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Name of a balancing policy.
    pub policy: Option<String>,
    /// For the policy `ewma`.
    pub ewma: Option<Ewma>,
    /// For the policy `consistent_hash`.
    pub hash: Option<Hash>,
    /// How a new or returning endpoint begins.
    pub slow_start: Option<SlowStart>,
    /// Who is preferred for being near.
    pub locality: Option<Locality>,
    /// When one of several lists takes over from another.
    pub failover_when: Option<FailoverWhen>,
    /// Share of eligible endpoints below which everybody serves.
    pub panic_percent: Option<u32>,
    /// Endpoints that one process uses.
    pub subset_size: Option<usize>,
    /// Keeps a client with an endpoint.
    pub sticky: Option<Sticky>,
    /// When an endpoint is taken out.
    pub ejection: Option<Ejection>,
    /// How endpoints are asked whether they are well.
    pub probe: Option<Probe>,
    /// When another attempt is made.
    pub retry: Option<Retry>,
    /// When one is begun beside the first.
    pub hedge: Option<Hedge>,
    /// How much is taken at once.
    pub limits: Option<Limits>,
    /// How long anything may take.
    pub timeouts: Option<Timeouts>,
    /// `auto`, `http1` or `h2`.
    pub protocol: Option<String>,
    /// TLS to endpoints.
    pub tls: Option<ClusterTls>,
    /// `v1` or `v2`: what each connection begins with.
    pub proxy_protocol: Option<String>,
}

/// `ewma`
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ewma {
    /// How fast the past is forgotten.
    #[serde(default, deserialize_with = "duration")]
    pub decay: Option<Duration>,
    /// What a failure counts as.
    #[serde(default, deserialize_with = "duration")]
    pub penalty: Option<Duration>,
}

/// `hash`
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hash {
    /// `header:NAME`, `cookie:NAME`, `query:NAME`, `path`, `client_address` or `identity`, in order of preference.
    pub keys: Option<Vec<String>>,
    /// Bound of an endpoint's load relative to its share.
    pub load_factor: Option<f64>,
}

/// `slow_start`
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlowStart {
    /// Until an endpoint has its whole share.
    #[serde(default, deserialize_with = "duration")]
    pub window: Option<Duration>,
    /// What it begins with.
    pub start_percent: Option<u32>,
}

/// `locality`
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locality {
    /// `node`, `zone`, `datacenter`, nearest first.
    pub prefer: Option<Vec<String>>,
    /// Bounds of round trips, nearest first.
    #[serde(default, deserialize_with = "durations")]
    pub prefer_rtt: Option<Vec<Duration>>,
    /// How much the near ones take before others help.
    pub overprovisioning: Option<f64>,
}

/// `failover_when`
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailoverWhen {
    /// Share that may serve below which a level is left.
    pub below_percent: Option<u32>,
    /// Share that may serve with which it is returned to.
    pub return_percent: Option<u32>,
    /// How long it has had that by then.
    #[serde(default, deserialize_with = "duration")]
    pub return_after: Option<Duration>,
}

/// `sticky`
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sticky {
    /// False to leave it off where the defaults turn it on, or to keep only its keys in the defaults.
    pub enabled: Option<bool>,
    /// Name of the cookie.
    pub cookie: Option<String>,
    /// Key of the signature.
    pub secret: Option<String>,
    /// File that holds the key of the signature.
    pub secret_file: Option<String>,
    /// `Path`
    pub path: Option<String>,
    /// `Domain`
    pub domain: Option<String>,
    /// `Max-Age`
    #[serde(default, deserialize_with = "duration")]
    pub max_age: Option<Duration>,
    /// `Secure`
    pub secure: Option<bool>,
    /// `HttpOnly`
    pub http_only: Option<bool>,
    /// `SameSite`
    pub same_site: Option<String>,
    /// How long clients stay with an endpoint in maintenance.
    #[serde(default, deserialize_with = "duration")]
    pub maintenance: Option<Duration>,
}

/// `ejection`
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ejection {
    /// Failures in a row; 0 turns that rule off.
    pub consecutive_failures: Option<u32>,
    /// `connect`, `gateway` or `5xx`.
    pub failures: Option<String>,
    /// What the rules on shares look at.
    #[serde(default, deserialize_with = "duration")]
    pub window: Option<Duration>,
    /// Attempts in the window below which nobody is judged.
    pub min_requests: Option<u32>,
    /// Endpoints with so many below which nobody is compared.
    pub min_endpoints: Option<u32>,
    /// Points above the others' share of errors.
    pub outlier_percent: Option<u32>,
    /// Share of errors.
    pub failure_percent: Option<u32>,
    /// Times the others' latency.
    pub latency_factor: Option<f64>,
    /// Length of the first ejection.
    #[serde(default, deserialize_with = "duration")]
    pub base: Option<Duration>,
    /// Length that no ejection exceeds.
    #[serde(default, deserialize_with = "duration")]
    pub max: Option<Duration>,
    /// Share of a cluster that may be out.
    pub max_percent: Option<u32>,
    /// Endpoints that stay in.
    pub min_available: Option<u32>,
    /// Only counts.
    pub dry_run: Option<bool>,
}

/// `probe`
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// False to leave it off where the defaults turn it on, or to keep only its keys in the defaults.
    pub enabled: Option<bool>,
    /// `http`, `tcp` or `grpc`.
    pub kind: Option<String>,
    /// Path and query.
    pub path: Option<String>,
    /// The request's method.
    pub method: Option<String>,
    /// The request's host.
    pub host: Option<String>,
    /// Codes such as 204, and ranges such as `200-399`.
    pub statuses: Option<Vec<Codes>>,
    /// What the answer's body contains.
    pub body: Option<String>,
    /// The service that is asked for by gRPC.
    pub service: Option<String>,
    /// Another port than the endpoint's.
    pub port: Option<u16>,
    /// From one to the next.
    #[serde(default, deserialize_with = "duration")]
    pub interval: Option<Duration>,
    /// Share of the interval that chance adds.
    pub jitter: Option<f64>,
    /// How long one may take.
    #[serde(default, deserialize_with = "duration")]
    pub timeout: Option<Duration>,
    /// Successes in a row that bring back.
    pub rise: Option<u32>,
    /// Failures in a row that take out.
    pub fall: Option<u32>,
    /// Whether an ejection ends early.
    pub return_ejected: Option<bool>,
}

/// A status or a range of them, as it is written.
#[derive(Debug, Clone)]
pub struct Codes(pub String);

/// `retry`
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Attempts after the first.
    pub attempts: Option<u32>,
    /// `connect`, `reset`, `timeout`, statuses, `5xx`.
    pub on: Option<Vec<String>>,
    /// Whatever the method.
    pub non_idempotent: Option<bool>,
    /// Bytes of a body that are kept.
    pub buffer: Option<usize>,
    /// Most before the first retry.
    #[serde(default, deserialize_with = "duration")]
    pub backoff: Option<Duration>,
    /// Most before any.
    #[serde(default, deserialize_with = "duration")]
    pub backoff_max: Option<Duration>,
    /// Share of requests that may be retried.
    pub budget: Option<f64>,
}

/// `hedge`
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hedge {
    /// Share of answers that come sooner.
    pub percentile: Option<f64>,
    /// Not before.
    #[serde(default, deserialize_with = "duration")]
    pub min: Option<Duration>,
}

/// `limits`
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Requests in the cluster.
    pub in_flight: Option<u32>,
    /// Attempts at one endpoint.
    pub endpoint_in_flight: Option<u32>,
    /// Connections to the cluster's endpoints.
    pub connections: Option<u32>,
    /// Connections to one endpoint.
    pub endpoint_connections: Option<u32>,
    /// Requests that may wait.
    pub queue: Option<u32>,
    /// How long.
    #[serde(default, deserialize_with = "duration")]
    pub queue_timeout: Option<Duration>,
    /// A limit that finds itself.
    pub adaptive: Option<Adaptive>,
}

/// `limits.adaptive`
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adaptive {
    /// False to leave it off where the defaults turn it on, or to keep only its keys in the defaults.
    pub enabled: Option<bool>,
    /// The lowest limit.
    pub min: Option<u32>,
    /// The highest limit.
    pub max: Option<u32>,
    /// Factor on the latency of the long run.
    pub tolerance: Option<f64>,
}

/// `timeouts`
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    /// Until a connection to an endpoint stands.
    #[serde(default, deserialize_with = "duration")]
    pub connect: Option<Duration>,
    /// The whole request, to the last byte of the answer.
    #[serde(default, deserialize_with = "duration")]
    pub request: Option<Duration>,
    /// One attempt, to the head of its answer.
    #[serde(default, deserialize_with = "duration")]
    pub per_try: Option<Duration>,
    /// From the last byte of a request to the head of its answer.
    #[serde(default, deserialize_with = "duration")]
    pub first_byte: Option<Duration>,
    /// Silence in both directions.
    #[serde(default, deserialize_with = "duration")]
    pub idle: Option<Duration>,
    /// Age of a connection that takes no further request.
    #[serde(default, deserialize_with = "duration")]
    pub connection_age: Option<Duration>,
    /// What runs at an endpoint that has left the list.
    #[serde(default, deserialize_with = "duration")]
    pub drain: Option<Duration>,
}

/// `tls`
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterTls {
    /// False to leave it off where the defaults turn it on, or to keep only its keys in the defaults.
    pub enabled: Option<bool>,
    /// PEM bundle of the CAs to trust.
    pub ca: Option<String>,
    /// Name to expect in certificates.
    pub server_name: Option<String>,
    /// PEM client certificate.
    pub client_cert: Option<String>,
    /// PEM key of the client certificate.
    pub client_key: Option<String>,
}

impl<'de> Deserialize<'de> for Codes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CodesVisitor)
    }
}

struct CodesVisitor;

impl de::Visitor<'_> for CodesVisitor {
    type Value = Codes;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(r#"a status such as 204, or a range such as "200-399""#)
    }

    fn visit_i64<E: de::Error>(self, code: i64) -> Result<Codes, E> {
        Ok(Codes(code.to_string()))
    }

    fn visit_str<E: de::Error>(self, codes: &str) -> Result<Codes, E> {
        Ok(Codes(codes.to_owned()))
    }
}
