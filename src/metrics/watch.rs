//! How following a service goes: updates, the index, and the age of the last good answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prometheus::proto::MetricFamily;

use super::family::{counter, gauge};

/// What one answer, or the lack of one, came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Update {
    /// A new list.
    Changed,
    /// The same list.
    Unchanged,
    /// Not believed at once: asked again.
    Doubted,
    /// Refused for want of rights.
    Denied,
    /// No usable answer.
    Error,
}

/// Why a list was not believed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Doubt {
    /// Rights hide something.
    Acl,
    /// There is no leader.
    Leader,
    /// The index went backwards.
    Index,
    /// Too much was gone at once.
    Mass,
    /// Whoever answered was behind.
    Lag,
}

const UPDATES: [&str; 5] = ["changed", "unchanged", "doubted", "denied", "error"];
const DOUBTS: [&str; 5] = ["acl", "leader", "index", "mass", "lag"];

/// What following one service counts.
#[derive(Debug)]
pub struct WatchSeries {
    began: Instant,
    updates: [AtomicU64; UPDATES.len()],
    doubts: [AtomicU64; DOUBTS.len()],
    index: AtomicU64,
    index_resets: AtomicU64,
    throttled: AtomicU64,
    skipped: AtomicU64,
    failing: AtomicBool,
    denied: AtomicBool,
    stale: AtomicBool,
    from_disk: AtomicBool,
    // Milliseconds since it began, plus one; 0 before the first good answer. Not by the clock on the wall, which may be set.
    succeeded: AtomicU64,
}

impl Default for WatchSeries {
    fn default() -> Self {
        WatchSeries {
            began: Instant::now(),
            updates: Default::default(),
            doubts: Default::default(),
            index: AtomicU64::default(),
            index_resets: AtomicU64::default(),
            throttled: AtomicU64::default(),
            skipped: AtomicU64::default(),
            failing: AtomicBool::default(),
            denied: AtomicBool::default(),
            stale: AtomicBool::default(),
            from_disk: AtomicBool::default(),
            succeeded: AtomicU64::default(),
        }
    }
}

impl WatchSeries {
    /// Counts an answer or a failure.
    pub fn update(&self, update: Update) {
        self.updates[update as usize].fetch_add(1, Ordering::Relaxed);
        self.failing.store(update == Update::Error, Ordering::Relaxed);
        if update == Update::Denied {
            self.denied.store(true, Ordering::Relaxed);
        }
        if matches!(update, Update::Changed | Update::Unchanged) {
            self.denied.store(false, Ordering::Relaxed);
            self.succeeded.store(self.millis() + 1, Ordering::Relaxed);
        }
    }

    /// Counts a list that was not believed.
    pub fn doubt(&self, doubt: Doubt) {
        self.doubts[doubt as usize].fetch_add(1, Ordering::Relaxed);
        if doubt == Doubt::Acl {
            self.denied.store(true, Ordering::Relaxed);
        }
    }

    /// Notes that its list is empty, and may be so for want of rights.
    pub fn hidden(&self) {
        self.denied.store(true, Ordering::Relaxed);
    }

    /// True if the last word was that we may not know, or not all of it.
    pub fn is_denied(&self) -> bool {
        self.denied.load(Ordering::Relaxed)
    }

    /// The index that was accepted last; 0 before the first.
    pub fn accepted_index(&self) -> u64 {
        self.index.load(Ordering::Relaxed)
    }

    /// Notes the index that was accepted.
    pub fn index(&self, index: u64) {
        self.index.store(index, Ordering::Relaxed);
    }

    /// Counts a return to index 0.
    pub fn index_reset(&self) {
        self.index_resets.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a query that was held back.
    pub fn throttled(&self) {
        self.throttled.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes how many entries of the last list could not be used.
    pub fn skipped(&self, count: usize) {
        self.skipped.store(count as u64, Ordering::Relaxed);
    }

    /// True if the last answer was of no use, or there was none.
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// True if its list is too old.
    pub fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }

    /// True if its list was kept from before the start.
    pub fn is_from_disk(&self) -> bool {
        self.from_disk.load(Ordering::Relaxed)
    }

    /// When the last good answer came; none before the first.
    pub fn heard(&self) -> Option<Instant> {
        let succeeded = self.succeeded.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.began + Duration::from_millis(succeeded))
    }

    /// Seconds since the last good answer; none before the first.
    pub fn age(&self) -> Option<f64> {
        let succeeded = self.succeeded.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.millis().saturating_sub(succeeded) as f64 / 1e3)
    }

    /// Notes whether its list is too old; returns whether it was.
    pub fn stale(&self, is_stale: bool) -> bool {
        self.stale.swap(is_stale, Ordering::Relaxed)
    }

    /// Notes whether its list was kept from before the start.
    pub fn from_disk(&self, from_disk: bool) {
        self.from_disk.store(from_disk, Ordering::Relaxed);
    }

    fn millis(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }
}

pub(super) fn families(all: &[(String, Arc<WatchSeries>)]) -> Vec<MetricFamily> {
    let of = |read: fn(&WatchSeries) -> u64| {
        all.iter().map(move |(service, series)| (vec![("service", service.clone())], read(series) as f64))
    };
    let (mut updates, mut doubts) = (Vec::new(), Vec::new());
    let labels = |service: &String, name, word: &str| vec![("service", service.clone()), (name, word.to_owned())];
    for (service, series) in all {
        for (word, count) in UPDATES.iter().zip(&series.updates) {
            updates.push((labels(service, "result", word), count.load(Ordering::Relaxed) as f64));
        }
        for (word, count) in DOUBTS.iter().zip(&series.doubts) {
            doubts.push((labels(service, "reason", word), count.load(Ordering::Relaxed) as f64));
        }
    }
    let ages = all.iter().filter_map(|(service, series)| Some((vec![("service", service.clone())], series.age()?)));
    vec![
        counter("lictor_discovery_updates_total", "Answers of discovery, by what they came to.", updates),
        counter("lictor_discovery_doubts_total", "Lists that were not believed at once, by why.", doubts),
        gauge("lictor_discovery_index", "Index of the last accepted answer.", of(|s| s.index.load(Ordering::Relaxed))),
        counter(
            "lictor_discovery_index_resets_total",
            "Times that following started anew at index 0.",
            of(|s| s.index_resets.load(Ordering::Relaxed)),
        ),
        counter(
            "lictor_discovery_throttled_total",
            "Queries held back because the service changes too often.",
            of(|s| s.throttled.load(Ordering::Relaxed)),
        ),
        gauge(
            "lictor_discovery_skipped_entries",
            "Entries of the last list without a usable address.",
            of(|s| s.skipped.load(Ordering::Relaxed)),
        ),
        gauge(
            "lictor_discovery_stale",
            "1 if nothing good was heard for longer than allowed.",
            of(|s| u64::from(s.stale.load(Ordering::Relaxed))),
        ),
        gauge(
            "lictor_discovery_denied",
            "1 if the token may not read it, or not all of it, any more.",
            of(|s| u64::from(s.is_denied())),
        ),
        gauge(
            "lictor_discovery_from_disk",
            "1 if the list was kept from before the start.",
            of(|s| u64::from(s.from_disk.load(Ordering::Relaxed))),
        ),
        gauge("lictor_discovery_last_success_age_seconds", "Time since the last good answer.", ages),
    ]
}
