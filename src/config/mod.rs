//! What we were told, as it is meant: complete, with every default in place, and valid by construction. A [`Config`] can
//! only be had from [`parse`] or [`load`], which report everything that is wrong at once, each with its line and key.
//!
//! Three stages, so that nothing downstream interprets text: `raw` (as written) → `check` (problems) → this (as meant).

mod admin;
mod announced;
mod balancing;
mod check;
mod consul;
mod documents;
mod egress;
mod environment;
mod error;
mod glob;
mod http;
mod log;
mod mesh;
mod part;
mod probe;
mod protection;
mod raw;
mod registration;
mod route;
mod secret;
mod service_routes;
mod shown;
mod template;
mod text;
mod tls;
mod tracing;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use documents::Written;
use ipnet::IpNet;

pub use admin::{Admin, AdminBind};
pub use announced::Announced;
pub use balancing::{Balancing, Ewma, FailoverWhen, Hash, HashKey, Level, Locality, Policy, Prefer, SlowStart, Sticky};
pub use check::read_token;
pub use consul::{Doubt, OnStale, Staleness};
pub use documents::{Documents, Kv};
pub use egress::{Egress, Name, Nameless};
pub use environment::Environment;
pub use error::{Error, Problem};
pub use glob::Glob;
pub use http::{Http, Paths, Underscores};
pub use log::{AccessLog, Log, LogFormat};
pub use mesh::Mesh;
pub use part::Part;
pub use probe::{GrpcProbe, HttpProbe, Probe, ProbeKind};
pub use protection::{Adaptive, Causes, Ejection, Failures, Hedge, Limits, Retry, Statuses, Timeouts};
pub use registration::{Check, CheckKind, Own, Registration, Service, Weights};
pub use route::{
    Action, Ends, Forward, HeaderRules, Host, Match, Mirror, NewHost, NewPath, Predicates, Principal, Redirect,
    Respond, Rewrite, Route, Spot, Target, Terms,
};
pub use secret::Secret;
pub use service_routes::{Claimable, Claimed, Door, OWN_ROUTE, Only, Passage, ServiceRoutes};
pub use shown::Shown;
pub use template::{Speech, Templates};
pub use text::parse_address;
pub use tls::{Authorities, CertificateFiles, ClientAuth, ClusterTls, Identity, ListenerTls, unreadable};
pub use tracing::Tracing;

/// Everything lictor was told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Worker threads.
    pub workers: usize,
    /// Downstream connections at once, over all listeners; if absent, what the limit on descriptors allows.
    pub max_connections: Option<usize>,
    /// The operator's window, if any.
    pub admin: Option<Admin>,
    /// The Consul agent. Present even when no cluster uses it.
    pub consul: Consul,
    /// Who we are in the mesh, if we are in it.
    pub mesh: Option<Mesh>,
    /// Where this process stands.
    pub place: Place,
    /// At least one.
    pub listeners: Vec<Listener>,
    /// In the order of the file; each cluster that they name is among `clusters`.
    pub routes: Vec<Arc<Route>>,
    /// What holds for listeners that are asked for services by their names.
    pub egress: Egress,
    /// Where requests go that ask for a service by its name, so far.
    pub named: BTreeMap<Arc<str>, Arc<Route>>,
    /// Where connections without requests go that services claim.
    pub doors: Arc<BTreeMap<Door, Arc<Passage>>>,
    /// In the order of their names.
    pub clusters: Vec<Arc<Cluster>>,
    /// What clusters are made from that are not written down.
    pub templates: Arc<Templates>,
    /// Who may claim routes by tags; nobody if absent.
    pub service_routes: Option<ServiceRoutes>,
    /// How to leave.
    pub drain: Drain,
    /// Who is entered in the catalogue, if anybody is.
    pub registration: Option<Registration>,
    /// What is written to standard error.
    pub log: Log,
    /// Endpoints that have figures of their own at most; 0 if none has.
    pub endpoint_figures: usize,
    /// What is written down of requests, if anything is.
    pub access_log: Option<AccessLog>,
    /// Which requests are traced, if any are.
    pub tracing: Option<Tracing>,
    /// Where more routes and clusters are, if anywhere.
    pub kv: Option<Kv>,
    shown: Arc<Shown>,
    /// What to join them with.
    written: Option<Arc<documents::Written>>,
}

/// Where the Consul agent is and how to talk to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Consul {
    /// The agent.
    pub address: Agent,
    /// ACL token, given directly.
    pub token: Option<Secret>,
    /// File with the ACL token; wins over `token` when it holds one.
    pub token_file: Option<String>,
    /// Credentials for a gateway in front of the agent, `user:password`.
    pub basic_auth: Option<Secret>,
    /// Datacenter of queries that name none; the agent's own if absent.
    pub datacenter: Option<String>,
    /// Enterprise namespace.
    pub namespace: Option<String>,
    /// TLS to the agent.
    pub tls: ClientTls,
    /// Whether a follower may answer.
    pub consistency: Consistency,
    /// How long ago whoever answers may have heard from those who know.
    pub max_lag: Duration,
    /// Longest wait of one blocking query.
    pub wait: Duration,
    /// Between two looks at what cannot be waited for.
    pub poll: Duration,
    /// Most blocking queries held open at once.
    pub max_queries: usize,
    /// When a list is doubted, and what becomes of those who are missing on it.
    pub doubt: Doubt,
    /// When a list is too old, and what follows.
    pub staleness: Staleness,
    /// File in which the last lists are kept, for a start without an answer.
    pub last_lists: Option<String>,
}

/// Address of a Consul agent's HTTP API.
#[derive(Debug, Clone, PartialEq)]
pub enum Agent {
    /// A URL without a trailing slash, `http://…` or `https://…`, with the path prefix of a gateway if there is one.
    Url(String),
    /// A Unix socket's path.
    Unix(String),
}

/// TLS as a client; files are PEM.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClientTls {
    /// Bundle of the CAs to trust instead of the system's.
    pub ca_file: Option<String>,
    /// Client certificate and its key.
    pub client: Option<(String, String)>,
    /// Name to expect in the certificate instead of the address's host.
    pub server_name: Option<String>,
    /// False only by `CONSUL_HTTP_SSL_VERIFY=false`.
    pub verify: bool,
}

/// Consul's consistency modes, as far as lictor uses them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// Any server may answer; a regressing index is doubted.
    Stale,
    /// The agent's own cache may answer.
    Cached,
    /// The leader answers.
    Default,
}

/// Where this process stands, and how to read where endpoints do. What is not given, the agent is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// Name of the node.
    pub node: Option<String>,
    /// Name of the zone.
    pub zone: Option<String>,
    /// Name of the datacenter.
    pub datacenter: Option<String>,
    /// Key of the metadata that names a zone.
    pub zone_key: String,
}

/// An address on which clients are served.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// Label in logs and metrics.
    pub name: Arc<str>,
    /// Where to listen; port 0 takes a free one.
    pub bind: SocketAddr,
    /// From the first byte of a request's head to its last.
    pub request_header: Duration,
    /// A connection without a request, or a client that takes nothing of its answer.
    pub idle: Duration,
    /// When a connection is ended between two requests; never if absent.
    pub connection_age: Option<Duration>,
    /// Whether a request may say how long it can wait.
    pub trust_deadline: bool,
    /// What clients may send.
    pub http: Http,
    /// What its connections are.
    pub accepts: Accepts,
    /// What it goes by.
    pub serves: Serves,
    /// Whose word on a request's way is believed.
    pub trusted_networks: Vec<IpNet>,
    /// Whether connections have to begin with a PROXY header, from one of those networks.
    pub proxy_protocol: bool,
    /// TLS on its connections; none if they are plain.
    pub tls: Option<ListenerTls>,
    /// Whether they have to be of the mesh, and allowed to call us.
    pub mesh: bool,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
}

/// What a listener goes by.
#[derive(Debug, Clone, PartialEq)]
pub enum Serves {
    /// What is written: routes, or clusters.
    Routes,
    /// The name of a service, which each request has for its host.
    Names,
    /// One service, whatever a request has for its host.
    Service(Name),
}

/// What a listener's connections are.
#[derive(Debug, Clone, PartialEq)]
pub enum Accepts {
    /// HTTP, for routes.
    Http,
    /// Whatever: bytes for a cluster.
    Tcp(Forwarding),
}

/// Which cluster a connection goes to. By name: clusters may come and go while the listener stays.
#[derive(Debug, Clone, PartialEq)]
pub struct Forwarding {
    /// By the name in the TLS greeting; connections are looked into only if there is one.
    pub names: Vec<(Host, Arc<str>)>,
    /// Before all others, those that services claim; none if absent.
    pub claimed: Option<Claimed>,
    /// All others; closed if absent.
    pub cluster: Option<Arc<str>>,
}

/// The header that a connection to an endpoint begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// A named group of interchangeable endpoints and its policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// As written in `[clusters.NAME]`.
    pub name: Arc<str>,
    /// Where its endpoints come from.
    pub source: Source,
    /// Whether its lists serve in turn, the first that has enough, and not all together.
    pub in_turn: bool,
    /// How one is chosen.
    pub policy: Policy,
    /// What the policy leans on, and what holds for every policy.
    pub balancing: Balancing,
    /// When one is taken out.
    pub ejection: Ejection,
    /// How its endpoints are asked whether they are well, if they are.
    pub probe: Option<Probe>,
    /// When another attempt is made.
    pub retry: Retry,
    /// When one is begun beside the first.
    pub hedge: Hedge,
    /// How much it takes at once.
    pub limits: Limits,
    /// How long anything may take.
    pub timeouts: Timeouts,
    /// What its endpoints are spoken to in.
    pub protocol: Protocol,
    /// TLS to its endpoints; none if they are spoken to in the clear.
    pub tls: Option<ClusterTls>,
    /// What each connection begins with, if with anything.
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// What endpoints are spoken to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// With TLS what both sides can, HTTP/2 first; without, HTTP/2 for gRPC and HTTP/1.1 for all else.
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, which endpoints without TLS have to know beforehand.
    Http2,
}

/// Where a cluster's endpoints come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// Written down.
    Static(Vec<Endpoint>),
    /// Followed in Consul: at least one, and one after the other.
    Followed(Vec<Draw>),
}

/// A static endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// Host and port.
    pub address: (String, u16),
    /// 1 to [`MAX_WEIGHT`].
    pub weight: u32,
    /// Where it stands, for [`Locality`].
    pub zone: Option<String>,
}

/// What a cluster takes of one selection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draw {
    /// The list.
    pub selection: Selection,
    /// Only those on it who carry this tag; all if absent.
    pub tag: Option<Arc<str>>,
    /// Only those on it of whom this is true besides; all if absent.
    pub only: Option<Arc<Only>>,
}

/// What is asked of Consul's catalogue. Clusters with equal selections share one query.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Selection {
    /// Name of the service, or of the prepared query, as written.
    pub service: String,
    /// Filter expression for the agent.
    pub filter: Option<String>,
    /// Datacenter, if not the agent's.
    pub datacenter: Option<String>,
    /// Cluster peer, if it is not of this cluster.
    pub peer: Option<String>,
    /// How it is looked up.
    pub lookup: Lookup,
}

/// How a service is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lookup {
    /// Its instances.
    Service,
    /// Who speaks for it in the mesh: its sidecars, and those of its instances that need none.
    Connect,
    /// A prepared query by that name says who.
    Query,
}

/// How to leave.
#[derive(Debug, Clone, PartialEq)]
pub struct Drain {
    /// Not ready, still accepting.
    pub delay: Duration,
    /// Longest wait for what runs.
    pub timeout: Duration,
}

/// Consul's own bound, so that a weight means the same in a file and in the catalogue.
pub const MAX_WEIGHT: u32 = 65_535;

/// Reads and checks a file.
pub fn load(path: &Path, environment: &Environment) -> Result<Config, Error> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::unreadable(path, &error))?;
    join(Written { text, environment: environment.clone(), file: Some(path.to_owned()) })
}

/// Checks the text of a configuration file.
pub fn parse(text: &str, environment: &Environment) -> Result<Config, Error> {
    join(Written { text: text.to_owned(), environment: environment.clone(), file: None })
}

fn join(written: Written) -> Result<Config, Error> {
    documents::join(&Arc::new(written), &Documents::new())
}

impl Config {
    /// The selections that some cluster draws on, each once.
    pub fn selections(&self) -> std::collections::BTreeSet<Selection> {
        let draws = self.clusters.iter().flat_map(|cluster| cluster.source.draws());
        draws.map(|draw| draw.selection.clone()).collect()
    }
}

impl Source {
    /// What is drawn on, first choice first; nothing for what is written down.
    pub fn draws(&self) -> &[Draw] {
        match self {
            Source::Followed(draws) => draws,
            Source::Static(_) => &[],
        }
    }

    /// True if its endpoints are of the mesh: they prove who they are, and want to know who we are.
    pub fn is_in_mesh(&self) -> bool {
        self.draws().iter().any(|draw| draw.selection.lookup == Lookup::Connect)
    }
}

impl Selection {
    /// All instances of that service in the agent's datacenter.
    pub fn of(service: &str) -> Self {
        Selection { service: service.to_owned(), filter: None, datacenter: None, peer: None, lookup: Lookup::Service }
    }
}

impl Lookup {
    const ALL: [Lookup; 3] = [Lookup::Service, Lookup::Connect, Lookup::Query];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Lookup::Service => "service",
            Lookup::Connect => "connect",
            Lookup::Query => "query",
        }
    }

    /// What that word is for.
    pub fn named(name: &str) -> Option<Self> {
        Lookup::ALL.into_iter().find(|lookup| lookup.name() == name)
    }
}

impl From<Selection> for Draw {
    fn from(selection: Selection) -> Self {
        Draw { selection, tag: None, only: None }
    }
}

impl From<Selection> for Source {
    fn from(selection: Selection) -> Self {
        Source::Followed(vec![Draw::from(selection)])
    }
}

impl std::fmt::Display for Selection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.lookup != Lookup::Service {
            write!(f, "{}:", self.lookup.name())?;
        }
        f.write_str(&self.service)?;
        if let Some(peer) = &self.peer {
            write!(f, "@peer:{peer}")?;
        }
        if let Some(datacenter) = &self.datacenter {
            write!(f, "@{datacenter}")?;
        }
        if let Some(filter) = &self.filter {
            write!(f, "[{filter}]")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
