//! What a policy does for the clients of a cluster in which not all is well: many minutes of requests through the true
//! `Handle::begin` and the true verdicts, in virtual time and with seeded chance, in seconds.
//!
//! Everything that would differ between two runs is left out: no sockets, no threads, no clock. What is left is the question
//! that a policy answers, and the same requests come at the same moments with the same work, whoever is asked.
//!
//! What the columns mean, and what the model does not say, is in `benches/README.md`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark's output is its product")]

mod origin;
mod report;
mod scenario;
mod world;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use lictor::config::Policy;

use report::Findings;
use scenario::Scenario;
use world::{Tally, World};

/// Latency and shares under each policy, in a cluster with a slow, a failing and a cold endpoint.
#[derive(Debug, Parser)]
#[command(name = "simulate")]
struct Options {
    /// All chance comes from it: two runs with the same seed print the same
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Requests under each policy in each scenario
    #[arg(long, default_value_t = 400_000, value_parser = clap::value_parser!(u32).range(1_000..))]
    requests: u32,
    /// What arrives, in per cent of what the endpoints can do that are well
    #[arg(long, default_value_t = 82, value_parser = clap::value_parser!(u32).range(1..100))]
    load: u32,
    /// How the failing endpoint fails
    #[arg(long, value_enum, default_value_t = Failing::Refused)]
    failing: Failing,
    /// Given by `cargo bench`; without it (`cargo test --benches`) nothing is simulated
    #[arg(long, hide = true)]
    bench: bool,
}

/// How an endpoint fails, which decides whether the request may go on elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Failing {
    /// It takes no connection: nothing was sent, so the request is tried elsewhere
    Refused,
    /// It answers 503: an answer is never tried again, so the client has it
    #[value(name = "503")]
    Unavailable,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if !options.bench {
        println!("simulate: nothing simulated; run it by `cargo bench --bench simulate`, or give --bench");
        return ExitCode::SUCCESS;
    }
    match run(&options) {
        Ok(wrong) if wrong.is_empty() => {
            println!("all that must hold does");
            ExitCode::SUCCESS
        }
        Ok(wrong) => {
            wrong.iter().for_each(|what| eprintln!("simulate: does not hold: {what}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("simulate: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs all scenarios and says what should hold and does not.
fn run(options: &Options) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let mut wrong = Vec::new();
    for scenario in Scenario::all(options) {
        let mut findings = Findings::default();
        for (name, policy) in Policy::NAMES {
            let tally: Tally = World::new(&scenario, policy, options)?.run();
            findings.add(name, tally);
        }
        print!("{}", findings.table(&scenario, options));
        wrong.extend(findings.wrong(&scenario));
    }
    Ok(wrong)
}
