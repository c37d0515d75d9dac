//! How long a cluster's requests took, finely enough that the median and the slowest hundredth of the last seconds can be read off.
//!
//! Buckets are log-linear: four of equal width in each octave, so that a figure that is read off is wrong by a quarter at most, whatever
//! its size, and by much less where a bucket's requests are spread over it (the idea of HdrHistogram). What is counted never goes back;
//! whoever wants the last seconds takes the difference of two readings.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::add;

/// Buckets in an octave, as a power of two.
const PARTS: u32 = 2;
/// All below 16 µs is one bucket: 2 to that power, in nanoseconds. No request through a proxy is faster.
const FIRST: u32 = 14;
/// All from 69 s on is one bucket: who waits that long does not ask for figures.
const LAST: u32 = 36;
const BUCKETS: usize = ((LAST - FIRST) << PARTS) as usize + 2;
/// Classes of status codes.
pub(super) const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Counts that one worker writes. Classes that never occur weigh nothing.
#[derive(Debug, Default)]
pub(super) struct Counts([OnceLock<Box<Buckets>>; CLASSES.len()]);

type Buckets = [AtomicU64; BUCKETS];

/// What had been counted at some moment, of all workers. Classes that do not occur weigh nothing here, either: there is a reading for each
/// cluster and second while somebody looks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Latencies([Option<Box<[u64; BUCKETS]>>; CLASSES.len()]);

/// The place of a code's class in [`CLASSES`].
pub(super) fn class(code: u16) -> usize {
    usize::from(code / 100).clamp(1, CLASSES.len()) - 1
}

impl Counts {
    pub(super) fn count(&self, code: u16, took: Duration) {
        let buckets = self.0[class(code)].get_or_init(|| Box::new([const { AtomicU64::new(0) }; BUCKETS]));
        add(&buckets[bucket(took)], 1);
    }
}

/// The bucket of a duration.
fn bucket(took: Duration) -> usize {
    let nanoseconds = took.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(took.subsec_nanos()));
    let Some(octave) = nanoseconds.checked_ilog2().and_then(|log| log.checked_sub(FIRST)) else { return 0 };
    let part = (nanoseconds >> (octave + FIRST - PARTS)) & ((1 << PARTS) - 1);
    (((octave as usize) << PARTS) + part as usize + 1).min(BUCKETS - 1)
}

/// Where a bucket ends, in nanoseconds: what took exactly as long is in the next. The last one has no end.
fn end(bucket: usize) -> u64 {
    let (octave, part) = (bucket >> PARTS, bucket as u64 & ((1 << PARTS) - 1));
    ((1 << PARTS) + part) << (octave as u32 + FIRST - PARTS)
}

impl Latencies {
    pub(super) fn of<'a>(workers: impl Iterator<Item = &'a Counts>) -> Self {
        let mut all = Latencies::default();
        for counts in workers {
            for (sums, counts) in all.0.iter_mut().zip(&counts.0) {
                let Some(counts) = counts.get() else { continue };
                let sums = sums.get_or_insert_with(|| Box::new([0; BUCKETS]));
                sums.iter_mut().zip(counts.iter()).for_each(|(sum, count)| *sum += count.load(Ordering::Relaxed));
            }
        }
        all
    }

    /// What was counted between an earlier reading and this one.
    pub fn since(&self, earlier: &Latencies) -> Latencies {
        let mut between = self.clone();
        for (now, then) in between.0.iter_mut().zip(&earlier.0) {
            if let (Some(now), Some(then)) = (now.as_mut(), then) {
                // A cluster that went and came back begins anew: it has no past then.
                now.iter_mut().zip(then.iter()).for_each(|(now, then)| *now = now.saturating_sub(*then));
            }
            now.take_if(|now| now.iter().all(|count| *count == 0));
        }
        between
    }

    /// Adds what was counted elsewhere.
    pub fn absorb(&mut self, other: &Latencies) {
        for (own, more) in self.0.iter_mut().zip(&other.0) {
            let Some(more) = more else { continue };
            let own = own.get_or_insert_with(|| Box::new([0; BUCKETS]));
            own.iter_mut().zip(more.iter()).for_each(|(own, more)| *own += more);
        }
    }

    /// Requests that were answered.
    pub fn requests(&self) -> u64 {
        self.0.iter().flatten().flat_map(|counts| counts.iter()).sum()
    }

    /// Requests that were answered with a status of that class: 5 for 5xx; 0 if there is no such class.
    pub fn of_class(&self, class: u16) -> u64 {
        let place = usize::from(class).checked_sub(1);
        place.and_then(|place| self.0.get(place)?.as_ref()).map_or(0, |counts| counts.iter().sum())
    }

    /// Requests in a bucket; switched connections are left out.
    fn at(&self, bucket: usize) -> u64 {
        self.0[1..].iter().flatten().map(|class| class[bucket]).sum()
    }

    /// How long requests took at most, but for that share of the slowest: 0.5 for the median, 0.99 for all but a hundredth. None if there
    /// was none. Connections that switched protocols are left out: how long those last says nothing of anybody's speed.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let all: u64 = (0..BUCKETS).map(|bucket| self.at(bucket)).sum();
        let wanted = (share.clamp(0.0, 1.0) * all as f64).max(1.0);
        let mut below = 0;
        for bucket in 0..BUCKETS {
            let here = self.at(bucket);
            if here > 0 && (below + here) as f64 >= wanted {
                return Some(within(bucket, (wanted - below as f64) / here as f64));
            }
            below += here;
        }
        None
    }

    /// Requests with a bucket's upper end, of those buckets that have some; switched connections are left out.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        let buckets = (0..BUCKETS).map(|bucket| (Duration::from_nanos(end(bucket)), self.at(bucket)));
        buckets.filter(|(_, count)| *count > 0)
    }
}

/// A point in a bucket, as if its requests were spread evenly over it.
fn within(bucket: usize, share: f64) -> Duration {
    let from = if bucket == 0 { 0 } else { end(bucket - 1) };
    let width = if bucket == BUCKETS - 1 { 0 } else { end(bucket) - from };
    Duration::from_nanos(from + (width as f64 * share) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(times: impl IntoIterator<Item = (u16, Duration)>) -> Latencies {
        let counts = Counts::default();
        times.into_iter().for_each(|(code, took)| counts.count(code, took));
        Latencies::of(std::iter::once(&counts))
    }

    #[test]
    fn every_duration_is_in_the_bucket_whose_ends_are_around_it() {
        let mut nanoseconds = 1;
        while nanoseconds < 1 << 40 {
            for took in [nanoseconds - 1, nanoseconds, nanoseconds + nanoseconds / 3] {
                let bucket = bucket(Duration::from_nanos(took));
                assert!(bucket == BUCKETS - 1 || took < end(bucket), "{took} is not in {bucket}");
                assert!(bucket == 0 || took >= end(bucket - 1), "{took} is not in {bucket}");
            }
            nanoseconds *= 2;
        }
        assert_eq!((bucket(Duration::ZERO), bucket(Duration::MAX)), (0, BUCKETS - 1));
    }

    #[test]
    fn what_is_read_off_is_nearly_right_where_requests_are_spread() {
        // As many as fill their last bucket: 2 to the power of 23 nanoseconds.
        let last = (1_u64 << 23) as f64;
        let latencies = of((0..8_192).map(|time| (200, Duration::from_nanos(time << 10))));
        for share in [0.1, 0.5, 0.9, 0.99, 1.0] {
            let read = latencies.quantile(share).unwrap().as_secs_f64() * 1e9;
            assert!((read / (last * share) - 1.0).abs() < 0.02, "{share}: {read} for {}", last * share);
        }
        assert_eq!(of([]).quantile(0.5), None);
    }

    #[test]
    fn the_last_seconds_are_the_difference_of_two_readings() {
        let counts = Counts::default();
        let read = || Latencies::of(std::iter::once(&counts));
        counts.count(200, Duration::from_secs(30));
        let earlier = read();
        counts.count(204, Duration::from_millis(1));
        counts.count(503, Duration::from_millis(1));
        let between = read().since(&earlier);
        assert_eq!((between.requests(), between.of_class(2), between.of_class(5)), (2, 1, 1));
        assert!(between.quantile(1.0).unwrap() < Duration::from_millis(2));
        assert_eq!(earlier.since(&read()), Latencies::default(), "somebody else by that name has begun anew");
    }

    #[test]
    fn a_tunnel_of_an_hour_makes_nobody_slow() {
        let latencies = of([(101, Duration::from_secs(3600)), (200, Duration::from_millis(1))]);
        assert!(latencies.quantile(1.0).unwrap() < Duration::from_millis(2));
        assert_eq!(latencies.requests(), 2);
    }
}
