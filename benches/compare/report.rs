//! What a run says: a line a window, a table of medians for each work item, the ratios of all of them, and the same in JSON.

use std::fmt::Write;

use serde_json::json;

use crate::findings::{Churn, Findings, Mode, Round, Spread};
use crate::idle::{CLIENTS, Idle};
use crate::peers::Peer;
use crate::usage::Memory;
use crate::work::Work;
use crate::{Failure, Options};

const LABEL_WIDTH: usize = 30;
const COLUMN_WIDTH: usize = 28;

/// A row of a table.
struct Figure {
    label: &'static str,
    decimals: usize,
    of: fn(&Round) -> f64,
}

/// Ratios of two peers at a work item: one for each round.
type Ratios = fn(&Findings, Work, [Peer; 2]) -> Vec<f64>;

const CPU: Figure = Figure { label: "cpu per request, µs", decimals: 2, of: Round::cpu_us };
const MIB: Figure = Figure { label: "MiB per CPU second", decimals: 0, of: Round::mib_per_cpu_second };
const RATE: Figure = Figure { label: "requests per second", decimals: 0, of: Round::rate };
const P50: Figure = Figure { label: "latency p50, µs", decimals: 0, of: |round| round.tally.p50_ns as f64 / 1e3 };
const P99: Figure = Figure { label: "latency p99, µs", decimals: 0, of: |round| round.tally.p99_ns as f64 / 1e3 };
const P999: Figure = Figure { label: "latency p99.9, µs", decimals: 0, of: |round| round.tally.p999_ns as f64 / 1e3 };
const CORE: Figure =
    Figure { label: "core used, %", decimals: 1, of: |round| round.of_window(round.usage.cpu_ns) * 100.0 };
const LOAD: Figure =
    Figure { label: "load's core used, %", decimals: 1, of: |round| round.of_window(round.load_cpu_ns) * 100.0 };

const SATURATED: [Figure; 12] = [
    CPU,
    Figure {
        label: "  in user mode, µs",
        decimals: 2,
        of: |round| round.cpu_us() * (1.0 - round.usage.system_share()),
    },
    Figure { label: "  in the kernel, µs", decimals: 2, of: |round| round.cpu_us() * round.usage.system_share() },
    MIB,
    RATE,
    P50,
    P99,
    P999,
    CORE,
    Figure { label: "core waited for, %", decimals: 1, of: |round| round.of_window(round.usage.waited_ns) * 100.0 },
    LOAD,
    Figure {
        label: "errors and wrong answers",
        decimals: 0,
        of: |round| (round.tally.errors + round.tally.wrong) as f64,
    },
];
const PACED: [Figure; 7] = [RATE, P50, P99, P999, CPU, CORE, LOAD];

/// What ran where.
pub fn print_head(findings: &Findings) {
    println!("{}\n{}", findings.machine, findings.date);
    for version in &findings.versions {
        println!("{version}");
    }
}

/// One line for each window, so that somebody who watches sees it go on.
pub fn print_round(round: &Round, rounds: u32) {
    let pace = match round.mode {
        Mode::Saturated => "saturated".to_owned(),
        Mode::Paced(rate) => format!("{rate:.0}/s"),
    };
    println!(
        "{:11} round {}/{rounds}  {:9} {:8} {:9.2} µs per request {:8.0} requests per second, p99 {:7.0} µs",
        round.work.name(),
        round.round,
        pace,
        round.peer.name(),
        round.cpu_us(),
        round.rate(),
        round.tally.p99_ns as f64 / 1e3
    );
}

/// One line for a proxy with its idle clients.
pub fn print_idle(idle: &Idle) {
    println!(
        "{:11} round {}  {:8} {:.2} KiB for each of {CLIENTS} connections, {:.1} MiB before",
        idle.work.name(),
        idle.round,
        idle.peer.name(),
        idle.each(),
        idle.before_kib as f64 / 1024.0
    );
}

/// The tables of one work item.
pub fn print_work(findings: &Findings, work: Work, peers: &[Peer]) {
    let table = match work {
        Work::Idle | Work::IdleTls => idle_table(findings, work, peers),
        Work::Churn => churn_table(findings),
        _ => table(findings, work, peers),
    };
    print!("\n{table}");
}

/// The ratios of every work item, and the notes.
pub fn print_ratios(findings: &Findings, works: &[Work], peers: &[Peer]) {
    let Some(measured) = peers.iter().find(|peer| **peer == Peer::Lictor).or(peers.first()) else { return };
    let others: Vec<Peer> = peers.iter().filter(|peer| *peer != measured).copied().collect();
    for note in &findings.notes {
        println!("note: {note}");
    }
    let sections: [(&str, Ratios); 5] = [
        ("cpu per request", |findings, work, peers| ratios(findings, work, (&CPU, false), peers)),
        ("requests per second", |findings, work, peers| ratios(findings, work, (&RATE, false), peers)),
        ("p99 at the same rate", |findings, work, peers| ratios(findings, work, (&P99, true), peers)),
        ("memory, rss", memory_ratio),
        ("memory of an idle connection", idle_ratios),
    ];
    for (title, of) in sections {
        let row = |work: &Work| {
            let spreads = others.iter().map(|other| Spread::of(of(findings, *work, [*measured, *other])));
            (*work, spreads.collect::<Vec<_>>())
        };
        let rows: Vec<_> = works.iter().map(row).filter(|(_, row)| row.iter().any(Option::is_some)).collect();
        if rows.is_empty() {
            continue;
        }
        let mut table =
            line(&format!("{title}, {} / …", measured.name()), others.iter().map(|other| other.name().to_owned()));
        for (work, row) in rows {
            table += &line(&work.name(), row.iter().map(|spread| spread.map_or_else(missing, |spread| spread.show(2))));
        }
        print!("\n{table}");
    }
}

/// The options and the findings, every round among them.
pub fn json(findings: &Findings, options: &Options) -> Result<String, Failure> {
    Ok(serde_json::to_string_pretty(&json!({ "options": options, "findings": findings }))?)
}

fn table(findings: &Findings, work: Work, peers: &[Peer]) -> String {
    let mut table = line(&work.name(), peers.iter().map(|peer| peer.name().to_owned()));
    add_rows(&mut table, findings, (work, false), peers);
    let offered = findings.rounds.iter().find_map(|round| match round.mode {
        Mode::Paced(rate) if round.work == work => Some(rate),
        _ => None,
    });
    if let Some(offered) = offered {
        let _ = writeln!(table, "at {offered:.0} requests a second");
        add_rows(&mut table, findings, (work, true), peers);
    }
    let cell = |peer: &Peer| {
        memory_of(findings, work, *peer).map_or_else(missing, |memory| {
            format!("{:.1}, {:.1}", memory.rss_kib as f64 / 1024.0, memory.pss_kib as f64 / 1024.0)
        })
    };
    table + &line("memory, MiB: rss, pss", peers.iter().map(cell))
}

fn add_rows(table: &mut String, findings: &Findings, (work, paced): (Work, bool), peers: &[Peer]) {
    let figures: &[Figure] = if paced { &PACED } else { &SATURATED };
    for figure in figures {
        if figure.label == MIB.label && work.bytes().is_none() {
            continue;
        }
        let cell = |peer: &Peer| {
            let values = rounds_of(findings, work, paced, *peer).map(figure.of).collect();
            Spread::of(values).map_or_else(missing, |spread| spread.show(figure.decimals))
        };
        *table += &line(figure.label, peers.iter().map(cell));
    }
}

fn idle_table(findings: &Findings, work: Work, peers: &[Peer]) -> String {
    let idle_of = |peer: &Peer, of: fn(&Idle) -> f64| {
        let idle = findings.idle.iter().filter(|idle| idle.work == work && idle.peer == *peer);
        Spread::of(idle.map(of).collect()).map_or_else(missing, |spread| spread.show(2))
    };
    let before = |idle: &Idle| idle.before_kib as f64 / 1024.0;
    line(&work.name(), peers.iter().map(|peer| peer.name().to_owned()))
        + &line("KiB for each connection", peers.iter().map(|peer| idle_of(peer, Idle::each)))
        + &line("MiB before", peers.iter().map(|peer| idle_of(peer, before)))
}

/// A column for each of the two, and the ratio within each round.
fn churn_table(findings: &Findings) -> String {
    let names = ["still", "changing", "changing / still"].map(str::to_owned);
    let mut table = line(&Work::Churn.name(), names.into_iter());
    for figure in &PACED {
        let all = |of: &dyn Fn(&Churn) -> f64, decimals| {
            Spread::of(findings.churn.iter().map(of).collect()).map_or_else(missing, |spread| spread.show(decimals))
        };
        let still = all(&|churn| (figure.of)(&churn.still), figure.decimals);
        let changing = all(&|churn| (figure.of)(&churn.changing), figure.decimals);
        let ratio = all(&|churn| (figure.of)(&churn.changing) / (figure.of)(&churn.still), 2);
        table += &line(figure.label, [still, changing, ratio].into_iter());
    }
    let changes = |churn: &Churn| churn.changes as f64 / churn.changing.seconds;
    let changes =
        Spread::of(findings.churn.iter().map(changes).collect()).map_or_else(missing, |spread| spread.show(1));
    table + &line("changes for each second", [missing(), changes, missing()].into_iter())
}

fn line(label: &str, cells: impl Iterator<Item = String>) -> String {
    let cells: String = cells.map(|cell| format!("{cell:>COLUMN_WIDTH$}")).collect();
    format!("{label:LABEL_WIDTH$}{cells}\n")
}

/// The ratio within each round: what disturbed a whole round cancels out.
fn ratios(findings: &Findings, work: Work, (figure, paced): (&Figure, bool), [measured, other]: [Peer; 2]) -> Vec<f64> {
    let mine: Vec<&Round> = rounds_of(findings, work, paced, measured).collect();
    let ratio = |theirs: &Round| {
        let mine = mine.iter().find(|mine| mine.round == theirs.round)?;
        // Where nothing was answered in a window there is none.
        Some((figure.of)(mine) / (figure.of)(theirs)).filter(|ratio| ratio.is_finite())
    };
    rounds_of(findings, work, paced, other).filter_map(ratio).collect()
}

fn memory_ratio(findings: &Findings, work: Work, [measured, other]: [Peer; 2]) -> Vec<f64> {
    let of = |peer| memory_of(findings, work, peer).map(|memory| memory.rss_kib as f64);
    of(measured).zip(of(other)).map(|(mine, theirs)| mine / theirs).into_iter().collect()
}

fn idle_ratios(findings: &Findings, work: Work, [measured, other]: [Peer; 2]) -> Vec<f64> {
    let of = |peer| findings.idle.iter().filter(move |idle| idle.work == work && idle.peer == peer);
    of(measured).zip(of(other)).map(|(mine, theirs)| mine.each() / theirs.each()).collect()
}

fn memory_of(findings: &Findings, work: Work, peer: Peer) -> Option<Memory> {
    findings.memory.iter().find(|held| held.work == work && held.peer == peer).map(|held| held.memory)
}

fn missing() -> String {
    "–".to_owned()
}

fn rounds_of(findings: &Findings, work: Work, paced: bool, peer: Peer) -> impl Iterator<Item = &Round> {
    findings
        .rounds
        .iter()
        .filter(move |round| round.work == work && round.peer == peer && paced != (round.mode == Mode::Saturated))
}
