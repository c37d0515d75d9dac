//! Room for connections: how many there may be at once, over all listeners and workers that share it. Who comes when there is none
//! is held back: one for each listener and worker, accepted and not yet served, the others in the kernel's queue. Nobody spins, and
//! whoever has waited longest is next.
//!
//! When somebody is held back, connections that have been idle for a while give way, the longest idle first and a few at once, as
//! nginx does it: a client that keeps a connection in case it has another request must not lock out one that has a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tracing::{info, warn};

/// Who has been idle for less may be about to ask. So it can happen that nobody gives way, for that long.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// How often somebody who is held back looks whether others can give way by now.
pub(super) const LOOK: Duration = Duration::from_millis(250);

/// How many connections there may be, and how many there are.
#[derive(Debug)]
pub struct Room {
    places: Arc<Semaphore>,
    most: usize,
    // From when the last place was taken until a tenth is free: so that the log does not repeat itself.
    full: AtomicBool,
    crowded: Notify,
}

/// A connection's place, held for as long as it is open.
pub(super) type Place = OwnedSemaphorePermit;

impl Room {
    /// Room for `most` connections, of which there must be at least one.
    pub fn new(most: usize) -> Arc<Self> {
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        Arc::new(Room {
            places: Arc::new(Semaphore::new(most)),
            most,
            full: AtomicBool::new(false),
            crowded: Notify::new(),
        })
    }

    /// How many there may be.
    pub fn most(&self) -> usize {
        self.most
    }

    /// A place, if one is free.
    pub(super) fn find(&self) -> Option<Place> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        if self.full.load(Ordering::Relaxed)
            && self.places.available_permits() > self.most / 10
            && self.full.swap(false, Ordering::Relaxed)
        {
            info!(max_connections = self.most, "there is room for connections again");
        }
        Some(place)
    }

    /// A place, as soon as there is one.
    pub(super) async fn wait(&self) -> Option<Place> {
        // Fails only if the semaphore is closed, which nobody does.
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    /// Somebody is held back: has all listeners look who can give way.
    pub(super) fn call_out(&self) {
        if !self.full.swap(true, Ordering::Relaxed) {
            warn!(max_connections = self.most, "max_connections are open: others wait, and idle ones give way");
        }
        self.crowded.notify_waiters();
    }

    /// Returns when somebody is held back, at whichever listener.
    pub(super) async fn crowded(&self) {
        self.crowded.notified().await;
    }
}
