//! The access log: lines written, and those that were not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::proto::MetricFamily;

use super::family::counter;

/// What is counted of the access log.
#[derive(Debug, Default)]
pub struct AccessSeries {
    written: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
}

impl AccessSeries {
    /// Counts lines that were written.
    pub fn written(&self, lines: u64) {
        self.written.fetch_add(lines, Ordering::Relaxed);
    }

    /// Counts lines that were not, for want of room in the queue or because writing failed.
    pub fn dropped(&self, lines: u64) {
        self.dropped.fetch_add(lines, Ordering::Relaxed);
    }

    /// Counts a failure to write, or to open the file anew.
    pub fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Lines written, lines dropped, and failures so far.
    pub fn count(&self) -> [u64; 3] {
        [&self.written, &self.dropped, &self.failed].map(|figure| figure.load(Ordering::Relaxed))
    }
}

pub(super) fn families(all: &[((), Arc<AccessSeries>)]) -> Vec<MetricFamily> {
    let of = |place: usize| all.iter().map(move |((), series)| (vec![], series.count()[place] as f64));
    vec![
        counter("lictor_access_log_lines_total", "Lines of the access log that were written.", of(0)),
        counter(
            "lictor_access_log_dropped_total",
            "Lines of the access log that were lost: the queue was full, or writing failed.",
            of(1),
        ),
        counter(
            "lictor_access_log_write_failures_total",
            "Times that the access log could not be written, or its file not be opened anew.",
            of(2),
        ),
    ]
}
