//! The scrape: what is counted, and beside it what is not counted but read off the table when somebody asks.

use std::collections::BTreeMap;
use std::time::{Instant, UNIX_EPOCH};

use http::StatusCode;
use prometheus::proto::MetricFamily;

use super::Admin;
use super::answer::{Reply, whole};
use super::ask::Ask;
use crate::cluster::{Cluster, Member};
use crate::endpoint::{Age, What};
use crate::lifecycle::Readiness;
use crate::metrics::{Format, Labels, counter, gauge};
use crate::table::{Beside, Table};
use crate::tls::Facts;

/// Every state an endpoint may be in; each is shown, so that a graph has a zero and not a gap.
const STATES: [&str; 9] =
    ["eligible", "ejected", BY_HAND, "probation", "critical", "maintenance", "drained", "suspect", "unhealthy"];
/// Whom an operator ejected: out on purpose, which nobody is to be called for.
const BY_HAND: &str = "ejected_by_hand";

/// All figures, in the format that is preferred.
pub(super) fn scrape(admin: &Admin, ask: &Ask) -> Reply {
    let format = Format::preferred(ask.header("accept").into_iter());
    let (table, now) = (admin.reader.load(), Instant::now());
    let read = families(&table, now, &admin.readiness);
    let of_endpoints = admin.shown.borrow_mut().families(&table, now);
    let scrape = admin.metrics.gather().with(read).with(of_endpoints);
    Ok(whole(StatusCode::OK, format.content_type(), scrape.write(format)))
}

fn families(table: &Table, now: Instant, readiness: &Readiness) -> Vec<MetricFamily> {
    let mut states = Vec::new();
    let (mut in_flight, mut panics, mut connections) = (Vec::new(), Vec::new(), Vec::new());
    let (mut budgets, mut requests, mut limits) = (Vec::new(), Vec::new(), Vec::new());
    let (mut levels, mut expired) = (Vec::new(), Vec::new());
    for cluster in table.clusters() {
        let label = || ("cluster", cluster.name().to_string());
        let mut counts: BTreeMap<&str, usize> = STATES.map(|state| (state, 0)).into();
        for member in cluster.members() {
            *counts.entry(state(member)).or_default() += 1;
        }
        let count = |(state, count): (&str, usize)| (vec![label(), ("state", state.to_owned())], count as f64);
        states.extend(counts.into_iter().map(count));
        let running: u32 = cluster.members().iter().map(|member| member.endpoint.in_flight()).sum();
        in_flight.push((vec![label()], f64::from(running)));
        panics.push((vec![label()], truth(cluster.is_panicking())));
        expired.push((vec![label()], truth(cluster.freshness().age == Age::Expired)));
        connections.push((vec![label()], f64::from(cluster.connections())));
        if cluster.settings().in_turn {
            let together = cluster.settings().source.draws().len();
            levels.push((vec![label()], cluster.level().unwrap_or(together) as f64));
        }
        budgets.push((vec![label()], cluster.retries_left(now) as f64));
        if cluster.settings().limits.has_gate() {
            let (admitted, queued) = cluster.admitted();
            let states = [("admitted", admitted), ("queued", queued)];
            requests
                .extend(states.map(|(state, count)| (vec![label(), ("state", state.to_owned())], f64::from(count))));
            limits.extend(cluster.most_admitted().map(|most| (vec![label()], f64::from(most))));
        }
    }
    let mut families = vec![
        gauge("lictor_cluster_endpoints", "Endpoints on the list, by state.", states),
        gauge("lictor_cluster_in_flight", "Attempts begun and not ended.", in_flight),
        gauge("lictor_cluster_panic", "1 if so few endpoints are eligible that all of them serve.", panics),
        gauge("lictor_cluster_level", "Place of the list that serves, from 0; all serve if it is none's.", levels),
        gauge("lictor_cluster_connections", "Connections to endpoints, idle ones included.", connections),
        gauge("lictor_cluster_retry_budget", "Retries that are still allowed now.", budgets),
        gauge("lictor_cluster_requests", "Requests where there are limits, by whether they are let in.", requests),
        gauge("lictor_cluster_limit", "Requests that are let in at once.", limits),
        gauge(
            "lictor_operator_overrides",
            "What operators have done about endpoints by hand, by kind.",
            by_hand(table),
        ),
        counter("lictor_cluster_connects_total", "Connections to endpoints that were begun.", begun(table)),
        gauge("lictor_cluster_expired", "1 if a list is too old to be served.", expired),
        gauge(
            "lictor_cluster_certificate_expiry_timestamp_seconds",
            "When the certificate shown to endpoints ceases to be valid.",
            table.clusters().iter().filter_map(|cluster| own_expiry(cluster)),
        ),
    ];
    families.extend(of_lictor(readiness));
    families.extend(of_table(table, now));
    families.extend(table.beside().into_iter().flat_map(beside));
    families
}

/// How it stands, in the words of labels.
pub(super) fn state(member: &Member) -> &'static str {
    if member.is_under(What::Ejected) { BY_HAND } else { member.state() }
}

fn of_lictor(readiness: &Readiness) -> [MetricFamily; 2] {
    let ready = truth(readiness.blocker().is_none());
    [
        gauge("lictor_ready", "1 if requests should be sent here.", [(vec![], ready)]),
        gauge(
            "lictor_draining",
            "1 if it is not ready because somebody wants it to end or to be left alone.",
            [(vec![], truth(readiness.is_drained()))],
        ),
    ]
}

fn of_table(table: &Table, now: Instant) -> [MetricFamily; 2] {
    let age = now.saturating_duration_since(table.built);
    [
        gauge("lictor_table_version", "Tables published so far.", [(vec![], table.version as f64)]),
        gauge(
            "lictor_table_age_seconds",
            "Time since the table was built that requests go by.",
            [(vec![], age.as_secs_f64())],
        ),
    ]
}

/// As Prometheus has it.
fn truth(is: bool) -> f64 {
    f64::from(u8::from(is))
}

/// What we show to a cluster's endpoints, if it is from a file: the mesh gives a new one in time.
fn own_expiry(cluster: &Cluster) -> Option<(Labels, f64)> {
    let own = cluster.settings().tls.as_ref()?.identity.as_ref()?.chain.first()?;
    let Facts { subject, not_after, .. } = Facts::of(own)?;
    let end = not_after.duration_since(UNIX_EPOCH).unwrap_or_default();
    Some((vec![("cluster", cluster.name().to_string()), ("name", subject)], end.as_secs_f64()))
}

fn begun(table: &Table) -> impl Iterator<Item = (Labels, f64)> {
    let begun = |cluster: &Cluster| cluster.begun_connections() as f64;
    table.clusters().iter().map(move |cluster| (vec![("cluster", cluster.name().to_string())], begun(cluster)))
}

/// What holds by hand, each kind even where there is none of it.
fn by_hand(table: &Table) -> Vec<(Labels, f64)> {
    let held = || table.measures().values().flat_map(|measures| measures.values()).flat_map(|held| held.iter());
    let count = |kind: What| held().filter(|measure| measure.what.is_like(kind)).count();
    let kinds = [What::Ejected, What::Drained, What::Weight(0)];
    kinds.map(|kind| (vec![("kind", kind.name().to_owned())], count(kind) as f64)).into()
}

fn beside(beside: &Beside) -> [MetricFamily; 3] {
    let is_in_force = beside.is_known() && beside.refused.is_none();
    [
        counter(
            "lictor_kv_config_rejected_total",
            "Times that documents were not taken over for what is wrong with them.",
            [(vec![], beside.refusals as f64)],
        ),
        gauge(
            "lictor_kv_config_generation",
            "Documents taken over so far; 0 before the first.",
            [(vec![], beside.generation as f64)],
        ),
        gauge(
            "lictor_kv_config_in_force",
            "1 if the documents that were read last are those that count.",
            [(vec![], truth(is_in_force))],
        ),
    ]
}
