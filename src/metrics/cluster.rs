//! Attempts, retries and ejections by cluster and reason.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::proto::MetricFamily;

use super::add;
use super::family::counter;
use super::latencies::{Counts, Latencies};

/// How an attempt ended, for the count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum End {
    /// Answered whole.
    Success,
    /// No connection.
    Connect,
    /// Not in time.
    Timeout,
    /// The connection broke.
    Reset,
    /// 502, 503 or 504.
    Gateway,
    /// Another 5xx.
    Server,
    /// The client left, another side was at fault, or another attempt was faster.
    Abandoned,
}

/// What became of a client's binding to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Session {
    /// Its endpoint has answered.
    Kept,
    /// It had none.
    New,
    /// Another endpoint has answered, and has it from now on.
    Moved,
}

const SESSIONS: [&str; 3] = ["kept", "new", "moved"];
/// A first list, seven that may take its place, and all of them.
const LEVELS: [&str; 9] = ["0", "1", "2", "3", "4", "5", "6", "7", "8"];
const ENDS: [&str; 7] = ["success", "connect", "timeout", "reset", "gateway", "5xx", "abandoned"];

/// What a cluster counts.
#[derive(Debug)]
pub struct ClusterSeries {
    shards: Box<[Shard]>,
    // Rare events, so a lock and names instead of a grid of mostly zeros.
    events: Mutex<BTreeMap<Event, u64>>,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    attempts: [AtomicU64; ENDS.len()],
    sessions: [AtomicU64; SESSIONS.len()],
    latencies: Counts,
}

/// Shown before they have ever happened: Prometheus sees no increase in a series that begins with its first event, and people are called
/// for these.
const FROM_THE_START: [Event; 10] = [
    Event::NoRetry { reason: "budget" },
    Event::NoEndpoint,
    Event::Overload { reason: "queue_full" },
    Event::Overload { reason: "queue_timeout" },
    Event::Overload { reason: "endpoint_in_flight" },
    Event::Ejection { reason: "connect", unenforced: "" },
    Event::Ejection { reason: "timeout", unenforced: "" },
    Event::Ejection { reason: "reset", unenforced: "" },
    Event::Ejection { reason: "gateway", unenforced: "" },
    Event::Ejection { reason: "5xx", unenforced: "" },
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Retry { reason: &'static str },
    NoRetry { reason: &'static str },
    Retried { outcome: &'static str },
    Hedge { result: &'static str },
    Overload { reason: &'static str },
    NoEndpoint,
    Ejection { reason: &'static str, unenforced: &'static str },
    Probe { result: &'static str },
    NotMirrored { reason: &'static str },
    Failover { level: &'static str },
}

impl ClusterSeries {
    pub(super) fn new(workers: usize) -> Self {
        ClusterSeries { shards: (0..workers).map(|_| Shard::default()).collect(), events: Mutex::default() }
    }

    /// Counts an attempt's end.
    pub fn attempt(&self, worker: usize, end: End) {
        add(&self.shard(worker).attempts[end as usize], 1);
    }

    /// Counts an answer to a client that is bound to an endpoint.
    pub fn session(&self, worker: usize, session: Session) {
        add(&self.shard(worker).sessions[session as usize], 1);
    }

    /// Counts a request that was answered with `code` after `took`.
    pub fn took(&self, worker: usize, code: u16, took: Duration) {
        self.shard(worker).latencies.count(code, took);
    }

    /// How long requests took so far, by class of status.
    pub fn latencies(&self) -> Latencies {
        Latencies::of(self.shards.iter().map(|shard| &shard.latencies))
    }

    /// Attempts that have ended so far, with the word for how.
    pub fn attempts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        ENDS.iter().enumerate().map(|(end, word)| (*word, self.sum(|shard| &shard.attempts[end])))
    }

    /// Attempts after the first so far.
    pub fn retries(&self) -> u64 {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.iter().filter(|(event, _)| matches!(event, Event::Retry { .. })).map(|(_, count)| count).sum()
    }

    fn shard(&self, worker: usize) -> &Shard {
        &self.shards[worker % self.shards.len()]
    }

    fn sum(&self, figure: impl Fn(&Shard) -> &AtomicU64) -> u64 {
        self.shards.iter().map(|shard| figure(shard).load(Ordering::Relaxed)).sum()
    }

    /// Counts another attempt and what it was made for.
    pub fn retry(&self, reason: &'static str) {
        self.count(Event::Retry { reason });
    }

    /// Counts a failed attempt that was not followed by another, and why.
    pub fn no_retry(&self, reason: &'static str) {
        self.count(Event::NoRetry { reason });
    }

    /// Counts a request that was tried again, by what came of it.
    pub fn retried(&self, succeeded: bool) {
        self.count(Event::Retried { outcome: if succeeded { "success" } else { "failure" } });
    }

    /// Counts an attempt beside another that took long, by what came of it.
    pub fn hedge(&self, result: &'static str) {
        self.count(Event::Hedge { result });
    }

    /// Counts a request that was turned away for want of room.
    pub fn overload(&self, reason: &'static str) {
        self.count(Event::Overload { reason });
    }

    /// Counts a request for which nobody was eligible.
    pub fn no_endpoint(&self) {
        self.count(Event::NoEndpoint);
    }

    /// Counts an ejection, or one that the rules forbade for the reason in `unenforced`.
    pub fn ejection(&self, reason: &'static str, unenforced: Option<&'static str>) {
        self.count(Event::Ejection { reason, unenforced: unenforced.unwrap_or_default() });
    }

    /// Counts a probe by what it came to.
    pub fn probe(&self, result: &'static str) {
        self.count(Event::Probe { result });
    }

    /// Counts a request of which no copy was sent here, and why.
    pub fn not_mirrored(&self, reason: &'static str) {
        self.count(Event::NotMirrored { reason });
    }

    /// Counts that another level serves from now on; the one after the last is all of them together.
    pub fn failover(&self, level: usize) {
        self.count(Event::Failover { level: LEVELS[level.min(LEVELS.len() - 1)] });
    }

    /// Shows of so many levels, and of all of them together, how often each began to serve, before it ever has.
    pub fn has_levels(&self, count: usize) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        for level in LEVELS.iter().take(count + 1) {
            events.entry(Event::Failover { level }).or_default();
        }
    }

    fn count(&self, event: Event) {
        *self.events.lock().unwrap_or_else(PoisonError::into_inner).entry(event).or_default() += 1;
    }
}

pub(super) fn families(all: &[(Arc<str>, Arc<ClusterSeries>)]) -> Vec<MetricFamily> {
    let cluster = |name: &Arc<str>| ("cluster", name.to_string());
    let (mut attempts, mut sessions) = (Vec::new(), Vec::new());
    let mut events = EVENTS.map(|_| Vec::new());
    for (name, series) in all {
        for (word, count) in series.attempts() {
            attempts.push((vec![cluster(name), ("outcome", word.to_owned())], count as f64));
        }
        for (session, word) in SESSIONS.iter().enumerate() {
            let count = series.sum(|shard| &shard.sessions[session]);
            // Only where clients are bound at all.
            if count > 0 {
                sessions.push((vec![cluster(name), ("result", (*word).to_owned())], count as f64));
            }
        }
        let mut counts = FROM_THE_START.map(|event| (event, 0)).into_iter().collect::<BTreeMap<_, _>>();
        counts.extend(series.events.lock().unwrap_or_else(PoisonError::into_inner).iter());
        for (event, count) in &counts {
            let mut labels = vec![cluster(name)];
            labels.extend(event.labels().map(|(label, value)| (label, value.to_owned())));
            events[event.family()].push((labels, *count as f64));
        }
    }
    let mut families = vec![
        counter("lictor_attempts_total", "Tries at endpoints, by how they ended.", attempts),
        counter(
            "lictor_sessions_total",
            "Answers to clients that a cookie binds to an endpoint, by what became of the binding.",
            sessions,
        ),
    ];
    families.extend(EVENTS.iter().zip(events).map(|((name, help), values)| counter(name, help, values)));
    families
}

/// Families of events, in the order of [`Event`].
const EVENTS: [(&str, &str); 10] = [
    ("lictor_retries_total", "Attempts after the first, by what the one before ended in."),
    ("lictor_retries_refused_total", "Failed attempts that were not tried again, by the reason why."),
    ("lictor_retried_requests_total", "Requests tried more than once, by what came of them."),
    ("lictor_hedges_total", "Attempts that took so long that another was due beside them, by what came of that."),
    ("lictor_overload_total", "Requests turned away for want of room, by what was full."),
    ("lictor_no_endpoint_total", "Requests for which no endpoint was eligible."),
    ("lictor_ejections_total", "Endpoints taken out, or not although they failed, by the reason."),
    ("lictor_probes_total", "Probes of endpoints, by what they found."),
    ("lictor_mirrors_skipped_total", "Requests of which no copy was sent, by the reason why."),
    ("lictor_failovers_total", "Times that another of a cluster's lists began to serve, by its place."),
];

impl Event {
    fn family(self) -> usize {
        match self {
            Event::Retry { .. } => 0,
            Event::NoRetry { .. } => 1,
            Event::Retried { .. } => 2,
            Event::Hedge { .. } => 3,
            Event::Overload { .. } => 4,
            Event::NoEndpoint => 5,
            Event::Ejection { .. } => 6,
            Event::Probe { .. } => 7,
            Event::NotMirrored { .. } => 8,
            Event::Failover { .. } => 9,
        }
    }

    fn labels(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let labels = match self {
            Event::Retry { reason }
            | Event::NoRetry { reason }
            | Event::Overload { reason }
            | Event::NotMirrored { reason } => vec![("reason", reason)],
            Event::Retried { outcome } => vec![("outcome", outcome)],
            Event::Hedge { result } | Event::Probe { result } => vec![("result", result)],
            Event::Failover { level } => vec![("level", level)],
            Event::NoEndpoint => vec![],
            Event::Ejection { reason, unenforced } => {
                let enforced = if unenforced.is_empty() { "true" } else { "false" };
                vec![("reason", reason), ("enforced", enforced), ("unenforced_reason", unenforced)]
            }
        };
        labels.into_iter()
    }
}
