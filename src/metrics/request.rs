//! Requests and how long they took, by listener, route, cluster and status.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use prometheus::proto::{Bucket, Histogram, MetricFamily, MetricType};

use super::add;
use super::cluster::ClusterSeries;
use super::family::{counter, family, labelled};
use super::latencies::{CLASSES, class};

/// Upper bounds in seconds: the client libraries' defaults, and two below them, since a proxy's day is made of milliseconds.
const BOUNDS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Different status codes kept apart for one route; an origin that makes up more has the rest counted as 0.
const CODES: usize = 24;

/// Which requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestLabels {
    /// Name of the listener.
    pub listener: Arc<str>,
    /// Name of the route; empty if none fits.
    pub route: Arc<str>,
    /// Name of the cluster; empty if there is none.
    pub cluster: Arc<str>,
}

/// What a request came to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Answered {
    /// The status that the client saw.
    pub code: u16,
    /// From its head to the last byte of its answer.
    pub took: Duration,
    /// From its head to the head of its answer.
    pub first_byte: Duration,
    /// Bytes of its body, as far as they were asked for.
    pub received: u64,
    /// Bytes of its answer's body that were given to the client's connection.
    pub sent: u64,
    /// The trace that it is recorded in, if it is in one: what an exemplar names.
    pub trace: Option<u128>,
}

/// Their figures: a shard for each worker, which alone writes it.
#[derive(Debug)]
pub struct RequestSeries {
    shards: Box<[Shard]>,
    cluster: Option<Arc<ClusterSeries>>,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    codes: [Code; CODES],
    overflow: AtomicU64,
    durations: [Durations; CLASSES.len()],
}

#[derive(Debug, Default)]
struct Code {
    code: AtomicU32,
    count: AtomicU64,
}

#[derive(Debug, Default)]
struct Durations {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl RequestSeries {
    pub(super) fn new(workers: usize, cluster: Option<Arc<ClusterSeries>>) -> Self {
        RequestSeries { shards: (0..workers).map(|_| Shard::default()).collect(), cluster }
    }

    /// Counts a request.
    pub fn record(&self, worker: usize, answered: &Answered) {
        let Answered { code, took, .. } = *answered;
        if let Some(cluster) = &self.cluster {
            cluster.took(worker, code, took);
        }
        let shard = &self.shards[worker % self.shards.len()];
        shard.count(u32::from(code));
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        let durations = &shard.durations[class(code)];
        add(&durations.buckets[bucket], 1);
        add(&durations.nanoseconds, u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }
}

impl Shard {
    fn count(&self, code: u32) {
        for slot in &self.codes {
            let held = slot.code.load(Ordering::Relaxed);
            if held == code || held == 0 {
                add(&slot.count, 1);
                slot.code.store(code, Ordering::Relaxed);
                return;
            }
        }
        add(&self.overflow, 1);
    }
}

pub(super) fn families(all: &[(RequestLabels, Arc<RequestSeries>)]) -> Vec<MetricFamily> {
    let mut counts = Vec::new();
    let mut durations = Vec::new();
    for (labels, series) in all {
        let pairs = || {
            vec![
                ("listener", labels.listener.to_string()),
                ("route", labels.route.to_string()),
                ("cluster", labels.cluster.to_string()),
            ]
        };
        for (code, count) in series.by_code() {
            let mut pairs = pairs();
            pairs.push(("code", code.to_string()));
            counts.push((pairs, count as f64));
        }
        for (class, name) in CLASSES.iter().enumerate() {
            if let Some(histogram) = series.histogram(class) {
                let mut pairs = pairs();
                pairs.push(("code_class", (*name).to_owned()));
                let mut metric = labelled(pairs);
                metric.set_histogram(histogram);
                durations.push(metric);
            }
        }
    }
    vec![
        counter("lictor_requests_total", "Requests answered, by the status that the client saw.", counts),
        family(
            "lictor_request_duration_seconds",
            "From a request's head to the last byte of its answer.",
            MetricType::HISTOGRAM,
            durations,
        ),
    ]
}

impl RequestSeries {
    fn by_code(&self) -> std::collections::BTreeMap<u32, u64> {
        let mut counts = std::collections::BTreeMap::new();
        for shard in &self.shards {
            for slot in &shard.codes {
                let count = slot.count.load(Ordering::Relaxed);
                if count > 0 {
                    *counts.entry(slot.code.load(Ordering::Relaxed)).or_default() += count;
                }
            }
            let overflow = shard.overflow.load(Ordering::Relaxed);
            if overflow > 0 {
                *counts.entry(0).or_default() += overflow;
            }
        }
        counts
    }

    fn histogram(&self, class: usize) -> Option<Histogram> {
        let durations = || self.shards.iter().map(|shard| &shard.durations[class]);
        let sum = |bucket: usize| durations().map(|d| d.buckets[bucket].load(Ordering::Relaxed)).sum::<u64>();
        let mut below = 0;
        let bucket = |(index, bound): (usize, &f64)| {
            below += sum(index);
            let mut bucket = Bucket::default();
            bucket.set_cumulative_count(below);
            bucket.set_upper_bound(*bound);
            bucket
        };
        let buckets: Vec<Bucket> = BOUNDS.iter().enumerate().map(bucket).collect();
        let count = below + sum(BOUNDS.len());
        let nanoseconds: u64 = durations().map(|d| d.nanoseconds.load(Ordering::Relaxed)).sum();
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets);
        histogram.set_sample_count(count);
        histogram.set_sample_sum(nanoseconds as f64 / 1e9);
        (count > 0).then_some(histogram)
    }
}
