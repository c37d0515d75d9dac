//! How many requests a cluster takes at once: a bound, and a bounded queue in front of it. Only for clusters that have limits.
//!
//! Whoever finds room goes in without a lock, unless others wait already: nobody overtakes. Whoever leaves wakes the first in
//! the queue. The bound may change at any time; what is in stays in.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::timeout_at;

use super::gradient::Gradient;
use crate::config::Limits;

/// The way into a cluster.
#[derive(Debug)]
pub(super) struct Gate {
    inside: AtomicU32,
    most: AtomicU32,
    waiting: AtomicU32,
    left: Notify,
    rules: Mutex<Rules>,
}

#[derive(Debug, Default)]
struct Rules {
    /// Of the configuration, with the endpoints that share in it; 0 for none.
    given: u32,
    found: Option<Gradient>,
}

/// A request's place in its cluster, given back when it is dropped.
#[derive(Debug)]
pub struct Permit {
    gate: Arc<Gate>,
}

/// Why a request was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overload {
    /// As many wait as may wait.
    Full,
    /// It has waited for as long as it may.
    Late,
}

impl Gate {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Gate {
            inside: AtomicU32::default(),
            most: AtomicU32::new(u32::MAX),
            waiting: AtomicU32::default(),
            left: Notify::new(),
            rules: Mutex::default(),
        })
    }

    /// Takes on limits for a cluster in which so many endpoints may serve.
    pub(super) fn set(&self, limits: &Limits, endpoints: usize, now: Instant) {
        let mut rules = self.rules();
        let endpoints = u32::try_from(endpoints.max(1)).unwrap_or(u32::MAX);
        let together = limits.endpoint_in_flight.saturating_mul(endpoints);
        rules.given = [limits.in_flight, together].into_iter().filter(|most| *most > 0).min().unwrap_or_default();
        match (&limits.adaptive, &mut rules.found) {
            (Some(settings), Some(gradient)) => gradient.set(settings),
            (Some(settings), found) => *found = Some(Gradient::new(settings, now)),
            (None, found) => *found = None,
        }
        self.open(&rules);
    }

    /// Requests inside, and those that wait.
    pub(super) fn counts(&self) -> (u32, u32) {
        (self.inside.load(Ordering::Relaxed), self.waiting.load(Ordering::Relaxed))
    }

    /// How many it takes; none if there is no bound.
    pub(super) fn most(&self) -> Option<u32> {
        Some(self.most.load(Ordering::Relaxed)).filter(|most| *most < u32::MAX)
    }

    /// Lets a request in, at once or when its turn comes.
    pub(super) async fn enter(self: &Arc<Self>, queue: u32, until: Instant) -> Result<Permit, Overload> {
        if self.waiting.load(Ordering::SeqCst) == 0 && self.try_enter() {
            return Ok(Permit { gate: Arc::clone(self) });
        }
        let place = Place::take(self, queue).ok_or(Overload::Full)?;
        let entering = async {
            let mut is_first = place.is_first;
            loop {
                let mut left = std::pin::pin!(self.left.notified());
                // In the queue before the look: who leaves from here on wakes us.
                left.as_mut().enable();
                if is_first && self.try_enter() {
                    return;
                }
                left.await;
                is_first = true;
            }
        };
        timeout_at(until.into(), entering).await.map_err(|_| Overload::Late)?;
        Ok(Permit { gate: Arc::clone(self) })
    }

    fn try_enter(&self) -> bool {
        let most = self.most.load(Ordering::SeqCst);
        let one_more = |inside: u32| (inside < most).then(|| inside + 1);
        self.inside.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).is_ok()
    }

    fn leave(&self) {
        self.inside.fetch_sub(1, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.left.notify_one();
        }
    }

    /// Makes a new bound known, and lets in who fits from now on.
    fn open(&self, rules: &Rules) {
        let given = if rules.given > 0 { rules.given } else { u32::MAX };
        let most = rules.found.as_ref().map_or(given, |gradient| gradient.limit().min(given));
        let before = self.most.swap(most, Ordering::SeqCst);
        let more = most.saturating_sub(before).min(self.waiting.load(Ordering::SeqCst));
        (0..more).for_each(|_| self.left.notify_one());
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        // Plain data: a panic elsewhere cannot leave it half changed.
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// The request was answered after so long: what a limit that finds itself goes by.
    pub fn answered(&self, took: Duration, now: Instant) {
        // Another worker may be at it; its sample is as good.
        let Ok(mut rules) = self.gate.rules.try_lock() else { return };
        let inside = self.gate.inside.load(Ordering::Relaxed);
        let changed = rules.found.as_mut().and_then(|gradient| gradient.observe(took, inside, now));
        if changed.is_some() {
            self.gate.open(&rules);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.leave();
    }
}

impl Overload {
    /// The word for labels.
    pub fn name(self) -> &'static str {
        match self {
            Overload::Full => "queue_full",
            Overload::Late => "queue_timeout",
        }
    }
}

/// A place in the queue.
struct Place<'a> {
    gate: &'a Gate,
    /// Nobody was there before.
    is_first: bool,
}

impl<'a> Place<'a> {
    fn take(gate: &'a Gate, queue: u32) -> Option<Self> {
        let one_more = |waiting: u32| (waiting < queue).then(|| waiting + 1);
        let before = gate.waiting.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).ok()?;
        Some(Place { gate, is_first: before == 0 })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let others = self.gate.waiting.fetch_sub(1, Ordering::SeqCst) - 1;
        // Several may have left while only one was woken.
        if others > 0 && self.gate.inside.load(Ordering::SeqCst) < self.gate.most.load(Ordering::SeqCst) {
            self.gate.left.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn limits(in_flight: u32) -> Limits {
        let timeout = Duration::from_secs(1);
        Limits {
            in_flight,
            endpoint_in_flight: 0,
            connections: 0,
            endpoint_connections: 0,
            queue: 1,
            queue_timeout: timeout,
            adaptive: None,
        }
    }

    fn gate(in_flight: u32) -> Arc<Gate> {
        let gate = Gate::new();
        gate.set(&limits(in_flight), 3, Instant::now());
        gate
    }

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[tokio::test]
    async fn who_finds_no_room_waits_and_whoever_comes_after_the_queue_is_full_is_told_so() {
        let gate = gate(2);
        let first = gate.enter(1, soon()).await.unwrap();
        let _second = gate.enter(1, soon()).await.unwrap();
        let mut third = pin!(gate.enter(1, soon()));
        assert!(poll(third.as_mut()).is_pending());
        assert_eq!(gate.enter(1, soon()).await.unwrap_err(), Overload::Full);
        assert_eq!(gate.counts(), (2, 1));
        drop(first);
        let _third = third.await.unwrap();
        assert_eq!(gate.counts(), (2, 0));
    }

    #[tokio::test]
    async fn nobody_overtakes_who_waits() {
        let gate = gate(1);
        let first = gate.enter(9, soon()).await.unwrap();
        let mut second = pin!(gate.enter(9, soon()));
        assert!(poll(second.as_mut()).is_pending());
        drop(first);
        let mut third = pin!(gate.enter(9, soon()));
        assert!(poll(third.as_mut()).is_pending(), "the room is the second's");
        drop(second.await.unwrap());
        third.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_has_an_end_and_leaves_nothing_behind() {
        let gate = gate(1);
        let first = gate.enter(1, soon()).await.unwrap();
        let until = tokio::time::Instant::now().into_std() + Duration::from_secs(1);
        assert_eq!(gate.enter(1, until).await.unwrap_err(), Overload::Late);
        drop(first);
        assert_eq!(gate.counts(), (0, 0));
        gate.enter(0, soon()).await.unwrap();
    }

    #[tokio::test]
    async fn a_wider_gate_lets_in_who_waits() {
        let gate = gate(1);
        let _first = gate.enter(1, soon()).await.unwrap();
        let mut second = pin!(gate.enter(1, soon()));
        assert!(poll(second.as_mut()).is_pending());
        gate.set(&limits(2), 3, Instant::now());
        second.await.unwrap();
    }

    #[test]
    fn the_endpoints_share_bounds_the_cluster_as_well() {
        let gate = gate(100);
        gate.set(&Limits { endpoint_in_flight: 10, ..limits(100) }, 3, Instant::now());
        assert_eq!(gate.most(), Some(30));
        gate.set(&limits(0), 3, Instant::now());
        assert_eq!(gate.most(), None);
    }
}
