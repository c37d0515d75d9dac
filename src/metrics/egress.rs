//! Services that are asked for by their names: how many are followed, and what became of names that were asked for anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::proto::MetricFamily;

use super::family::{counter, gauge};

/// What became of a name that was not in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Demanded {
    /// It is, now.
    Found,
    /// There is no such service.
    Unknown,
    /// What there is may not be seen.
    Hidden,
    /// As many are followed as may be.
    Full,
    /// Too many are asked for at once.
    Busy,
    /// Nobody answers who would know.
    Unheard,
    /// It cannot be asked for.
    Refused,
    /// There was no answer in time.
    Late,
}

const DEMANDED: [&str; 8] = ["found", "unknown", "hidden", "full", "busy", "unheard", "refused", "late"];

/// What is counted of names.
#[derive(Debug, Default)]
pub struct EgressSeries {
    followed: AtomicU64,
    demanded: [AtomicU64; DEMANDED.len()],
    ignored: AtomicU64,
}

impl EgressSeries {
    /// Counts a name that was asked for, and was not in the table.
    pub fn demanded(&self, what: Demanded) {
        self.demanded[what as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Notes how many names are followed.
    pub fn followed(&self, count: usize) {
        self.followed.store(count as u64, Ordering::Relaxed);
    }

    /// Counts words of a service that mean nothing.
    pub fn ignored(&self, count: usize) {
        self.ignored.fetch_add(count as u64, Ordering::Relaxed);
    }
}

pub(super) fn families(all: &[((), Arc<EgressSeries>)]) -> Vec<MetricFamily> {
    let of = |read: fn(&EgressSeries) -> &AtomicU64| {
        all.iter().map(move |((), series)| (vec![], read(series).load(Ordering::Relaxed) as f64))
    };
    let demanded = all.iter().flat_map(|((), series)| DEMANDED.iter().zip(&series.demanded));
    let demanded =
        demanded.map(|(word, count)| (vec![("result", (*word).to_owned())], count.load(Ordering::Relaxed) as f64));
    vec![
        gauge("lictor_egress_services", "Names of services that are followed.", of(|series| &series.followed)),
        counter(
            "lictor_egress_demands_total",
            "Requests for names that were not followed yet, by what became of them.",
            demanded,
        ),
        counter(
            "lictor_egress_words_ignored_total",
            "Words of services on how to treat them that mean nothing.",
            of(|series| &series.ignored),
        ),
    ]
}
