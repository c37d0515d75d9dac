//! The agent's side of the store: its own services and checks, their reports, maintenance, and what time does to them.

use super::{Error, Store};
use crate::registry::definition::{CheckDefinition, Run, ServiceDefinition};
use crate::registry::model::{Check, Service, ServiceAddress, Status};
use std::net::IpAddr;
use tokio::time::Instant;

/// How much of a check's output is kept, in bytes, as in Consul.
const MAX_OUTPUT: usize = 4096;

const NODE_MAINTENANCE: &str = "_node_maintenance";
const SERVICE_MAINTENANCE: &str = "_service_maintenance:";

/// What becomes of the checks that a service has and its new registration does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldChecks {
    /// They stay: Consul's default.
    Keep,
    /// They go, maintenance included.
    Remove,
}

impl Store {
    /// Registers an instance on the agent's own node, with its checks.
    pub fn register(&mut self, definition: ServiceDefinition, old: OldChecks, now: Instant) -> Result<(), Error> {
        let ServiceDefinition { mut service, checks } = definition;
        self.room(&self.own, Some(&service.id), checks.len())?;
        add_tagged_addresses(&mut service);
        let (at, own) = (self.at(), self.own.clone());
        let (id, name) = (service.id.clone(), service.name.clone());
        let mut changed = self.tables.put_service(at, &own, service);
        let mut kept = Vec::with_capacity(checks.len());
        let many = checks.len() > 1;
        for (place, mut check) in checks.into_iter().enumerate() {
            if check.id.is_empty() {
                check.id = match many {
                    true => format!("service:{id}:{}", place + 1),
                    false => format!("service:{id}"),
                };
            }
            if check.name.is_empty() {
                check.name = format!("Service '{name}' check");
            }
            check.service_id.clone_from(&id);
            kept.push(check.id.clone());
            changed |= self.put_own_check(at, check, now);
        }
        if old == OldChecks::Remove {
            for check in self.checks_of(&id) {
                if !kept.contains(&check) {
                    changed |= self.drop_own_check(at, &check);
                }
            }
        }
        self.note(changed);
        Ok(())
    }

    /// Registers a check on the agent's own node, for one of its instances or for the node.
    pub fn register_check(&mut self, check: CheckDefinition, now: Instant) -> Result<(), Error> {
        let services = self.tables.find(&self.own).map(|placed| &placed.services);
        let known = services.is_some_and(|services| services.contains_key(&check.service_id));
        if !check.service_id.is_empty() && !known {
            return Err(Error::NoService(check.service_id));
        }
        self.room(&self.own, None, 1)?;
        let changed = self.put_own_check(self.at(), check, now);
        self.note(changed);
        Ok(())
    }

    /// Removes an instance and its checks from the agent's own node; an unknown one is as good as removed.
    pub fn deregister(&mut self, id: &str) {
        let own = self.own.clone();
        self.remove_service(&own, id);
    }

    /// Removes a check from the agent's own node; an unknown one is as good as removed.
    pub fn deregister_check(&mut self, id: &str) {
        let changed = self.drop_own_check(self.at(), id);
        self.note(changed);
    }

    /// Takes a service's report on a TTL check; false if there is no such check.
    pub fn beat(&mut self, id: &str, said: (Status, String), now: Instant) -> bool {
        let known = self.local.beat(id, said.0, now);
        if known {
            self.set_status(id, said);
        }
        known
    }

    /// Takes a probe's answer; one that nobody waits for any more is dropped.
    pub fn answer(&mut self, probe: (&str, u64), said: (Status, String), now: Instant) {
        let (id, generation) = probe;
        if self.local.answer(id, generation, said.0, now) {
            self.set_status(id, said);
        }
    }

    /// Does what time asks for (silent TTLs turn critical, services critical for too long go) and says when to come again.
    pub fn settle(&mut self, now: Instant) -> Option<Instant> {
        let due = self.local.due(now);
        for id in due.expired {
            let before = self.own_check(&id).map(|check| check.output.clone());
            let output = match before.filter(|output| !output.is_empty()) {
                Some(last) => {
                    format!("TTL expired (last output before timeout follows): {last}")
                }
                None => "TTL expired".to_owned(),
            };
            self.set_status(&id, (Status::Critical, output));
        }
        for id in due.reaped {
            self.deregister(&id);
        }
        due.next
    }

    /// Puts an instance of the agent's own node into maintenance, or with no reason out of it; false if it is unknown.
    pub fn maintain_service(&mut self, id: &str, reason: Option<&str>) -> bool {
        let placed = self.tables.find(&self.own);
        if placed.is_none_or(|placed| !placed.services.contains_key(id)) {
            return false;
        }
        let check = format!("{SERVICE_MAINTENANCE}{id}");
        self.maintain(&check, (id, "Service Maintenance Mode", "service"), reason);
        true
    }

    /// Puts the agent's own node into maintenance, or with no reason out of it.
    pub fn maintain_node(&mut self, reason: Option<&str>) {
        self.maintain(NODE_MAINTENANCE, ("", "Node Maintenance Mode", "node"), reason);
    }

    fn maintain(&mut self, id: &str, of: (&str, &str, &str), reason: Option<&str>) {
        let (service_id, name, kind) = of;
        let at = self.at();
        let changed = match reason {
            None => self.drop_own_check(at, id),
            // A second reason does not replace the first.
            Some(_) if self.own_check(id).is_some() => false,
            Some(reason) => {
                let mut check = Check::new(&self.own, id, name);
                check.service_id = service_id.to_owned();
                check.r#type = "maintenance".to_owned();
                check.notes = match reason {
                    "" => format!(
                        "Maintenance mode is enabled for this {kind}, but no reason was provided. \
                         This is a default message."
                    ),
                    reason => reason.to_owned(),
                };
                self.tables.put_check(at, check)
            }
        };
        self.note(changed);
    }

    /// Finds a check of the agent's own node.
    fn own_check(&self, id: &str) -> Option<&Check> {
        self.tables.find(&self.own)?.checks.get(id)
    }

    fn checks_of(&self, service: &str) -> Vec<String> {
        let placed = self.tables.find(&self.own);
        let checks = placed.into_iter().flat_map(|placed| placed.checks.values());
        checks.filter(|check| check.service_id == service).map(|check| check.id.clone()).collect()
    }

    fn put_own_check(&mut self, at: u64, definition: CheckDefinition, now: Instant) -> bool {
        let mut check = Check::new(&self.own, &definition.id, &definition.name);
        check.notes.clone_from(&definition.notes);
        check.service_id.clone_from(&definition.service_id);
        check.r#type = match &definition.run {
            Some(Run::Ttl(_)) => "ttl",
            Some(Run::Probe(probe)) => probe.target.kind(),
            None => "",
        }
        .to_owned();
        // A check that is known keeps what it last said.
        match self.own_check(&definition.id) {
            Some(known) => {
                check.status = known.status;
                check.output.clone_from(&known.output);
            }
            None => check.status = definition.status.unwrap_or(Status::Critical),
        }
        self.local.watch(&definition.id, &definition, check.status, now);
        self.tables.put_check(at, check)
    }

    fn drop_own_check(&mut self, at: u64, id: &str) -> bool {
        self.local.forget(id);
        self.tables.remove_check(at, &self.own, id)
    }

    fn set_status(&mut self, id: &str, said: (Status, String)) {
        let (at, said) = (self.index + 1, (said.0, clip(said.1)));
        let changed = self.tables.set_status(at, &self.own, id, said);
        self.note(changed);
    }
}

/// Gives an instance with an address the tagged addresses that Consul's agent gives it.
fn add_tagged_addresses(service: &mut Service) {
    let tags = match service.address.parse() {
        Ok(IpAddr::V4(_)) => ["lan_ipv4", "wan_ipv4"],
        Ok(IpAddr::V6(_)) => ["lan_ipv6", "wan_ipv6"],
        Err(_) => return,
    };
    for tag in tags {
        let address = ServiceAddress { address: service.address.clone(), port: service.port };
        let tagged = service.tagged_addresses.entry(tag.to_owned());
        tagged.or_insert(address);
    }
}

/// Cuts a check's output to what is kept, and says so.
fn clip(mut output: String) -> String {
    let whole = output.len();
    if whole > MAX_OUTPUT {
        let mut end = MAX_OUTPUT;
        while !output.is_char_boundary(end) {
            end -= 1;
        }
        output.truncate(end);
        output.push_str(&format!(" ... (captured {end} of {whole} bytes)"));
    }
    output
}

#[cfg(test)]
mod tests;
