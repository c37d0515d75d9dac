//! Lictor beside other proxies: CPU per proxied request, on this machine, in one interleaved run.
//!
//! Machines differ, and one machine differs from minute to minute, so a figure alone says little and two figures from two
//! runs say less. Here every proxy runs at once, idle but for its turn, and the rounds go A B C, B C A, C A B …: what the
//! machine does to one it soon does to all, and the ratio within a round is the figure to read. CPU per request is what a
//! proxy costs; requests per second on two cores mostly says which side was the bottleneck.
//!
//! Not a load test: one small answer, keep-alive on both sides, no TLS. What each figure means is in `benches/README.md`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark's output is its product")]

mod client;
mod histogram;
mod machine;
mod origin;
mod peers;
mod report;
mod usage;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Parser;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use client::{Load, Tally};
use machine::Cores;
use origin::Origin;
use peers::{Back, Certificate, Front, Peer, Plan, Program, Proxy};
use usage::Usage;

/// What stops the run. Nobody tells cases apart: the text is all that matters.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Long enough for every proxy to open its connections and settle its allocator.
const WARM_UP: Duration = Duration::from_secs(1);
/// Before each window, unmeasured: idle connections may have been closed since this proxy's last turn.
const LEAD_IN: Duration = Duration::from_millis(500);
/// Sequential requests by which a proxy is checked before it is measured; a multiple of the number of origins.
const CHECK_REQUESTS: u64 = 30;

/// CPU per proxied request of lictor and other proxies, in one interleaved run.
#[derive(Debug, Parser, Serialize)]
#[command(name = "compare")]
struct Options {
    /// Who takes part; ratios are of the first named, or of lictor where it takes part
    #[arg(long, value_delimiter = ',', default_value = "lictor,nginx,haproxy")]
    peers: Vec<Peer>,
    /// Turns of each proxy
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Length of each measured window
    #[arg(long, default_value_t = 3.0, value_parser = parse_seconds)]
    seconds: f64,
    /// Keep-alive connections, each with one request at a time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1000))]
    connections: u16,
    /// Write every round to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The lictor to measure, instead of the one that Cargo has just built
    #[arg(long, value_name = "PATH", default_value = env!("CARGO_BIN_EXE_lictor"))]
    lictor: PathBuf,
    /// Given by `cargo bench`; without it (`cargo test --benches`) nothing is measured
    #[arg(long, hide = true)]
    #[serde(skip)]
    bench: bool,
}

/// One measured window of one proxy.
#[derive(Debug, Serialize)]
struct Round {
    /// From 1.
    round: u32,
    peer: Peer,
    seconds: f64,
    #[serde(flatten)]
    tally: Tally,
    #[serde(flatten)]
    usage: Usage,
    /// CPU time of this process: the load and the origins.
    load_cpu_ns: u64,
    /// Connections that the proxy opened to origins within the window.
    upstream_connections: u64,
    /// Requests that each origin answered within the window.
    origin_requests: Vec<u64>,
}

/// Everything that a run found out.
#[derive(Debug, Serialize)]
struct Findings {
    machine: String,
    /// RFC 3339, at the start.
    date: String,
    versions: Vec<String>,
    rounds: Vec<Round>,
    memory: Vec<usage::Memory>,
    /// What a reader must know before believing the figures.
    notes: Vec<String>,
    /// Requests that failed or were answered wrongly, at any time: none is allowed.
    failed: u64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if !options.bench {
        println!("compare: nothing measured; run it by `cargo bench --bench compare`, or give --bench");
        return ExitCode::SUCCESS;
    }
    match run(&options) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failed) => {
            eprintln!("compare: {failed} requests failed or were answered wrongly; these figures do not count");
            ExitCode::FAILURE
        }
        Err(failure) => {
            eprintln!("compare: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// The whole run. Returns how many requests failed.
fn run(options: &Options) -> Result<u64, Failure> {
    if !cfg!(target_os = "linux") {
        return Err("Linux only: CPU time is read from /proc".into());
    }
    let peers = peers::distinct(&options.peers);
    let programs = peers::install(&peers, &options.lictor)?;
    machine::check_open_files(usize::from(options.connections), peers.len())?;
    let strangers = machine::find_running(&peers.iter().map(|peer| peer.name()).collect::<Vec<_>>())?;
    let cores = machine::pin()?;
    let mut findings = Findings {
        machine: machine::describe(cores),
        date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        versions: programs.iter().map(Program::version).collect(),
        rounds: Vec::new(),
        memory: Vec::new(),
        notes: Vec::new(),
        failed: 0,
    };
    if !strangers.is_empty() {
        let strangers = strangers.join(", ");
        findings.notes.push(format!("already running, not ours, may disturb: {strangers}"));
    }
    report::print_head(&findings);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        // Whichever way this ends, the proxies are dropped and thereby ended.
        tokio::select! {
            finished = compare(&programs, cores, options, &mut findings) => finished,
            _ = terminate.recv() => Err("terminated".into()),
            _ = interrupt.recv() => Err("interrupted".into()),
        }
    })?;

    report::print(&findings, &peers);
    if let Some(file) = &options.json {
        std::fs::write(file, report::json(&findings, options)?)
            .map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(findings.failed)
}

/// Starts, checks and warms up every proxy, then measures them in turn.
async fn compare(
    programs: &[Program],
    cores: Option<Cores>,
    options: &Options,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let origins = origin::start()?;
    let scratch = tempfile::tempdir()?;
    let certificate = Certificate::create(scratch.path())?;
    let addresses: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    let plan = Plan {
        front: Front::Plain,
        back: Back::Http1,
        origins: &addresses,
        routes: 1,
        certificate: &certificate,
        resume: true,
    };
    let mut proxies = Vec::new();
    for program in programs {
        let name = program.peer.name();
        program.peer.supports(&plan).map_err(|reason| format!("{name}: {reason}"))?;
        let proxy = Proxy::start(program, &plan, scratch.path(), cores)?;
        check(&proxy, &origins, findings).await?;
        warm_up(&proxy, options, findings).await?;
        proxies.push(proxy);
    }
    measure(&proxies, &origins, options, findings).await
}

/// Sees that the proxy does the work that it is measured for: right answers, the header added, the origins in turn.
async fn check(proxy: &Proxy, origins: &[Origin], findings: &mut Findings) -> Result<(), Failure> {
    let name = proxy.peer.name();
    let before = origin::counts(origins);
    origins.iter().for_each(Origin::record);
    client::ask_in_turn(proxy.address, CHECK_REQUESTS).await.map_err(|trouble| format!("{name}: {trouble}"))?;
    let heads: Vec<String> = origins.iter().flat_map(Origin::recorded).collect();
    let counts = origin::since(&before, &origin::counts(origins));

    let with_header = heads.iter().filter(|head| origin::has_forwarded_for(head)).count();
    if with_header != heads.len() || heads.is_empty() {
        let note = format!("{name}: {with_header} of {} requests reached an origin with X-Forwarded-For", heads.len());
        findings.notes.push(note);
    }
    let even = CHECK_REQUESTS / counts.len() as u64;
    if counts.iter().any(|count| count.requests.abs_diff(even) > 1) {
        let shares: Vec<u64> = counts.iter().map(|count| count.requests).collect();
        findings
            .notes
            .push(format!("{name}: {CHECK_REQUESTS} requests in turn fell unevenly on the origins: {shares:?}"));
    }
    println!("{name}: checked, {CHECK_REQUESTS} requests right");
    Ok(())
}

/// Runs the load once, unmeasured.
async fn warm_up(proxy: &Proxy, options: &Options, findings: &mut Findings) -> Result<(), Failure> {
    let load = Load::start(proxy.address, options.connections);
    tokio::time::sleep(WARM_UP).await;
    settle(proxy.peer, &load.end().await, findings);
    Ok(())
}

/// The rounds. The order turns by one each round, so that nobody always follows the same neighbour.
async fn measure(
    proxies: &[Proxy],
    origins: &[Origin],
    options: &Options,
    findings: &mut Findings,
) -> Result<(), Failure> {
    for round in 0..options.rounds {
        for turn in 0..proxies.len() {
            let proxy = &proxies[(turn + round as usize) % proxies.len()];
            let measured = measure_one(proxy, origins, options).await.map_err(|failure| proxy.explain(&failure))?;
            let measured = Round { round: round + 1, ..measured };
            settle(proxy.peer, &measured.tally, findings);
            report::print_round(&measured, options.rounds);
            findings.rounds.push(measured);
        }
    }
    for proxy in proxies {
        findings.memory.push(usage::memory(proxy.peer, &proxy.processes).map_err(|failure| proxy.explain(&failure))?);
    }
    let peers: Vec<Peer> = proxies.iter().map(|proxy| proxy.peer).collect();
    let doubts = report::find_doubts(findings, &peers);
    findings.notes.extend(doubts);
    Ok(())
}

/// One window of one proxy. The round's number is the caller's to set.
async fn measure_one(proxy: &Proxy, origins: &[Origin], options: &Options) -> Result<Round, Failure> {
    let mut load = Load::start(proxy.address, options.connections);
    tokio::time::sleep(LEAD_IN).await;

    let origins_before = origin::counts(origins);
    let own = [std::process::id()];
    let load_before = usage::read(&own)?;
    let usage_before = usage::read(&proxy.processes)?;
    load.begin_window();
    tokio::time::sleep(Duration::from_secs_f64(options.seconds)).await;
    let window = load.end_window();
    let usage_after = usage::read(&proxy.processes)?;
    let load_after = usage::read(&own)?;
    let counts = origin::since(&origins_before, &origin::counts(origins));

    let tally = load.end().await;
    Ok(Round {
        round: 0,
        peer: proxy.peer,
        seconds: window.as_secs_f64(),
        tally,
        usage: usage_after.since(usage_before),
        load_cpu_ns: load_after.since(load_before).cpu_ns,
        upstream_connections: counts.iter().map(|count| count.connections).sum(),
        origin_requests: counts.iter().map(|count| count.requests).collect(),
    })
}

/// Takes the failures of a finished load into the findings.
fn settle(peer: Peer, tally: &Tally, findings: &mut Findings) {
    findings.failed += tally.errors + tally.wrong;
    if let Some(trouble) = &tally.first_trouble {
        let note = format!(
            "{}: {} requests failed and {} were answered wrongly, the first: {trouble}",
            peer.name(),
            tally.errors,
            tally.wrong
        );
        findings.notes.push(note);
    }
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds from 0.1 to 600".to_owned()),
    }
}
