//! What it costs to follow a thousand services of a real Consul, and how late a change is seen: at rest, and while a hundred
//! instances change in a second. What each figure means is in `benches/README.md`. Linux only.
#![expect(clippy::print_stdout, reason = "a benchmark's output is its product")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a measurement ends where it fails")]

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, unused_imports, missing_docs, reason = "what tests stand on; this bench needs some of it")]
mod support;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, SystemTime};

use clap::Parser;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use support::client::{Client, eventually, get};
use support::consul::{Certificates, Consul};
use support::spawned::Spawned;

/// For everything that has to happen at all.
const PATIENCE: Duration = Duration::from_secs(120);
/// After the first lists, until queries are open and the machine is quiet.
const SETTLE: Duration = Duration::from_secs(5);
/// After the last change: until those who have no query of their own have had their turn.
const ROUND: Duration = Duration::from_secs(15);
/// Consul takes so many operations in one transaction.
const TRANSACTION: usize = 64;
/// Instances of a service stand on so many nodes.
const NODES: usize = 50;

/// What following many services costs, and how late changes are seen.
#[derive(Debug, Parser)]
#[command(name = "services")]
struct Options {
    /// Services
    #[arg(long, default_value_t = 1000)]
    services: usize,
    /// Instances of each
    #[arg(long, default_value_t = 5)]
    instances: usize,
    /// Length of a window, at rest and in the storm
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Changes in a second
    #[arg(long, default_value_t = 100)]
    rate: u32,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// How the agent is spoken to.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    /// HTTP/2 by TLS, and a query for each service.
    Tls,
    /// HTTP/1.1, and as many queries as an agent allows as shipped; the rest by turns.
    Plain,
}

fn main() {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for way in [Way::Tls, Way::Plain] {
            many(&options, way).await;
        }
        one(&options).await;
    });
}

/// All services, changed in turn.
async fn many(options: &Options, way: Way) {
    let certificates = Certificates::new().await;
    let consul = Consul::server_with(&certificates.agent()).await;
    let mut catalogue = Catalogue::fill(&consul, options).await;
    let mut config = match way {
        Way::Tls => certificates.lictor(),
        Way::Plain => format!("[consul]\naddress = \"{}\"\n", consul.url()),
    };
    for service in 0..options.services {
        let _ = writeln!(config, "[clusters.s{service}]\nconsul = {{ service = \"s{service}\" }}");
    }
    println!("\n{way:?}: {} services of {} instances", options.services, options.instances);
    let (lictor, agent, began) = (Spawned::start(&config, &[]), consul.process(), Instant::now());
    let admin = admin(&lictor).await;
    let ready = eventually("every list is known", PATIENCE, async || {
        let troubles = lictor.said().into_iter().filter(|line| line.contains(" WARN ")).take(10).collect::<Vec<_>>();
        if !troubles.is_empty() {
            return Some(Err(troubles));
        }
        (get(admin, "localhost", "/readyz").await.status == 200).then_some(Ok(()))
    });
    if let Err(troubles) = ready.await {
        println!("  note: {}", troubles.join("\n        "));
    }
    println!("  all lists after {:.2?}, of which lictor used {:.2} s of CPU", began.elapsed(), cpu(lictor.id()));
    sleep(SETTLE).await;
    let window = Duration::from_secs(options.seconds);
    // But for that of this bench.
    let connections = Consul::connections_to(certificates.port()) + consul.connections() - 1;
    let before = Usage::read(&lictor, agent, admin).await;
    sleep(window).await;
    let rest = Usage::read(&lictor, agent, admin).await;
    println!("  at rest: {}", rest.since(&before, window));
    println!(
        "  resident: lictor {} MiB, agent {} MiB; connections to the agent: {}",
        rest.memory.0, rest.memory.1, connections
    );
    let changes = catalogue.storm(options, window).await;
    let storm = Usage::read(&lictor, agent, admin).await;
    println!("  {} changes a second: {}", options.rate, storm.since(&rest, window));
    sleep(ROUND).await;
    println!("  seen after {}", spread(delays(&lictor, &changes)));
}

/// One service that changes as often as all of them did, and what its list shows meanwhile.
async fn one(options: &Options) {
    let consul = Consul::server_with("").await;
    let alone = Options {
        services: 1,
        instances: options.instances,
        seconds: options.seconds,
        rate: options.rate,
        bench: true,
    };
    let mut catalogue = Catalogue::fill(&consul, &alone).await;
    let config = format!("[consul]\naddress = \"{}\"\n[clusters.s0]\nconsul = {{ service = \"s0\" }}\n", consul.url());
    println!("\n1 service of {} instances, {} changes a second of the same one", options.instances, options.rate);
    let (lictor, agent) = (Spawned::start(&config, &[]), consul.process());
    let admin = admin(&lictor).await;
    eventually("its list is known", PATIENCE, async || get(admin, "localhost", "/readyz").await.status == 200).await;
    let window = Duration::from_secs(options.seconds);
    let looks = tokio::spawn(async move {
        let (mut client, mut seen) = (Client::connect(admin).await, Vec::<(u64, Instant)>::new());
        let until = Instant::now() + window + SETTLE;
        while Instant::now() < until {
            let answer = client.exchange("GET /v1/clusters HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
            let view: Value = serde_json::from_slice(&answer.body).unwrap();
            let weights =
                view[0]["endpoints"].as_array().unwrap().iter().map(|endpoint| endpoint["weight"].as_u64().unwrap());
            let (latest, now) = (weights.max().unwrap_or_default(), Instant::now());
            if seen.last().is_none_or(|(known, _)| latest > *known) {
                seen.push((latest, now));
            }
            sleep(Duration::from_millis(1)).await;
        }
        seen
    });
    let before = Usage::read(&lictor, agent, admin).await;
    let changes = catalogue.storm(&alone, window).await;
    let after = Usage::read(&lictor, agent, admin).await;
    println!("  {}", after.since(&before, window));
    let seen = looks.await.unwrap();
    let delay = |change: &Change| {
        let (_, at) = seen.iter().find(|(weight, _)| *weight >= change.weight)?;
        Some(at.saturating_duration_since(change.done))
    };
    println!(
        "  seen after {}; {} tables for {} changes",
        spread(changes.iter().filter_map(delay).collect()),
        seen.len(),
        changes.len()
    );
}

/// A weight that was given to an instance of a service, and when Consul had taken it.
struct Change {
    service: usize,
    weight: u64,
    sent: SystemTime,
    wall: SystemTime,
    done: Instant,
}

/// What stands in Consul.
struct Catalogue {
    client: Client,
    instances: usize,
}

impl Catalogue {
    async fn fill(consul: &Consul, options: &Options) -> Self {
        let mut catalogue = Catalogue { client: Client::connect(consul.address()).await, instances: options.instances };
        for node in 0..NODES.min(options.instances * options.services) {
            let body = json!({ "Node": format!("n{node}"), "Address": format!("10.0.0.{node}") });
            catalogue.put("/v1/catalog/register", &body).await;
        }
        let all: Vec<Value> = (0..options.services)
            .flat_map(|service| (0..options.instances).map(move |instance| (service, instance)))
            .map(|(service, instance)| catalogue.operation(service, instance, 1))
            .collect();
        for some in all.chunks(TRANSACTION) {
            catalogue.put("/v1/txn", &Value::Array(some.to_vec())).await;
        }
        catalogue
    }

    fn operation(&self, service: usize, instance: usize, weight: u64) -> Value {
        let node = (service * self.instances + instance) % NODES;
        json!({ "Service": { "Verb": "set", "Node": format!("n{node}"), "Service": {
            "ID": format!("s{service}-{instance}"), "Service": format!("s{service}"), "Address": format!("10.1.{}.{}", service % 250, service / 250),
            "Port": 1000 + instance, "Weights": { "Passing": weight, "Warning": 1 }, "Tags": ["v1"], "Meta": { "version": "1" },
        } } })
    }

    /// Changes one service after the other, so many times a second.
    async fn storm(&mut self, options: &Options, window: Duration) -> Vec<Change> {
        let (began, count) = (Instant::now(), window.as_secs() * u64::from(options.rate));
        let mut changes = Vec::new();
        for number in 0..count {
            sleep_until(began + Duration::from_secs(1) * u32::try_from(number).unwrap() / options.rate).await;
            let (service, weight) = (number as usize % options.services, 2 + number);
            let operation = self.operation(service, 0, weight);
            let sent = SystemTime::now();
            self.put("/v1/txn", &json!([operation])).await;
            changes.push(Change { service, weight, sent, wall: SystemTime::now(), done: Instant::now() });
        }
        let late = began.elapsed().saturating_sub(window);
        if late > Duration::from_secs(1) {
            println!("  note: Consul took the changes {late:.1?} longer than planned");
        }
        changes
    }

    async fn put(&mut self, path: &str, body: &Value) {
        let body = body.to_string();
        let head = format!("PUT {path} HTTP/1.1\r\nhost: consul\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let answer = self.client.exchange(head).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
}

/// How long after each change the table with it was published, as the log says.
fn delays(lictor: &Spawned, changes: &[Change]) -> Vec<Duration> {
    let mut published: HashMap<String, Vec<SystemTime>> = HashMap::new();
    for line in lictor.said() {
        let cluster =
            line.split_once(" updated ").and_then(|(_, rest)| rest.split_once("cluster=")?.1.split(' ').next());
        if let Some((time, cluster)) =
            line.split(' ').next().and_then(|time| humantime::parse_rfc3339(time).ok()).zip(cluster)
        {
            published.entry(cluster.to_owned()).or_default().push(time);
        }
    }
    let delay = |change: &Change| {
        let times = published.get(&format!("s{}", change.service))?;
        // It may be published before Consul's answer is here.
        let at = times.iter().find(|time| **time >= change.sent)?;
        Some(at.duration_since(change.wall).unwrap_or_default())
    };
    let delays: Vec<Duration> = changes.iter().filter_map(delay).collect();
    if delays.len() < changes.len() {
        println!("  note: {} of {} changes were not seen", changes.len() - delays.len(), changes.len());
    }
    delays
}

async fn admin(lictor: &Spawned) -> std::net::SocketAddr {
    let line = lictor.says("admin").await;
    line.rsplit_once("address=").unwrap().1.parse().unwrap()
}

/// What processes have used so far, and what lictor has asked.
struct Usage {
    lictor: f64,
    agent: f64,
    /// MiB of lictor, and of the agent.
    memory: (u64, u64),
    queries: f64,
}

impl Usage {
    async fn read(lictor: &Spawned, agent: u32, admin: std::net::SocketAddr) -> Self {
        let queries = support::window::sum(admin, "lictor_discovery_updates_total", "").await;
        Usage { lictor: cpu(lictor.id()), agent: cpu(agent), memory: (memory(lictor.id()), memory(agent)), queries }
    }

    fn since(&self, before: &Usage, window: Duration) -> String {
        let share = |now: f64, before: f64| (now - before) / window.as_secs_f64();
        format!(
            "lictor {:.2} % of a core, agent {:.2} %; {:.1} queries answered a second",
            100.0 * share(self.lictor, before.lictor),
            100.0 * share(self.agent, before.agent),
            share(self.queries, before.queries),
        )
    }
}

/// Seconds on a core since it started, all threads together, by the scheduler's clock.
fn cpu(process: u32) -> f64 {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let of = |thread: fs::DirEntry| {
        let schedstat = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        schedstat.split(' ').next().and_then(|on_core| on_core.parse::<f64>().ok()).unwrap_or_default()
    };
    threads.map(|thread| of(thread.unwrap())).sum::<f64>() / 1e9
}

/// MiB that are resident.
fn memory(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1e3;
    let mut text = String::new();
    for (name, share) in [("median", 0.5), ("p99", 0.99), ("max", 1.0)] {
        let _ = write!(text, "{name} {:.1} ms  ", at(share));
    }
    text
}
