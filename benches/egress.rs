//! What the first request for a service by its name costs over one that needs nobody to be asked.
//!
//! A real Consul has many services at one origin. For each of them, in turn: a request to the origin itself, the first request for
//! the service through lictor, and the second, each on a connection of its own. What each figure means is in `benches/README.md`.
#![expect(clippy::print_stdout, reason = "a benchmark's output is its product")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a measurement ends where it fails")]

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, unused_imports, missing_docs, reason = "what tests stand on; this bench needs some of it")]
mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::Parser;

use support::app::Proxy;
use support::client::get;
use support::consul::Consul;
use support::origin::Origin;

/// What the first request for a service by its name costs.
#[derive(Debug, Parser)]
#[command(name = "egress")]
struct Options {
    /// Services, each of which is asked for once for the first time
    #[arg(long, default_value_t = 500)]
    services: usize,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(measure(options.services));
}

async fn measure(services: usize) {
    let consul = Consul::start_with("limits { http_max_conns_per_client = 4000 }").await;
    let origin = Origin::start("origin").await;
    for service in 0..services {
        consul.register_service(&format!("s{service}"), &format!("s{service}"), origin.address()).await;
    }
    let proxy = Proxy::start(&format!(
        "[consul]\naddress = \"{}\"\nmax_queries = 2000\n[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\negress = true",
        consul.url()
    ));
    let (mut direct, mut first, mut second) = (Vec::new(), Vec::new(), Vec::new());
    for service in 0..services {
        let host = format!("s{service}.service.consul");
        direct.push(timed(origin.address(), &host).await);
        first.push(timed(proxy.address(), &host).await);
        second.push(timed(proxy.address(), &host).await);
    }
    let over = |all: &[Duration], base: &[Duration]| {
        all.iter().zip(base).map(|(one, base)| one.saturating_sub(*base)).collect::<Vec<_>>()
    };
    let last = services - services.div_ceil(5);
    println!("{services} services, one after the other, all of them followed to the end");
    println!("to the origin itself:                    {}", spread(direct.clone()));
    println!("the first by name:                       {}", spread(first.clone()));
    println!("the second by name:                      {}", spread(second.clone()));
    println!("the first, over the origin itself:       {}", spread(over(&first, &direct)));
    println!("the first, over the second:              {}", spread(over(&first, &second)));
    println!("the same for the last fifth of services: {}", spread(over(&first[last..], &second[last..])));
    proxy.drain().await;
}

async fn timed(address: SocketAddr, host: &str) -> Duration {
    let began = Instant::now();
    assert_eq!(get(address, host, "/").await.status, 200);
    began.elapsed()
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1e3;
    let named = [("min", 0.0), ("median", 0.5), ("p99", 0.99), ("max", 1.0)];
    named.map(|(name, share)| format!("{name} {:.1} ms", at(share))).join("  ")
}
