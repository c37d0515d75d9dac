//! Connections that are passed on whole, by listener and cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::proto::MetricFamily;

use super::add;
use super::family::counter;

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum TcpEnd {
    /// Both sides had said all.
    Completed,
    /// The client broke off.
    Client,
    /// The endpoint broke off.
    Endpoint,
    /// Silence, or an endpoint that has left, for too long.
    Timeout,
    /// No endpoint could be connected to.
    Connect,
    /// Nobody could serve.
    NoEndpoint,
    /// There was no room.
    Overload,
    /// No cluster takes such a name, or none at all what is not TLS.
    NoCluster,
    /// No TLS greeting came in time, or the client left before.
    NoGreeting,
    /// The client's address may not go there.
    Refused,
    /// Broken off here.
    BrokenOff,
}

const ENDS: [&str; 11] = [
    "completed",
    "client_reset",
    "endpoint_reset",
    "timeout",
    "connect",
    "no_endpoint",
    "overload",
    "no_cluster",
    "no_greeting",
    "refused",
    "broken_off",
];
const DIRECTIONS: [&str; 2] = ["received", "sent"];

/// Which connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TcpLabels {
    /// Name of the listener.
    pub listener: Arc<str>,
    /// Name of the cluster; empty if there was none for it.
    pub cluster: Arc<str>,
}

/// Their figures: a shard for each worker, which alone writes it.
#[derive(Debug)]
pub struct TcpSeries(Box<[Shard]>);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    ends: [AtomicU64; ENDS.len()],
    bytes: [AtomicU64; DIRECTIONS.len()],
}

impl TcpSeries {
    pub(super) fn new(workers: usize) -> Self {
        TcpSeries((0..workers).map(|_| Shard::default()).collect())
    }

    /// Counts a connection that is over.
    pub fn ended(&self, worker: usize, end: TcpEnd) {
        add(&self.shard(worker).ends[end as usize], 1);
    }

    /// Counts bytes that came from a client.
    pub fn received(&self, worker: usize, bytes: usize) {
        add(&self.shard(worker).bytes[0], bytes as u64);
    }

    /// Counts bytes that came for a client.
    pub fn sent(&self, worker: usize, bytes: usize) {
        add(&self.shard(worker).bytes[1], bytes as u64);
    }

    fn shard(&self, worker: usize) -> &Shard {
        &self.0[worker % self.0.len()]
    }

    fn sum(&self, figure: impl Fn(&Shard) -> &AtomicU64) -> f64 {
        self.0.iter().map(|shard| figure(shard).load(Ordering::Relaxed)).sum::<u64>() as f64
    }
}

pub(super) fn families(all: &[(TcpLabels, Arc<TcpSeries>)]) -> Vec<MetricFamily> {
    let (mut ends, mut bytes) = (Vec::new(), Vec::new());
    for (labels, series) in all {
        let labels = |name, word: &str| {
            vec![
                ("listener", labels.listener.to_string()),
                ("cluster", labels.cluster.to_string()),
                (name, word.to_owned()),
            ]
        };
        ends.extend(
            ENDS.iter().enumerate().map(|(end, word)| (labels("result", word), series.sum(|shard| &shard.ends[end]))),
        );
        bytes.extend(
            DIRECTIONS
                .iter()
                .enumerate()
                .map(|(way, word)| (labels("direction", word), series.sum(|shard| &shard.bytes[way]))),
        );
    }
    // What never happens there is left out.
    ends.retain(|(_, count)| *count > 0.0);
    bytes.retain(|(_, count)| *count > 0.0);
    vec![
        counter("lictor_tcp_sessions_total", "Connections of TCP listeners that are over, by how they ended.", ends),
        counter("lictor_tcp_bytes_total", "Bytes that came from clients of TCP listeners, or for them.", bytes),
    ]
}
