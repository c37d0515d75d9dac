//! A limit on concurrency that finds itself, after the gradient of Netflix's concurrency-limits ("Gradient2"): as long as
//! answers take as long as they did in the long run, the limit grows by a little queue; once they take longer by more than a
//! tolerance, somebody queues further on, and it shrinks by that ratio.

use std::time::{Duration, Instant};

use crate::config::Adaptive;

/// Samples are taken together for as long as this, and until there are so many.
const ROUND: Duration = Duration::from_millis(100);
const SAMPLES: u32 = 10;
/// Rounds over which the long run is averaged.
const LONG_RUN: f64 = 600.0;
/// First of those rounds, in which it is a plain mean.
const WARM_UP: f64 = 10.0;
/// How much of a new limit is taken over with each round.
const SMOOTHING: f64 = 0.2;
/// What may queue beyond the limit at all times, so that growth is tried.
const QUEUE: f64 = 4.0;
/// A limit is at most halved in a round.
const STEEPEST: f64 = 0.5;

/// The limit, and what it goes by.
#[derive(Debug)]
pub(super) struct Gradient {
    settings: Adaptive,
    limit: f64,
    /// Seconds that answers take in the long run, and how many rounds that is the mean of.
    long: f64,
    rounds: f64,
    round: Round,
}

#[derive(Debug)]
struct Round {
    began: Instant,
    seconds: f64,
    samples: u32,
    most_in_flight: u32,
}

impl Gradient {
    pub(super) fn new(settings: &Adaptive, now: Instant) -> Self {
        let limit = f64::from(settings.min.max(20).min(settings.max));
        Gradient { settings: settings.clone(), limit, long: 0.0, rounds: 0.0, round: Round::new(now) }
    }

    /// Goes on with other settings.
    pub(super) fn set(&mut self, settings: &Adaptive) {
        self.settings = settings.clone();
    }

    /// The limit as of now.
    pub(super) fn limit(&self) -> u32 {
        (self.limit as u32).clamp(self.settings.min, self.settings.max)
    }

    /// Takes how long an answer took to begin, and how many were in flight. Returns the limit if it is a new one.
    pub(super) fn observe(&mut self, took: Duration, in_flight: u32, now: Instant) -> Option<u32> {
        let round = &mut self.round;
        round.seconds += took.as_secs_f64();
        round.samples += 1;
        round.most_in_flight = round.most_in_flight.max(in_flight);
        if round.samples < SAMPLES || now.saturating_duration_since(round.began) < ROUND {
            return None;
        }
        let round = std::mem::replace(round, Round::new(now));
        let before = self.limit();
        self.conclude(round.seconds / f64::from(round.samples), f64::from(round.most_in_flight));
        Some(self.limit()).filter(|limit| *limit != before)
    }

    fn conclude(&mut self, short: f64, most_in_flight: f64) {
        self.rounds = (self.rounds + 1.0).min(LONG_RUN);
        let weight = if self.rounds <= WARM_UP { 1.0 / self.rounds } else { 2.0 / (self.rounds + 1.0) };
        self.long += (short - self.long) * weight;
        // After a long time of trouble the long run has become a measure of the trouble; forget that sooner.
        if self.long > 2.0 * short {
            self.long *= 0.95;
        }
        // A limit that nobody reaches says nothing about what lies beyond it.
        if most_in_flight < self.limit / 2.0 {
            return;
        }
        let gradient = (self.settings.tolerance * self.long / short.max(1e-9)).clamp(STEEPEST, 1.0);
        let next = self.limit * gradient + QUEUE;
        let smoothed = self.limit * (1.0 - SMOOTHING) + next * SMOOTHING;
        self.limit = smoothed.clamp(f64::from(self.settings.min), f64::from(self.settings.max));
    }
}

impl Round {
    fn new(began: Instant) -> Self {
        Round { began, seconds: 0.0, samples: 0, most_in_flight: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service that works at `width` requests at once, 10 ms each; the rest queue there.
    fn settle(gradient: &mut Gradient, width: u32, rounds: u32, now: &mut Instant) -> u32 {
        for _ in 0..rounds {
            let in_flight = gradient.limit();
            let took = Duration::from_millis(10).mul_f64(f64::from(in_flight.max(width)) / f64::from(width));
            for _ in 0..SAMPLES {
                *now += ROUND / SAMPLES;
                gradient.observe(took, in_flight, *now);
            }
        }
        gradient.limit()
    }

    fn gradient() -> (Gradient, Instant) {
        let now = Instant::now();
        (Gradient::new(&Adaptive { min: 4, max: 1000, tolerance: 1.5 }, now), now)
    }

    #[test]
    fn it_grows_as_long_as_nobody_queues() {
        let (mut gradient, mut now) = gradient();
        assert_eq!(settle(&mut gradient, 10_000, 2_000, &mut now), 1000);
    }

    #[test]
    fn it_shrinks_when_a_service_gets_narrow_and_grows_when_it_is_wide_again() {
        let (mut gradient, mut now) = gradient();
        let wide = settle(&mut gradient, 100, 300, &mut now);
        assert!((100..400).contains(&wide), "{wide}");
        let narrow = settle(&mut gradient, 10, 40, &mut now);
        assert!(narrow < 80, "{narrow}");
        assert!(settle(&mut gradient, 100, 600, &mut now) > 80);
    }

    #[test]
    fn a_limit_that_nobody_reaches_stays() {
        let (mut gradient, mut now) = gradient();
        let before = gradient.limit();
        for turn in 0..1_000_u64 {
            now += ROUND;
            gradient.observe(Duration::from_millis(1 + turn % 50), 3, now);
        }
        assert_eq!(gradient.limit(), before);
    }

    #[test]
    fn it_stays_within_its_bounds() {
        let (mut gradient, mut now) = gradient();
        settle(&mut gradient, 100, 300, &mut now);
        assert_eq!(settle(&mut gradient, 1, 30, &mut now).max(4), gradient.limit().max(4));
        assert!(gradient.limit() >= 4);
    }
}
