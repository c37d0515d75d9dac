//! Lictor beside other proxies on the same work, on this machine, in one interleaved run.
//!
//! Machines differ, and one machine differs from minute to minute, so a figure alone says little and two figures from two
//! runs say less. Here all proxies run at once, idle but for their turn, and the rounds go A B C, B C A, C A B …: what the
//! machine does to one it soon does to all, and the ratio within a round is the figure to read. CPU per request is what a
//! proxy costs; requests per second on two cores may say which side was the bottleneck.
//!
//! What each figure means is in `benches/README.md`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark's output is its product")]

mod check;
mod churn;
mod doubts;
mod engine;
mod findings;
mod frames;
mod histogram;
mod idle;
mod load;
mod machine;
mod origin;
mod peers;
mod report;
mod requests;
mod run;
mod stage;
mod stop;
#[allow(dead_code, unused_imports, missing_docs, reason = "tests need all of it")]
mod support;
mod tls;
mod usage;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use serde::Serialize;

use peers::Peer;
use work::Work;

/// What stops the run. Nobody tells cases apart: the text is all that matters.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Lictor and other proxies on the same work, in one interleaved run.
#[derive(Debug, Parser, Serialize)]
#[command(name = "compare")]
struct Options {
    /// What is asked of them, one after another
    #[arg(long, value_delimiter = ',', default_value = "get")]
    work: Vec<Work>,
    /// Who takes part; ratios are of lictor, or without it of the first named. Default: all that can be had here
    #[arg(long, value_delimiter = ',')]
    peers: Vec<Peer>,
    /// Turns of each proxy, of each kind
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Length of each measured window
    #[arg(long, default_value_t = 3.0, value_parser = parse_seconds)]
    seconds: f64,
    /// Requests at once
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

fn main() -> ExitCode {
    let options = Options::parse();
    if !options.bench {
        println!("compare: nothing measured; run it by `cargo bench --bench compare`, or give --bench");
        return ExitCode::SUCCESS;
    }
    match run::run(&options) {
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

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds from 0.1 to 600".to_owned()),
    }
}
