//! From the configuration as written to the configuration as meant: fills in the defaults, checks what no type can say, and
//! goes on after a problem, so that a reader sees all of them at once.

mod access_log;
mod action;
mod admin;
mod balancing;
mod egress;
mod failover;
mod http;
mod mesh;
mod modifier;
mod network;
mod policy;
mod probe;
mod protection;
mod registration;
mod tcp;
mod route;
mod service_routes;
mod tls;
mod tracing;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

pub use admin::read_token;
use egress::Written;
use network::networks;
use route::{Told, routes};

use super::text::parse_address;
use super::{
    Cluster, Config, Drain, Egress, Endpoint, Environment, Kv, Listener, Log, MAX_WEIGHT, Place, Problem, Selection,
    Source, Templates, consul, raw,
};

// Defaults; `config/reference.toml` says why each is what it is.
const ENDPOINT_FIGURES: usize = 1_000;
/// A scrape of so many is ten megabytes, and no Prometheus is glad of it.
const MAX_ENDPOINT_FIGURES: usize = 20_000;
const MAX_WORKERS: usize = 1024;
const REQUEST_HEADER: Duration = Duration::from_secs(10);
const HANDSHAKE: Duration = Duration::from_secs(10);
const LISTENER_IDLE: Duration = Duration::from_secs(75);
const DRAIN: Drain = Drain { delay: Duration::from_secs(5), timeout: Duration::from_secs(30) };

/// The checked configuration, or everything that is wrong with it.
pub(super) fn check(raw: raw::File, environment: &Environment) -> Result<Config, Vec<Problem>> {
    let mut problems = Problems::default();
    let defaults = raw.defaults.unwrap_or_default();
    // What applications of this machine go out by is for nobody else to come in by.
    let enterable = raw.listeners.iter().filter(|listener| !listener.egress);
    let listener_names: Vec<String> = enterable.map(|listener| listener.name.clone()).collect();
    let around = registration::Around {
        listeners: &listener_names,
        has_window: raw.admin.as_ref().is_some_and(registration::can_be_asked),
    };
    let templates = Templates::new(defaults.clone(), raw.clusters.clone());
    let written = Written::new(&raw.clusters, &raw.listeners, raw.service_routes.as_ref());
    let egress = egress::egress(raw.egress.unwrap_or_default(), &mut problems);
    let config = Config {
        workers: workers(raw.workers, &mut problems),
        max_connections: max_connections(raw.max_connections, &mut problems),
        admin: raw.admin.and_then(|written| admin::check(written, &mut problems)),
        consul: consul::check(raw.consul.unwrap_or_default(), environment, &mut problems),
        mesh: raw.mesh.map(|mesh| super::mesh::check(mesh, &mut problems)),
        place: place(raw.place.unwrap_or_default(), &mut problems),
        listeners: listeners(raw.listeners, (written, &egress), &mut problems),
        routes: routes(raw.routes, &Told { written, defaults: &defaults, joined: &raw.joined }, &mut problems),
        egress,
        named: BTreeMap::new(),
        doors: Arc::default(),
        clusters: clusters(written, &defaults, &mut problems),
        templates: Arc::new(templates),
        service_routes: service_routes::check(raw.service_routes.unwrap_or_default(), &mut problems),
        drain: drain(&raw.drain.unwrap_or_default()),
        log: log(raw.log.unwrap_or_default(), &mut problems),
        endpoint_figures: endpoint_figures(&raw.metrics.unwrap_or_default(), &mut problems),
        tracing: tracing::check(raw.tracing, &mut problems),
        access_log: access_log::check(raw.access_log.unwrap_or_default(), &mut problems),
        registration: raw.registration.map(|written| registration::check(written, &around, &mut problems)),
        kv: raw.kv.map(|kv| Kv { prefix: prefix("kv.prefix", &kv.prefix, "lictor/config/", &mut problems) }),
        shown: Arc::default(),
        written: None,
    };
    if problems.0.is_empty() {
        service_routes::check_listeners(&config, &mut problems);
        tcp::check_clusters(&config, &mut problems);
        mesh::check_members(&config, &mut problems);
    }
    if problems.0.is_empty() { Ok(config) } else { Err(problems.0) }
}

/// What was found wrong so far.
#[derive(Default)]
pub(super) struct Problems(pub(super) Vec<Problem>);

impl Problems {
    pub(super) fn add(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem::new(key, message));
    }
}

fn workers(written: Option<usize>, problems: &mut Problems) -> usize {
    match written {
        None => std::thread::available_parallelism().map_or(1, NonZero::get),
        Some(count) if (1..=MAX_WORKERS).contains(&count) => count,
        Some(count) => {
            problems.add("workers", format!("{count} is not a number of threads; use 1 to {MAX_WORKERS}"));
            1
        }
    }
}

fn max_connections(written: Option<usize>, problems: &mut Problems) -> Option<usize> {
    if written == Some(0) {
        problems.add("max_connections", "0 would serve nobody; leave the key out for its default");
    }
    written
}

fn socket(key: &str, written: &str, problems: &mut Problems) -> Option<SocketAddr> {
    let address = written.parse().ok();
    if address.is_none() {
        problems
            .add(key, format!("\"{written}\" is not an address to listen on; use \"127.0.0.1:8080\" or \"[::]:8080\""));
    }
    address
}

fn place(written: raw::Place, problems: &mut Problems) -> Place {
    let zone_key = written.zone_key.unwrap_or_else(|| "zone".to_owned());
    let named = [("node", written.node.as_ref()), ("zone", written.zone.as_ref())];
    let named = named.into_iter().chain([("datacenter", written.datacenter.as_ref()), ("zone_key", Some(&zone_key))]);
    for (key, _) in named.filter(|(_, name)| name.is_some_and(|name| name.trim().is_empty())) {
        problems.add(format!("place.{key}"), "is empty; leave the key out");
    }
    Place { node: written.node, zone: written.zone, datacenter: written.datacenter, zone_key }
}

fn listeners(
    written: Vec<raw::Listener>,
    (clusters, egress): (Written<'_>, &Egress),
    problems: &mut Problems,
) -> Vec<Listener> {
    if written.is_empty() {
        problems.add("listeners", "there is none; add [[listeners]] with a name and an address to bind");
    }
    let mut names = BTreeSet::new();
    let mut addresses = BTreeSet::new();
    let mut listeners = Vec::new();
    for (index, listener) in written.into_iter().enumerate() {
        let key = format!("listeners[{index}]");
        label(&format!("{key}.name"), &listener.name, problems);
        if !names.insert(listener.name.clone()) {
            problems.add(format!("{key}.name"), format!("\"{}\" is the name of another listener", listener.name));
        }
        let http = http::http(&key, &listener, problems);
        let serves = egress::serves(&key, &listener, egress, problems);
        let accepts = tcp::accepts(&key, (&listener, &serves), clusters, problems);
        let proxy_protocol = tcp::announced(&key, &listener, problems);
        let mesh = mesh::listener(&key, &listener, problems);
        let trusted_networks = listener.trusted_networks.unwrap_or_default();
        let trusted_networks = networks(&format!("{key}.trusted_networks"), &trusted_networks, problems);
        let timeouts = listener.timeouts.unwrap_or_default();
        positive(&format!("{key}.timeouts.request_header"), timeouts.request_header, problems);
        positive(&format!("{key}.timeouts.idle"), timeouts.idle, problems);
        positive(&format!("{key}.timeouts.connection_age"), timeouts.connection_age, problems);
        positive(&format!("{key}.timeouts.tls"), timeouts.tls, problems);
        let tls = listener.tls.and_then(|tls| tls::listener(&key, tls, problems));
        let Some(bind) = socket(&format!("{key}.bind"), &listener.bind, problems) else { continue };
        if bind.port() != 0 && !addresses.insert(bind) {
            problems.add(format!("{key}.bind"), format!("{bind} is bound by another listener"));
        }
        listeners.push(Listener {
            name: listener.name.into(),
            bind,
            request_header: timeouts.request_header.unwrap_or(REQUEST_HEADER),
            idle: timeouts.idle.unwrap_or(LISTENER_IDLE),
            connection_age: timeouts.connection_age,
            trust_deadline: timeouts.trust_deadline.unwrap_or(false),
            http,
            accepts,
            serves,
            trusted_networks,
            tls,
            mesh,
            handshake: timeouts.tls.unwrap_or(HANDSHAKE),
            proxy_protocol,
        });
    }
    listeners
}

/// Names become labels of metrics and parts of API paths.
fn label(key: &str, name: &str, problems: &mut Problems) {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 128 || !name.chars().all(plain) {
        problems.add(key, format!("\"{name}\" is not a name; use 1 to 128 letters, digits, '-', '_' and '.'"));
    }
}

fn positive(key: &str, duration: Option<Duration>, problems: &mut Problems) {
    if duration.is_some_and(|duration| duration.is_zero()) {
        problems.add(key, "0 would time out at once; leave the key out for its default");
    }
}

fn clusters(written: Written<'_>, defaults: &raw::Policy, problems: &mut Problems) -> Vec<Arc<Cluster>> {
    // The defaults are checked once under their own key, not once for every cluster that inherits them.
    policy::check("defaults", defaults.clone(), problems);
    let mut clusters = Vec::new();
    for (name, cluster) in written.clusters {
        let key = format!("clusters.{name}");
        label(&key, name, problems);
        if written.is_policy(name) {
            // Looked at here, so that what is wrong is known before somebody asks for it.
            let source = Selection::of(name).into();
            cluster_by_name((&key, name), source, (cluster.clone(), defaults), problems);
            continue;
        }
        let in_turn = cluster.failover.is_some();
        let (source, own) = parts(&key, cluster.clone(), problems);
        let cluster = cluster_of((&key, name), source, (own, defaults), problems);
        clusters.push(Arc::new(Cluster { in_turn, ..cluster }));
    }
    clusters
}

/// The cluster with these settings of its own, and the defaults for the rest.
pub(super) fn cluster_of(
    (key, name): (&str, &str),
    source: Source,
    (own, defaults): (raw::Policy, &raw::Policy),
    problems: &mut Problems,
) -> Cluster {
    // Checked as merged; what the defaults bring along by themselves has been reported under their own key.
    let (mut merged, mut inherited) = (Problems::default(), Problems::default());
    policy::check(key, defaults.clone(), &mut inherited);
    let says_tls = own.tls.as_ref().is_some_and(|tls| tls.enabled.unwrap_or(true));
    let policies = policy::check(key, own.or(defaults), &mut merged);
    problems.0.extend(merged.0.into_iter().filter(|problem| !inherited.0.contains(problem)));
    let policy::Policies { policy, balancing, ejection, probe, retry, hedge, limits, timeouts, .. } = policies;
    let policy::Policies { protocol, tls, proxy_protocol, .. } = policies;
    let mut cluster = Cluster {
        name: name.into(),
        source,
        in_turn: false,
        policy,
        balancing,
        ejection,
        probe,
        retry,
        hedge,
        limits,
        timeouts,
        protocol,
        tls,
        proxy_protocol,
    };
    mesh::settle(key, &mut cluster, says_tls, problems);
    cluster
}

/// Where a cluster's endpoints come from, and the keys that defaults have as well.
fn parts(key: &str, mut cluster: raw::Cluster, problems: &mut Problems) -> (Source, raw::Policy) {
    let mut source = source(key, cluster.consul.clone(), cluster.endpoints.take(), problems);
    failover::extend(key, (&mut source, cluster.consul.as_ref()), cluster.failover.take(), problems);
    (source, own(cluster))
}

/// The cluster of a name, of which this is written besides: it says how the service is treated, and who serves in its place.
pub(super) fn cluster_by_name(
    (key, name): (&str, &str),
    mut source: Source,
    (mut written, defaults): (raw::Cluster, &raw::Policy),
    problems: &mut Problems,
) -> Cluster {
    // One with endpoints of its own speaks of those.
    let failover = written.failover.take().filter(|_| !written.has_source());
    let in_turn = failover.is_some();
    failover::extend_named(key, &mut source, failover, problems);
    Cluster { in_turn, ..cluster_of((key, name), source, (own(written), defaults), problems) }
}

/// The keys of a cluster that defaults have as well.
pub(super) fn own(cluster: raw::Cluster) -> raw::Policy {
    raw::Policy {
        policy: cluster.policy,
        ewma: cluster.ewma,
        hash: cluster.hash,
        slow_start: cluster.slow_start,
        locality: cluster.locality,
        failover_when: cluster.failover_when,
        panic_percent: cluster.panic_percent,
        subset_size: cluster.subset_size,
        sticky: cluster.sticky,
        ejection: cluster.ejection,
        probe: cluster.probe,
        retry: cluster.retry,
        hedge: cluster.hedge,
        limits: cluster.limits,
        timeouts: cluster.timeouts,
        protocol: cluster.protocol,
        tls: cluster.tls,
        proxy_protocol: cluster.proxy_protocol,
    }
}

/// Looks at a policy that is no cluster's yet.
pub(super) fn check_policy(key: &str, written: raw::Policy, problems: &mut Problems) {
    policy::check(key, written, problems);
}

fn source(
    key: &str,
    consul: Option<raw::Selection>,
    endpoints: Option<Vec<raw::Endpoint>>,
    problems: &mut Problems,
) -> Source {
    match (consul, endpoints) {
        (Some(selection), None) => failover::selected(&format!("{key}.consul"), selection, problems).into(),
        (None, Some(endpoints)) => Source::Static(static_endpoints(key, endpoints, problems)),
        (None, None) => {
            problems.add(key, "has no endpoints; add consul = { service = \"…\" } or endpoints = [\"10.0.0.1:80\"]");
            Source::Static(Vec::new())
        }
        (Some(_), Some(_)) => {
            problems.add(key, "has both consul and endpoints; keep one of them");
            Source::Static(Vec::new())
        }
    }
}

fn static_endpoints(key: &str, written: Vec<raw::Endpoint>, problems: &mut Problems) -> Vec<Endpoint> {
    if written.is_empty() {
        problems.add(format!("{key}.endpoints"), "is empty; add at least one \"address:port\"");
    }
    let mut seen = BTreeSet::new();
    let mut endpoints = Vec::new();
    for (index, endpoint) in written.into_iter().enumerate() {
        let key = format!("{key}.endpoints[{index}]");
        let weight = endpoint.weight.unwrap_or(1);
        if !(1..=MAX_WEIGHT).contains(&weight) {
            problems.add(format!("{key}.weight"), format!("{weight} is not a weight; use 1 to {MAX_WEIGHT}"));
        }
        if endpoint.zone.as_ref().is_some_and(|zone| zone.trim().is_empty()) {
            problems.add(format!("{key}.zone"), "is empty; leave the key out");
        }
        let Some(address) = parse_address(&endpoint.address) else {
            problems
                .add(key, format!("\"{}\" is not an endpoint; use \"10.0.0.1:80\" or \"[::1]:80\"", endpoint.address));
            continue;
        };
        if !seen.insert(address.clone()) {
            problems.add(key, format!("\"{}\" stands here twice; use a weight", endpoint.address));
        }
        endpoints.push(Endpoint { address, weight, zone: endpoint.zone });
    }
    endpoints
}

/// A prefix of the KV store, with a slash at its end: without one it would be that of its neighbours as well.
fn prefix(key: &str, written: &str, example: &str, problems: &mut Problems) -> String {
    let bare = written.trim_end_matches('/');
    if bare.is_empty() || bare.starts_with('/') || bare.chars().any(char::is_control) {
        problems.add(key, format!("\"{written}\" is not a prefix; use \"{example}\", without a slash before it"));
    }
    format!("{bare}/")
}

fn drain(written: &raw::Drain) -> Drain {
    Drain { delay: written.delay.unwrap_or(DRAIN.delay), timeout: written.timeout.unwrap_or(DRAIN.timeout) }
}

fn endpoint_figures(written: &raw::Metrics, problems: &mut Problems) -> usize {
    let most = written.max_endpoints.unwrap_or(ENDPOINT_FIGURES);
    if !(1..=MAX_ENDPOINT_FIGURES).contains(&most) {
        let message =
            format!("{most} is not a number of endpoints; use 1 to {MAX_ENDPOINT_FIGURES}, or endpoints = false");
        problems.add("metrics.max_endpoints", message);
    }
    if written.endpoints == Some(true) { most } else { 0 }
}

fn log(written: raw::Log, problems: &mut Problems) -> Log {
    let json = match written.format.as_deref() {
        None | Some("text") => false,
        Some("json") => true,
        Some(other) => {
            problems.add("log.format", format!("no format \"{other}\"; use \"text\" or \"json\""));
            false
        }
    };
    let level = written.level.unwrap_or_else(|| "info".to_owned());
    if let Err(error) = tracing_subscriber::EnvFilter::try_new(&level) {
        problems.add("log.level", format!("\"{level}\" is not a filter: {error}"));
    }
    Log { level, json }
}
