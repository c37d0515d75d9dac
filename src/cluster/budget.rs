//! How much may be retried: a share of the requests of the last ten seconds plus ten a second, after Finagle's retry budget.
//! A fixed number of retries multiplies the load on a cluster that fails as a whole; a budget bounds what retries add to it.
//!
//! The ten seconds are ten slots, each a second's stamp and a count in one word. A request touches one slot; only a retry
//! adds them up, over all workers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const SECONDS: u64 = 10;
const FLOOR_PER_SECOND: f64 = 10.0;
/// Part of the budget that may go to what is never refused: a large cluster's probes must not leave it without retries.
const MOST_SPENT: f64 = 0.5;

/// The requests and retries of the last ten seconds.
#[derive(Debug)]
pub struct Budget {
    epoch: Instant,
    /// Of each worker, which alone counts there.
    requests: Box<[Window]>,
    retries: Window,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Window([AtomicU64; SECONDS as usize]);

impl Budget {
    /// An empty one.
    pub fn new(workers: usize, now: Instant) -> Self {
        let requests = (0..workers.max(1)).map(|_| Window::default()).collect();
        Budget { epoch: now, requests, retries: Window::default() }
    }

    /// Counts a request of a worker's.
    pub fn request(&self, worker: usize, now: Instant) {
        self.requests[worker % self.requests.len()].add(self.second(now));
    }

    /// Counts a retry if `share` of the requests allows one more.
    pub fn withdraw(&self, share: f64, now: Instant) -> bool {
        let within = self.left(share, now) > 0;
        if within {
            self.retries.add(self.second(now));
        }
        within
    }

    /// Counts what is made whether there is room for it or not, so that retries make room for it: but not all, since there is no
    /// end to it, and one retry may save a request.
    pub fn spend(&self, share: f64, now: Instant) {
        if self.spent(now) < (MOST_SPENT * self.allowed(share, now)) as u64 {
            self.retries.add(self.second(now));
        }
    }

    /// Retries that are left if `share` of the requests may be retried.
    pub fn left(&self, share: f64, now: Instant) -> u64 {
        (self.allowed(share, now) as u64).saturating_sub(self.spent(now))
    }

    fn allowed(&self, share: f64, now: Instant) -> f64 {
        let second = self.second(now);
        let requests: u64 = self.requests.iter().map(|window| window.sum(second)).sum();
        share * requests as f64 + FLOOR_PER_SECOND * SECONDS as f64
    }

    fn spent(&self, now: Instant) -> u64 {
        self.retries.sum(self.second(now))
    }

    fn second(&self, now: Instant) -> u64 {
        // From one window on, so that an untouched slot, stamped 0, is never a recent one.
        now.saturating_duration_since(self.epoch).as_secs() + SECONDS
    }
}

impl Window {
    fn add(&self, second: u64) {
        let slot = &self.0[(second % SECONDS) as usize];
        let add = |word: u64| if word >> 32 == second { word + 1 } else { second << 32 | 1 };
        // The common case, one addition; a new second is stamped by whoever comes first.
        if slot.load(Ordering::Relaxed) >> 32 == second {
            slot.fetch_add(1, Ordering::Relaxed);
        } else {
            let _ = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| Some(add(word)));
        }
    }

    fn sum(&self, second: u64) -> u64 {
        let recent = |word: &u64| second < (word >> 32) + SECONDS;
        self.0.iter().map(|slot| slot.load(Ordering::Relaxed)).filter(recent).map(|word| word & 0xffff_ffff).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn withdrawals(budget: &Budget, share: f64, now: Instant) -> usize {
        (0..10_000).take_while(|_| budget.withdraw(share, now)).count()
    }

    #[test]
    fn without_traffic_ten_a_second_may_be_retried() {
        let now = Instant::now();
        assert_eq!(withdrawals(&Budget::new(2, now), 0.2, now), 100);
    }

    #[test]
    fn what_is_never_refused_leaves_half_of_the_budget_to_retries() {
        let now = Instant::now();
        let budget = Budget::new(1, now);
        (0..30).for_each(|_| budget.spend(0.2, now));
        assert_eq!(withdrawals(&budget, 0.2, now), 70);
        let budget = Budget::new(1, now);
        (0..10_000).for_each(|_| budget.spend(0.2, now));
        assert_eq!(withdrawals(&budget, 0.2, now), 50);
    }

    #[test]
    fn traffic_adds_its_share_for_ten_seconds() {
        let now = Instant::now();
        let budget = Budget::new(2, now);
        (0..1000).for_each(|turn| budget.request(turn % 2, now));
        assert_eq!(withdrawals(&budget, 0.2, now + Duration::from_secs(9)), 300);
        assert_eq!(withdrawals(&budget, 0.2, now + Duration::from_secs(10)), 0);
        assert_eq!(withdrawals(&budget, 0.2, now + Duration::from_secs(19)), 100);
    }
}
