//! How an instance that lictor enters in the catalogue fares there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use prometheus::proto::MetricFamily;

use super::family::{counter, gauge};

/// What an entry counts.
#[derive(Debug, Default)]
pub struct RegistrationSeries {
    is_there: AtomicBool,
    entries: AtomicU64,
    failures: AtomicU64,
}

impl RegistrationSeries {
    /// Notes whether it is in the catalogue, as far as is known; returns whether it was.
    pub fn entered(&self, is_there: bool) -> bool {
        let was = self.is_there.swap(is_there, Ordering::Relaxed);
        if is_there && !was {
            self.entries.fetch_add(1, Ordering::Relaxed);
        }
        was
    }

    /// Counts a question or a word that was not answered.
    pub fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }
}

pub(super) fn families(all: &[(Arc<str>, Arc<RegistrationSeries>)]) -> Vec<MetricFamily> {
    let of = |read: fn(&RegistrationSeries) -> u64| {
        all.iter().map(move |(instance, series)| (vec![("instance", instance.to_string())], read(series) as f64))
    };
    vec![
        gauge(
            "lictor_registration_entered",
            "1 while the instance is in the catalogue, as far as is known.",
            of(|series| u64::from(series.is_there.load(Ordering::Relaxed))),
        ),
        counter(
            "lictor_registration_entries_total",
            "Times that the instance came into the catalogue.",
            of(|series| series.entries.load(Ordering::Relaxed)),
        ),
        counter(
            "lictor_registration_failures_total",
            "Times that the agent did not do what it was asked for the instance.",
            of(|series| series.failures.load(Ordering::Relaxed)),
        ),
    ]
}
