//! A run: for each work item all proxies are started, checked and warmed up, and then measured in turn; first as much as each
//! takes, then all at the same rate.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::ValueEnum;
use rustls::ClientConfig;

use crate::check;
use crate::doubts;
use crate::engine::Engine;
use crate::findings::{Findings, Held, Mode, Round, Spread};
use crate::idle;
use crate::load::{Demand, Pace, Tally};
use crate::machine::{self, Cores};
use crate::origin::{self, ORIGINS, Origin};
use crate::peers::{self, Back, Certificate, Front, Peer, Plan, Program, Proxy};
use crate::report;
use crate::stop::Stop;
use crate::tls;
use crate::usage;
use crate::work::Work;
use crate::{Failure, Options};

/// Long enough for every proxy to open its connections and settle its allocator.
const WARM_UP: Duration = Duration::from_secs(1);
/// Before each window, unmeasured: idle connections may have been closed since this proxy's last turn.
const LEAD_IN: Duration = Duration::from_millis(500);
/// Of what the slowest can do: where a proxy is run that has some room left.
const SHARE: f64 = 0.7;

/// Memory is much the same each time.
const IDLE_ROUNDS: u32 = 3;

/// What stands during the whole run.
struct Stage<'a> {
    options: &'a Options,
    stop: Stop,
    engine: Engine,
    origins: Vec<Origin>,
    http2_origins: Vec<Origin>,
    certificate: Certificate,
    scratch: &'a Path,
    cores: Option<Cores>,
}

/// A proxy, and those who know it.
struct Entrant {
    proxy: Proxy,
    /// Of the load's connections; they remember sessions from one window to the next.
    tls: Vec<Arc<ClientConfig>>,
}

/// The whole run. Returns how many requests failed.
pub fn run(options: &Options) -> Result<u64, Failure> {
    if !cfg!(target_os = "linux") {
        return Err("Linux only: CPU time is read from /proc".into());
    }
    let mut notes = Vec::new();
    let programs = find_programs(options, &mut notes)?;
    let peers: Vec<Peer> = programs.iter().map(|program| program.peer).collect();
    machine::check_open_files(usize::from(options.connections), peers.len())?;
    let strangers = machine::find_running(&peers.iter().map(|peer| peer.name()).collect::<Vec<_>>())?;
    if !strangers.is_empty() {
        notes.push(format!("already running, not ours, may disturb: {}", strangers.join(", ")));
    }
    let cores = machine::pin()?;
    let mut findings = Findings {
        machine: machine::describe(cores),
        date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        versions: programs.iter().map(Program::version).collect(),
        rounds: Vec::new(),
        memory: Vec::new(),
        idle: Vec::new(),
        notes,
        failed: 0,
    };
    report::print_head(&findings);
    let scratch = tempfile::tempdir()?;
    let engine = Engine::start()?;
    let origins = serve(&engine, Back::Http1)?;
    let http2_origins = serve(&engine, Back::Http2)?;
    let stage = Stage {
        options,
        stop: Stop::listen()?,
        engine,
        origins,
        http2_origins,
        certificate: Certificate::create(scratch.path())?,
        scratch: scratch.path(),
        cores,
    };
    let works = Work::chosen(&options.work);
    for work in &works {
        match work {
            Work::Idle | Work::IdleTls => stage.measure_idle(*work, &programs, &mut findings)?,
            _ => stage.measure(*work, &programs, &mut findings)?,
        }
        report::print_work(&findings, *work, &peers);
    }
    report::print_ratios(&findings, &works, &peers);
    if let Some(file) = &options.json {
        std::fs::write(file, report::json(&findings, options)?)
            .map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(findings.failed)
}

fn serve(engine: &Engine, protocol: Back) -> Result<Vec<Origin>, Failure> {
    let bound = (0..ORIGINS).map(|_| origin::bind(protocol)).collect::<Result<Vec<_>, _>>()?;
    let (origins, sockets) = bound.into_iter().unzip();
    engine.serve(sockets)?;
    Ok(origins)
}

/// Those asked for, all of which must be there; or all that can be had.
fn find_programs(options: &Options, notes: &mut Vec<String>) -> Result<Vec<Program>, Failure> {
    if !options.peers.is_empty() {
        return peers::install(&peers::distinct(&options.peers), &options.lictor);
    }
    let mut programs = Vec::new();
    for peer in Peer::value_variants() {
        match peers::install(&[*peer], &options.lictor) {
            Ok(found) => programs.extend(found),
            Err(failure) => notes.push(format!("{} does not take part: {failure}", peer.name())),
        }
    }
    Ok(programs)
}

impl Stage<'_> {
    /// One work item, from the start of the proxies to their end.
    fn measure(&self, work: Work, programs: &[Program], findings: &mut Findings) -> Result<(), Failure> {
        let entrants = self.start(work, programs, findings)?;
        self.rounds(work, Mode::Saturated, &entrants, findings)?;
        let peers: Vec<Peer> = entrants.iter().map(|entrant| entrant.proxy.peer).collect();
        if let Some(rate) = rate_for_all(work, &peers, findings) {
            self.rounds(work, Mode::Paced(rate), &entrants, findings)?;
        }
        for Entrant { proxy, .. } in &entrants {
            let memory = usage::memory(&proxy.processes).map_err(|failure| proxy.explain(&failure))?;
            findings.memory.push(Held { work, peer: proxy.peer, memory });
        }
        let doubts = doubts::find(findings, work, &peers);
        findings.notes.extend(doubts);
        Ok(())
    }

    /// Starts, checks and warms up everybody who can do this.
    fn start(&self, work: Work, programs: &[Program], findings: &mut Findings) -> Result<Vec<Entrant>, Failure> {
        let mut entrants = Vec::new();
        for program in programs {
            let Some(proxy) = self.start_one(work, program, findings)? else { continue };
            let connections = work.connections(self.options.connections);
            let tls = match protocol_in_tls(work) {
                Some(protocol) => tls::quick(&self.certificate, protocol, work.sessions(), connections)?,
                None => Vec::new(),
            };
            let entrant = Entrant { proxy, tls };
            self.engine.start_load(self.demand(work, &entrant, Pace::Saturating))?;
            self.stop.sleep(WARM_UP)?;
            settle(work, entrant.proxy.peer, &self.engine.finish()?, findings);
            entrants.push(entrant);
        }
        Ok(entrants)
    }

    /// Starts and checks a proxy, if it can do this.
    fn start_one(&self, work: Work, program: &Program, findings: &mut Findings) -> Result<Option<Proxy>, Failure> {
        self.stop.check()?;
        let addresses: Vec<_> = self.origins(work).iter().map(|origin| origin.address).collect();
        let plan = Plan {
            front: work.front(),
            back: work.back(),
            origins: &addresses,
            routes: work.routes(),
            certificate: &self.certificate,
            resume: true,
        };
        let about = |trouble: &dyn std::fmt::Display| format!("{}: {}: {trouble}", work.name(), program.peer.name());
        if let Err(reason) = program.peer.supports(&plan) {
            findings.notes.push(about(&reason));
            return Ok(None);
        }
        let scratch = tempfile::tempdir_in(self.scratch)?.keep();
        let proxy = Proxy::start(program, &plan, &scratch, self.cores)?;
        let tls = self.strict(work)?;
        let checked = check::check(proxy.address, &work.script(), tls.as_ref(), self.origins(work));
        let notes = checked.map_err(|failure| about(&failure))?;
        findings.notes.extend(notes.iter().map(|note| about(note)));
        Ok(Some(proxy))
    }

    /// Idle connections: one proxy at a time, and a new one each time, since what a process has had it seldom gives back.
    fn measure_idle(&self, work: Work, programs: &[Program], findings: &mut Findings) -> Result<(), Failure> {
        let tls = self.strict(work)?;
        for round in 1..=self.options.rounds.min(IDLE_ROUNDS) {
            for program in programs {
                let Some(proxy) = self.start_one(work, program, findings)? else { continue };
                let idle = idle::measure((work, round), &proxy, tls.as_ref(), &self.stop);
                let idle = idle.map_err(|failure| proxy.explain(&failure))?;
                report::print_idle(&idle);
                findings.idle.push(idle);
            }
        }
        Ok(())
    }

    /// The order turns by one each round, so that nobody always follows the same neighbour.
    fn rounds(&self, work: Work, mode: Mode, entrants: &[Entrant], findings: &mut Findings) -> Result<(), Failure> {
        for round in 0..self.options.rounds {
            for turn in 0..entrants.len() {
                let entrant = &entrants[(turn + round as usize) % entrants.len()];
                let measured = self.window(work, mode, entrant);
                let measured = measured.map_err(|failure| entrant.proxy.explain(&failure))?;
                let measured = Round { round: round + 1, ..measured };
                settle(work, measured.peer, &measured.tally, findings);
                report::print_round(&measured, self.options.rounds);
                findings.rounds.push(measured);
            }
        }
        Ok(())
    }

    /// One window of one proxy. The round's number is the caller's to set.
    fn window(&self, work: Work, mode: Mode, entrant: &Entrant) -> Result<Round, Failure> {
        let proxy = &entrant.proxy;
        let pace = match mode {
            Mode::Saturated => Pace::Saturating,
            Mode::Paced(rate) => Pace::PerSecond(rate),
        };
        self.engine.start_load(self.demand(work, entrant, pace))?;
        self.stop.sleep(LEAD_IN)?;

        let origins_before = origin::counts(self.origins(work));
        let own = [std::process::id()];
        let load_before = usage::read(&own)?;
        let usage_before = usage::read(&proxy.processes)?;
        let began = self.engine.begin_window()?;
        self.stop.sleep(Duration::from_secs_f64(self.options.seconds))?;
        let ended = self.engine.end_window()?;
        let usage_after = usage::read(&proxy.processes)?;
        let load_after = usage::read(&own)?;
        let counts = origin::since(&origins_before, &origin::counts(self.origins(work)));

        let tally = self.engine.finish()?;
        Ok(Round {
            work,
            mode,
            round: 0,
            peer: proxy.peer,
            seconds: ended.saturating_duration_since(began).as_secs_f64(),
            tally,
            usage: usage_after.since(usage_before),
            load_cpu_ns: load_after.since(load_before).cpu_ns,
            upstream_connections: counts.iter().map(|count| count.connections).sum(),
            origin_requests: counts.iter().map(|count| count.requests).collect(),
        })
    }

    fn origins(&self, work: Work) -> &[Origin] {
        match work.back() {
            Back::Http1 => &self.origins,
            Back::Http2 => &self.http2_origins,
        }
    }

    fn strict(&self, work: Work) -> Result<Option<Arc<ClientConfig>>, Failure> {
        protocol_in_tls(work).map(|protocol| tls::strict(&self.certificate, protocol)).transpose()
    }

    fn demand(&self, work: Work, entrant: &Entrant, pace: Pace) -> Demand {
        Demand {
            address: entrant.proxy.address,
            script: work.script(),
            connections: work.connections(self.options.connections),
            pace,
            tls: entrant.tls.clone(),
        }
    }
}

/// What clients offer by ALPN.
fn protocol_in_tls(work: Work) -> Option<&'static [u8]> {
    match work.front() {
        Front::Plain | Front::Http2Clear => None,
        Front::Tls => Some(b"http/1.1"),
        Front::Http2 => Some(b"h2"),
    }
}

/// A part of what the slowest can do.
fn rate_for_all(work: Work, peers: &[Peer], findings: &Findings) -> Option<f64> {
    let rate_of = |peer: &Peer| {
        let rounds = findings.rounds.iter().filter(|round| round.work == work && round.peer == *peer);
        Spread::of(rounds.map(Round::rate).collect()).map(|spread| spread.median)
    };
    let slowest = peers.iter().filter_map(rate_of).min_by(f64::total_cmp)?;
    (slowest > 0.0).then_some((slowest * SHARE).floor().max(1.0))
}

/// Takes the failures of a finished load into the findings.
fn settle(work: Work, peer: Peer, tally: &Tally, findings: &mut Findings) {
    findings.failed += tally.errors + tally.wrong;
    if let Some(trouble) = &tally.first_trouble {
        findings.notes.push(format!(
            "{}: {}: {} requests failed and {} were answered wrongly, the first: {trouble}",
            work.name(),
            peer.name(),
            tally.errors,
            tally.wrong
        ));
    }
}
