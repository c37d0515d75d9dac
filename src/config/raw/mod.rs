//! The configuration as it is written: one struct a TOML table, nothing but serde. What the values mean, and whether
//! they fit together, is `check`'s business; defaults are there too, so that this file shows only shapes.

mod access_log;
mod admin;
mod egress;
mod policy;
mod registration;
mod route;
mod service_routes;
mod tls;
mod tracing;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use super::documents::Joined;

pub use access_log::AccessLog;
pub use admin::Admin;
pub use egress::Egress;
pub use policy::{
    Adaptive, ClusterTls, Codes, Ejection, Ewma, FailoverWhen, Hash, Hedge, Limits, Locality, Policy, Probe, Retry,
    SlowStart, Sticky, Timeouts,
};
pub use registration::{Check, Neighbour, Registration, Weights};
pub use route::{Condition, Headers, Mirror, Redirect, Respond, Route, Share};
pub use service_routes::ServiceRoutes;
pub use tls::{Certificate, ListenerTls};
pub use tracing::Tracing;

/// Longest duration that anything may be given: far beyond use, and far from what an `Instant` can be moved by.
pub const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Worker threads, each with its own listeners and pools.
    pub workers: Option<usize>,
    /// Downstream connections at once.
    pub max_connections: Option<usize>,
    /// The operator's listener.
    pub admin: Option<Admin>,
    /// Where the Consul agent is.
    pub consul: Option<Consul>,
    /// Who we are in the mesh.
    pub mesh: Option<Mesh>,
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
    /// Services asked for by their names.
    pub egress: Option<Egress>,
    /// What every cluster has unless it says otherwise.
    pub defaults: Option<Policy>,
    /// Routes that services claim by their tags.
    pub service_routes: Option<ServiceRoutes>,
    /// How to leave.
    pub drain: Option<Drain>,
    /// What is written to standard error.
    pub log: Option<Log>,
    /// What is counted.
    pub metrics: Option<Metrics>,
    /// What is written down of requests.
    pub access_log: Option<AccessLog>,
    /// Which requests are traced.
    pub tracing: Option<Tracing>,
    /// Who is entered in the catalogue.
    pub registration: Option<Registration>,
    /// Where more routes and clusters are.
    pub kv: Option<Kv>,
    /// Whose the routes and clusters are that came from there.
    #[serde(skip)]
    pub joined: Vec<Joined>,
}

/// A document beside the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// As in the file.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// As in the file.
    #[serde(default)]
    pub clusters: BTreeMap<String, Cluster>,
}

/// `[kv]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kv {
    /// Of the documents' keys.
    pub prefix: String,
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
    /// `stale`, `default` or `cached`.
    pub consistency: Option<String>,
    /// How long ago whoever answers may have heard from those who know.
    #[serde(default, deserialize_with = "duration")]
    pub max_lag: Option<Duration>,
    /// Longest wait of one blocking query.
    #[serde(default, deserialize_with = "duration")]
    pub wait: Option<Duration>,
    /// Between two looks at what cannot be waited for.
    #[serde(default, deserialize_with = "duration")]
    pub poll: Option<Duration>,
    /// Most blocking queries held open at once.
    pub max_queries: Option<usize>,
    /// Share of a list that may go at once without being doubted.
    pub suspect_percent: Option<u32>,
    /// How long those who went with it are kept as suspects.
    #[serde(default, deserialize_with = "duration")]
    pub suspect_hold: Option<Duration>,
    /// Longest time without a good answer before a list counts as stale.
    #[serde(default, deserialize_with = "duration")]
    pub max_stale: Option<Duration>,
    /// `serve`, `degrade` or `fail`.
    pub on_stale: Option<String>,
    /// File in which the last lists are kept.
    pub last_lists: Option<String>,
}

/// `[mesh]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mesh {
    /// The service that we are.
    pub service: String,
    /// How often those whose connections stand are asked about.
    #[serde(default, deserialize_with = "duration")]
    pub recheck: Option<Duration>,
    /// How long the last answer counts if there is no other.
    #[serde(default, deserialize_with = "duration")]
    pub grace: Option<Duration>,
}

/// `[[listeners]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Label in logs and metrics.
    pub name: String,
    /// `address:port`
    pub bind: String,
    /// `http` or `tcp`.
    pub protocol: Option<String>,
    /// Whether hosts are names of services.
    #[serde(default)]
    pub egress: bool,
    /// Name of the one service that is served.
    pub service: Option<String>,
    /// Whether HTTP/2 is spoken.
    pub http2: Option<bool>,
    /// `strict` or `off`.
    pub paths: Option<String>,
    /// `keep`, `drop` or `refuse`.
    pub underscores: Option<String>,
    /// Whether `CONNECT` is taken.
    pub connect: Option<bool>,
    /// How much a request's head may have.
    pub limits: Option<ListenerLimits>,
    /// Whose word on a request's way is believed.
    pub trusted_networks: Option<Vec<String>>,
    /// Whether connections begin with a PROXY header.
    pub proxy_protocol: Option<bool>,
    /// For `tcp`: where everything goes that no name decides.
    pub cluster: Option<String>,
    /// For `tcp`: `port` or `sni`, what services claim its connections by.
    pub service_routes: Option<String>,
    /// For `tcp`: where connections go by the name in their TLS greeting.
    #[serde(default)]
    pub sni: Vec<Sni>,
    /// Timeouts towards clients.
    pub timeouts: Option<ListenerTimeouts>,
    /// Whether clients have to be of the mesh.
    pub mesh: Option<bool>,
    /// TLS towards clients.
    pub tls: Option<ListenerTls>,
}

/// `listeners.limits`
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerLimits {
    /// Bytes of a head.
    pub head: Option<usize>,
    /// Fields of a head.
    pub headers: Option<usize>,
    /// Bytes of a target.
    pub target: Option<usize>,
    /// Streams of an HTTP/2 connection.
    pub streams: Option<usize>,
}

/// `[[listeners.sni]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sni {
    /// Exact or `*.` wildcards.
    pub names: Vec<String>,
    /// Name of a cluster.
    pub cluster: String,
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
    /// How old a connection may get.
    #[serde(default, deserialize_with = "duration")]
    pub connection_age: Option<Duration>,
    /// How long a TLS handshake may take.
    #[serde(default, deserialize_with = "duration")]
    pub tls: Option<Duration>,
    /// Whether a request may say how long it can wait.
    pub trust_deadline: Option<bool>,
}

/// `[clusters.NAME]`
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Endpoints out of Consul.
    pub consul: Option<Selection>,
    /// Endpoints written down.
    pub endpoints: Option<Vec<Endpoint>>,
    /// Who serves in place of `consul`, in this order; what is left out is as it is there.
    pub failover: Option<Vec<Selection>>,
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
    /// See [`Policy::failover_when`].
    pub failover_when: Option<FailoverWhen>,
    /// See [`Policy::panic_percent`].
    pub panic_percent: Option<u32>,
    /// See [`Policy::subset_size`].
    pub subset_size: Option<usize>,
    /// See [`Policy::sticky`].
    pub sticky: Option<Sticky>,
    /// See [`Policy::ejection`].
    pub ejection: Option<Ejection>,
    /// See [`Policy::probe`].
    pub probe: Option<Probe>,
    /// See [`Policy::retry`].
    pub retry: Option<Retry>,
    /// See [`Policy::hedge`].
    pub hedge: Option<Hedge>,
    /// See [`Policy::limits`].
    pub limits: Option<Limits>,
    /// See [`Policy::timeouts`].
    pub timeouts: Option<Timeouts>,
    /// See [`Policy::protocol`].
    pub protocol: Option<String>,
    /// See [`Policy::tls`].
    pub tls: Option<ClusterTls>,
    /// See [`Policy::proxy_protocol`].
    pub proxy_protocol: Option<String>,
}

/// `clusters.NAME.consul`, and each of `clusters.NAME.failover`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// Service name.
    pub service: Option<String>,
    /// Name of a prepared query in place of a service.
    pub query: Option<String>,
    /// Consul filter expression, evaluated by the agent.
    pub filter: Option<String>,
    /// Another datacenter than `consul.datacenter`.
    pub datacenter: Option<String>,
    /// A cluster peer in place of a datacenter.
    pub peer: Option<String>,
    /// Whether those are dialled who speak for it in the mesh.
    pub connect: Option<bool>,
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

/// One of `clusters.NAME.endpoints`: an address, or a table with a weight.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// `host:port`
    pub address: String,
    /// Share of the traffic relative to its neighbours.
    pub weight: Option<u32>,
    /// Where it stands.
    pub zone: Option<String>,
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

/// `[metrics]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Whether endpoints have series of their own.
    pub endpoints: Option<bool>,
    /// How many have.
    pub max_endpoints: Option<usize>,
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
