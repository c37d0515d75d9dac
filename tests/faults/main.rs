//! The fault matrix: what clients notice when endpoints fail, each in its way, under load. It spawns the true lictor with the
//! configuration as shipped, and origins that are processes, and prints a table; the exit code is 1 if a promise is broken.
//!
//! `cargo test --profile quick --test faults -- [NAME]… [--endpoints N] [--write]`; see `tests/README.md`. Linux only.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a run ends where it fails")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what it prints is what it is for")]
#![allow(missing_docs, reason = "names say it")]

mod behaviour;
mod content;
mod fleet;
mod load;
mod origin;
#[allow(dead_code, reason = "a bench uses the rest")]
mod process;
#[allow(dead_code, reason = "a bench uses the rest")]
mod proxy;
mod report;
mod run;
mod scenario;
mod wild;
mod wire;

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    let first = arguments.peek().map(|first| first.to_string_lossy().into_owned()).unwrap_or_default();
    match &*first {
        process::ROLE => process::become_it(arguments.skip(1)),
        origin::ROLE => origin::main(arguments.skip(1).map(|argument| argument.into_string().unwrap())),
        _ => {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default()).unwrap();
            runtime.block_on(async {
                let mut terminate = signal(SignalKind::terminate()).unwrap();
                tokio::select! {
                    code = faults(arguments.map(|argument| argument.into_string().unwrap()).collect()) => code,
                    // By returning, so that the children are killed.
                    _ = terminate.recv() => ExitCode::FAILURE,
                }
            })
        }
    }
}

async fn faults(mut arguments: Vec<String>) -> ExitCode {
    let write = take(&mut arguments, "--write", 0).is_some();
    let endpoints: Option<usize> = take(&mut arguments, "--endpoints", 1).map(|number| number.parse().unwrap());
    let scenarios = scenario::all();
    if let Some(unknown) = arguments.iter().find(|name| !scenarios.iter().any(|known| known.name == **name)) {
        let known: Vec<&str> = scenarios.iter().map(|scenario| scenario.name).collect();
        eprintln!("no scenario {unknown:?}; there are {}", known.join(", "));
        return ExitCode::from(2);
    }
    let mut rows = Vec::new();
    report::print_head();
    for scenario in
        scenarios.iter().filter(|one| arguments.is_empty() || arguments.iter().any(|name| *name == one.name))
    {
        for size in scenario.sizes.iter().filter(|size| endpoints.is_none_or(|only| **size == only)) {
            let observed = run::run(scenario, *size).await;
            let row = report::row(scenario, *size, &observed);
            row.print();
            rows.push(row);
        }
    }
    if write {
        report::write(&report::table(&rows));
    }
    let broken = rows.iter().filter(|row| !row.broken.is_empty()).count();
    println!("\n{} runs, {broken} with a broken promise", rows.len());
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Takes an option out of the arguments, and returns it or its value.
fn take(arguments: &mut Vec<String>, name: &str, values: usize) -> Option<String> {
    let at = arguments.iter().position(|argument| argument == name)?;
    arguments.drain(at..=at + values).next_back()
}
