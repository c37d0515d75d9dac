//! All that the registry knows, and every way to change it: the catalog, the keys and the agent's own checks, under one
//! index that never goes down.
//!
//! Pure: no I/O, and the clock is passed in. One call is one write: whatever it changes, it changes at one index, and if it
//! changes nothing the index stays. What the agent does with its own services is in `own`.

pub mod keys;
mod local;
mod own;
pub mod tables;

use super::model::{Check, Node, Service, Status};
use bytes::Bytes;
use keys::{Condition, Keys, Written};
use local::Local;
pub use own::OldChecks;
use std::fmt;
use tables::Tables;

/// Nodes and instances held at most, and checks at twice that: far beyond a demo, and a bound for a runaway test.
const MAX_NODES: usize = 10_000;
const MAX_SERVICES: usize = 10_000;
const MAX_CHECKS: usize = 20_000;
/// Where the index begins: a Consul that has just started has written a few things of its own.
const FIRST_INDEX: u64 = 10;
/// The port of Consul's servers, at which its own service is registered.
const SERVER_PORT: i64 = 8300;

/// Why a write was not done.
#[derive(Debug, PartialEq, Eq)]
pub enum Error {
    /// There is no room for more of these.
    Full(&'static str),
    /// A check was given for an instance that is not there.
    NoService(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(what) => write!(f, "This registry holds no more than its limit of {what}"),
            Self::NoService(id) => write!(f, "ServiceID {id:?} does not exist"),
        }
    }
}

/// Everything.
#[derive(Debug)]
pub struct Store {
    index: u64,
    own: String,
    tables: Tables,
    keys: Keys,
    local: Local,
}

impl Store {
    /// A store that holds what a Consul server holds when it has just started: itself, on the node `own`.
    pub fn new(own: Node) -> Self {
        let mut store = Self {
            index: FIRST_INDEX,
            own: own.name.clone(),
            tables: Tables::default(),
            keys: Keys::default(),
            local: Local::default(),
        };
        let name = store.own.clone();
        store.tables.put_node(FIRST_INDEX, own);
        let consul = Service { id: "consul".into(), name: "consul".into(), port: SERVER_PORT, ..Service::default() };
        store.tables.put_service(FIRST_INDEX, &name, consul);
        let mut serf = Check::new(&name, "serfHealth", "Serf Health Status");
        serf.status = Status::Passing;
        serf.output = "Agent alive and reachable".into();
        store.tables.put_check(FIRST_INDEX, serf);
        store
    }

    /// The catalog.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The keys.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The agent's own checks.
    pub fn local(&self) -> &Local {
        &self.local
    }

    /// The name of the agent's own node.
    pub fn own(&self) -> &str {
        &self.own
    }

    /// The index of the last change of any kind.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The index at which the next change happens.
    fn at(&self) -> u64 {
        self.index + 1
    }

    fn note(&mut self, changed: bool) {
        self.index += u64::from(changed);
    }

    /// Writes a node with an instance and checks as they are given, which is how nodes without an agent are made.
    /// Without an address, a node that is known stays as it is.
    pub fn write(&mut self, node: Node, service: Option<Service>, checks: Vec<Check>) -> Result<(), Error> {
        let id = service.as_ref().map(|service| service.id.as_str());
        self.room(&node.name, id, checks.len())?;
        let placed = self.tables.find(&node.name);
        let orphan = checks.iter().find(|check| {
            let known = placed.is_some_and(|placed| placed.services.contains_key(&check.service_id));
            !check.service_id.is_empty() && Some(check.service_id.as_str()) != id && !known
        });
        if let Some(check) = orphan {
            return Err(Error::NoService(check.service_id.clone()));
        }
        let (at, name) = (self.at(), node.name.clone());
        let mut changed = false;
        if placed.is_none() || !node.address.is_empty() {
            changed |= self.tables.put_node(at, node);
        }
        if let Some(service) = service {
            changed |= self.tables.put_service(at, &name, service);
        }
        for check in checks {
            changed |= self.tables.put_check(at, check);
        }
        self.note(changed);
        Ok(())
    }

    /// Removes an instance and its checks from a node.
    pub fn remove_service(&mut self, node: &str, id: &str) {
        if node == self.own {
            self.local.forget_service(id);
        }
        let changed = self.tables.remove_service(self.at(), node, id);
        self.note(changed);
    }

    /// Removes a check from a node.
    pub fn remove_check(&mut self, node: &str, id: &str) {
        if node == self.own {
            self.local.forget(id);
        }
        let changed = self.tables.remove_check(self.at(), node, id);
        self.note(changed);
    }

    /// Removes a node and all that is on it; the agent's own stays, for its agent would be back at once.
    pub fn remove_node(&mut self, node: &str) {
        if node != self.own {
            let changed = self.tables.remove_node(self.at(), node);
            self.note(changed);
        }
    }

    /// Writes a key.
    pub fn put_key(&mut self, key: &str, written: (Bytes, u64), on: Condition) -> Written {
        let done = self.keys.put(self.index + 1, key, written, on);
        self.note(done == Written::Changed);
        done
    }

    /// Deletes a key.
    pub fn delete_key(&mut self, key: &str, on: Condition) -> Written {
        let done = self.keys.delete(self.index + 1, key, on);
        self.note(done == Written::Changed);
        done
    }

    /// Deletes every key under a prefix.
    pub fn delete_keys(&mut self, prefix: &str) {
        let done = self.keys.delete_under(self.index + 1, prefix);
        self.note(done == Written::Changed);
    }

    /// Whether there is room on `node` for one more instance, if `service` is new, and for so many more checks.
    fn room(&self, node: &str, service: Option<&str>, more: usize) -> Result<(), Error> {
        let (nodes, services, checks) = self.tables.sizes();
        let placed = self.tables.find(node);
        let new = service.is_some_and(|id| placed.is_none_or(|placed| !placed.services.contains_key(id)));
        if placed.is_none() && nodes >= MAX_NODES {
            return Err(Error::Full("10000 nodes"));
        }
        if new && services >= MAX_SERVICES {
            return Err(Error::Full("10000 services"));
        }
        if checks + more > MAX_CHECKS {
            return Err(Error::Full("20000 checks"));
        }
        Ok(())
    }
}
