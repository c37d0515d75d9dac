//! The mesh: how our own certificate is kept new, and how it goes with those who call us.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::proto::MetricFamily;

use super::family::{counter, gauge};

/// What is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum MeshPart {
    /// Whom to trust.
    Roots,
    /// Who we are.
    Leaf,
}

/// What one answer about it, or the lack of one, came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum MeshUpdate {
    /// Something new.
    Changed,
    /// The same as before.
    Unchanged,
    /// It came, and cannot be used.
    Refused,
    /// We have no right to it.
    Denied,
    /// No usable answer.
    Error,
}

/// What a question whether somebody may call us came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Authorization {
    /// It may.
    Allowed,
    /// It may not.
    Denied,
    /// There was no answer.
    Unanswered,
}

/// Why a caller who has proved who it is was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum MeshRefusal {
    /// It may not call us.
    Denied,
    /// Nobody says whether it may.
    Unanswered,
    /// Too many are asked for at once.
    Crowded,
}

const PARTS: [&str; 2] = ["roots", "leaf"];
const UPDATES: [&str; 5] = ["changed", "unchanged", "refused", "denied", "error"];
const AUTHORIZATIONS: [&str; 3] = ["allowed", "denied", "unanswered"];
const REFUSALS: [&str; 3] = ["denied", "unanswered", "crowded"];

/// What our part in the mesh counts.
#[derive(Debug, Default)]
pub struct MeshSeries {
    updates: [[AtomicU64; UPDATES.len()]; PARTS.len()],
    authorizations: [AtomicU64; AUTHORIZATIONS.len()],
    refused: [AtomicU64; REFUSALS.len()],
    revoked: AtomicU64,
    roots: AtomicU64,
    expiry: Mutex<Option<SystemTime>>,
}

impl MeshSeries {
    /// Counts an answer.
    pub fn update(&self, part: MeshPart, update: MeshUpdate) {
        self.updates[part as usize][update as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a question.
    pub fn authorization(&self, result: Authorization) {
        self.authorizations[result as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a caller who was not let in.
    pub fn refused(&self, reason: MeshRefusal) {
        self.refused[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection that was ended because its caller may not call us any more.
    pub fn revoked(&self) {
        self.revoked.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes how many roots are trusted.
    pub fn trusts(&self, roots: usize) {
        self.roots.store(roots as u64, Ordering::Relaxed);
    }

    /// Notes until when our certificate is valid.
    pub fn expires(&self, end: SystemTime) {
        *self.expiry.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
    }
}

pub(super) fn families(all: &[(Arc<str>, Arc<MeshSeries>)]) -> Vec<MetricFamily> {
    let (mut updates, mut authorizations, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    let (mut revoked, mut roots, mut expiries) = (Vec::new(), Vec::new(), Vec::new());
    for (service, series) in all {
        let own = || vec![("service", service.to_string())];
        let with = |name, word: &str| [own(), vec![(name, word.to_owned())]].concat();
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed) as f64;
        for (part, counts) in PARTS.iter().zip(&series.updates) {
            for (word, count) in UPDATES.iter().zip(counts) {
                updates.push(([with("part", part), vec![("result", (*word).to_owned())]].concat(), read(count)));
            }
        }
        for (word, count) in AUTHORIZATIONS.iter().zip(&series.authorizations) {
            authorizations.push((with("result", word), read(count)));
        }
        for (word, count) in REFUSALS.iter().zip(&series.refused) {
            refused.push((with("reason", word), read(count)));
        }
        revoked.push((own(), read(&series.revoked)));
        roots.push((own(), read(&series.roots)));
        if let Some(end) = *series.expiry.lock().unwrap_or_else(PoisonError::into_inner) {
            expiries.push((own(), end.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()));
        }
    }
    vec![
        counter("lictor_mesh_updates_total", "Answers about the mesh's roots and our own certificate in it.", updates),
        counter("lictor_mesh_authorizations_total", "Questions whether somebody may call us.", authorizations),
        counter("lictor_mesh_refused_total", "Callers with a good certificate who were not let in.", refused),
        counter(
            "lictor_mesh_revoked_total",
            "Connections ended because their callers may not call us any more.",
            revoked,
        ),
        gauge("lictor_mesh_roots", "Roots of the mesh that are trusted.", roots),
        gauge(
            "lictor_mesh_certificate_expiry_timestamp_seconds",
            "When our own certificate in the mesh ceases to be valid.",
            expiries,
        ),
    ]
}
