//! Spans on their way to a collector.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::proto::MetricFamily;

use super::family::counter;

/// What is counted of spans.
#[derive(Debug, Default)]
pub struct TraceSeries {
    exported: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
}

impl TraceSeries {
    /// Counts spans that the collector has taken.
    pub fn exported(&self, spans: u64) {
        self.exported.fetch_add(spans, Ordering::Relaxed);
    }

    /// Counts spans that nobody will see.
    pub fn dropped(&self, spans: u64) {
        self.dropped.fetch_add(spans, Ordering::Relaxed);
    }

    /// Counts a batch that the collector did not take, each time.
    pub fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> [u64; 3] {
        [&self.exported, &self.dropped, &self.failed].map(|figure| figure.load(Ordering::Relaxed))
    }
}

pub(super) fn families(all: &[((), Arc<TraceSeries>)]) -> Vec<MetricFamily> {
    let of = |place: usize| all.iter().map(move |((), series)| (vec![], series.count()[place] as f64));
    vec![
        counter("lictor_trace_spans_exported_total", "Spans that the collector has taken.", of(0)),
        counter(
            "lictor_trace_spans_dropped_total",
            "Spans that were lost: the queue was full, or the collector did not take them.",
            of(1),
        ),
        counter("lictor_trace_export_failures_total", "Times that the collector did not take a batch.", of(2)),
    ]
}
