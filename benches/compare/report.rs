//! What a run says: a line a round, the table of medians, the ratios, and the same in JSON.

use std::fmt::Write;

use serde_json::json;

use crate::peers::Peer;
use crate::{Failure, Findings, Options, Round};

/// Share of a window that a proxy may have waited for its core before we doubt the round.
const WAITED_TOO_MUCH: f64 = 0.05;
/// With less than this of both cores used, neither side was the bottleneck: something else had the machine.
const USED_TOO_LITTLE: f64 = 0.9;
/// Connections that a proxy may open within a window, per thousand requests, before we doubt its keep-alive.
const RECONNECTED_TOO_MUCH: f64 = 1.0;
/// How far an origin's share of a window may be from an even one before we doubt that they were taken in turn.
const UNEVEN: f64 = 0.05;
const LABEL_WIDTH: usize = 30;
const COLUMN_WIDTH: usize = 28;

/// A row of the table.
struct Figure {
    label: &'static str,
    decimals: usize,
    of: fn(&Round) -> f64,
}

const CPU: Figure = Figure { label: "cpu per request, µs", decimals: 2, of: Round::cpu_us };
const RATE: Figure = Figure { label: "requests per second", decimals: 0, of: Round::rate };
const P99: Figure = Figure { label: "latency p99, µs", decimals: 0, of: |round| round.tally.p99_ns as f64 / 1e3 };
const FIGURES: [Figure; 11] = [
    CPU,
    Figure {
        label: "  in user mode, µs",
        decimals: 2,
        of: |round| round.cpu_us() * (1.0 - round.usage.system_share()),
    },
    Figure { label: "  in the kernel, µs", decimals: 2, of: |round| round.cpu_us() * round.usage.system_share() },
    RATE,
    Figure { label: "latency p50, µs", decimals: 0, of: |round| round.tally.p50_ns as f64 / 1e3 },
    P99,
    Figure { label: "core used, %", decimals: 1, of: |round| round.of_window(round.usage.cpu_ns) * 100.0 },
    Figure { label: "core waited for, %", decimals: 1, of: |round| round.of_window(round.usage.waited_ns) * 100.0 },
    Figure { label: "load's core used, %", decimals: 1, of: |round| round.of_window(round.load_cpu_ns) * 100.0 },
    Figure { label: "requests", decimals: 0, of: |round| round.tally.requests as f64 },
    Figure {
        label: "errors and wrong answers",
        decimals: 0,
        of: |round| (round.tally.errors + round.tally.wrong) as f64,
    },
];

/// A doubt in words, and whether a round deserves it.
type Doubt = (&'static str, fn(&Round) -> bool);

const DOUBTS: [Doubt; 4] = [
    ("the origins did not share the requests evenly", |round| round.unevenness() > UNEVEN),
    ("connections to origins were not kept alive", |round| round.reconnected() > RECONNECTED_TOO_MUCH),
    ("waited for its core, which others used", |round| round.of_window(round.usage.waited_ns) > WAITED_TOO_MUCH),
    ("neither core was full: too few connections, or others used the machine", |round| {
        round.of_window(round.usage.cpu_ns.max(round.load_cpu_ns)) < USED_TOO_LITTLE
    }),
];

/// Median, least and greatest of one figure over the rounds.
#[derive(Clone, Copy, Debug)]
struct Spread {
    median: f64,
    least: f64,
    greatest: f64,
}

impl Round {
    fn cpu_us(&self) -> f64 {
        self.usage.cpu_ns as f64 / 1e3 / self.tally.requests.max(1) as f64
    }

    fn rate(&self) -> f64 {
        self.tally.requests as f64 / self.seconds
    }

    /// The greatest distance of an origin's share from an even one, as a part of the even one.
    fn unevenness(&self) -> f64 {
        let even = self.origin_requests.iter().sum::<u64>().max(1) as f64 / self.origin_requests.len() as f64;
        self.origin_requests.iter().map(|count| (*count as f64 / even - 1.0).abs()).fold(0.0, f64::max)
    }

    /// Connections to origins opened, per thousand requests.
    fn reconnected(&self) -> f64 {
        self.upstream_connections as f64 * 1e3 / self.tally.requests.max(1) as f64
    }

    fn of_window(&self, ns: u64) -> f64 {
        ns as f64 / 1e9 / self.seconds
    }
}

impl Spread {
    /// Zeroes where there is no value.
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let (Some(least), Some(greatest)) = (values.first(), values.last()) else {
            return Self { median: 0.0, least: 0.0, greatest: 0.0 };
        };
        let median = f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2]);
        Self { median, least: *least, greatest: *greatest }
    }

    fn show(self, decimals: usize) -> String {
        let Self { median, least, greatest } = self;
        format!("{median:.decimals$} ({least:.decimals$}..{greatest:.decimals$})")
    }
}

/// Before the rounds: where and what.
pub fn print_head(findings: &Findings) {
    println!("{}\n{}", findings.date, findings.machine);
    for version in &findings.versions {
        println!("{version}");
    }
}

/// As each round ends.
pub fn print_round(round: &Round, rounds: u32) {
    println!(
        "round {}/{rounds}  {:8} {:7.2} µs per request {:8.0} requests per second",
        round.round,
        round.peer.name(),
        round.cpu_us(),
        round.rate()
    );
}

/// The table, the ratios, the notes, and last the line that matters.
pub fn print(findings: &Findings, peers: &[Peer]) {
    println!("\n{}", table(findings, peers));
    let Some(measured) = peers.iter().find(|peer| **peer == Peer::Lictor).or(peers.first()) else { return };
    let others: Vec<Peer> = peers.iter().filter(|peer| *peer != measured).copied().collect();
    for figure in [RATE, P99] {
        for other in &others {
            println!("{}", ratio_line(findings, &figure, *measured, *other));
        }
    }
    for note in &findings.notes {
        println!("note: {note}");
    }
    for other in &others {
        println!("{}", ratio_line(findings, &CPU, *measured, *other));
    }
}

/// The options and the findings, every round among them.
pub fn json(findings: &Findings, options: &Options) -> Result<String, Failure> {
    Ok(serde_json::to_string_pretty(&json!({ "options": options, "findings": findings }))?)
}

/// What casts doubt on the rounds, in words: nothing that makes an answer wrong, all that makes a comparison unfair.
pub fn find_doubts(findings: &Findings, peers: &[Peer]) -> Vec<String> {
    let mut notes = Vec::new();
    for (doubt, applies) in DOUBTS {
        for peer in peers {
            let doubtful = rounds_of(findings, *peer).filter(|round| applies(round)).count();
            let all = rounds_of(findings, *peer).count();
            if doubtful > 0 {
                notes.push(format!("{}, {doubtful} of {all} rounds: {doubt}", peer.name()));
            }
        }
    }
    notes
}

fn table(findings: &Findings, peers: &[Peer]) -> String {
    let mut table = format!("{:LABEL_WIDTH$}", "median (least..greatest)");
    for peer in peers {
        let _ = write!(table, "{:>COLUMN_WIDTH$}", peer.name());
    }
    for figure in &FIGURES {
        let _ = write!(table, "\n{:LABEL_WIDTH$}", figure.label);
        for peer in peers {
            let values = rounds_of(findings, *peer).map(figure.of).collect();
            let _ = write!(table, "{:>COLUMN_WIDTH$}", Spread::of(values).show(figure.decimals));
        }
    }
    let _ = write!(table, "\n{:LABEL_WIDTH$}", "memory, MiB: rss, pss");
    for memory in peers.iter().filter_map(|peer| findings.memory.iter().find(|memory| memory.peer == *peer)) {
        let shown = format!("{:.1}, {:.1}", memory.rss_kib as f64 / 1024.0, memory.pss_kib as f64 / 1024.0);
        let _ = write!(table, "{shown:>COLUMN_WIDTH$}");
    }
    table.push('\n');
    table
}

/// The ratio within each round, then its spread: what disturbed a whole round cancels out.
fn ratio_line(findings: &Findings, figure: &Figure, measured: Peer, other: Peer) -> String {
    let ratio = |(measured, other): (&Round, &Round)| (figure.of)(measured) / (figure.of)(other);
    let ratios = rounds_of(findings, measured).zip(rounds_of(findings, other)).map(ratio).collect();
    let label = figure.label.trim_end_matches(", µs");
    format!("{label}, {} / {}: {}", measured.name(), other.name(), Spread::of(ratios).show(2))
}

fn rounds_of(findings: &Findings, peer: Peer) -> impl Iterator<Item = &Round> {
    findings.rounds.iter().filter(move |round| round.peer == peer)
}
