//! What listeners go by: routes, or names of services.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::text::is_host_name;
use super::super::{Egress, Glob, Name, Serves, raw};
use super::{Problems, positive};

// Defaults; `config/reference.toml` says why each is what it is.
const DOMAIN: &str = "consul";
const MAX_SERVICES: usize = 1000;
const IDLE: Duration = Duration::from_secs(600);
const WAIT: Duration = Duration::from_secs(2);
/// Far more than one process talks to, and each costs a query that is held open.
const MOST_SERVICES: usize = 100_000;
/// Whoever waits longer has given up.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Shorter, and a name would be forgotten between two requests of somebody who uses it.
const SHORTEST_IDLE: Duration = Duration::from_secs(1);

/// `[egress]`
pub(super) fn egress(written: raw::Egress, problems: &mut Problems) -> Egress {
    let egress = Egress {
        domain: domain(written.domain.as_deref().unwrap_or(DOMAIN), problems),
        services: globs("egress.services", written.services, problems),
        datacenters: globs("egress.datacenters", written.datacenters, problems),
        max_services: written.max_services.unwrap_or(MAX_SERVICES),
        idle: written.idle.unwrap_or(IDLE),
        wait: written.wait.unwrap_or(WAIT),
    };
    if !(1..=MOST_SERVICES).contains(&egress.max_services) {
        let what = format!("{} is not a number of services; use 1 to {MOST_SERVICES}", egress.max_services);
        problems.add("egress.max_services", what);
    }
    positive("egress.wait", written.wait, problems);
    if egress.wait > LONGEST_WAIT {
        problems.add("egress.wait", "nobody waits for so long; use 60s at most");
    }
    if egress.idle < SHORTEST_IDLE {
        problems.add("egress.idle", "services that are in use would be forgotten; use 1s at least");
    }
    egress
}

fn domain(written: &str, problems: &mut Problems) -> String {
    let domain = written.trim_matches('.').to_ascii_lowercase();
    if !is_host_name(&domain) {
        problems.add("egress.domain", format!("\"{written}\" is not a domain; use Consul's own, such as \"consul\""));
    }
    domain
}

fn globs(key: &str, written: Option<Vec<String>>, problems: &mut Problems) -> Vec<Glob> {
    let Some(written) = written else { return vec![Glob::new("*")] };
    for (index, glob) in written.iter().enumerate() {
        if glob.is_empty() || glob.len() > 255 || glob.chars().any(char::is_control) {
            problems.add(format!("{key}[{index}]"), "a pattern has 1 to 255 visible characters, such as \"team-*\"");
        }
    }
    written.into_iter().map(|glob| Glob::new(glob.to_ascii_lowercase())).collect()
}

/// What a listener goes by.
pub(super) fn serves(key: &str, listener: &raw::Listener, egress: &Egress, problems: &mut Problems) -> Serves {
    let is_tcp = listener.protocol.as_deref() == Some("tcp");
    if listener.egress && is_tcp {
        let message = "names come with requests, and this listener is for any protocol; use service = \"…\"";
        problems.add(format!("{key}.egress"), message);
    }
    let Some(written) = &listener.service else {
        return if listener.egress { Serves::Names } else { Serves::Routes };
    };
    if listener.egress {
        problems.add(format!("{key}.service"), "egress = true serves every service; keep one of them");
    }
    if is_tcp && listener.cluster.is_some() {
        problems.add(format!("{key}.service"), "connections go to the cluster already; keep one of them");
    }
    match Name::parse(written, &egress.domain) {
        Ok(name) => Serves::Service(name),
        Err(_) => {
            let domain = &egress.domain;
            let advice = format!("use \"web\", \"v2.web.service.{domain}\" or \"web.service.dc2.{domain}\"");
            problems.add(format!("{key}.service"), format!("\"{written}\" is not the name of a service; {advice}"));
            Serves::Routes
        }
    }
}

/// Clusters as they are written, by whether they have endpoints.
#[derive(Clone, Copy)]
pub(super) struct Written<'a> {
    pub(super) clusters: &'a BTreeMap<String, raw::Cluster>,
    /// Whether services are served without a cluster for each, by their names or by routes that they claim: then a cluster may say how one
    /// is treated, and leave its endpoints to that.
    pub(super) by_name: bool,
}

impl<'a> Written<'a> {
    pub(super) fn new(
        clusters: &'a BTreeMap<String, raw::Cluster>,
        listeners: &[raw::Listener],
        claims: Option<&raw::ServiceRoutes>,
    ) -> Self {
        let may_claim = claims.is_some_and(|claims| claims.enabled == Some(true));
        let by_name = may_claim || listeners.iter().any(|listener| listener.egress || listener.service.is_some());
        Written { clusters, by_name }
    }

    /// True for a cluster that leaves it to others where its endpoints come from.
    pub(super) fn is_policy(&self, name: &str) -> bool {
        self.by_name && self.clusters.get(name).is_some_and(|cluster| !cluster.has_source())
    }
}

impl raw::Cluster {
    /// True if it says where its endpoints come from.
    pub(super) fn has_source(&self) -> bool {
        self.consul.is_some() || self.endpoints.is_some()
    }
}
