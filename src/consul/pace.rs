//! How often Consul may be asked: a token bucket that delivers a single change at once and turns a storm into polling, and a
//! backoff for when it does not answer.

use std::time::{Duration, Instant};

use super::failure::Failure;

const BURST: f64 = 3.0;
/// With the fetch itself, and the table that follows, a change takes no longer than a tenth of a second even in the middle of a storm.
const SHORTEST: Duration = Duration::from_millis(60);
/// After an answer that had nothing new: there is no storm, but an agent that wakes us in vain, or is broken.
const IN_VAIN: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(15);
/// A fetch may take up a sixth of the time: at least five times its own length passes between two of them.
const COST: u32 = 5;
/// An agent needs about 42 µs for an instance, and says it in about 1 KiB. It has that behind it when the first byte comes, so that we
/// would not see it.
const COST_OF_KIBIBYTE: Duration = Duration::from_micros(42);

const FIRST_RETRY: Duration = Duration::from_millis(100);
/// Asking nobody costs little, and whoever is back should be followed soon.
const ABSENT: Duration = Duration::from_secs(2);
/// Asking somebody who cannot answer is work for them.
const UNABLE: Duration = Duration::from_secs(10);
/// The answer itself was all right, and is large; what it lacks comes soon or not at all.
const INCOMPLETE: Duration = Duration::from_secs(60);
/// Rights are given by people.
const DENIED: Duration = Duration::from_secs(10);
/// So are queries.
const REFUSED: Duration = Duration::from_secs(60);
/// An agent under pressure has said so.
const UNAVAILABLE: Duration = Duration::from_secs(1);
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);
/// Waits and rounds are varied by so much, so that what began together does not stay together.
const SPREAD: f64 = 0.1;

/// Paces the queries of one watch.
#[derive(Debug)]
pub struct Bucket {
    tokens: f64,
    filled: Instant,
    interval: Duration,
    in_vain: bool,
}

impl Bucket {
    /// A full one.
    pub fn new(now: Instant) -> Self {
        Bucket { tokens: BURST, filled: now, interval: SHORTEST, in_vain: true }
    }

    /// Takes a token and returns how long to wait before using it.
    pub fn take(&mut self, now: Instant) -> Duration {
        let interval = if self.in_vain { self.interval.max(IN_VAIN) } else { self.interval };
        let passed = now.saturating_duration_since(self.filled);
        self.tokens = (self.tokens + passed.div_duration_f64(interval)).min(BURST) - 1.0;
        self.filled = now;
        if self.tokens >= 0.0 { Duration::ZERO } else { interval.mul_f64(-self.tokens) }
    }

    /// Learns whether the last answer had anything new.
    pub fn brought(&mut self, news: bool) {
        self.in_vain = !news;
    }

    /// Learns what the last fetch took, and how many bytes it had.
    pub fn cost(&mut self, fetch: Duration, bytes: usize) {
        let of_agent = COST_OF_KIBIBYTE.mul_f64(bytes as f64 / 1024.0);
        self.interval = (fetch.max(of_agent) * COST).clamp(SHORTEST, LONGEST);
    }
}

/// Grows with each failure in a row.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// How long to leave Consul alone after this failure.
    pub fn after(&mut self, failure: &Failure) -> Duration {
        let backoff = self.next(match failure {
            Failure::Unreachable(_) => ABSENT,
            Failure::Incomplete(_) => INCOMPLETE,
            _ => UNABLE,
        });
        match failure {
            Failure::Denied { .. } => vary(DENIED),
            Failure::Refused { .. } | Failure::Unsupported(_) => vary(REFUSED),
            Failure::Unavailable { retry_after, .. } => {
                let asked_for = retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
                vary(UNAVAILABLE).max(backoff).max(asked_for)
            }
            Failure::Unreachable(_) | Failure::Garbled(_) | Failure::Incomplete(_) => backoff,
        }
    }

    /// How long to wait after one more failure: anything up to 100 ms × 2ⁿ ("full jitter"), and never more than `most`.
    fn next(&mut self, most: Duration) -> Duration {
        let longest = FIRST_RETRY.saturating_mul(1 << self.failures.min(16)).min(most);
        self.failures += 1;
        longest.mul_f64(fastrand::f64())
    }

    /// Ends a row of failures, and says whether there was one.
    pub fn reset(&mut self) -> bool {
        std::mem::take(&mut self.failures) > 0
    }

    /// True after the first failure of a row.
    pub fn is_first(&self) -> bool {
        self.failures == 1
    }
}

/// About so long.
pub fn vary(duration: Duration) -> Duration {
    duration.mul_f64(1.0 - SPREAD + 2.0 * SPREAD * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a hundred queries take beyond the first three, which come at once.
    fn storm(bucket: &mut Bucket, start: Instant) -> Duration {
        let (mut now, mut waits) = (start, Vec::new());
        for _ in 0..103 {
            let wait = bucket.take(now);
            waits.push(wait);
            now += wait;
        }
        assert!(waits[..3].iter().all(Duration::is_zero) && !waits[3].is_zero());
        now - start
    }

    #[test]
    fn three_changes_come_at_once_and_a_storm_every_sixty_milliseconds() {
        let now = Instant::now();
        let mut bucket = Bucket::new(now);
        bucket.brought(true);
        assert_eq!(storm(&mut bucket, now), SHORTEST * 100);
    }

    #[test]
    fn whoever_has_nothing_new_is_asked_four_times_a_second() {
        let now = Instant::now();
        let mut bucket = Bucket::new(now);
        bucket.brought(false);
        assert_eq!(storm(&mut bucket, now).as_secs(), 25);
    }

    #[test]
    fn a_dear_list_is_fetched_less_often_but_at_least_every_fifteen_seconds() {
        let now = Instant::now();
        let mut bucket = Bucket::new(now);
        bucket.brought(true);
        bucket.cost(Duration::from_secs(1), 100);
        assert!((0..3).all(|_| bucket.take(now).is_zero()));
        assert_eq!(bucket.take(now), Duration::from_secs(5));
        bucket.cost(Duration::from_secs(60), 100);
        assert_eq!(bucket.interval, LONGEST);
        bucket.cost(Duration::from_millis(1), 5_000 * 1024);
        assert_eq!(bucket.interval, Duration::from_millis(1_050), "by what it cost the agent");
        bucket.cost(Duration::from_millis(1), 100 * 1024);
        assert_eq!(bucket.interval, SHORTEST);
    }

    #[test]
    fn backoff_grows_to_its_limit() {
        let mut backoff = Backoff::default();
        let waits: Vec<Duration> = (0..1000).map(|_| backoff.next(UNABLE)).collect();
        assert!(waits[0] <= FIRST_RETRY);
        assert!(waits.iter().all(|wait| *wait <= UNABLE) && waits.iter().any(|wait| *wait > UNABLE / 2));
        assert!((0..1000).all(|_| backoff.next(ABSENT) <= ABSENT));
        assert!(backoff.reset() && !backoff.reset());
    }
}
