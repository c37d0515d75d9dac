//! The configuration as it is written: one struct a TOML table, nothing but serde. What the values mean, and whether
//! they fit together, is `check`'s business; defaults are there too, so that this file shows only shapes.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// Longest duration that anything may be given: far beyond use, and far from what an `Instant` can be moved by.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Worker threads, each with its own listeners and pools.
    pub workers: Option<usize>,
    /// The operator's listener.
    pub admin: Option<Admin>,
    /// Where the Consul agent is.
    pub consul: Option<Consul>,
    /// Where this process stands.
    pub place: Option<Place>,
    /// Addresses on which clients are served.
    #[serde(default)]
    pub listeners: Vec<Listener>,
    /// Rules from request to cluster.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// Groups of endpoints by name.
    #[serde(default)]
    pub clusters: BTreeMap<String, Cluster>,
    /// What every cluster has unless it says otherwise.
    pub defaults: Option<Policy>,
    /// How to leave.
    pub drain: Option<Drain>,
    /// What is written to standard error.
    pub log: Option<Log>,
}

/// `[admin]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// `address:port`
    pub bind: String,
}

/// `[consul]`; the `CONSUL_*` environment wins over it, and what both leave out has Consul's own defaults.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consul {
    /// `http://host:port`, `https://host:port`, `host:port` or `unix:///path`.
    pub address: Option<String>,
    /// ACL token.
    pub token: Option<String>,
    /// File that holds the ACL token; read again when Consul refuses it.
    pub token_file: Option<String>,
    /// Datacenter of every query that names none.
    pub datacenter: Option<String>,
    /// Enterprise namespace.
    pub namespace: Option<String>,
    /// PEM bundle that signs the agent's certificate.
    pub ca_file: Option<String>,
    /// PEM client certificate.
    pub client_cert: Option<String>,
    /// PEM key of the client certificate.
    pub client_key: Option<String>,
    /// Name to expect in the agent's certificate.
    pub tls_server_name: Option<String>,
    /// `stale` or `default`.
    pub consistency: Option<String>,
    /// Longest wait of one blocking query.
    #[serde(default, deserialize_with = "duration")]
    pub wait: Option<Duration>,
    /// Most blocking queries held open at once.
    pub max_queries: Option<usize>,
}

/// `[[listeners]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Label in logs and metrics.
    pub name: String,
    /// `address:port`
    pub bind: String,
    /// Egress by service name.
    #[serde(default)]
    pub egress: bool,
    /// Timeouts towards clients.
    pub timeouts: Option<ListenerTimeouts>,
}

/// `listeners.timeouts`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerTimeouts {
    /// From the first byte of a request's head to its last.
    #[serde(default, deserialize_with = "duration")]
    pub request_header: Option<Duration>,
    /// A connection without a request, or a client that takes nothing of its answer.
    #[serde(default, deserialize_with = "duration")]
    pub idle: Option<Duration>,
}

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
    /// Name of a cluster.
    pub cluster: String,
}

/// `[clusters.NAME]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Endpoints out of Consul.
    pub consul: Option<Selection>,
    /// Endpoints written down.
    pub endpoints: Option<Vec<Endpoint>>,
    /// See [`Policy::policy`].
    pub policy: Option<String>,
    /// See [`Policy::ewma`].
    pub ewma: Option<Ewma>,
    /// See [`Policy::hash`].
    pub hash: Option<Hash>,
    /// See [`Policy::slow_start`].
    pub slow_start: Option<SlowStart>,
    /// See [`Policy::locality`].
    pub locality: Option<Locality>,
    /// See [`Policy::panic_percent`].
    pub panic_percent: Option<u32>,
    /// See [`Policy::subset_size`].
    pub subset_size: Option<usize>,
    /// See [`Policy::sticky`].
    pub sticky: Option<Sticky>,
    /// See [`Policy::ejection`].
    pub ejection: Option<Ejection>,
    /// See [`Policy::retry`].
    pub retry: Option<Retry>,
    /// See [`Policy::timeouts`].
    pub timeouts: Option<Timeouts>,
}

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
    /// Share of eligible endpoints below which everybody serves.
    pub panic_percent: Option<u32>,
    /// Endpoints that one process uses.
    pub subset_size: Option<usize>,
    /// Keeps a client with an endpoint.
    pub sticky: Option<Sticky>,
    /// When an endpoint is taken out.
    pub ejection: Option<Ejection>,
    /// When another attempt is made.
    pub retry: Option<Retry>,
    /// How long anything may take.
    pub timeouts: Option<Timeouts>,
}

/// `clusters.NAME.consul`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// Service name.
    pub service: String,
    /// Consul filter expression, evaluated by the agent.
    pub filter: Option<String>,
    /// Another datacenter than `consul.datacenter`.
    pub datacenter: Option<String>,
}

/// `[place]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Name of the node.
    pub node: Option<String>,
    /// Name of the zone.
    pub zone: Option<String>,
    /// Name of the datacenter.
    pub datacenter: Option<String>,
    /// Key of the metadata that names a zone.
    pub zone_key: Option<String>,
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
}

/// One of `clusters.NAME.endpoints`: an address, or a table with a weight.
#[derive(Debug)]
pub struct Endpoint {
    /// `host:port`
    pub address: String,
    /// Share of the traffic relative to its neighbours.
    pub weight: Option<u32>,
    /// Where it stands.
    pub zone: Option<String>,
}

/// `ejection`
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ejection {
    /// Failures in a row; 0 turns ejection off.
    pub consecutive_failures: Option<u32>,
    /// Length of the first ejection.
    #[serde(default, deserialize_with = "duration")]
    pub base: Option<Duration>,
    /// Length that no ejection exceeds.
    #[serde(default, deserialize_with = "duration")]
    pub max: Option<Duration>,
    /// Share of a cluster that may be out.
    pub max_percent: Option<u32>,
}

/// `retry`
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Attempts after the first.
    pub attempts: Option<u32>,
    /// Share of requests that may be retried.
    pub budget: Option<f64>,
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
    /// Silence in both directions.
    #[serde(default, deserialize_with = "duration")]
    pub idle: Option<Duration>,
}

/// `[drain]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// Not ready, still accepting.
    #[serde(default, deserialize_with = "duration")]
    pub delay: Option<Duration>,
    /// Longest wait for what runs.
    #[serde(default, deserialize_with = "duration")]
    pub timeout: Option<Duration>,
}

/// `[log]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// A tracing filter such as `info` or `lictor=debug`.
    pub level: Option<String>,
    /// `text` or `json`.
    pub format: Option<String>,
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EndpointVisitor)
    }
}

struct EndpointVisitor;

impl<'de> de::Visitor<'de> for EndpointVisitor {
    type Value = Endpoint;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(r#"an address such as "10.0.0.1:80", or { address = "10.0.0.1:80", weight = 3 }"#)
    }

    fn visit_str<E: de::Error>(self, address: &str) -> Result<Endpoint, E> {
        Ok(Endpoint { address: address.to_owned(), weight: None, zone: None })
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Endpoint, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            address: String,
            weight: Option<u32>,
            zone: Option<String>,
        }
        let table = Table::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(Endpoint { address: table.address, weight: table.weight, zone: table.zone })
    }
}

/// A duration is a string with a unit, as in `"250ms"` or `"1m 30s"`.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    Length::deserialize(deserializer).map(|length| Some(length.0))
}

fn durations<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Duration>>, D::Error> {
    let lengths = Vec::<Length>::deserialize(deserializer)?;
    Ok(Some(lengths.into_iter().map(|length| length.0).collect()))
}

struct Length(Duration);

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(LengthVisitor)
    }
}

struct LengthVisitor;

impl de::Visitor<'_> for LengthVisitor {
    type Value = Length;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(r#"a duration with a unit, such as "250ms", "10s" or "5m", of ten years at most"#)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Length, E> {
        let duration = humantime::parse_duration(text).ok().filter(|duration| *duration <= LONGEST);
        duration.map(Length).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}
