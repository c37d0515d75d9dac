//! What real clients make of the proxy: curl, gRPC's own library, WebSocket libraries, a browser, load and conformance tools, each
//! through the true lictor as it is shipped. It installs nothing; what is missing is said, with where it comes from.
//!
//! `cargo test --profile quick --test clients -- [NAME]… [--python PROGRAM] [--python2 PROGRAM] [--write]`; see `tests/README.md`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a run ends where it fails")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what it prints is what it is for")]
#![allow(missing_docs, reason = "names say it")]

#[path = "../support/chain.rs"]
#[allow(dead_code, reason = "the suite uses the rest")]
mod chain;
#[path = "../faults/process.rs"]
#[allow(dead_code, reason = "the fault matrix uses the rest")]
mod process;
#[path = "../faults/proxy.rs"]
#[allow(dead_code, reason = "the fault matrix uses the rest")]
mod proxy;
#[path = "../faults/wire.rs"]
#[allow(dead_code, reason = "the fault matrix uses the rest")]
mod wire;

mod browser;
mod conformance;
mod curl;
mod fuzz;
mod load;
mod origin;
mod python;
mod report;
mod stage;
mod tool;

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use crate::report::Report;
use crate::stage::Stage;
use crate::tool::Tools;

/// Whom it knows, in this order.
const NAMES: [&str; 8] = ["curl", "grpc", "websocket", "websocket-h2", "h2load", "chromium", "httpwg", "autobahn"];

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.peek().is_some_and(|first| first == process::ROLE) {
        return process::become_it(arguments.skip(1));
    }
    let arguments = arguments.map(|argument| argument.into_string().unwrap()).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).unwrap();
        tokio::select! {
            code = clients(arguments) => code,
            // By returning, so that the children are killed.
            _ = terminate.recv() => ExitCode::FAILURE,
        }
    })
}

async fn clients(mut arguments: Vec<String>) -> ExitCode {
    let write = take(&mut arguments, "--write", 0).is_some();
    let python = take(&mut arguments, "--python", 1).unwrap_or_else(|| "python3".to_owned());
    let python2 = take(&mut arguments, "--python2", 1).unwrap_or_else(|| "python2".to_owned());
    if let Some(unknown) = arguments.iter().find(|name| !NAMES.contains(&name.as_str())) {
        eprintln!("no client {unknown:?}; there are {}", NAMES.join(", "));
        return ExitCode::from(2);
    }
    let mut report = Report::new();
    let mut stage = Stage::build(Tools { python, python2 }).await;
    for name in NAMES.into_iter().filter(|name| arguments.is_empty() || arguments.iter().any(|asked| asked == name)) {
        report.name = name;
        if let Some(missing) = stage.tools.missing(name).await {
            report.failed("installed", &missing);
            continue;
        }
        match name {
            "curl" => curl::run(&stage, &mut report).await,
            "grpc" => python::grpc(&stage, &mut report).await,
            "websocket" => python::websocket(&stage, &mut report).await,
            "websocket-h2" => python::websocket_h2(&stage, &mut report).await,
            "h2load" => load::run(&stage, &mut report).await,
            "chromium" => browser::run(&stage, &mut report).await,
            "httpwg" => conformance::run(&stage, &mut report).await,
            _ => fuzz::run(&stage, &mut report).await,
        }
    }
    report.name = "lictor";
    report.add("runs on, and has logged no panic and no error", stage.is_well());
    if write {
        report.write();
    }
    report.end()
}

/// Takes an option out of the arguments, and returns it or its value.
fn take(arguments: &mut Vec<String>, name: &str, values: usize) -> Option<String> {
    let at = arguments.iter().position(|argument| argument == name)?;
    arguments.drain(at..=at + values).next_back()
}
