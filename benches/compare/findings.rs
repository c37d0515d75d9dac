//! What a run finds out, as it is written in JSON, and the figures that are drawn from it.

use serde::Serialize;

use crate::idle::Idle;
use crate::load::Tally;
use crate::peers::Peer;
use crate::usage::{Memory, Usage};
use crate::work::Work;

/// Everything.
#[derive(Debug, Default, Serialize)]
pub struct Findings {
    /// The processor, its cores, the kernel, who ran where.
    pub machine: String,
    /// RFC 3339, at the start.
    pub date: String,
    /// What each proxy says that it is.
    pub versions: Vec<String>,
    /// Every window of load.
    pub rounds: Vec<Round>,
    /// At the end of each work item.
    pub memory: Vec<Held>,
    /// Of idle connections.
    pub idle: Vec<Idle>,
    /// Of endpoints that come and go.
    pub churn: Vec<Churn>,
    /// What a reader must know before believing the figures.
    pub notes: Vec<String>,
    /// Requests that failed or were answered wrongly, at any time: none is allowed.
    pub failed: u64,
}

/// Memory of one proxy.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Held {
    /// After what.
    pub work: Work,
    /// Whose.
    pub peer: Peer,
    /// All its processes.
    #[serde(flatten)]
    pub memory: Memory,
}

/// The same load twice.
#[derive(Debug, Serialize)]
pub struct Churn {
    /// While nothing changed.
    pub still: Round,
    /// While endpoints came and went.
    pub changing: Round,
    /// How often they did.
    pub changes: u64,
}

/// How the load was paced in a window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase", tag = "pace", content = "offered_per_second")]
pub enum Mode {
    /// In a closed loop: as much as the proxy takes.
    Saturated,
    /// In an open loop, at a rate that every proxy can carry.
    Paced(f64),
}

/// One measured window of one proxy.
#[derive(Debug, Serialize)]
pub struct Round {
    /// What was asked.
    pub work: Work,
    /// How.
    #[serde(flatten)]
    pub mode: Mode,
    /// From 1.
    pub round: u32,
    /// Of whom.
    pub peer: Peer,
    /// How long it was.
    pub seconds: f64,
    /// What the load saw.
    #[serde(flatten)]
    pub tally: Tally,
    /// What the kernel charged the proxy.
    #[serde(flatten)]
    pub usage: Usage,
    /// CPU time of this process: the load and the origins.
    pub load_cpu_ns: u64,
    /// Connections that the proxy opened to origins within the window.
    pub upstream_connections: u64,
    /// Requests that each origin answered within the window.
    pub origin_requests: Vec<u64>,
}

impl Round {
    /// CPU time of the proxy for each answer.
    pub fn cpu_us(&self) -> f64 {
        self.usage.cpu_ns as f64 / 1e3 / self.tally.requests.max(1) as f64
    }

    /// Answers a second.
    pub fn rate(&self) -> f64 {
        self.tally.requests as f64 / self.seconds
    }

    /// MiB of body for each second of the proxy's CPU time; 0 where bodies are not what is measured.
    pub fn mib_per_cpu_second(&self) -> f64 {
        let bytes = self.work.bytes().unwrap_or_default() as f64 * self.tally.requests as f64;
        bytes / f64::from(1 << 20) / (self.usage.cpu_ns.max(1) as f64 / 1e9)
    }

    /// The greatest distance of an origin's share from an even one, as a part of the even one; nothing where so few were
    /// asked that chance decides.
    pub fn unevenness(&self) -> f64 {
        let all = self.origin_requests.iter().sum::<u64>();
        if all < 1000 {
            return 0.0;
        }
        let even = all as f64 / self.origin_requests.len() as f64;
        self.origin_requests.iter().map(|count| (*count as f64 / even - 1.0).abs()).fold(0.0, f64::max)
    }

    /// Connections to origins opened, per thousand requests.
    pub fn reconnected(&self) -> f64 {
        self.upstream_connections as f64 * 1e3 / self.tally.requests.max(1) as f64
    }

    /// A CPU time as a part of the window.
    pub fn of_window(&self, ns: u64) -> f64 {
        ns as f64 / 1e9 / self.seconds
    }
}

/// Median, least and greatest of one figure over the rounds.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// The middle one.
    pub median: f64,
    /// The smallest.
    pub least: f64,
    /// The largest.
    pub greatest: f64,
}

impl Spread {
    /// `None` where there is no value.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let median = f64::midpoint(*values.get(values.len().checked_sub(1)? / 2)?, *values.get(values.len() / 2)?);
        Some(Self { median, least: *values.first()?, greatest: *values.last()? })
    }

    /// As a cell of a table.
    pub fn show(self, decimals: usize) -> String {
        let Self { median, least, greatest } = self;
        format!("{median:.decimals$} ({least:.decimals$}..{greatest:.decimals$})")
    }
}
