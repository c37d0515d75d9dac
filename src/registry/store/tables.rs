//! The catalog's tables: nodes, instances and checks, with the indexes by which Consul's watchers sleep and wake.
//!
//! Pure: no clock, no I/O. Every write takes the index `at` which it happens and says whether anything changed; a write
//! that repeats what is known changes nothing and moves no index. What an index covers follows Consul 1.8.7's state
//! store: one index for each service that has instances, one for the last time that any service lost its last one, and
//! one for each table.

use crate::registry::model::{Check, Node, Service, Status};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A node with all that is on it.
#[derive(Debug)]
pub struct Placed {
    /// The node itself.
    pub node: Node,
    /// Its instances by ID.
    pub services: BTreeMap<String, Service>,
    /// Its checks by ID, those of its instances included.
    pub checks: BTreeMap<String, Check>,
}

/// What the catalog knows of one service name.
#[derive(Debug, Default)]
struct Named {
    index: u64,
    /// Instances as (node, ID).
    members: BTreeSet<(String, String)>,
}

/// The catalog.
#[derive(Debug, Default)]
pub struct Tables {
    nodes: BTreeMap<String, Placed>,
    /// By name in lower case: Consul finds services in any case.
    names: HashMap<String, Named>,
    services: usize,
    checks: usize,
    nodes_index: u64,
    services_index: u64,
    checks_index: u64,
    /// When a service last lost its last instance; watchers of services without instances sleep on it.
    extinction_index: Option<u64>,
}

impl Tables {
    /// Finds a node by its exact name.
    pub fn find(&self, node: &str) -> Option<&Placed> {
        self.nodes.get(node)
    }

    /// How many nodes, instances and checks there are.
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.nodes.len(), self.services, self.checks)
    }

    /// All instances.
    pub fn all(&self) -> impl Iterator<Item = &Service> {
        self.nodes.values().flat_map(|placed| placed.services.values())
    }

    /// The instances of a service, its name in any case, ordered by node and ID.
    pub fn instances(&self, name: &str) -> impl Iterator<Item = (&Placed, &Service)> {
        let members = self.names.get(&name.to_lowercase());
        let members = members.into_iter().flat_map(|named| &named.members);
        members.filter_map(|(node, id)| {
            let placed = self.nodes.get(node)?;
            Some((placed, placed.services.get(id)?))
        })
    }

    /// The index of a service together with its checks, for `/v1/health/service`.
    pub fn health_index(&self, name: &str) -> u64 {
        self.service_index(name).unwrap_or_else(|| {
            let tables = self.nodes_index.max(self.services_index);
            tables.max(self.checks_index)
        })
    }

    /// The index of a service for `/v1/catalog/service`.
    pub fn instances_index(&self, name: &str) -> u64 {
        self.service_index(name).unwrap_or_else(|| self.nodes_index.max(self.services_index))
    }

    /// The index of the list of names: it moves with every instance, even where the names stay.
    pub fn names_index(&self) -> u64 {
        self.services_index
    }

    fn service_index(&self, name: &str) -> Option<u64> {
        let named = self.names.get(&name.to_lowercase());
        named.map(|named| named.index).or(self.extinction_index)
    }

    /// Writes a node.
    pub fn put_node(&mut self, at: u64, mut node: Node) -> bool {
        node.create_index = at;
        node.modify_index = at;
        match self.nodes.get_mut(&node.name) {
            None => {
                let placed = Placed { node, services: BTreeMap::new(), checks: BTreeMap::new() };
                self.nodes.insert(placed.node.name.clone(), placed);
            }
            Some(placed) => {
                node.create_index = placed.node.create_index;
                node.modify_index = placed.node.modify_index;
                if node == placed.node {
                    return false;
                }
                node.modify_index = at;
                let name = node.name.clone();
                placed.node = node;
                self.bump_all_on(at, &name);
            }
        }
        self.nodes_index = at;
        true
    }

    /// Writes an instance onto a node, which must exist; nothing happens if it does not.
    pub fn put_service(&mut self, at: u64, node: &str, mut service: Service) -> bool {
        let Some(placed) = self.nodes.get_mut(node) else {
            return false;
        };
        service.create_index = at;
        service.modify_index = at;
        let id = service.id.clone();
        let before = placed.services.get(&id).map(|known| known.name.to_lowercase());
        if let Some(known) = placed.services.get(&id) {
            service.create_index = known.create_index;
            service.modify_index = known.modify_index;
            if service == *known {
                return false;
            }
            service.modify_index = at;
        } else {
            self.services += 1;
        }
        let name = service.name.to_lowercase();
        // A check wakes the watchers of the name it carries. Its tags stay what they were when it was written.
        for check in placed.checks.values_mut().filter(|check| check.service_id == id) {
            check.service_name.clone_from(&service.name);
        }
        placed.services.insert(id.clone(), service);
        // An ID that changes its service leaves the old name, which may thereby lose its last instance.
        if let Some(before) = before.filter(|before| *before != name) {
            self.leave(at, &before, node, &id);
        }
        let named = self.names.entry(name).or_default();
        named.index = at;
        named.members.insert((node.to_owned(), id));
        self.services_index = at;
        true
    }

    /// Writes a check onto its node, and takes name and tags from the instance it speaks for. Nothing happens if there is
    /// no such node or instance.
    pub fn put_check(&mut self, at: u64, mut check: Check) -> bool {
        let Some(placed) = self.nodes.get_mut(&check.node) else {
            return false;
        };
        if !check.service_id.is_empty() {
            let Some(service) = placed.services.get(&check.service_id) else {
                return false;
            };
            check.service_name.clone_from(&service.name);
            check.service_tags.clone_from(&service.tags);
        }
        check.create_index = at;
        check.modify_index = at;
        match placed.checks.get(&check.id) {
            None => self.checks += 1,
            Some(known) => {
                check.create_index = known.create_index;
                check.modify_index = known.modify_index;
                if check == *known {
                    return false;
                }
                check.modify_index = at;
            }
        }
        let (node, service) = (check.node.clone(), check.service_name.clone());
        placed.checks.insert(check.id.clone(), check);
        self.checks_index = at;
        self.bump(at, &node, &service);
        true
    }

    /// Sets what a check says. A new output alone moves nothing: Consul holds it back for minutes.
    pub fn set_status(&mut self, at: u64, node: &str, check: &str, said: (Status, String)) -> bool {
        let placed = self.nodes.get_mut(node);
        let Some(check) = placed.and_then(|placed| placed.checks.get_mut(check)) else {
            return false;
        };
        let (status, output) = said;
        check.output = output;
        if check.status == status {
            return false;
        }
        check.status = status;
        check.modify_index = at;
        let service = check.service_name.clone();
        self.checks_index = at;
        self.bump(at, node, &service);
        true
    }

    /// Removes an instance and its checks.
    pub fn remove_service(&mut self, at: u64, node: &str, id: &str) -> bool {
        let Some(placed) = self.nodes.get_mut(node) else {
            return false;
        };
        let Some(service) = placed.services.remove(id) else {
            return false;
        };
        let before = placed.checks.len();
        placed.checks.retain(|_, check| check.service_id != id);
        let gone = before - placed.checks.len();
        if gone > 0 {
            self.checks -= gone;
            self.checks_index = at;
        }
        self.services -= 1;
        self.services_index = at;
        self.leave(at, &service.name.to_lowercase(), node, id);
        true
    }

    /// Removes a check.
    pub fn remove_check(&mut self, at: u64, node: &str, id: &str) -> bool {
        let placed = self.nodes.get_mut(node);
        let Some(check) = placed.and_then(|placed| placed.checks.remove(id)) else {
            return false;
        };
        self.checks -= 1;
        self.checks_index = at;
        self.bump(at, node, &check.service_name);
        if check.service_name.is_empty() {
            // Consul wakes the watchers of the names too when a node's own check goes, though not when it comes.
            self.services_index = at;
        }
        true
    }

    /// Removes a node and all that is on it.
    pub fn remove_node(&mut self, at: u64, node: &str) -> bool {
        let Some(placed) = self.nodes.get(node) else {
            return false;
        };
        let ids: Vec<String> = placed.services.keys().cloned().collect();
        for id in ids {
            self.remove_service(at, node, &id);
        }
        if let Some(placed) = self.nodes.remove(node).filter(|gone| !gone.checks.is_empty()) {
            self.checks -= placed.checks.len();
            self.checks_index = at;
        }
        self.nodes_index = at;
        true
    }

    /// Takes an instance out of a name, and the name out of the catalog with its last one.
    fn leave(&mut self, at: u64, name: &str, node: &str, id: &str) {
        let Some(named) = self.names.get_mut(name) else {
            return;
        };
        named.index = at;
        named.members.remove(&(node.to_owned(), id.to_owned()));
        if named.members.is_empty() {
            self.names.remove(name);
            self.extinction_index = Some(at);
        }
    }

    /// Moves the index of a service, or of every service on the node if the name is empty.
    fn bump(&mut self, at: u64, node: &str, service: &str) {
        if service.is_empty() {
            self.bump_all_on(at, node);
        } else if let Some(named) = self.names.get_mut(&service.to_lowercase()) {
            named.index = at;
        }
    }

    fn bump_all_on(&mut self, at: u64, node: &str) {
        let services = self.nodes.get(node).map(|placed| &placed.services);
        for service in services.into_iter().flat_map(BTreeMap::values) {
            if let Some(named) = self.names.get_mut(&service.name.to_lowercase()) {
                named.index = at;
            }
        }
    }
}

#[cfg(test)]
mod tests;
