//! How an instance that lictor enters in the catalogue fares there: figures, and what people are told beside them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use prometheus::proto::MetricFamily;

use super::family::{counter, gauge};

/// What an entry counts.
#[derive(Debug, Default)]
pub struct RegistrationSeries {
    is_there: AtomicBool,
    entries: AtomicU64,
    failures: AtomicU64,
    fare: Mutex<Fare>,
}

/// An instance, as people are told of it.
#[derive(Debug, Clone, Default)]
pub struct Fare {
    /// Its service.
    pub service: Arc<str>,
    /// Whether it is in the catalogue, as far as is known.
    pub is_there: bool,
    /// Its checks' ids, each with what lictor said of it last, where that is lictor's to say: a status and why.
    pub checks: Vec<(String, Option<(&'static str, String)>)>,
    /// What the agent did not do last, and when.
    pub failure: Option<(Instant, String)>,
}

impl RegistrationSeries {
    /// Notes what it is.
    pub fn is(&self, service: &str, checks: &[String]) {
        let mut fare = self.fare();
        let mut before = std::mem::take(&mut fare.checks);
        let mut said = |id: &String| before.iter_mut().find(|(known, _)| known == id).and_then(|(_, said)| said.take());
        fare.checks = checks.iter().map(|id| (id.clone(), said(id))).collect();
        fare.service = service.into();
    }

    /// Notes what lictor has said of a check.
    pub fn said(&self, check: &str, status: &'static str, output: &str) {
        if let Some((_, said)) = self.fare().checks.iter_mut().find(|(known, _)| known == check) {
            *said = Some((status, output.to_owned()));
        }
    }

    /// How it is.
    pub fn tell(&self) -> Fare {
        Fare { is_there: self.is_there.load(Ordering::Relaxed), ..self.fare().clone() }
    }

    fn fare(&self) -> MutexGuard<'_, Fare> {
        self.fare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes whether it is in the catalogue, as far as is known; returns whether it was.
    pub fn entered(&self, is_there: bool) -> bool {
        let was = self.is_there.swap(is_there, Ordering::Relaxed);
        if is_there && !was {
            self.entries.fetch_add(1, Ordering::Relaxed);
        }
        was
    }

    /// Counts a question or a word that was not answered, and notes why.
    pub fn failed(&self, why: String) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.fare().failure = Some((Instant::now(), why));
    }
}

pub(super) fn families(all: &[(Arc<str>, Arc<RegistrationSeries>)]) -> Vec<MetricFamily> {
    let of = |read: fn(&RegistrationSeries) -> u64| {
        all.iter().map(move |(instance, series)| (vec![("id", instance.to_string())], read(series) as f64))
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
