//! Listeners for any protocol on TCP, and the PROXY protocol of both sides.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::super::{
    Accepts, Announced, Claimed, Cluster, Config, Forwarding, HashKey, Host, Listener, Policy, Protocol, ProxyProtocol,
    Serves, raw,
};
use super::Problems;
use super::egress::Written;
use super::route::{host, known};

/// What a listener's connections are, and where they go.
pub(super) fn accepts(
    key: &str,
    (listener, serves): (&raw::Listener, &Serves),
    clusters: Written<'_>,
    problems: &mut Problems,
) -> Accepts {
    match listener.protocol.as_deref() {
        None | Some("http") => {
            let written = [
                ("cluster", listener.cluster.is_some()),
                ("sni", !listener.sni.is_empty()),
                ("service_routes", listener.service_routes.is_some()),
            ];
            for (name, _) in written.into_iter().filter(|(_, written)| *written) {
                let message = "is for protocol = \"tcp\"; HTTP goes where its routes say";
                problems.add(format!("{key}.{name}"), message);
            }
            Accepts::Http
        }
        Some("tcp") => {
            refuse_http(key, listener, problems);
            Accepts::Tcp(forwarding(key, (listener, serves), clusters, problems))
        }
        Some(other) => {
            problems.add(format!("{key}.protocol"), format!("no protocol \"{other}\"; use \"http\" or \"tcp\""));
            Accepts::Http
        }
    }
}

/// What would be without effect for a protocol that lictor does not know.
fn refuse_http(key: &str, listener: &raw::Listener, problems: &mut Problems) {
    let written = [
        ("http2", listener.http2.is_some()),
        ("paths", listener.paths.is_some()),
        ("underscores", listener.underscores.is_some()),
        ("connect", listener.connect.is_some()),
        ("limits", listener.limits.is_some()),
        ("tls", listener.tls.is_some()),
    ];
    for (name, _) in written.into_iter().filter(|(_, written)| *written) {
        problems.add(format!("{key}.{name}"), "is for HTTP, and this listener is for any protocol");
    }
    let Some(timeouts) = &listener.timeouts else { return };
    let idle = "is for HTTP; how long both sides may be silent is the cluster's timeouts.idle";
    let age = "is for HTTP: a connection of any protocol has no moment at which it could be ended";
    let written = [
        ("idle", timeouts.idle.is_some(), idle),
        ("connection_age", timeouts.connection_age.is_some(), age),
        ("trust_deadline", timeouts.trust_deadline == Some(true), "is for HTTP"),
    ];
    for (name, _, why) in written.into_iter().filter(|(_, written, _)| *written) {
        problems.add(format!("{key}.timeouts.{name}"), why);
    }
}

fn forwarding(
    key: &str,
    (listener, serves): (&raw::Listener, &Serves),
    clusters: Written<'_>,
    problems: &mut Problems,
) -> Forwarding {
    let mut known = |key: String, name: &str| {
        known(&key, name, clusters, problems);
        Arc::from(name)
    };
    let cluster = listener.cluster.as_ref().map(|name| known(format!("{key}.cluster"), name));
    let targets = listener.sni.iter().enumerate();
    let targets: Vec<Arc<str>> =
        targets.map(|(index, sni)| known(format!("{key}.sni[{index}].cluster"), &sni.cluster)).collect();
    let service = match serves {
        Serves::Service(name) => Some(Arc::from(name.to_string())),
        Serves::Names | Serves::Routes => None,
    };
    // Who is served by its name alone has a cluster of that name.
    let cluster = cluster.or(service);
    let claimed = listener.service_routes.as_deref().and_then(|by| claimed(key, by, problems));
    let is_told = listener.service.is_some() || listener.service_routes.is_some();
    if cluster.is_none() && targets.is_empty() && !is_told {
        let message = "leads nowhere; add cluster = \"…\", service = \"…\", service_routes = \"port\" or [[listeners.sni]] with \
                       names and a cluster";
        problems.add(key, message);
    }
    let (mut names, mut seen) = (Vec::new(), BTreeSet::new());
    for (index, (sni, target)) in listener.sni.iter().zip(targets).enumerate() {
        let key = format!("{key}.sni[{index}].names");
        if sni.names.is_empty() {
            problems.add(&key, "is empty; add at least one \"db.example.com\" or \"*.example.com\"");
        }
        for name in &sni.names {
            let host = host(&key, Some(name), problems);
            if matches!(&host, Host::Exact(name) if name.parse::<IpAddr>().is_ok()) {
                problems.add(&key, format!("\"{name}\" is an address, which no client names in its TLS greeting"));
            }
            if !seen.insert(host.to_string()) {
                problems.add(&key, format!("\"{name}\" stands here twice"));
            }
            names.push((host, Arc::clone(&target)));
        }
    }
    Forwarding { names, claimed, cluster }
}

fn claimed(key: &str, by: &str, problems: &mut Problems) -> Option<Claimed> {
    match by {
        "port" => Some(Claimed::Port),
        "sni" => Some(Claimed::Name),
        other => {
            let advice = "use \"port\", or \"sni\" for the name in the TLS greeting";
            problems.add(format!("{key}.service_routes"), format!("\"{other}\" is nothing to claim by; {advice}"));
            None
        }
    }
}

/// Sees to it that headers are expected only of somebody.
pub(super) fn announced(key: &str, listener: &raw::Listener, problems: &mut Problems) -> bool {
    let expected = listener.proxy_protocol.unwrap_or(false);
    if expected && listener.trusted_networks.as_ref().is_none_or(Vec::is_empty) {
        let message = "needs trusted_networks: the header says who the client is, and anybody could send one";
        problems.add(format!("{key}.proxy_protocol"), message);
    }
    expected
}

/// The version that connections to endpoints begin with.
pub(super) fn proxy_protocol(
    key: &str,
    written: Option<&str>,
    protocol: &mut Protocol,
    problems: &mut Problems,
) -> Option<ProxyProtocol> {
    let key = format!("{key}.proxy_protocol");
    let version = match written? {
        "v1" => ProxyProtocol::V1,
        "v2" => ProxyProtocol::V2,
        other => {
            problems.add(key, format!("no version \"{other}\"; use \"v1\" or \"v2\""));
            return None;
        }
    };
    match protocol {
        Protocol::Auto => *protocol = Protocol::Http1,
        Protocol::Http1 => {}
        Protocol::Http2 => {
            let message = "says who the client is, and clients share connections of protocol = \"h2\"; use \"http1\"";
            problems.add(key, message);
        }
    }
    Some(version)
}

/// Sees to it that connections without requests can be given to their clusters.
pub(super) fn check_clusters(config: &Config, problems: &mut Problems) {
    for (index, listener) in config.listeners.iter().enumerate() {
        let Accepts::Tcp(forwarding) = &listener.accepts else { continue };
        let targets: BTreeSet<&Arc<str>> =
            forwarding.names.iter().map(|(_, name)| name).chain(&forwarding.cluster).collect();
        let written = config.clusters.iter().filter(|cluster| targets.contains(&cluster.name)).cloned();
        for cluster in written.chain(by_name(config, listener)) {
            let hashes = cluster.policy == Policy::ConsistentHash;
            if cluster.tls.is_some() {
                let message = "has tls: this listener passes on what clients send as it is; use another cluster";
                problems.add(format!("listeners[{index}]"), format!("its cluster \"{}\" {message}", cluster.name));
            }
            if hashes && !cluster.balancing.hash.keys.contains(&HashKey::ClientAddress) {
                let message = "hashes by what only requests have; add \"client_address\" to its hash.keys";
                problems.add(format!("listeners[{index}]"), format!("its cluster \"{}\" {message}", cluster.name));
            }
        }
    }
}

/// The cluster that a listener's connections go to by the name of a service, unless it is written down.
fn by_name(config: &Config, listener: &Listener) -> Option<Arc<Cluster>> {
    let Serves::Service(service) = &listener.serves else { return None };
    let name = service.to_string();
    if config.clusters.iter().any(|cluster| *cluster.name == *name) {
        return None;
    }
    config.templates.named(service, &Announced::default()).ok().map(Arc::new)
}
