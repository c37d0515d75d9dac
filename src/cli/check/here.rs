//! What only shows on the machine itself: whether ports can be bound, and how long certificates are good for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::report::Report;
use crate::config::{Admin, ClusterTls, Config};
use crate::consul::Agent;
use crate::listener::{self, Port};
use crate::tls::{self, Facts, NOTICE, Server};

/// When certificates end to be valid, by what they are for.
type Expiries = BTreeMap<String, SystemTime>;

/// Looks at every address that lictor would listen on.
pub(super) fn ports(config: &Config, report: &mut Report) {
    let listeners = config.listeners.iter().map(|listener| (format!("listener {}", listener.name), listener.bind));
    let admin = config.admin.as_ref().and_then(Admin::address).map(|address| ("admin".to_owned(), address));
    for (whose, address) in listeners.chain(admin) {
        port(&whose, address, report);
    }
}

fn port(whose: &str, address: SocketAddr, report: &mut Report) {
    match listener::look(address) {
        Ok(Port::Free) => report.say("port", "ok", format!("{whose}: {address} is free")),
        Ok(Port::Shared) => {
            let who = "in use by a process of the same user that shares its ports, such as lictor itself";
            report.say("port", "ok", format!("{whose}: {address} is {who}"));
        }
        Err(error) => report.say("port", "failed", format!("{whose}: {error}")),
    }
}

/// Looks at every certificate that lictor shows or goes by; those in files fit their keys, or the configuration would have been refused.
pub(super) async fn certificates(config: &Config, servers: &[Arc<Server>], agent: Option<&Agent>, report: &mut Report) {
    let secured = config.listeners.iter().filter(|listener| listener.tls.is_some());
    for (listener, server) in secured.zip(servers) {
        let kv = listener.tls.as_ref().and_then(|tls| tls.kv.as_ref());
        if let Some((prefix, agent)) = kv.zip(agent) {
            stored(&listener.name, prefix, (agent, server), report).await;
        }
        expiries(&format!("listener {}", listener.name), &server.expiries(), report);
    }
    for cluster in &config.clusters {
        if let Some(tls) = &cluster.tls {
            expiries(&format!("cluster {}", cluster.name), &of_cluster(tls), report);
        }
    }
}

/// Whether what stands under a prefix of certificates can be used.
async fn stored(name: &str, prefix: &str, (agent, server): (&Agent, &Server), report: &mut Report) {
    match agent.values(prefix, 0, Duration::ZERO).await {
        Ok((_, values)) if values.is_empty() => {
            report.say("certificate", "warning", format!("listener {name}: nothing stands under kv {prefix}"));
        }
        Ok((_, values)) => {
            for why in server.store(&values) {
                report.say("certificate", "failed", format!("listener {name}: kv {prefix}: {why}"));
            }
        }
        Err(failure) => {
            report.say("certificate", "failed", format!("listener {name}: kv {prefix} cannot be read: {failure}"));
        }
    }
}

fn of_cluster(tls: &ClusterTls) -> Expiries {
    let authorities = tls.authorities.iter().flat_map(|authorities| authorities.certificates.iter());
    let own = tls.identity.iter().flat_map(|identity| identity.chain.first());
    let facts = authorities.chain(own).filter_map(tls::Facts::of);
    facts.map(|Facts { subject, not_after, .. }| (subject, not_after)).collect()
}

fn expiries(whose: &str, all: &Expiries, report: &mut Report) {
    let now = SystemTime::now();
    for (name, end) in all {
        let until = humantime::format_rfc3339_seconds(*end);
        let what = format!("{whose}: \"{name}\" is good until {until}");
        match end.duration_since(now) {
            Err(_) => report.say("certificate", "failed", format!("{whose}: \"{name}\" expired at {until}")),
            Ok(left) if left < NOTICE => report.say("certificate", "warning", what),
            Ok(_) => report.say("certificate", "ok", what),
        }
    }
}
