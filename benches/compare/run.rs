//! A run: for each work item all proxies are started, checked and warmed up, and then measured in turn; first as much as each
//! takes, then all at the same rate.

use std::time::SystemTime;

use clap::ValueEnum;

use crate::findings::{Findings, Held, Mode, Round, Spread};
use crate::load::Tally;
use crate::peers::{self, Peer, Plan, Program, Proxy};
use crate::stage::{Stage, Target};
use crate::work::Work;
use crate::{Failure, Options, check, churn, doubts, idle, machine, report, usage};

/// Of what the slowest can do: where a proxy is run that has some room left.
pub const SHARE: f64 = 0.7;
/// Memory is much the same each time.
const IDLE_ROUNDS: u32 = 3;

/// The whole run. Returns how many requests failed.
pub fn run(options: &Options) -> Result<u64, Failure> {
    if !cfg!(target_os = "linux") {
        return Err("Linux only: CPU time is read from /proc".into());
    }
    let works = Work::chosen(&options.work);
    let mut notes = Vec::new();
    let programs = find_programs(options, &mut notes)?;
    let peers: Vec<Peer> = programs.iter().map(|program| program.peer).collect();
    machine::check_open_files(descriptors(&works, options, peers.len()))?;
    let strangers = machine::find_running(&peers.iter().map(|peer| peer.name()).collect::<Vec<_>>())?;
    if !strangers.is_empty() {
        notes.push(format!("already running, not ours, may disturb: {}", strangers.join(", ")));
    }
    let cores = machine::pin()?;
    let mut findings = Findings {
        machine: machine::describe(cores),
        date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        versions: programs.iter().map(Program::version).collect(),
        notes,
        ..Findings::default()
    };
    report::print_head(&findings);
    let scratch = tempfile::tempdir()?;
    let stage = Stage::set(options, scratch.path(), cores)?;
    for work in &works {
        match work {
            Work::Idle | Work::IdleTls => measure_idle(&stage, *work, &programs, &mut findings)?,
            Work::Churn => churn::measure(&stage, &options.lictor, &mut findings)?,
            _ => measure(&stage, *work, &programs, &mut findings)?,
        }
        report::print_work(&findings, *work, &peers);
        // After each, so that an end before the end loses little.
        if let Some(file) = &options.json {
            std::fs::write(file, report::json(&findings, options)?)
                .map_err(|error| format!("{}: {error}", file.display()))?;
        }
    }
    report::print_ratios(&findings, &works, &peers);
    Ok(findings.failed)
}

/// What the run may need at once: ours are both ends but the proxies' own.
fn descriptors(works: &[Work], options: &Options, peers: usize) -> usize {
    let busy = usize::from(options.connections) * (1 + peers);
    let idle = works.iter().any(|work| matches!(work, Work::Idle | Work::IdleTls));
    let churn = works.contains(&Work::Churn);
    // Never at the same time: the fleet of the one comes last and stays.
    let most = usize::max(if idle { idle::CLIENTS } else { 0 }, if churn { churn::DESCRIPTORS } else { 0 });
    busy + most
}

/// Those asked for, all of which must be there; or all that can be had.
fn find_programs(options: &Options, notes: &mut Vec<String>) -> Result<Vec<Program>, Failure> {
    if !options.peers.is_empty() {
        return peers::install(&peers::distinct(&options.peers), &options.lictor);
    }
    let mut programs = Vec::new();
    let usual = Peer::value_variants().iter().filter(|peer| **peer != Peer::LictorLog);
    for peer in usual {
        match peers::install(&[*peer], &options.lictor) {
            Ok(found) => programs.extend(found),
            Err(failure) => notes.push(format!("{} does not take part: {failure}", peer.name())),
        }
    }
    Ok(programs)
}

/// One work item, from the start of the proxies to their end.
fn measure(stage: &Stage, work: Work, programs: &[Program], findings: &mut Findings) -> Result<(), Failure> {
    let mut proxies = Vec::new();
    let mut targets = Vec::new();
    for program in programs {
        let Some(proxy) = start(stage, work, program, findings)? else { continue };
        let target = Target {
            peer: proxy.peer,
            address: proxy.address,
            processes: proxy.processes.clone(),
            tls: stage.sessions(work)?,
        };
        settle(work, proxy.peer, &stage.warm_up(work, &target)?, findings);
        targets.push(target);
        proxies.push(proxy);
    }
    rounds(stage, (work, Mode::Saturated), &targets, findings)?;
    let peers: Vec<Peer> = targets.iter().map(|target| target.peer).collect();
    if let Some(rate) = rate_for_all(work, &peers, findings) {
        rounds(stage, (work, Mode::Paced(rate)), &targets, findings)?;
    }
    for proxy in &proxies {
        let memory = usage::memory(&proxy.processes).map_err(|failure| proxy.explain(&failure))?;
        findings.memory.push(Held { work, peer: proxy.peer, memory });
    }
    let doubts = doubts::find(findings, work, &peers);
    findings.notes.extend(doubts);
    Ok(())
}

/// Starts and checks a proxy. One that cannot do this is left out; so is one that does it wrongly, which is a failure.
fn start(stage: &Stage, work: Work, program: &Program, findings: &mut Findings) -> Result<Option<Proxy>, Failure> {
    stage.stop.check()?;
    let origins = stage.origins(work);
    let addresses: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    let plan = Plan {
        front: work.front(),
        back: work.back(),
        origins: &addresses,
        routes: work.routes(),
        certificate: &stage.certificate,
        resume: true,
    };
    let about = |trouble: &dyn std::fmt::Display| format!("{}: {}: {trouble}", work.name(), program.peer.name());
    if let Err(reason) = program.peer.supports(&plan) {
        findings.notes.push(about(&reason));
        return Ok(None);
    }
    let scratch = tempfile::tempdir_in(&stage.scratch)?.keep();
    let tls = stage.strict(work)?;
    let started = Proxy::start(program, &plan, &scratch, stage.cores).and_then(|proxy| {
        let notes = check::check(proxy.address, &work.script(), tls.as_ref(), origins)?;
        Ok((proxy, notes))
    });
    match started {
        Ok((proxy, notes)) => {
            findings.notes.extend(notes.iter().map(|note| about(note)));
            Ok(Some(proxy))
        }
        Err(failure) => {
            findings.notes.push(about(&failure));
            findings.failed += 1;
            Ok(None)
        }
    }
}

/// Idle connections: one proxy at a time, and a new one each time, since what a process has had it seldom gives back.
fn measure_idle(stage: &Stage, work: Work, programs: &[Program], findings: &mut Findings) -> Result<(), Failure> {
    let tls = stage.strict(work)?;
    for round in 1..=stage.rounds.min(IDLE_ROUNDS) {
        for program in programs {
            let Some(proxy) = start(stage, work, program, findings)? else { continue };
            match idle::measure((work, round), &proxy, tls.as_ref(), &stage.stop) {
                Ok(idle) => {
                    report::print_idle(&idle);
                    findings.idle.push(idle);
                }
                Err(failure) => {
                    stage.stop.check()?;
                    findings.notes.push(format!("{}: {}", work.name(), proxy.explain(&failure)));
                    findings.failed += 1;
                }
            }
        }
    }
    Ok(())
}

/// The order turns by one each round, so that nobody always follows the same neighbour.
fn rounds(
    stage: &Stage,
    (work, mode): (Work, Mode),
    targets: &[Target],
    findings: &mut Findings,
) -> Result<(), Failure> {
    for round in 0..stage.rounds {
        for turn in 0..targets.len() {
            let target = &targets[(turn + round as usize) % targets.len()];
            let measured = stage
                .measure((work, mode), target, stage.origins(work))
                .map_err(|failure| format!("{}: {}: {failure}", work.name(), target.peer.name()))?;
            let measured = Round { round: round + 1, ..measured };
            settle(work, target.peer, &measured.tally, findings);
            report::print_round(&measured, stage.rounds);
            findings.rounds.push(measured);
        }
    }
    Ok(())
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
pub fn settle(work: Work, peer: Peer, tally: &Tally, findings: &mut Findings) {
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
