//! Requests, how long they took and what they carried, by listener, route and cluster.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus::proto::{MetricFamily, MetricType};

use super::add;
use super::cluster::ClusterSeries;
use super::exposition::Exemplars;
use super::family::{Labels, counter, family, labelled};
use super::latencies::{CLASSES, class};
use super::times::{self, Times};

/// Different status codes kept apart for one route; an origin that makes up more has the rest counted as 0.
const CODES: usize = 24;
const DIRECTIONS: [&str; 2] = ["received", "sent"];

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
    bytes: [AtomicU64; DIRECTIONS.len()],
    // On the heap, since most routes see one or two classes.
    times: [OnceLock<Box<BothTimes>>; CLASSES.len()],
}

#[derive(Debug, Default)]
struct Code {
    code: AtomicU32,
    count: AtomicU64,
}

#[derive(Debug, Default)]
struct BothTimes {
    whole: Times,
    began: Times,
}

impl RequestSeries {
    pub(super) fn new(workers: usize, cluster: Option<Arc<ClusterSeries>>) -> Self {
        RequestSeries { shards: (0..workers).map(|_| Shard::default()).collect(), cluster }
    }

    /// Counts a request.
    pub fn record(&self, worker: usize, answered: &Answered) {
        let Answered { code, took, first_byte, received, sent, trace } = *answered;
        if let Some(cluster) = &self.cluster {
            cluster.took(worker, code, took);
        }
        let shard = &self.shards[worker % self.shards.len()];
        shard.count(u32::from(code));
        add(&shard.bytes[0], received);
        add(&shard.bytes[1], sent);
        let times = shard.times[class(code)].get_or_init(Box::default);
        times.whole.count(took, trace);
        times.began.count(first_byte, trace);
    }
}

impl Shard {
    fn count(&self, code: u32) {
        for slot in &self.codes {
            let held = slot.code.load(Ordering::Relaxed);
            if held == 0 {
                slot.code.store(code, Ordering::Relaxed);
            } else if held != code {
                continue;
            }
            // Whoever reads the count sees its code as well.
            let count = slot.count.load(Ordering::Relaxed).wrapping_add(1);
            return slot.count.store(count, Ordering::Release);
        }
        add(&self.overflow, 1);
    }
}

/// A histogram: its name, what it tells, and which of a request's times it is of.
type Histogram = (&'static str, &'static str, fn(&BothTimes) -> &Times);

const HISTOGRAMS: [Histogram; 2] = [
    ("lictor_request_duration_seconds", "From a request's head to the last byte of its answer.", |both| &both.whole),
    ("lictor_request_first_byte_seconds", "From a request's head to the head of its answer.", |both| &both.began),
];

pub(super) fn families(all: &[(RequestLabels, Arc<RequestSeries>)], exemplars: &mut Exemplars) -> Vec<MetricFamily> {
    let (mut counts, mut bytes) = (Vec::new(), Vec::new());
    for (labels, series) in all {
        for (code, count) in series.by_code() {
            counts.push((labels.and("code", &code.to_string()), count as f64));
        }
        for (direction, word) in DIRECTIONS.iter().enumerate() {
            let of = |shard: &Shard| shard.bytes[direction].load(Ordering::Relaxed);
            bytes.push((labels.and("direction", word), series.shards.iter().map(of).sum::<u64>() as f64));
        }
    }
    let mut families = vec![
        counter("lictor_requests_total", "Requests answered, by the status that the client saw.", counts),
        counter(
            "lictor_body_bytes_total",
            "Bytes of requests' bodies and of their answers', once the request is over.",
            bytes,
        ),
    ];
    for (name, help, which) in HISTOGRAMS {
        let mut metrics = Vec::new();
        for (labels, series) in all {
            for (class, word) in CLASSES.iter().enumerate() {
                let held = series.shards.iter().filter_map(|shard| shard.times[class].get());
                let Some((histogram, examples)) = times::sum(held.map(|both| which(both))) else { continue };
                let examples = examples.into_iter().enumerate();
                let place = metrics.len();
                exemplars.extend(examples.filter_map(|(bucket, example)| Some(((name, place, bucket), example?))));
                let mut metric = labelled(labels.and("code_class", word));
                metric.set_histogram(histogram);
                metrics.push(metric);
            }
        }
        families.push(family(name, help, MetricType::HISTOGRAM, metrics));
    }
    families
}

impl RequestLabels {
    fn and(&self, name: &'static str, value: &str) -> Labels {
        vec![
            ("listener", self.listener.to_string()),
            ("route", self.route.to_string()),
            ("cluster", self.cluster.to_string()),
            (name, value.to_owned()),
        ]
    }
}

impl RequestSeries {
    fn by_code(&self) -> BTreeMap<u32, u64> {
        let mut counts = BTreeMap::new();
        for shard in &self.shards {
            for slot in &shard.codes {
                let count = slot.count.load(Ordering::Acquire);
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
}
