//! Whether we let an endpoint be picked. One atomic word that every pick reads, and behind a lock the little history that
//! only an ejection and a return touch.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::atomic::{AtomicU8, Mutex, MutexGuard, Ordering};

/// Whether an endpoint may be picked, as far as we judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Standing {
    /// May be picked.
    Eligible = 0,
    /// Taken out for a while.
    Ejected = 1,
    /// The while is over; one trial request decides.
    Probation = 2,
    /// That request is on its way.
    Trial = 3,
}

/// The history of an endpoint's ejections.
#[derive(Debug, Default)]
pub struct Ejections {
    /// How many there were in a row.
    pub times: u32,
    /// When the last one ends or ended.
    pub until: Option<Instant>,
    /// How long the last one was meant to be.
    pub length: Duration,
    /// When it came back from the last one.
    pub returned: Option<Instant>,
    /// What the last one was for, as a word.
    pub why: Option<&'static str>,
}

#[derive(Debug, Default)]
pub(super) struct Cell {
    word: AtomicU8,
    ejections: Mutex<Ejections>,
}

impl Cell {
    pub(super) fn load(&self) -> Standing {
        Standing::of(self.word.load(Ordering::Acquire))
    }

    pub(super) fn store(&self, standing: Standing) {
        // Not a plain store: whoever sees this change sees all that came before it, whoever made them.
        self.word.swap(standing as u8, Ordering::AcqRel);
    }

    pub(super) fn exchange(&self, from: Standing, to: Standing) -> bool {
        self.word.compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    pub(super) fn ejections(&self) -> MutexGuard<'_, Ejections> {
        // Plain data: a panic elsewhere cannot leave it half changed.
        self.ejections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Standing {
    fn of(word: u8) -> Self {
        match word {
            1 => Standing::Ejected,
            2 => Standing::Probation,
            3 => Standing::Trial,
            _ => Standing::Eligible,
        }
    }

    /// The word for people and labels.
    pub fn name(self) -> &'static str {
        match self {
            Standing::Eligible => "eligible",
            Standing::Ejected => "ejected",
            Standing::Probation | Standing::Trial => "probation",
        }
    }
}
