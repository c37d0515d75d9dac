//! Clusters and endpoints as the feed tells of them. Field names are an interface: they are added to, not changed. Points in time are
//! milliseconds since 1970: an age would be different in each sample, and a cluster with it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::window::{Figures, rounded};
use crate::admin::view;
use crate::cluster::{Cluster, Member};
use crate::endpoint::{Measure, Standing, What};
use crate::metrics::{Metrics, WatchSeries};

/// The clock on the wall, as of one moment: what is read off it does not differ because it was read again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    then: Instant,
    wall: SystemTime,
}

#[derive(Serialize)]
pub(super) struct ClusterView<'a> {
    name: &'a str,
    policy: &'static str,
    /// What its list comes from; none if it is in the configuration.
    sources: Vec<String>,
    /// False before the source's first answer.
    listed: bool,
    stale: bool,
    denied: bool,
    from_disk: bool,
    panic: bool,
    /// The place of the list that serves, where lists serve in turn; none if all do.
    level: Option<usize>,
    /// How many lists serve in turn.
    levels: usize,
    #[serde(flatten)]
    figures: Figures,
    pub(super) in_flight: u32,
    pub(super) connections: u32,
    /// How many endpoints there are, and how many in each state.
    endpoints_total: usize,
    states: BTreeMap<&'static str, usize>,
    /// Those of them that are told of: who is not eligible comes first, and before all whoever is out although nobody wanted it.
    endpoints: Vec<EndpointView>,
}

#[derive(Serialize)]
struct EndpointView {
    address: String,
    /// The source's name for it, if it has one.
    id: Option<String>,
    /// Whether it may be picked, or what keeps it from that: the state in `lictor_cluster_endpoints`, but `ejected` where that says
    /// `ejected_by_hand`.
    state: &'static str,
    /// The source's word.
    status: &'static str,
    /// What it was taken out for, while it is out.
    why: Option<&'static str>,
    /// When its ejection ends.
    until: Option<u64>,
    weight: u32,
    /// Less than 100 while it starts slowly.
    percent: u32,
    in_flight: u32,
    connections: u32,
    /// How soon it is expected to answer, in seconds, where the policy goes by it.
    latency: Option<f64>,
    /// What operators have done about it.
    by_hand: Vec<MeasureView>,
}

#[derive(Serialize)]
struct MeasureView {
    /// `ejected`, `drained` or `weight`.
    what: &'static str,
    weight: Option<u32>,
    by: String,
    note: Option<String>,
    /// When it ends by itself; none if it does not.
    until: Option<u64>,
}

#[derive(Debug, PartialEq, Serialize)]
pub(super) struct WatchView {
    name: String,
    /// When its last good answer came.
    heard: Option<u64>,
    /// True if the last answer was of no use.
    failing: bool,
    denied: bool,
    stale: bool,
    from_disk: bool,
    /// By what number the source counts its changes; 0 before the first answer.
    index: u64,
}

impl Clock {
    pub(super) fn new(now: Instant) -> Self {
        Clock { then: now, wall: SystemTime::now() }
    }

    /// A moment, in milliseconds since 1970.
    pub(super) fn millis(&self, at: Instant) -> u64 {
        let wall = match at.checked_duration_since(self.then) {
            Some(since) => self.wall.checked_add(since),
            None => self.wall.checked_sub(self.then.duration_since(at)),
        };
        millis(wall.unwrap_or(self.wall))
    }

    /// The same clock, or one that goes right if somebody has set the one on the wall.
    pub(super) fn set(self, now: Instant) -> Self {
        let right = Clock::new(now);
        let (own, true_time) = (self.millis(now), right.millis(now));
        if own.abs_diff(true_time) > MAX_WRONG.as_millis() as u64 { right } else { self }
    }
}

/// A clock that is no more wrong than this is right.
const MAX_WRONG: Duration = Duration::from_secs(1);

/// A moment, in milliseconds since 1970.
pub(super) fn millis(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

pub(super) fn cluster<'a>(
    cluster: &'a Cluster,
    figures: Figures,
    metrics: &Metrics,
    most: Option<usize>,
    (now, clock): (Instant, &Clock),
) -> ClusterView<'a> {
    let members = cluster.members();
    let mut states = BTreeMap::<&'static str, usize>::new();
    members.iter().for_each(|member| *states.entry(member.state()).or_default() += 1);
    let told = told(members, most.unwrap_or(members.len()));
    ClusterView {
        name: cluster.name(),
        policy: cluster.settings().policy.name(),
        sources: cluster.settings().source.draws().iter().map(|draw| draw.selection.to_string()).collect(),
        listed: cluster.list().is_some(),
        stale: view::is_stale(cluster),
        denied: view::is_denied(cluster, metrics),
        from_disk: cluster.freshness().from_disk,
        panic: cluster.is_panicking(),
        level: cluster.level(),
        levels: if cluster.settings().in_turn { cluster.settings().source.draws().len() } else { 0 },
        figures,
        in_flight: members.iter().map(|member| member.endpoint.in_flight()).sum(),
        connections: cluster.connections(),
        endpoints_total: members.len(),
        states,
        endpoints: told.map(|member| endpoint(cluster, member, (now, clock))).collect(),
    }
}

/// So many of them: first those who are out although nobody wanted it, then those whom somebody took out, then the others, each in the
/// order of the list.
pub(super) fn told(members: &[Member], most: usize) -> impl Iterator<Item = &Member> {
    let of_rank = |wanted| members.iter().filter(move |member| rank(member) == wanted);
    [0, 1, 2].into_iter().flat_map(of_rank).take(most)
}

/// The lower, the sooner somebody should look.
fn rank(member: &Member) -> u8 {
    match member.state() {
        state if state == Standing::Eligible.name() => 2,
        "maintenance" | "drained" => 1,
        "ejected" if member.is_under(What::Ejected) => 1,
        _ => 0,
    }
}

fn endpoint(cluster: &Cluster, member: &Member, (now, clock): (Instant, &Clock)) -> EndpointView {
    let (until, why) = view::ejection(member);
    let by_hand = member.measures.iter().flat_map(|measures| measures.iter());
    EndpointView {
        address: member.endpoint.address().to_string(),
        id: view::id(member),
        state: member.state(),
        status: member.status.name(),
        why,
        until: until.map(|until| clock.millis(until)),
        weight: member.weight,
        percent: cluster.percent(member, now),
        in_flight: member.endpoint.in_flight(),
        connections: member.endpoint.connections(),
        latency: cluster.expected_latency(&member.endpoint, now).map(|time| rounded(time.as_secs_f64())),
        by_hand: by_hand.map(|measure| of_measure(measure, clock)).collect(),
    }
}

fn of_measure(measure: &Measure, clock: &Clock) -> MeasureView {
    MeasureView {
        what: measure.what.name(),
        weight: measure.what.weight(),
        by: measure.by.to_string(),
        note: measure.note.as_deref().map(str::to_owned),
        until: measure.until.map(|until| clock.millis(until)),
    }
}

pub(super) fn watch(name: String, series: &WatchSeries, clock: &Clock) -> WatchView {
    WatchView {
        name,
        heard: series.heard().map(|at| clock.millis(at)),
        failing: series.is_failing(),
        denied: series.is_denied(),
        stale: series.is_stale(),
        from_disk: series.is_from_disk(),
        index: series.accepted_index(),
    }
}
