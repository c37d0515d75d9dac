//! The table as JSON. Field names are an interface: they are added to, not changed.

use std::net::SocketAddr;
use std::time::Instant;

use serde::Serialize;

use super::Admin;
use super::answer::{Problem, Reply, json};
use super::ask::Ask;
use super::dispatch::Page;
use super::hand::{Override, overrides};
use crate::cluster::{Cluster, LevelShare, Member};
use crate::config::{Accepts, Claimed, Draw, Listener, Serves};
use crate::endpoint::{Address, Age, Finding, Standing};
use crate::metrics::Metrics;
use crate::table::Table;

/// Pages of this file.
pub(super) const PAGES: &[Page] = &[
    Page::get("/v1/clusters", |admin, _| json(&clusters(&admin.reader.load(), &admin.metrics))),
    Page::get("/v1/clusters/{cluster}", cluster),
    Page::get("/v1/endpoints", |admin, _| json(&endpoints(&admin.reader.load()))),
    Page::get("/v1/listeners", |admin, _| json(&listeners(admin.listeners.iter().map(|(known, at)| (known, *at))))),
];

#[derive(Serialize)]
struct ClusterView {
    name: String,
    policy: &'static str,
    source: SourceView,
    /// False before the source's first answer.
    listed: bool,
    /// True if nothing good was heard of its source for longer than allowed.
    stale: bool,
    /// True if it was kept from before the start, and the source has not answered since.
    from_disk: bool,
    /// True if rights keep some of it from us.
    denied: bool,
    /// Since the source's last good answer, where there is something to ask.
    age_seconds: Option<f64>,
    /// Who went from the list with most of it, and serves only for want of others.
    suspects: usize,
    /// True if so few are eligible that all serve.
    panic: bool,
    /// The place of the list that serves, where lists serve in turn; none if all of them do.
    level: Option<usize>,
    /// Those lists, in their order.
    levels: Vec<LevelView>,
    endpoints: Vec<EndpointView>,
}

#[derive(Serialize)]
struct LevelView {
    list: String,
    serves: bool,
    endpoints: usize,
    /// Of its weight, how much may serve.
    eligible_percent: f64,
    /// Since its last good answer, if there was one.
    age_seconds: Option<f64>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum SourceView {
    Static,
    Consul {
        service: String,
        filter: Option<String>,
        datacenter: Option<String>,
        peer: Option<String>,
        /// `service`, `connect`, or `query`, whose name it is then.
        lookup: &'static str,
    },
}

#[derive(Serialize)]
pub(super) struct EndpointView {
    address: String,
    /// The source's name for it, if it has one.
    id: Option<String>,
    /// Who it has to prove to be, in the mesh.
    identity: Option<String>,
    /// The source's word.
    status: &'static str,
    /// Ours.
    standing: &'static str,
    /// Whether it may be picked, or what keeps it from that.
    state: &'static str,
    /// The probes', once there was one.
    probe: Option<&'static str>,
    weight: u32,
    /// What its source says that its share is.
    listed_weight: u32,
    /// Less than 100 while it starts slowly.
    weight_percent: u32,
    /// Which list it is on, where lists serve in turn: 0 is the first.
    level: Option<usize>,
    /// How near it is, where somebody is preferred for that: 0 is nearest.
    tier: Option<usize>,
    /// Where the policy goes by it.
    expected_latency_seconds: Option<f64>,
    in_flight: u32,
    connections: u32,
    ejected_for_seconds: Option<f64>,
    /// What for, while it is, or waits for its trial.
    ejected_because: Option<&'static str>,
    /// What an operator has done about it.
    overrides: Vec<Override>,
}

#[derive(Serialize)]
struct OneEndpointView {
    cluster: String,
    #[serde(flatten)]
    of: EndpointView,
}

#[derive(Serialize)]
struct ListenerView {
    name: String,
    address: String,
    protocol: &'static str,
    /// True if connections have to begin with a PROXY header.
    proxy_protocol: bool,
    trusted_networks: Vec<String>,
    /// True if hosts are names of services.
    egress: bool,
    /// The one service that it is for.
    service: Option<String>,
    /// Where everything goes that no name decides, if it is not HTTP.
    cluster: Option<String>,
    sni: Vec<SniView>,
    /// What services claim its connections by, if they may: `port` or `sni`.
    service_routes: Option<&'static str>,
}

#[derive(Serialize)]
struct SniView {
    name: String,
    cluster: String,
}

fn listeners<'a>(all: impl Iterator<Item = (&'a Listener, SocketAddr)>) -> Vec<ListenerView> {
    all.map(|(listener, address)| of_listener(listener, address)).collect()
}

fn of_listener(listener: &Listener, address: SocketAddr) -> ListenerView {
    let (protocol, forwarding) = match &listener.accepts {
        Accepts::Http => ("http", None),
        Accepts::Tcp(forwarding) => ("tcp", Some(forwarding)),
    };
    let names = forwarding.into_iter().flat_map(|forwarding| &forwarding.names);
    ListenerView {
        name: listener.name.to_string(),
        address: address.to_string(),
        protocol,
        proxy_protocol: listener.proxy_protocol,
        trusted_networks: listener.trusted_networks.iter().map(ToString::to_string).collect(),
        egress: listener.serves == Serves::Names,
        service: match &listener.serves {
            Serves::Service(name) => Some(name.to_string()),
            Serves::Names | Serves::Routes => None,
        },
        cluster: forwarding.and_then(|forwarding| forwarding.cluster.as_ref()).map(ToString::to_string),
        service_routes: forwarding.and_then(|forwarding| forwarding.claimed).map(|claimed| match claimed {
            Claimed::Port => "port",
            Claimed::Name => "sni",
        }),
        sni: names.map(|(name, cluster)| SniView { name: name.to_string(), cluster: cluster.to_string() }).collect(),
    }
}

/// One cluster, by its name.
fn cluster(admin: &Admin, ask: &Ask) -> Reply {
    let (table, name) = (admin.reader.load(), ask.segment("cluster"));
    let found = table.find_cluster(name).ok_or_else(|| Problem::missing(format!("no cluster \"{name}\"")))?;
    json(&of_cluster(found, &admin.metrics, Instant::now()))
}

/// Every endpoint, each with the cluster that it is of.
fn endpoints(table: &Table) -> Vec<OneEndpointView> {
    let now = Instant::now();
    let of = |cluster: &Cluster| -> Vec<OneEndpointView> {
        let view = |member| OneEndpointView { cluster: cluster.name().to_string(), of: endpoint(cluster, member, now) };
        cluster.members().iter().map(view).collect()
    };
    table.clusters().iter().flat_map(|cluster| of(cluster)).collect()
}

/// The endpoint of that address, if the cluster is there and has it on its list.
pub(super) fn find<'a>(table: &'a Table, cluster: &str, at: &Address) -> Option<(&'a Cluster, &'a Member)> {
    let cluster = table.find_cluster(cluster)?;
    let member = cluster.members().iter().find(|member| member.endpoint.address() == at)?;
    Some((cluster, member))
}

fn clusters(table: &Table, metrics: &Metrics) -> Vec<ClusterView> {
    let now = Instant::now();
    table.clusters().iter().map(|cluster| of_cluster(cluster, metrics, now)).collect()
}

/// How a cluster's list is, in a line for people.
pub(super) fn word(cluster: &Cluster, metrics: &Metrics) -> String {
    let mut word = if cluster.list().is_some() { "ok" } else { "no answer yet" }.to_owned();
    if cluster.freshness().from_disk {
        word += ", from disk";
    }
    if is_stale(cluster) {
        word += ", stale";
    }
    if is_denied(cluster, metrics) {
        word += ", denied: the token may not read all of it";
    }
    if let Some(age) = age(cluster, metrics) {
        word += &format!(", last good answer {age:.0} s ago");
    }
    match suspects(cluster) {
        0 => {}
        suspects => word += &format!(", {suspects} suspect"),
    }
    word
}

pub(super) fn is_stale(cluster: &Cluster) -> bool {
    cluster.freshness().age != Age::Fresh
}

pub(super) fn is_denied(cluster: &Cluster, metrics: &Metrics) -> bool {
    cluster.settings().source.draws().iter().any(|draw| metrics.is_denied(&draw.selection.to_string()))
}

fn age(cluster: &Cluster, metrics: &Metrics) -> Option<f64> {
    metrics.age(&cluster.settings().source.draws().first()?.selection.to_string())
}

fn suspects(cluster: &Cluster) -> usize {
    cluster.members().iter().filter(|member| member.is_suspect()).count()
}

fn of_cluster(cluster: &Cluster, metrics: &Metrics, now: Instant) -> ClusterView {
    let source = match cluster.settings().source.draws() {
        [] => SourceView::Static,
        [Draw { selection, .. }, ..] => SourceView::Consul {
            service: selection.service.clone(),
            filter: selection.filter.clone(),
            datacenter: selection.datacenter.clone(),
            peer: selection.peer.clone(),
            lookup: selection.lookup.name(),
        },
    };
    ClusterView {
        name: cluster.name().to_string(),
        policy: cluster.settings().policy.name(),
        source,
        listed: cluster.list().is_some(),
        stale: is_stale(cluster),
        from_disk: cluster.freshness().from_disk,
        denied: is_denied(cluster, metrics),
        age_seconds: age(cluster, metrics),
        suspects: suspects(cluster),
        panic: cluster.is_panicking(),
        level: cluster.level(),
        levels: levels(cluster, metrics),
        endpoints: cluster.members().iter().map(|member| endpoint(cluster, member, now)).collect(),
    }
}

fn levels(cluster: &Cluster, metrics: &Metrics) -> Vec<LevelView> {
    let serving = cluster.level();
    let view = |(place, level): (usize, LevelShare)| LevelView {
        serves: serving.is_none_or(|serving| serving == place),
        endpoints: level.endpoints,
        eligible_percent: level.percent,
        age_seconds: metrics.age(&level.name),
        list: level.name,
    };
    cluster.levels().into_iter().enumerate().map(view).collect()
}

/// The source's name for it, if it has one.
pub(super) fn id(member: &Member) -> Option<String> {
    Some(member.id.to_string()).filter(|id| !id.is_empty())
}

/// Until when it is out, and what for; the latter until its trial is over as well.
pub(super) fn ejection(member: &Member) -> (Option<Instant>, Option<&'static str>) {
    match member.endpoint.standing() {
        Standing::Eligible => (None, None),
        standing => {
            let ejections = member.endpoint.ejections();
            (ejections.until.filter(|_| standing == Standing::Ejected), ejections.why)
        }
    }
}

pub(super) fn endpoint(cluster: &Cluster, member: &Member, now: Instant) -> EndpointView {
    let (until, why) = ejection(member);
    EndpointView {
        address: member.endpoint.address().to_string(),
        id: id(member),
        identity: member.endpoint.identity().map(|path| path.to_string()),
        status: member.status.name(),
        standing: member.endpoint.standing().name(),
        state: member.state(),
        probe: member.endpoint.finding().map(Finding::name),
        weight: member.weight,
        listed_weight: member.listed_weight,
        weight_percent: cluster.percent(member, now),
        level: cluster.settings().in_turn.then_some(member.level),
        tier: (!cluster.settings().balancing.locality.is_off()).then_some(member.tier),
        expected_latency_seconds: cluster.expected_latency(&member.endpoint, now).map(|time| time.as_secs_f64()),
        in_flight: member.endpoint.in_flight(),
        connections: member.endpoint.connections(),
        ejected_for_seconds: until.map(|until| until.saturating_duration_since(now).as_secs_f64()),
        ejected_because: why,
        overrides: overrides(member.measures.as_deref(), now),
    }
}
