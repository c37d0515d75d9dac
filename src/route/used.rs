//! When something was last in use, for those who let go of what is not. Written by every worker, so it is written seldom: a time that is
//! right to a quarter of a second is as good as any, and most requests only read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How far off a time may be.
const NEAR: u64 = 250;

/// When something was last in use.
#[derive(Debug)]
pub struct Used {
    began: Instant,
    /// Milliseconds from there, plus one; 0 for never.
    last: AtomicU64,
}

impl Default for Used {
    fn default() -> Self {
        Used { began: Instant::now(), last: AtomicU64::default() }
    }
}

impl Used {
    /// It is in use.
    pub fn touch(&self, now: Instant) {
        let millis = now.saturating_duration_since(self.began).as_millis() as u64 + 1;
        let last = self.last.load(Ordering::Relaxed);
        if last == 0 || millis.saturating_sub(last) > NEAR {
            self.last.store(millis, Ordering::Relaxed);
        }
    }

    /// When it was last in use, if ever.
    pub fn last(&self) -> Option<Instant> {
        let millis = self.last.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.began + Duration::from_millis(millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_use_is_known_closely_enough() {
        let used = Used::default();
        assert_eq!(used.last(), None);
        used.touch(used.began);
        assert_eq!(used.last(), Some(used.began));
        for millis in [100, 240, 260, 400, 9000] {
            let now = used.began + Duration::from_millis(millis);
            used.touch(now);
            let off = now - used.last().unwrap();
            assert!(off <= Duration::from_millis(NEAR), "{off:?}");
        }
    }
}
