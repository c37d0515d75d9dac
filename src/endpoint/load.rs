//! How much of our traffic is on an endpoint, and how much was: one word, since both change as an attempt ends, and every
//! attempt of every worker writes here.

use super::atomic::{AtomicU64, Ordering};

/// Attempts in flight, in the lower half, and those that have ended, in the upper one, where they wrap.
#[derive(Debug, Default)]
pub(super) struct Load(AtomicU64);

const BEGUN: u64 = 1;
/// One more that has ended, and one less in flight.
const ENDED: u64 = (1 << 32) - BEGUN;

impl Load {
    /// Begins an attempt.
    pub(super) fn begin(&self) {
        self.0.fetch_add(BEGUN, Ordering::Relaxed);
    }

    /// Begins an attempt if fewer than `most` are in flight; false if not.
    pub(super) fn begin_below(&self, most: u32) -> bool {
        let one_more = |word: u64| (in_flight(word) < most).then(|| word + BEGUN);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    /// Ends an attempt that has begun.
    pub(super) fn end(&self) {
        self.0.fetch_add(ENDED, Ordering::Relaxed);
    }

    /// Attempts begun and not ended.
    pub(super) fn in_flight(&self) -> u32 {
        in_flight(self.0.load(Ordering::Relaxed))
    }

    /// Attempts that have ended; wraps, as a difference survives.
    pub(super) fn ended(&self) -> u32 {
        (self.0.load(Ordering::Relaxed) >> 32) as u32
    }
}

fn in_flight(word: u64) -> u32 {
    word as u32
}
