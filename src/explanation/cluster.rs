//! A cluster as a request finds it: how its list is, whom the policy picks, and of each endpoint what speaks for it and against it.

use std::time::{Duration, Instant};

use http::request;
use serde::Serialize;

use crate::cluster::{self, Cluster, Foresight, Member, Purpose};
use crate::config::Policy;
use crate::endpoint::{Age, Measure, Standing, Status, What};
use crate::message::Sender;
use crate::route;

#[derive(Debug, Serialize)]
pub(super) struct ClusterView {
    name: String,
    policy: &'static str,
    /// False before the source's first answer.
    listed: bool,
    /// `fresh`, `stale`, or `expired`, so that it is not served any more.
    age: &'static str,
    /// True if it was kept from before the start, and the source has not answered since.
    from_disk: bool,
    /// True if so few are eligible that all serve.
    panic: bool,
    /// The place of the list that serves, where lists serve in turn; none if all of them do.
    level: Option<usize>,
    /// The share of requests that each tier takes, the nearest first, for tiers in which somebody may be picked.
    tiers: Vec<TierView>,
    /// True if the request has a key that the policy goes by, so that it always goes the same way.
    keyed: bool,
    /// Requests that are in, and most that may be; none where there is no limit.
    admitted: Option<u32>,
    limit: Option<u32>,
    /// Retries that are still allowed now.
    retries_left: u64,
    /// The endpoint that the client's session is bound to, where it goes before any other.
    session: Option<String>,
    /// The endpoint whose trial this request would be.
    trial: Option<String>,
    endpoints: Vec<EndpointView>,
}

#[derive(Debug, Serialize)]
struct TierView {
    share: f64,
    endpoints: usize,
}

#[derive(Debug, Serialize)]
struct EndpointView {
    address: String,
    /// The source's name for it, if it has one.
    id: Option<String>,
    /// Whether it may be picked, or what keeps it from that.
    state: &'static str,
    /// True if it may be picked now, be it in a panic.
    candidate: bool,
    /// The share of such requests that the policy picks it for, 0 to 1: its own draws, asked many times.
    share: f64,
    /// What speaks for it and against it.
    why: Vec<String>,
    weight: u32,
    listed_weight: u32,
    /// Less than 100 while it starts slowly.
    weight_percent: u32,
    level: Option<usize>,
    tier: Option<usize>,
    in_flight: u32,
    expected_latency_seconds: Option<f64>,
}

/// True if somebody there may be picked.
pub(super) fn has_somebody(cluster: &Cluster) -> bool {
    !cluster.has_nobody()
}

/// The cluster, as this request finds it.
pub(super) fn view(cluster: &Cluster, (head, sender): (&request::Parts, Sender<'_>), now: Instant) -> ClusterView {
    let settings = cluster.settings();
    let keys = if settings.policy == Policy::ConsistentHash { &settings.balancing.hash.keys[..] } else { &[] };
    let key = route::key(keys, head, sender);
    let sticky = settings.balancing.sticky.as_ref();
    let session =
        sticky.and_then(|sticky| route::session(&head.headers, &sticky.cookie, |session| cluster.keeps(session)));
    let can_retry = settings.retry.attempts > 0 && settings.retry.may_repeat(&head.method);
    let request = cluster::Request { now, worker: 0, tried: &[], purpose: Purpose::First, can_retry, key, session };
    let foresight = cluster.foresee(&request);
    let address = |id| {
        let member = cluster.members().iter().find(|member| member.endpoint.id() == id);
        member.map(|member| member.endpoint.address().to_string())
    };
    let mut endpoints: Vec<EndpointView> =
        cluster.members().iter().map(|member| endpoint(cluster, member, &foresight, now)).collect();
    endpoints.sort_by(|one, other| other.share.total_cmp(&one.share));
    ClusterView {
        name: cluster.name().to_string(),
        policy: settings.policy.name(),
        listed: cluster.list().is_some(),
        age: match cluster.freshness().age {
            Age::Fresh => "fresh",
            Age::Stale => "stale",
            Age::Expired => "expired",
        },
        from_disk: cluster.freshness().from_disk,
        panic: foresight.panic,
        level: cluster.level(),
        tiers: foresight
            .tiers
            .iter()
            .map(|(share, endpoints)| TierView { share: *share, endpoints: *endpoints })
            .collect(),
        keyed: key.is_some(),
        admitted: settings.limits.has_gate().then(|| cluster.admitted().0),
        limit: cluster.most_admitted(),
        retries_left: cluster.retries_left(now),
        session: foresight.session.and_then(address),
        trial: foresight.trial.and_then(address),
        endpoints,
    }
}

fn endpoint(cluster: &Cluster, member: &Member, foresight: &Foresight, now: Instant) -> EndpointView {
    let id = member.endpoint.id();
    let share = foresight.shares.iter().find(|(known, _)| *known == id).map_or(0.0, |(_, share)| *share);
    let candidate = foresight.candidates.contains(&id);
    EndpointView {
        address: member.endpoint.address().to_string(),
        id: Some(member.id.to_string()).filter(|id| !id.is_empty()),
        state: member.state(),
        candidate,
        share,
        why: why(cluster, member, (foresight, candidate, share), now),
        weight: member.weight,
        listed_weight: member.listed_weight,
        weight_percent: cluster.percent(member, now),
        level: cluster.settings().in_turn.then_some(member.level),
        tier: (!cluster.settings().balancing.locality.is_off()).then_some(member.tier),
        in_flight: member.endpoint.in_flight(),
        expected_latency_seconds: cluster.expected_latency(&member.endpoint, now).map(|time| time.as_secs_f64()),
    }
}

/// What speaks for an endpoint and against it, in sentences.
fn why(
    cluster: &Cluster,
    member: &Member,
    (foresight, candidate, share): (&Foresight, bool, f64),
    now: Instant,
) -> Vec<String> {
    let mut why: Vec<String> =
        member.measures.iter().flat_map(|all| all.iter()).map(|measure| by_hand(measure, member, now)).collect();
    why.extend(said_by_source(member).map(str::to_owned));
    if member.is_failing() {
        why.push("fails its probes".to_owned());
    }
    why.extend(judged(member, now));
    match cluster.level() {
        Some(serving) if member.level > serving => {
            why.push(format!("on list {}, while list {serving} serves", member.level));
        }
        Some(serving) if member.level < serving => {
            why.push(format!("on list {}, which has too few; list {serving} serves", member.level));
        }
        _ => {}
    }
    let percent = cluster.percent(member, now);
    if percent < 100 {
        why.push(format!("starts slowly: {percent} % of its weight"));
    }
    let most = cluster.settings().limits.endpoint_in_flight;
    if most > 0 && member.endpoint.in_flight() >= most {
        why.push(format!("full: {} of {most} attempts in flight", member.endpoint.in_flight()));
    }
    let id = member.endpoint.id();
    if foresight.session == Some(id) {
        why.push("the client's session is here".to_owned());
    }
    if foresight.trial == Some(id) {
        why.push("this request would be its trial".to_owned());
    }
    let is_well = member.is_usable() && member.endpoint.standing() == Standing::Eligible;
    if candidate && !is_well {
        why.push("serves all the same: too few are eligible".to_owned());
    } else if candidate && share == 0.0 {
        why.push("may be picked, and is not for this request".to_owned());
    } else if candidate && why.is_empty() {
        why.push("may be picked".to_owned());
    } else if why.is_empty() {
        why.push("not among those of the cluster that this process uses (subset_size)".to_owned());
    }
    why
}

fn by_hand(measure: &Measure, member: &Member, now: Instant) -> String {
    let what = match measure.what {
        What::Ejected => "ejected by hand".to_owned(),
        What::Drained => "drained by hand, so that it takes no new clients".to_owned(),
        What::Weight(weight) => format!("weight {weight} by hand, in place of {}", member.listed_weight),
    };
    let left = match measure.until {
        Some(until) => format!("for {} more", length(until.saturating_duration_since(now))),
        None => "until it is taken back".to_owned(),
    };
    let note = measure.note.as_deref().map(|note| format!(": {note}")).unwrap_or_default();
    format!("{what}, by {} {left}{note}", measure.by)
}

fn said_by_source(member: &Member) -> Option<&'static str> {
    match member.status {
        Status::Critical => Some("critical, as its source says"),
        Status::Maintenance => Some("in maintenance, as its source says"),
        Status::Warning => Some("its source warns of it"),
        Status::Suspect => Some("went from the list with most of it, and serves only if nobody else can"),
        Status::Passing if member.listed_weight == 0 && member.weight == 0 => Some("has weight 0"),
        Status::Passing => None,
    }
}

/// What we say of it ourselves.
fn judged(member: &Member, now: Instant) -> Option<String> {
    let standing = member.endpoint.standing();
    let ejections = member.endpoint.ejections();
    let reason = ejections.why.map(|why| format!(" ({why})")).unwrap_or_default();
    match (standing, ejections.until.filter(|until| *until > now)) {
        (Standing::Eligible, _) => None,
        (Standing::Ejected, Some(until)) => {
            Some(format!("ejected{reason} for {} more", length(until.saturating_duration_since(now))))
        }
        (Standing::Ejected, None) => Some(format!("its ejection{reason} is over: the next request sees to its trial")),
        (Standing::Probation, _) => Some(format!("on probation after an ejection{reason}: one request decides")),
        (Standing::Trial, _) => Some("on its trial: the request that decides is on its way".to_owned()),
    }
}

/// A time to wait, in whole seconds.
fn length(left: Duration) -> String {
    humantime::format_duration(Duration::from_secs(left.as_secs_f64().ceil() as u64)).to_string()
}

impl ClusterView {
    /// Where a request goes from here, in a few words.
    pub(super) fn summary(&self) -> String {
        let name = &self.name;
        if !self.listed {
            return format!("cluster {name}, whose source has not answered yet: 503");
        }
        if self.age == "expired" {
            return format!("cluster {name}, whose list is too old to be served: 503");
        }
        if let Some(session) = &self.session {
            return format!("cluster {name} → {session}, by its client's session");
        }
        if let Some(trial) = &self.trial {
            return format!("cluster {name} → {trial}, whose trial it is");
        }
        let picked: Vec<&EndpointView> = self.endpoints.iter().filter(|endpoint| endpoint.share > 0.0).collect();
        match &picked[..] {
            [] => format!("cluster {name}, where nobody may be picked: 503"),
            [one] => format!("cluster {name} → {}", one.address),
            [first, ..] => format!(
                "cluster {name} → one of {} by {}, {} the likeliest ({:.0} %)",
                picked.len(),
                self.policy,
                first.address,
                first.share * 100.0
            ),
        }
    }
}
