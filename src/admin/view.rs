//! The table as JSON. Field names are an interface: they are added to, not changed.

use std::time::Instant;

use serde::Serialize;

use crate::cluster::{Cluster, Member};
use crate::config::{Selection, Source};
use crate::endpoint::Standing;
use crate::table::Table;

#[derive(Serialize)]
pub(super) struct ClusterView {
    name: String,
    policy: &'static str,
    source: SourceView,
    /// False before the source's first answer.
    listed: bool,
    /// True if so few are eligible that all serve.
    panic: bool,
    endpoints: Vec<EndpointView>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum SourceView {
    Static,
    Consul { service: String, filter: Option<String>, datacenter: Option<String> },
}

#[derive(Serialize)]
struct EndpointView {
    address: String,
    /// The source's name for it, if it has one.
    id: Option<String>,
    /// The source's word.
    status: &'static str,
    /// Ours.
    standing: &'static str,
    weight: u32,
    /// Less than 100 while it starts slowly.
    weight_percent: u32,
    /// How near it is, where somebody is preferred for that: 0 is nearest.
    tier: Option<usize>,
    /// Where the policy goes by it.
    expected_latency_seconds: Option<f64>,
    in_flight: u32,
    connections: u32,
    ejected_for_seconds: Option<f64>,
}

#[derive(Serialize)]
pub(super) struct RouteView {
    name: String,
    host: String,
    path: String,
    cluster: String,
}

pub(super) fn clusters(table: &Table) -> Vec<ClusterView> {
    let now = Instant::now();
    table.clusters().iter().map(|cluster| of_cluster(cluster, now)).collect()
}

fn of_cluster(cluster: &Cluster, now: Instant) -> ClusterView {
    let source = match &cluster.settings().source {
        Source::Static(_) => SourceView::Static,
        Source::Followed(Selection { service, filter, datacenter }) => {
            SourceView::Consul { service: service.clone(), filter: filter.clone(), datacenter: datacenter.clone() }
        }
    };
    ClusterView {
        name: cluster.name().to_string(),
        policy: cluster.settings().policy.name(),
        source,
        listed: cluster.list().is_some(),
        panic: cluster.is_panicking(),
        endpoints: cluster.members().iter().map(|member| endpoint(cluster, member, now)).collect(),
    }
}

fn endpoint(cluster: &Cluster, member: &Member, now: Instant) -> EndpointView {
    let standing = member.endpoint.standing();
    let until = member.endpoint.ejections().until.filter(|_| standing == Standing::Ejected);
    EndpointView {
        address: member.endpoint.address().to_string(),
        id: Some(member.id.to_string()).filter(|id| !id.is_empty()),
        status: member.status.name(),
        standing: standing.name(),
        weight: member.weight,
        weight_percent: cluster.percent(member, now),
        tier: (!cluster.settings().balancing.locality.is_off()).then_some(member.tier),
        expected_latency_seconds: cluster.expected_latency(&member.endpoint, now).map(|time| time.as_secs_f64()),
        in_flight: member.endpoint.in_flight(),
        connections: member.endpoint.connections(),
        ejected_for_seconds: until.map(|until| until.saturating_duration_since(now).as_secs_f64()),
    }
}

pub(super) fn routes(table: &Table) -> Vec<RouteView> {
    let routes = table.routes().all().iter();
    let view = routes.map(|route| RouteView {
        name: route.settings.name.to_string(),
        host: route.settings.host.to_string(),
        path: if route.settings.path.is_empty() { "/".to_owned() } else { route.settings.path.clone() },
        cluster: table.cluster(route).name().to_string(),
    });
    view.collect()
}
