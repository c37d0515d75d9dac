//! What the agent is told of an instance: the body of `/v1/agent/service/register`, with nothing in it that Consul 1.8 does not know,
//! because it refuses what it does not know. And which of its checks lictor has to speak for.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tracing::warn;

use crate::config::{Check, CheckKind, Registration, Service};

/// The checks that lictor runs itself are over after this long without a word of it. What they say is sent at least three times as
/// often, however seldom they are run: the time says how soon others learn that lictor has died.
const COMMAND_TTL: Duration = Duration::from_secs(30);

/// What entries are made with that no file says: where this process is.
#[derive(Debug, Clone)]
pub struct Here {
    /// Name of the host.
    pub host: String,
    /// Listeners with the addresses that they are bound to.
    pub listeners: Vec<(Arc<str>, SocketAddr)>,
    /// The operator's window.
    pub window: Option<SocketAddr>,
}

impl Here {
    /// This host, with what was bound on it.
    pub fn new(listeners: Vec<(Arc<str>, SocketAddr)>, window: Option<SocketAddr>) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Here { host, listeners, window }
    }
}

/// One instance as the agent is told of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Definition {
    /// The instance's id, one of its kind on a node.
    pub(super) id: Arc<str>,
    /// The service's name.
    pub(super) service: String,
    /// The body.
    pub(super) body: Value,
    /// All of its checks' ids.
    pub(super) checks: Vec<String>,
    /// The checks that lictor speaks for.
    pub(super) voices: Vec<Voice>,
    /// Whether it is this process.
    pub(super) is_own: bool,
    /// Whether it stays when lictor ends.
    pub(super) keep: bool,
}

/// A check that lictor speaks for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Voice {
    /// The check's id.
    pub(super) check: String,
    /// Longest silence.
    pub(super) ttl: Duration,
    /// What it says.
    pub(super) says: Says,
}

/// What lictor says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Says {
    /// Whether it is ready itself.
    Readiness,
    /// What a program found.
    Command(Check, Vec<String>),
}

/// Everybody who is to be entered, each id once.
pub(super) fn all(wanted: &Registration, here: &Here) -> Vec<Definition> {
    let own = wanted.own.as_ref().map(|own| {
        let listener = own.listener.as_ref().and_then(|name| here.listeners.iter().find(|(known, _)| known == name));
        Maker { service: &own.service, here, own: Some(listener.map(|(_, bound)| *bound)) }.make()
    });
    let others = wanted.services.iter().map(|service| Maker { service, here, own: None }.make());
    let mut all: Vec<Definition> = Vec::new();
    for definition in own.into_iter().chain(others) {
        // Written ids are checked with the file; those that are made may still meet.
        if all.iter().any(|known| known.id == definition.id) {
            warn!(id = %definition.id, "two instances have this id; the second is not entered: give it one of its own");
            continue;
        }
        all.push(definition);
    }
    all
}

/// Makes a definition.
struct Maker<'a> {
    service: &'a Service,
    here: &'a Here,
    /// For this process: what its listener is bound to, if it has to go by one.
    own: Option<Option<SocketAddr>>,
}

impl Maker<'_> {
    fn make(&self) -> Definition {
        let service = self.service;
        let id = service.id.clone().unwrap_or_else(|| self.default_id());
        let mut definition = Definition {
            id: id.into(),
            service: service.name.clone(),
            body: Value::Null,
            checks: Vec::new(),
            voices: Vec::new(),
            is_own: self.own.is_some(),
            keep: service.keep,
        };
        let checks: Vec<Value> = service.checks.iter().map(|check| self.check(check, &mut definition)).collect();
        let mut body = json!({
            "ID": &*definition.id,
            "Name": service.name,
            "Tags": service.tags,
            "Meta": self.meta(),
            "Weights": { "Passing": service.weights.passing, "Warning": service.weights.warning },
            "EnableTagOverride": false,
            "Checks": checks,
        });
        if let Some(address) = self.address() {
            body["Address"] = address.into();
        }
        if let Some(port) = self.port() {
            body["Port"] = port.into();
        }
        if service.connect_native {
            body["Connect"] = json!({ "Native": true });
        }
        definition.body = body;
        definition
    }

    fn default_id(&self) -> String {
        let port = self.port().map(|port| format!("-{port}")).unwrap_or_default();
        format!("{}-{}{port}", self.service.name, self.here.host)
    }

    /// What the listener is bound to.
    fn bound(&self) -> Option<SocketAddr> {
        self.own.flatten()
    }

    fn port(&self) -> Option<u16> {
        self.service.port.or_else(|| self.bound().map(|bound| bound.port()))
    }

    /// None is the node's address, as the agent knows it: a listener on all addresses has none of its own.
    fn address(&self) -> Option<String> {
        let bound = || self.bound().map(|bound| bound.ip()).filter(|ip| !ip.is_unspecified());
        self.service.address.clone().or_else(|| bound().map(|ip| ip.to_string()))
    }

    /// `host:port` for whoever asks from this host.
    fn near(&self) -> String {
        let host = self.address().unwrap_or_else(|| Ipv4Addr::LOCALHOST.to_string());
        let port = self.port().unwrap_or_default();
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// As written; for this process with what whoever scrapes and compares versions goes by.
    fn meta(&self) -> Map<String, Value> {
        let mut meta: Map<String, Value> =
            self.service.meta.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
        if self.own.is_some() {
            meta.entry("version").or_insert_with(|| env!("CARGO_PKG_VERSION").into());
            if let Some(window) = self.here.window {
                meta.entry("admin_port").or_insert_with(|| window.port().to_string().into());
            }
        }
        meta
    }

    /// One check, noted in the definition.
    fn check(&self, check: &Check, definition: &mut Definition) -> Value {
        let is_own = self.own.is_some();
        let word = check.kind.name();
        let base = format!("service:{}:{word}", definition.id);
        let before = definition.checks.iter().filter(|id| **id == base || id.starts_with(&format!("{base}:"))).count();
        // The kind is in the id because the agent does not turn a check of one kind into another.
        let id = if before == 0 { base } else { format!("{base}:{}", before + 1) };
        let (mut body, about) = self.question(check);
        if !matches!(check.kind, CheckKind::Ttl(_) | CheckKind::Command(_)) {
            body["Interval"] = time(check.interval);
            body["Timeout"] = time(check.timeout);
            // Agents before 1.7 do not know them, and 1 is what all do.
            if check.rise > 1 {
                body["SuccessBeforePassing"] = check.rise.into();
            }
            if check.fall > 1 {
                body["FailuresBeforeCritical"] = check.fall.into();
            }
        }
        let is_command = matches!(check.kind, CheckKind::Command(_));
        if is_own && !is_command {
            // It is entered once it is ready, so there is no need to wait for the first round. An entry that is already there
            // keeps the status that it has.
            body["Status"] = "passing".into();
        }
        if let Some(after) = self.service.deregister_critical_after {
            body["DeregisterCriticalServiceAfter"] = time(after);
        }
        body["CheckID"] = id.as_str().into();
        body["Name"] = check.name.clone().unwrap_or(about).into();
        match &check.kind {
            CheckKind::Ttl(ttl) if is_own => {
                definition.voices.push(Voice { check: id.clone(), ttl: *ttl, says: Says::Readiness });
            }
            CheckKind::Command(command) => {
                let says = Says::Command(check.clone(), command.clone());
                definition.voices.push(Voice { check: id.clone(), ttl: COMMAND_TTL, says });
            }
            _ => {}
        }
        definition.checks.push(id);
        body
    }

    /// What is asked, and how people are told of it.
    fn question(&self, check: &Check) -> (Value, String) {
        let address = |written: &Option<String>| written.clone().unwrap_or_else(|| self.near());
        match &check.kind {
            CheckKind::Ttl(ttl) => {
                let about = if self.own.is_some() { "lictor is ready" } else { "says so itself" };
                (json!({ "TTL": time(*ttl) }), about.to_owned())
            }
            CheckKind::Command(command) => {
                (json!({ "TTL": time(COMMAND_TTL) }), format!("command {}", command.first().map_or("", String::as_str)))
            }
            CheckKind::Tcp(written) => {
                let address = address(written);
                (json!({ "TCP": address }), format!("tcp {address}"))
            }
            CheckKind::Grpc { address: written, service, tls } => {
                let address = address(written);
                let target = if service.is_empty() { address } else { format!("{address}/{service}") };
                (json!({ "GRPC": target, "GRPCUseTLS": tls }), format!("grpc {target}"))
            }
            CheckKind::Http(written) => {
                let url = match written {
                    Some(path) if path.starts_with('/') => format!("http://{}{path}", self.near()),
                    Some(url) => url.clone(),
                    None => format!("http://{}/readyz", self.window()),
                };
                let about = format!("http {url}");
                (json!({ "HTTP": url }), about)
            }
        }
    }

    /// The operator's window for whoever asks from this host.
    fn window(&self) -> SocketAddr {
        let bound = self.here.window.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into());
        let ip = if bound.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { bound.ip() };
        SocketAddr::new(ip, bound.port())
    }
}

/// A duration as Go reads it.
fn time(duration: Duration) -> Value {
    format!("{}ms", duration.as_millis()).into()
}

#[cfg(test)]
mod tests;
