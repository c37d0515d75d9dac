//! From the configuration as written to the configuration as meant: fills in the defaults, checks what no type can say, and
//! goes on after a problem, so that a reader sees all of them at once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use super::text::{is_host_name, nearest, parse_address};
use super::{
    Cluster, Config, Drain, Ejection, Endpoint, Environment, Host, Listener, Log, MAX_WEIGHT, Policy, Problem, Retry,
    Route, Selection, Source, Timeouts, consul, raw,
};

// Defaults; `config/reference.toml` says why each is what it is.
const MAX_WORKERS: usize = 1024;
const REQUEST_HEADER: Duration = Duration::from_secs(10);
const LISTENER_IDLE: Duration = Duration::from_secs(75);
const CONNECT: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_secs(60);
const EJECTION: Ejection =
    Ejection { consecutive_failures: 3, base: Duration::from_secs(10), max: Duration::from_secs(300), max_percent: 50 };
const RETRY: Retry = Retry { attempts: 2, budget: 0.2 };
const MAX_ATTEMPTS: u32 = 10;
const DRAIN: Drain = Drain { delay: Duration::from_secs(5), timeout: Duration::from_secs(30) };

/// The checked configuration, or everything that is wrong with it.
pub(super) fn check(raw: raw::File, environment: &Environment) -> Result<Config, Vec<Problem>> {
    let mut problems = Problems::default();
    let config = Config {
        workers: workers(raw.workers, &mut problems),
        admin: raw.admin.and_then(|admin| socket("admin.bind", &admin.bind, &mut problems)),
        consul: consul::check(raw.consul.unwrap_or_default(), environment, &mut problems),
        listeners: listeners(raw.listeners, &mut problems),
        routes: routes(raw.routes, &raw.clusters, &mut problems),
        clusters: clusters(raw.clusters, &raw.defaults.unwrap_or_default(), &mut problems),
        drain: drain(&raw.drain.unwrap_or_default()),
        log: log(raw.log.unwrap_or_default(), &mut problems),
    };
    if problems.0.is_empty() { Ok(config) } else { Err(problems.0) }
}

/// What was found wrong so far.
#[derive(Default)]
pub(super) struct Problems(Vec<Problem>);

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

fn socket(key: &str, written: &str, problems: &mut Problems) -> Option<SocketAddr> {
    let address = written.parse().ok();
    if address.is_none() {
        problems
            .add(key, format!("\"{written}\" is not an address to listen on; use \"127.0.0.1:8080\" or \"[::]:8080\""));
    }
    address
}

fn listeners(written: Vec<raw::Listener>, problems: &mut Problems) -> Vec<Listener> {
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
        if listener.egress {
            problems.add(
                format!("{key}.egress"),
                "egress listeners are not there yet; remove the listener, or write routes",
            );
        }
        let timeouts = listener.timeouts.unwrap_or_default();
        positive(&format!("{key}.timeouts.request_header"), timeouts.request_header, problems);
        positive(&format!("{key}.timeouts.idle"), timeouts.idle, problems);
        let Some(bind) = socket(&format!("{key}.bind"), &listener.bind, problems) else { continue };
        if bind.port() != 0 && !addresses.insert(bind) {
            problems.add(format!("{key}.bind"), format!("{bind} is bound by another listener"));
        }
        listeners.push(Listener {
            name: listener.name.into(),
            bind,
            request_header: timeouts.request_header.unwrap_or(REQUEST_HEADER),
            idle: timeouts.idle.unwrap_or(LISTENER_IDLE),
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

fn routes(written: Vec<raw::Route>, clusters: &BTreeMap<String, raw::Cluster>, problems: &mut Problems) -> Vec<Route> {
    let mut seen = BTreeMap::new();
    let mut names = BTreeSet::new();
    let mut routes = Vec::new();
    for (index, route) in written.into_iter().enumerate() {
        let key = format!("routes[{index}]");
        let host = host(&format!("{key}.host"), route.host.as_deref(), problems);
        let path = path(&format!("{key}.path"), route.path.as_deref(), problems);
        if let Some(first) = seen.insert((host.to_string(), path.clone()), index) {
            problems.add(&key, format!("takes the same requests as routes[{first}]; give it another host or path"));
        }
        let name = route.name.unwrap_or_else(|| format!("{host}{path}"));
        if name.is_empty() || name.len() > 256 || name.chars().any(char::is_control) {
            problems.add(format!("{key}.name"), "a name has 1 to 256 visible characters");
        }
        if !names.insert(name.clone()) {
            problems.add(format!("{key}.name"), format!("\"{name}\" is the name of another route"));
        }
        let cluster = clusters.keys().position(|name| *name == route.cluster);
        if cluster.is_none() {
            problems.add(format!("{key}.cluster"), no_cluster(&route.cluster, clusters));
        }
        routes.push(Route { name: name.into(), host, path, cluster: cluster.unwrap_or_default() });
    }
    routes
}

fn no_cluster(written: &str, clusters: &BTreeMap<String, raw::Cluster>) -> String {
    match nearest(written, clusters.keys().map(String::as_str)) {
        Some(meant) => format!("no cluster \"{written}\"; did you mean \"{meant}\"?"),
        None => format!("no cluster \"{written}\"; add [clusters.{written}]"),
    }
}

fn host(key: &str, written: Option<&str>, problems: &mut Problems) -> Host {
    let Some(written) = written else { return Host::Any };
    let lower = written.to_ascii_lowercase();
    let (name, below) = match lower.strip_prefix("*.") {
        Some(domain) => (domain, true),
        None => (lower.as_str(), false),
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    if !is_host_name(name) && (below || bare.parse::<std::net::IpAddr>().is_err()) {
        problems.add(
            key,
            format!("\"{written}\" is not a host; use \"shop.example.com\" or \"*.example.com\", without a port"),
        );
    }
    if below { Host::Below(name.to_owned()) } else { Host::Exact(bare.to_owned()) }
}

fn path(key: &str, written: Option<&str>, problems: &mut Problems) -> String {
    let written = written.unwrap_or("/");
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '*');
    if !written.starts_with('/') || !written.chars().all(plain) || written.contains("//") {
        problems.add(key, format!("\"{written}\" is not a path prefix; use \"/api/\", without wildcard or query"));
    }
    written.trim_end_matches('/').to_owned()
}

fn clusters(
    written: BTreeMap<String, raw::Cluster>,
    defaults: &raw::Policy,
    problems: &mut Problems,
) -> Vec<Arc<Cluster>> {
    // The defaults are checked once under their own key, not once for every cluster that inherits them.
    policies("defaults", defaults, &raw::Policy::default(), problems);
    let mut clusters = Vec::new();
    for (name, cluster) in written {
        let key = format!("clusters.{name}");
        label(&key, &name, problems);
        let source = source(&key, cluster.consul, cluster.endpoints, problems);
        let own = raw::Policy {
            policy: cluster.policy,
            ejection: cluster.ejection,
            retry: cluster.retry,
            timeouts: cluster.timeouts,
        };
        // Checked as merged; what the defaults bring along by themselves has been reported under their own key.
        let (mut merged, mut inherited) = (Problems::default(), Problems::default());
        policies(&key, &raw::Policy::default(), defaults, &mut inherited);
        let (policy, ejection, retry, timeouts) = policies(&key, &own, defaults, &mut merged);
        problems.0.extend(merged.0.into_iter().filter(|problem| !inherited.0.contains(problem)));
        clusters.push(Arc::new(Cluster { name: name.into(), source, policy, ejection, retry, timeouts }));
    }
    clusters
}

fn source(
    key: &str,
    consul: Option<raw::Selection>,
    endpoints: Option<Vec<raw::Endpoint>>,
    problems: &mut Problems,
) -> Source {
    match (consul, endpoints) {
        (Some(selection), None) => Source::Followed(selected(key, selection, problems)),
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

fn selected(key: &str, selection: raw::Selection, problems: &mut Problems) -> Selection {
    let service = selection.service;
    // Consul answers a lookup of any length; a name that long is a mistake here.
    // Dots alone would be taken for a path.
    let is_path = [".", ".."].contains(&service.as_str());
    if service.is_empty() || service.len() > 255 || service.chars().any(char::is_control) || is_path {
        problems
            .add(format!("{key}.consul.service"), "a service name has 1 to 255 visible characters, and not only dots");
    }
    let blank = |text: &Option<String>| text.as_ref().is_some_and(|text| text.trim().is_empty());
    for (name, value) in [("filter", &selection.filter), ("datacenter", &selection.datacenter)] {
        if blank(value) {
            problems.add(format!("{key}.consul.{name}"), "is empty; leave the key out");
        }
    }
    Selection { service, filter: selection.filter, datacenter: selection.datacenter }
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
        let Some(address) = parse_address(&endpoint.address) else {
            problems
                .add(key, format!("\"{}\" is not an endpoint; use \"10.0.0.1:80\" or \"[::1]:80\"", endpoint.address));
            continue;
        };
        if !seen.insert(address.clone()) {
            problems.add(key, format!("\"{}\" stands here twice; use a weight", endpoint.address));
        }
        endpoints.push(Endpoint { address, weight });
    }
    endpoints
}

type Policies = (Policy, Ejection, Retry, Timeouts);

/// A cluster's own keys over the defaults' over the built-in ones, key by key.
fn policies(key: &str, own: &raw::Policy, defaults: &raw::Policy, problems: &mut Problems) -> Policies {
    let policy = own.policy.as_deref().or(defaults.policy.as_deref());
    (
        policy.map_or(Policy::P2c, |name| named_policy(key, name, problems)),
        ejection(
            key,
            &own.ejection.clone().unwrap_or_default(),
            &defaults.ejection.clone().unwrap_or_default(),
            problems,
        ),
        retry(key, &own.retry.clone().unwrap_or_default(), &defaults.retry.clone().unwrap_or_default(), problems),
        timeouts(
            key,
            &own.timeouts.clone().unwrap_or_default(),
            &defaults.timeouts.clone().unwrap_or_default(),
            problems,
        ),
    )
}

fn named_policy(key: &str, name: &str, problems: &mut Problems) -> Policy {
    let known = || Policy::NAMES.iter().map(|(name, _)| *name);
    if let Some((_, policy)) = Policy::NAMES.iter().find(|(known, _)| *known == name) {
        return *policy;
    }
    let advice = match nearest(name, known()) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None => format!("there are {}", known().collect::<Vec<_>>().join(", ")),
    };
    problems.add(format!("{key}.policy"), format!("no policy \"{name}\"; {advice}"));
    Policy::P2c
}

fn ejection(key: &str, own: &raw::Ejection, defaults: &raw::Ejection, problems: &mut Problems) -> Ejection {
    let ejection = Ejection {
        consecutive_failures: own
            .consecutive_failures
            .or(defaults.consecutive_failures)
            .unwrap_or(EJECTION.consecutive_failures),
        base: own.base.or(defaults.base).unwrap_or(EJECTION.base),
        max: own.max.or(defaults.max).unwrap_or(EJECTION.max),
        max_percent: own.max_percent.or(defaults.max_percent).unwrap_or(EJECTION.max_percent),
    };
    positive(&format!("{key}.ejection.base"), own.base, problems);
    if ejection.max < ejection.base {
        problems.add(format!("{key}.ejection.max"), "is shorter than base; make it at least as long");
    }
    if ejection.max_percent > 100 {
        problems.add(
            format!("{key}.ejection.max_percent"),
            format!("{} is not a percentage; use 0 to 100", ejection.max_percent),
        );
    }
    ejection
}

fn retry(key: &str, own: &raw::Retry, defaults: &raw::Retry, problems: &mut Problems) -> Retry {
    let retry = Retry {
        attempts: own.attempts.or(defaults.attempts).unwrap_or(RETRY.attempts),
        budget: own.budget.or(defaults.budget).unwrap_or(RETRY.budget),
    };
    if retry.attempts > MAX_ATTEMPTS {
        problems
            .add(format!("{key}.retry.attempts"), format!("{} is too many; use 0 to {MAX_ATTEMPTS}", retry.attempts));
    }
    if !(0.0..=1.0).contains(&retry.budget) {
        problems.add(
            format!("{key}.retry.budget"),
            format!("{} is not a share of the requests; use 0.0 to 1.0", retry.budget),
        );
    }
    retry
}

fn timeouts(key: &str, own: &raw::Timeouts, defaults: &raw::Timeouts, problems: &mut Problems) -> Timeouts {
    positive(&format!("{key}.timeouts.connect"), own.connect, problems);
    positive(&format!("{key}.timeouts.request"), own.request, problems);
    positive(&format!("{key}.timeouts.idle"), own.idle, problems);
    Timeouts {
        connect: own.connect.or(defaults.connect).unwrap_or(CONNECT),
        request: own.request.or(defaults.request),
        idle: own.idle.or(defaults.idle).unwrap_or(IDLE),
    }
}

fn drain(written: &raw::Drain) -> Drain {
    Drain { delay: written.delay.unwrap_or(DRAIN.delay), timeout: written.timeout.unwrap_or(DRAIN.timeout) }
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

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Host::Any => f.write_str("*"),
            Host::Exact(host) => f.write_str(host),
            Host::Below(domain) => write!(f, "*.{domain}"),
        }
    }
}
