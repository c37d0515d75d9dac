//! Chaos: clients that send and fetch bodies of all sizes, origins that break in every way we know, a configuration that changes, for
//! minutes. Whatever happens, nobody may get a wrong answer, and afterwards nothing may be left: no request in flight, no
//! descriptor, no memory. Slow is allowed, and so is a failure that its client can see.
//!
//! `cargo test --profile quick --test chaos -- --minutes 10 --seed 1`; see `tests/README.md`. Linux only.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a run ends where it fails")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what it prints is what it is for")]
#![allow(missing_docs, reason = "names say it")]

#[path = "../faults/behaviour.rs"]
mod behaviour;
mod client;
#[path = "../faults/content.rs"]
mod content;
#[path = "../faults/fleet.rs"]
#[allow(dead_code, reason = "the fault matrix uses the rest")]
mod fleet;
#[path = "../faults/origin.rs"]
mod origin;
#[path = "../faults/process.rs"]
#[allow(dead_code, reason = "the fault matrix uses the rest")]
mod process;
#[path = "../faults/proxy.rs"]
#[allow(dead_code, reason = "the fault matrix uses the rest")]
mod proxy;
mod trouble;
#[path = "../faults/wild.rs"]
mod wild;
#[path = "../faults/wire.rs"]
mod wire;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use client::Tally;
use fleet::{Member, Seen};
use proxy::{Proxy, configuration};
use trouble::Trouble;

const ORIGINS: usize = 5;
const CLIENTS: u64 = 40;
/// Idle connections to endpoints are closed after 55 s.
const UNTIL_QUIET: Duration = Duration::from_secs(75);
/// Descriptors more than at the start that are not a leak: the connection that asks, what the runtime keeps, and on each of two workers
/// both ends of three pipes, for long bodies of uploads, answers and tunnels.
const MORE: usize = 6 + 2 * 3 * 2;
/// What lictor may have in memory at the end: 40 clients with 2 MB each would be a fraction of it.
const MOST_KIB: u64 = 200 * 1024;
/// After the chaos.
const LAST: u64 = 200;

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
                    code = chaos() => code,
                    // By returning, so that the children are killed.
                    _ = terminate.recv() => ExitCode::FAILURE,
                }
            })
        }
    }
}

/// The value of an option.
fn option<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::args().skip_while(|argument| argument != name).nth(1)?.parse().ok()
}

async fn chaos() -> ExitCode {
    let minutes: f64 = option("--minutes").unwrap_or(1.0);
    let seed: u64 = option("--seed").unwrap_or_else(|| fastrand::u64(..1_000_000));
    println!("{minutes} minutes, seed {seed}");
    let seen = Seen::default();
    let mut members = Vec::new();
    for index in 0..ORIGINS {
        members.push(Member::start(&format!("origin-{index}"), &seen).await);
    }
    let addresses: Vec<SocketAddr> = members.iter().map(|member| member.address).collect();
    let mut proxy = Proxy::start(&configuration(&addresses, trouble::FIRST), None).await;
    let at_first = (process::descriptors(proxy.id()), process::resident(proxy.id()));

    let tally = Rc::new(Tally::default());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| tokio::task::spawn_local(client::run(proxy.address, seed, client, Rc::clone(&tally))))
        .collect();
    let mut trouble = Trouble::new(seed, members);
    let until = Instant::now() + Duration::from_secs(60).mul_f64(minutes);
    let mut said = Instant::now();
    while Instant::now() < until && proxy.is_running() {
        trouble.make(&proxy, &addresses).await;
        if said.elapsed() > Duration::from_secs(30) {
            said = Instant::now();
            println!("{}", tally.in_words());
        }
    }
    trouble.end(&proxy, &addresses).await;
    tally.end();
    for client in clients {
        client.await.unwrap();
    }
    println!("{}", tally.in_words());
    let mut broken = tally.broken();
    broken.extend(twice(&seen));
    broken.extend(left_over(&mut proxy, at_first).await);
    let last = client::ask_in_turn(proxy.address, LAST).await;
    if last < LAST {
        broken.push(format!("only {last} of {LAST} requests were answered when all was well again"));
    }
    println!("{}", trouble.in_words());
    broken.iter().for_each(|what| println!("broken: {what}"));
    println!("{} wrong, seed {seed}", broken.len());
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// POSTs that arrived more than once.
fn twice(seen: &Seen) -> Vec<String> {
    let seen = seen.lock().unwrap();
    println!("{} POSTs arrived at an origin", seen.len());
    let twice = seen.iter().filter(|(_, count)| **count > 1);
    twice.map(|(id, count)| format!("POST {id} arrived {count} times")).collect()
}

/// What should be gone by now and is not.
async fn left_over(proxy: &mut Proxy, (descriptors, resident): (usize, u64)) -> Vec<String> {
    let began = Instant::now();
    let mut broken: Vec<String> =
        proxy.log().into_iter().filter(|line| line.contains("panicked") || line.contains("ERROR")).collect();
    if !proxy.is_running() {
        broken.push("lictor has ended".to_owned());
        return broken;
    }
    let (mut running, mut open) = (1.0, usize::MAX);
    while began.elapsed() < UNTIL_QUIET && (running > 0.0 || open > descriptors + MORE) {
        sleep(Duration::from_millis(500)).await;
        running = proxy.metric("lictor_cluster_in_flight").await.unwrap_or(1.0);
        open = process::descriptors(proxy.id());
    }
    let memory = process::resident(proxy.id());
    println!(
        "after {:.0} s: {running} in flight; {open} descriptors, {descriptors} at first; {memory} KiB, {resident} at first",
        began.elapsed().as_secs_f64()
    );
    if running > 0.0 {
        broken.push(format!("{running} attempts are still in flight"));
    }
    if open > descriptors + MORE {
        broken.push(format!("{open} descriptors are still open"));
    }
    if memory > MOST_KIB {
        broken.push(format!("{memory} KiB of memory"));
    }
    broken
}
