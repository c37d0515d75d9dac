//! What the last seconds were like, from counts that only ever grow: the difference of two readings.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::metrics::{ClusterSeries, Latencies};

/// What "the last seconds" are: long enough that a figure stands still while it is read, short enough that it is of now.
const WINDOW: Duration = Duration::from_secs(5);
/// Readings that are further apart than this say nothing about the last seconds.
const GAP: Duration = Duration::from_secs(3);
/// Points of the past that are kept of a cluster at most, one a second: what fits a small chart.
pub(super) const POINTS: usize = 180;

/// What had been counted at some moment.
struct Reading {
    at: Instant,
    // Shared by the readings between which nobody asked for anything.
    latencies: Arc<Latencies>,
    attempts: u64,
    retries: u64,
}

/// Readings of the last seconds.
#[derive(Default)]
pub(super) struct Window(VecDeque<Reading>);

/// What they come to: per second, as shares of 1, and in seconds. None where there is nothing to say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Figures {
    pub(super) rate: Option<f64>,
    pub(super) errors: Option<f64>,
    pub(super) p50: Option<f64>,
    pub(super) p99: Option<f64>,
    pub(super) attempts: Option<f64>,
    pub(super) retries: Option<f64>,
}

/// Of many windows together.
#[derive(Default)]
pub(super) struct Sum {
    latencies: Latencies,
    seconds: Option<f64>,
    attempts: u64,
    retries: u64,
}

/// Figures of the last minutes, the oldest first.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Past {
    rate: VecDeque<Option<f32>>,
    errors: VecDeque<Option<f32>>,
    p50: VecDeque<Option<f32>>,
    p99: VecDeque<Option<f32>>,
}

impl Window {
    /// Reads what has been counted by now.
    pub(super) fn read(&mut self, series: &ClusterSeries, now: Instant) {
        if self.0.back().is_some_and(|last| now.duration_since(last.at) > GAP) {
            self.0.clear();
        }
        while self.0.len() > 1 && now.duration_since(self.0[1].at) >= WINDOW {
            self.0.pop_front();
        }
        let latencies = series.latencies();
        let same = self.0.back().filter(|last| *last.latencies == latencies).map(|last| Arc::clone(&last.latencies));
        self.0.push_back(Reading {
            at: now,
            latencies: same.unwrap_or_else(|| Arc::new(latencies)),
            attempts: series.attempts().map(|(_, count)| count).sum(),
            retries: series.retries(),
        });
    }

    /// What happened between the first reading and the last, and adds it to `sum`.
    pub(super) fn figures(&self, sum: &mut Sum) -> Figures {
        let (Some(first), Some(last)) = (self.0.front(), self.0.back()) else { return Figures::default() };
        let seconds = last.at.duration_since(first.at).as_secs_f64();
        if seconds <= 0.0 {
            return Figures::default();
        }
        let own = Sum {
            latencies: last.latencies.since(&first.latencies),
            seconds: Some(seconds),
            attempts: last.attempts.saturating_sub(first.attempts),
            retries: last.retries.saturating_sub(first.retries),
        };
        sum.latencies.absorb(&own.latencies);
        sum.seconds = Some(sum.seconds.map_or(seconds, |before| before.max(seconds)));
        sum.attempts += own.attempts;
        sum.retries += own.retries;
        own.figures()
    }
}

impl Sum {
    pub(super) fn figures(&self) -> Figures {
        let requests = self.latencies.requests();
        let rate = |count: u64| Some(rounded(count as f64 / self.seconds?));
        let quantile = |share| self.latencies.quantile(share).map(|time| rounded(time.as_secs_f64()));
        Figures {
            rate: rate(requests),
            errors: (requests > 0).then(|| rounded(self.latencies.of_class(5) as f64 / requests as f64)),
            p50: quantile(0.5),
            p99: quantile(0.99),
            attempts: rate(self.attempts),
            retries: rate(self.retries),
        }
    }
}

impl Past {
    /// Adds a point, after so many seconds of which nothing is known, and keeps so many.
    pub(super) fn push(&mut self, figures: &Figures, unknown: usize, most: usize) {
        let Figures { rate, errors, p50, p99, .. } = *figures;
        let all = [(&mut self.rate, rate), (&mut self.errors, errors), (&mut self.p50, p50), (&mut self.p99, p99)];
        for (points, value) in all {
            points.extend(std::iter::repeat_n(None, if points.is_empty() { 0 } else { unknown.min(most) }));
            points.push_back(value.map(|value| value as f32));
            points.drain(..points.len().saturating_sub(most));
        }
    }
}

/// Three digits: what is shown, and what does not differ for nothing.
pub(super) fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let scale = 10f64.powi(2 - value.abs().log10().floor() as i32);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn figures_are_of_the_last_seconds_only() {
        let series = Metrics::new(1).cluster(&"web".into());
        let (begin, mut window) = (Instant::now(), Window::default());
        let at = |second: u64| begin + Duration::from_secs(second);
        window.read(&series, at(0));
        assert_eq!(window.figures(&mut Sum::default()), Figures::default(), "one reading says nothing");
        for second in 1..=10 {
            // An old disaster, and a good present.
            let (code, took) =
                if second <= 2 { (503, Duration::from_secs(9)) } else { (200, Duration::from_millis(2)) };
            (0..30).for_each(|_| series.took(0, code, took));
            window.read(&series, at(second));
        }
        let mut sum = Sum::default();
        let figures = window.figures(&mut sum);
        assert_eq!((figures.rate, figures.errors), (Some(30.0), Some(0.0)));
        assert!(figures.p99.is_some_and(|time| (0.001..0.003).contains(&time)), "{figures:?}");
        assert_eq!(sum.figures(), figures, "one cluster alone is all there is");
        window.read(&series, at(60));
        assert_eq!(window.figures(&mut Sum::default()), Figures::default(), "nobody looked for a while");
    }

    #[test]
    fn seconds_in_which_nobody_looked_are_gaps_in_the_past() {
        let mut past = Past::default();
        let figures = Figures { rate: Some(2.0), ..Figures::default() };
        past.push(&figures, 7, POINTS);
        assert_eq!(past.rate, [Some(2.0)], "before the first there is no gap");
        past.push(&figures, 2, POINTS);
        assert_eq!(past.rate, [Some(2.0), None, None, Some(2.0)]);
        past.push(&figures, 100_000, POINTS);
        assert_eq!((past.rate.len(), past.rate.back()), (POINTS, Some(&Some(2.0))));
        past.push(&figures, 0, 3);
        assert_eq!(past.rate, [None, Some(2.0), Some(2.0)], "with more clusters, each has a shorter past");
    }

    #[test]
    fn figures_have_three_digits() {
        assert_eq!([rounded(1234.5), rounded(0.012_345), rounded(0.0), rounded(9.996)], [1230.0, 0.0123, 0.0, 10.0]);
    }
}
