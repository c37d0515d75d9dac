//! How long answers to a route's requests take to begin, as one worker sees it: a histogram of the recent ones, four steps to a
//! doubling. From it follows when an attempt takes so long that another is worth a try.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use crate::config::Hedge;

/// Up to nine minutes; what takes longer counts as that.
const BUCKETS: usize = 29 * STEPS;
const STEPS: usize = 4;
/// Fewer answers say nothing.
const FEWEST: u32 = 32;
/// At so many, all that was counts half.
const MANY: u32 = 4096;
/// The percentile is looked up anew after so many answers.
const PERIOD: u32 = 64;

#[derive(Debug)]
pub(super) struct Typical {
    counts: RefCell<[u32; BUCKETS]>,
    total: Cell<u32>,
    patience: Cell<Option<Duration>>,
    median: Cell<Option<Duration>>,
}

impl Default for Typical {
    fn default() -> Self {
        Typical {
            counts: RefCell::new([0; BUCKETS]),
            total: Cell::default(),
            patience: Cell::default(),
            median: Cell::default(),
        }
    }
}

impl Typical {
    /// Takes how long an answer took to begin.
    pub(super) fn observe(&self, took: Duration, settings: &Hedge) {
        let mut counts = self.counts.borrow_mut();
        counts[bucket(took)] += 1;
        self.total.set(self.total.get() + 1);
        if self.total.get() >= MANY {
            counts.iter_mut().for_each(|count| *count /= 2);
            self.total.set(counts.iter().sum());
        }
        if self.total.get() == FEWEST || self.total.get().is_multiple_of(PERIOD) {
            let of = |share: f64| Some(percentile(&*counts, self.total.get(), share));
            self.patience.set(of(settings.percentile));
            self.median.set(of(50.0));
        }
    }

    /// What half of the answers took; none if nobody knows yet.
    pub(super) fn median(&self) -> Option<Duration> {
        self.median.get()
    }

    /// How long an attempt is waited for before another is begun beside it; none if nobody knows yet, or wants to.
    pub(super) fn patience(&self, settings: &Hedge) -> Option<Duration> {
        (settings.percentile > 0.0).then(|| self.patience.get()).flatten().map(|typical| typical.max(settings.min))
    }
}

fn bucket(took: Duration) -> usize {
    let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
    let doublings = microseconds.ilog2();
    // The two binary places behind the first.
    let step = (u128::from(microseconds) << 2 >> doublings) as usize % STEPS;
    (doublings as usize * STEPS + step).min(BUCKETS - 1)
}

/// The upper end of the bucket in which that share of all is reached.
fn percentile(counts: &[u32], total: u32, percentile: f64) -> Duration {
    let mut left = (f64::from(total) * percentile / 100.0).ceil() as u32;
    let reached = counts.iter().position(|count| {
        left = left.saturating_sub(*count);
        left == 0
    });
    let bucket = reached.unwrap_or(BUCKETS - 1);
    let upper = ((STEPS + bucket % STEPS + 1) as u64) << (bucket / STEPS);
    Duration::from_micros(upper / STEPS as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Hedge = Hedge { percentile: 99.0, min: Duration::from_millis(10) };

    fn after(answers: impl Iterator<Item = u64>) -> Option<Duration> {
        let typical = Typical::default();
        answers.for_each(|milliseconds| typical.observe(Duration::from_millis(milliseconds), &SETTINGS));
        typical.patience(&SETTINGS)
    }

    #[test]
    fn nobody_is_impatient_before_there_is_something_to_go_by() {
        assert_eq!(after([100; 31].into_iter()), None);
        assert!(after([100; 32].into_iter()).is_some());
    }

    #[test]
    fn patience_is_what_nearly_all_answers_need_and_not_less_than_asked_for() {
        let patience = after((0..1000).map(|turn| if turn % 50 == 0 { 900 } else { 100 })).unwrap();
        assert!(patience > Duration::from_millis(850), "two of a hundred take that long: {patience:?}");
        let patience = after((0..1000).map(|turn| if turn % 200 == 0 { 900 } else { 100 })).unwrap();
        assert!((100..125).contains(&patience.as_millis()), "{patience:?}");
        assert_eq!(after([1; 64].into_iter()), Some(SETTINGS.min));
    }

    #[test]
    fn what_is_long_ago_is_forgotten() {
        let patience = after((0..40_000).map(|turn| if turn < 1000 { 5000 } else { 20 })).unwrap();
        assert!(patience < Duration::from_millis(30), "{patience:?}");
    }

    #[test]
    fn it_can_be_turned_off() {
        let typical = Typical::default();
        let off = Hedge { percentile: 0.0, ..SETTINGS };
        (0..64).for_each(|_| typical.observe(Duration::from_millis(5), &off));
        assert_eq!(typical.patience(&off), None);
    }
}
