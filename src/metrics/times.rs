//! How long requests took, in the buckets that Prometheus reads, with examples of those whose trace is kept.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::proto::{Bucket, Histogram};

use super::add;
use super::exposition::Exemplar;

/// Upper bounds in seconds: the client libraries' defaults, and two below them, since a proxy's day is made of milliseconds.
const BOUNDS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// The same in nanoseconds, so that requests are compared as integers.
const NANOSECONDS: [u64; BOUNDS.len()] = {
    let mut all = [0; BOUNDS.len()];
    let mut place = 0;
    while place < BOUNDS.len() {
        // Exact to the microsecond, which is more than any bound has.
        all[place] = (BOUNDS[place] * 1e6 + 0.5) as u64 * 1_000;
        place += 1;
    }
    all
};
const BUCKETS: usize = BOUNDS.len() + 1;

/// What one worker counts.
#[derive(Debug, Default)]
pub(super) struct Times {
    buckets: [AtomicU64; BUCKETS],
    // So that a hundred thousand tunnels, which all count when they end, do not have it wrap within years.
    microseconds: AtomicU64,
    // Of sampled requests only; the lock is waited for by nobody but the scrape.
    exemplars: OnceLock<Box<Mutex<[Option<Exemplar>; BUCKETS]>>>,
}

impl Times {
    pub(super) fn count(&self, took: Duration, trace: Option<u128>) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = NANOSECONDS.iter().position(|bound| nanoseconds <= *bound).unwrap_or(BOUNDS.len());
        add(&self.buckets[bucket], 1);
        add(&self.microseconds, nanoseconds / 1_000);
        if let Some(trace) = trace {
            self.keep(bucket, (trace, took));
        }
    }

    #[cold]
    fn keep(&self, bucket: usize, (trace, took): (u128, Duration)) {
        // A request does not wait for a scrape: there will be another example.
        if let Ok(mut exemplars) = self.exemplars.get_or_init(Box::default).try_lock() {
            let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
            exemplars[bucket] = Some(Exemplar { trace, value: took.as_secs_f64(), time });
        }
    }
}

/// What all workers have counted, with an example for each bucket that has one; none if that is nothing.
pub(super) fn sum<'a>(workers: impl Iterator<Item = &'a Times>) -> Option<(Histogram, [Option<Exemplar>; BUCKETS])> {
    let (mut counts, mut microseconds) = ([0; BUCKETS], 0_u64);
    let mut latest = [None; BUCKETS];
    for times in workers {
        counts.iter_mut().zip(&times.buckets).for_each(|(sum, count)| *sum += count.load(Ordering::Relaxed));
        microseconds = microseconds.wrapping_add(times.microseconds.load(Ordering::Relaxed));
        let Some(exemplars) = times.exemplars.get() else { continue };
        let exemplars = *exemplars.lock().unwrap_or_else(PoisonError::into_inner);
        for (latest, exemplar) in latest.iter_mut().zip(exemplars) {
            let is_later = |exemplar: &Exemplar| latest.is_none_or(|latest: Exemplar| latest.time <= exemplar.time);
            *latest = exemplar.filter(is_later).or(*latest);
        }
    }
    let mut below = 0;
    let bucket = |(bound, count): (&f64, &u64)| {
        below += count;
        let mut bucket = Bucket::default();
        bucket.set_cumulative_count(below);
        bucket.set_upper_bound(*bound);
        bucket
    };
    let mut histogram = Histogram::default();
    histogram.set_bucket(BOUNDS.iter().zip(&counts).map(bucket).collect());
    histogram.set_sample_count(counts.iter().sum());
    histogram.set_sample_sum(microseconds as f64 / 1e6);
    (histogram.get_sample_count() > 0).then_some((histogram, latest))
}
