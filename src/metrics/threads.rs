//! How the threads with event loops get on: how busy each is, what it has to do, and how late it comes to what is due.
//!
//! Lateness is measured by a timer that is set each second: as late as that is, so late is any request of this thread. A thread that is
//! stuck is seen while it is, since the timer it has not come to is late already.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prometheus::proto::MetricFamily;
use tokio::runtime::RuntimeMetrics;

use super::family::{counter, gauge};

/// How often it is looked whether a thread is in time.
const EVERY: Duration = Duration::from_secs(1);
/// The most of so many looks is shown, so that no scrape misses what lasted for a moment: a quarter of a minute, which most intervals are
/// not above.
const KEPT: usize = 15;

/// The figures of a thread, which it keeps alive.
#[derive(Debug)]
pub struct ThreadSeries {
    runtime: RuntimeMetrics,
    began: Instant,
    /// When the next look is due, in microseconds since it began.
    due: AtomicU64,
    /// How late the last looks came, in microseconds.
    late: [AtomicU64; KEPT],
}

impl ThreadSeries {
    pub(super) fn new(runtime: RuntimeMetrics) -> Self {
        let due = AtomicU64::new(EVERY.as_micros() as u64);
        ThreadSeries { runtime, began: Instant::now(), due, late: Default::default() }
    }

    /// Looks every second whether it is in time, for as long as it is polled.
    pub async fn look(self: Arc<Self>) {
        for place in (0..KEPT).cycle() {
            let due = Instant::now() + EVERY;
            self.due.store(self.micros(due), Ordering::Relaxed);
            tokio::time::sleep_until(due.into()).await;
            self.late[place].store(self.overdue().as_micros() as u64, Ordering::Relaxed);
        }
    }

    /// How late it is now, with a look that it has not come to; nothing for a thread that is well.
    pub fn overdue(&self) -> Duration {
        let due = self.due.load(Ordering::Relaxed);
        Duration::from_micros(self.micros(Instant::now()).saturating_sub(due))
    }

    /// How late it was at most within the last quarter of a minute, or is.
    pub fn lag(&self) -> Duration {
        let late = self.late.iter().map(|late| Duration::from_micros(late.load(Ordering::Relaxed)));
        late.max().unwrap_or_default().max(self.overdue())
    }

    fn micros(&self, time: Instant) -> u64 {
        time.saturating_duration_since(self.began).as_micros() as u64
    }

    fn busy(&self) -> f64 {
        (0..self.runtime.num_workers()).map(|place| self.runtime.worker_total_busy_duration(place).as_secs_f64()).sum()
    }
}

pub(super) fn families(all: &[(Arc<str>, Arc<ThreadSeries>)]) -> Vec<MetricFamily> {
    let of = |read: fn(&ThreadSeries) -> f64| {
        all.iter().map(move |(name, series)| (vec![("thread", name.to_string())], read(series)))
    };
    vec![
        counter(
            "lictor_thread_busy_seconds_total",
            "Time in which a thread had something to do.",
            of(ThreadSeries::busy),
        ),
        gauge(
            "lictor_thread_lag_seconds",
            "How late a thread came to what was due, at most within a quarter of a minute.",
            of(|series| series.lag().as_secs_f64()),
        ),
        gauge(
            "lictor_thread_tasks",
            "Tasks of a thread, those that wait for something included.",
            of(|series| series.runtime.num_alive_tasks() as f64),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_thread_that_did_not_come_to_its_timer_is_late() {
        let series = Arc::new(ThreadSeries::new(tokio::runtime::Handle::current().metrics()));
        assert_eq!(series.lag(), Duration::ZERO);
        // The clock of this test stands; that of the series is the true one, and so its look was due a while ago.
        series.due.store(0, Ordering::Relaxed);
        while series.overdue().is_zero() {
            std::hint::spin_loop();
        }
        assert!(series.lag() > Duration::ZERO);
        series.due.store(u64::MAX, Ordering::Relaxed);
        series.late[KEPT - 1].store(7, Ordering::Relaxed);
        assert_eq!(series.lag(), Duration::from_micros(7));
    }
}
