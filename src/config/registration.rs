//! What lictor enters in Consul's catalogue: itself, and applications beside it that do not do so themselves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Who is entered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Registration {
    /// This process, if it is.
    pub own: Option<Own>,
    /// Applications beside it.
    pub services: Vec<Service>,
}

/// This process.
#[derive(Debug, Clone, PartialEq)]
pub struct Own {
    /// What is written of it. What is left out of its address is the listener's.
    pub service: Service,
    /// The listener that is entered. None where there are several and a port was given.
    pub listener: Option<Arc<str>>,
}

/// An instance of a service.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// The service's name.
    pub name: String,
    /// The instance's; made of name, host and port if absent.
    pub id: Option<String>,
    /// Where others find it; the node's address if absent.
    pub address: Option<String>,
    /// Where others find it; it has none if absent.
    pub port: Option<u16>,
    /// Tags.
    pub tags: Vec<String>,
    /// Metadata.
    pub meta: BTreeMap<String, String>,
    /// Share of requests.
    pub weights: Weights,
    /// Whether it speaks the mesh's TLS itself.
    pub connect_native: bool,
    /// How long the agent may see it critical before it takes it out; for ever if absent.
    pub deregister_critical_after: Option<Duration>,
    /// By what it is known to be well; passing without any.
    pub checks: Vec<Check>,
    /// Whether it stays when lictor ends.
    pub keep: bool,
}

/// Share of requests by status, as in Consul.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weights {
    /// While all checks pass; 1 at least.
    pub passing: u32,
    /// While one warns.
    pub warning: u32,
}

/// By what an instance is known to be well.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// What people see; made of the kind if absent.
    pub name: Option<String>,
    /// What is done.
    pub kind: CheckKind,
    /// From one question to the next.
    pub interval: Duration,
    /// How long one may take.
    pub timeout: Duration,
    /// Successes in a row that it takes to be well again.
    pub rise: u32,
    /// Failures in a row that it takes to be critical.
    pub fall: u32,
}

/// What is done to learn whether an instance is well.
#[derive(Debug, Clone, PartialEq)]
pub enum CheckKind {
    /// It says so itself, this often at least. lictor does for itself.
    Ttl(Duration),
    /// The agent asks: a URL, or a path of the instance's own. Absent: whether lictor is ready, at its window.
    Http(Option<String>),
    /// The agent connects to `host:port`; to the instance itself if absent.
    Tcp(Option<String>),
    /// The agent asks gRPC's health service at `host:port`; at the instance itself if absent.
    Grpc {
        /// Where.
        address: Option<String>,
        /// Of which service; of all together if empty.
        service: String,
        /// Over TLS.
        tls: bool,
    },
    /// lictor runs a program: its path, and its arguments.
    Command(Vec<String>),
}

impl Registration {
    /// Whatever is entered: this process first.
    pub fn all(&self) -> impl Iterator<Item = &Service> {
        self.own.iter().map(|own| &own.service).chain(&self.services)
    }

    /// True if others find lictor in the mesh.
    pub fn is_in_mesh(&self) -> bool {
        self.own.as_ref().is_some_and(|own| own.service.connect_native)
    }
}

impl CheckKind {
    /// All words for them.
    pub const NAMES: [&str; 5] = ["ttl", "http", "tcp", "grpc", "command"];

    /// The word for it.
    pub fn name(&self) -> &'static str {
        match self {
            CheckKind::Ttl(_) => "ttl",
            CheckKind::Http(_) => "http",
            CheckKind::Tcp(_) => "tcp",
            CheckKind::Grpc { .. } => "grpc",
            CheckKind::Command(_) => "command",
        }
    }
}
