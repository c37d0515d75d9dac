//! Whether requests should be sent here: there has been a truth to serve, and we are not leaving. Ready once means ready until
//! the drain; a source that fails later does not take the proxy out, since it serves the last good list, unless somebody said
//! for how long it may.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Shared by those who change it and those who ask.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    truth: AtomicBool,
    draining: AtomicBool,
    withdrawn: AtomicBool,
    stale: AtomicBool,
    unproven: AtomicBool,
    changes: Notify,
}

impl Readiness {
    /// Every cluster has had its first list.
    pub fn has_truth(&self) {
        self.0.truth.store(true, Ordering::Release);
        self.0.changes.notify_waiters();
    }

    /// We are leaving.
    pub fn draining(&self) {
        self.0.draining.store(true, Ordering::Release);
        self.0.changes.notify_waiters();
    }

    /// Somebody wants clients to go elsewhere for a while, or not any more.
    pub fn withdrawn(&self, is_withdrawn: bool) {
        self.0.withdrawn.store(is_withdrawn, Ordering::Release);
        self.0.changes.notify_waiters();
    }

    /// What is known is too old, or is not any more.
    pub fn stale(&self, is_stale: bool) {
        self.0.stale.store(is_stale, Ordering::Release);
        self.0.changes.notify_waiters();
    }

    /// We are found in the mesh, and have nothing to show there yet; or do have it.
    pub fn unproven(&self, is_unproven: bool) {
        self.0.unproven.store(is_unproven, Ordering::Release);
        self.0.changes.notify_waiters();
    }

    /// Why not, or nothing if ready.
    pub fn blocker(&self) -> Option<&'static str> {
        if self.0.draining.load(Ordering::Acquire) {
            Some("draining")
        } else if self.0.withdrawn.load(Ordering::Acquire) {
            Some("drained by an operator")
        } else if !self.0.truth.load(Ordering::Acquire) {
            Some("waiting for the first answer of discovery")
        } else if self.0.unproven.load(Ordering::Acquire) {
            Some("waiting for our certificate in the mesh")
        } else if self.0.stale.load(Ordering::Acquire) {
            Some("discovery is stale")
        } else {
            None
        }
    }

    /// True if it is not ready because somebody wants it to end or to be left alone.
    pub fn is_drained(&self) -> bool {
        self.0.draining.load(Ordering::Acquire) || self.0.withdrawn.load(Ordering::Acquire)
    }

    /// Returns when what keeps it from being ready is something else than this, or nothing any more.
    pub async fn changes(&self, from: Option<&'static str>) {
        loop {
            let mut change = pin!(self.0.changes.notified());
            // Before looking, so that no change falls in between.
            change.as_mut().enable();
            if self.blocker() != from {
                return;
            }
            change.await;
        }
    }
}
