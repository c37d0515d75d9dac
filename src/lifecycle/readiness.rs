//! Whether requests should be sent here: there has been a truth to serve, and we are not leaving. Ready once means ready until
//! the drain; a source that fails later does not take the proxy out, since it serves the last good list, unless somebody said
//! for how long it may.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Shared by those who change it and those who ask.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    truth: AtomicBool,
    draining: AtomicBool,
    stale: AtomicBool,
}

impl Readiness {
    /// Every cluster has had its first list.
    pub fn has_truth(&self) {
        self.0.truth.store(true, Ordering::Release);
    }

    /// We are leaving.
    pub fn draining(&self) {
        self.0.draining.store(true, Ordering::Release);
    }

    /// What is known is too old, or is not any more.
    pub fn stale(&self, is_stale: bool) {
        self.0.stale.store(is_stale, Ordering::Release);
    }

    /// Why not, or nothing if ready.
    pub fn blocker(&self) -> Option<&'static str> {
        if self.0.draining.load(Ordering::Acquire) {
            Some("draining")
        } else if !self.0.truth.load(Ordering::Acquire) {
            Some("waiting for the first answer of discovery")
        } else if self.0.stale.load(Ordering::Acquire) {
            Some("discovery is stale")
        } else {
            None
        }
    }
}
