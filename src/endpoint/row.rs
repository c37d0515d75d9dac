//! How many attempts at an endpoint have failed since one succeeded, over all workers.

use super::atomic::{AtomicU32, Ordering};

/// Failures in a row.
#[derive(Debug, Default)]
pub(super) struct Row(AtomicU32);

impl Row {
    /// Counts a failure and returns how many there were in a row: each number once, until a success.
    pub(super) fn failed(&self) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// Goes on as if there had been so many.
    pub(super) fn presume(&self, failures: u32) {
        self.0.store(failures, Ordering::Relaxed);
    }

    /// Ends the row.
    pub(super) fn succeeded(&self) {
        // Read first: the line stays shared between workers as long as all is well.
        if self.0.load(Ordering::Relaxed) != 0 {
            self.0.store(0, Ordering::Relaxed);
        }
    }
}
