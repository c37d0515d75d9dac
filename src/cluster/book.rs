//! The order in which a cluster's standings change and its lists of candidates are made. Whoever changes a standing, or makes
//! a list out of them, does so with the book open; so the list that was stored last holds every change before it.
//!
//! Requests read lists without it, and may have an older one at hand: whom they pick they look at once more.

use std::sync::PoisonError;

use crate::endpoint::atomic::{AtomicU64, Mutex, MutexGuard, Ordering};

/// What the clusters of one name, of this table and those before, agree by.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// Counts the clusters of this name.
    generation: AtomicU64,
    /// Counts the lists of candidates that the newest of them had.
    stamp: AtomicU64,
    // By control and by workers alike; never held across an await.
    open: Mutex<()>,
}

impl Book {
    /// The number of a new cluster, which is the newest from now on.
    pub(super) fn generation(&self) -> u64 {
        self.generation.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// True if there is no newer cluster of this name.
    pub(super) fn is_newest(&self, generation: u64) -> bool {
        generation == self.generation.load(Ordering::Relaxed)
    }

    /// Of the next list of candidates, which is made with the book open; 0 if there is a newer cluster of this name.
    pub(super) fn stamp(&self, generation: u64) -> u64 {
        if self.is_newest(generation) { self.stamp.fetch_add(1, Ordering::Relaxed) + 1 } else { 0 }
    }

    /// Opens it as soon as nobody else has it.
    pub(super) fn open(&self) -> MutexGuard<'_, ()> {
        // Guards no data of its own, so a panic cannot have left any half changed.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens it unless somebody else has it.
    pub(super) fn try_open(&self) -> Option<MutexGuard<'_, ()>> {
        self.open.try_lock().ok()
    }
}
