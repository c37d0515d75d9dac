//! How soon lictor follows a real Consul, and what following costs Consul.
//!
//! The first part registers and deregisters an instance again and again while a client asks without a pause: how long after
//! `register` returned did the new instance answer first, and how long after `deregister` returned did it answer last? The
//! second counts what lictor asks of Consul while nothing changes, through a forwarder in between. What each figure means is
//! in `benches/README.md`.
#![expect(clippy::print_stdout, reason = "a benchmark's output is its product")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a measurement ends where it fails")]

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, unused_imports, missing_docs, reason = "what tests stand on; this bench needs some of it")]
mod support;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use support::app::{Proxy, to_service};
use support::client::{Client, eventually};
use support::consul::Consul;
use support::origin::Origin;
use support::window::{is_ready, updates, usable};

/// Between two changes, so that each is the only one: more than three at once are held back to four a second.
const PAUSE: Duration = Duration::from_millis(300);
/// For everything that has to happen at all.
const PATIENCE: Duration = Duration::from_secs(30);
/// Enough for first lists, and for the queries that follow them to be open.
const SETTLE: Duration = Duration::from_secs(5);

/// How soon lictor follows a real Consul, and what following costs Consul.
#[derive(Debug, Parser)]
#[command(name = "follow")]
struct Options {
    /// Times that an instance comes and goes
    #[arg(long, default_value_t = 200)]
    rounds: usize,
    /// Services that are followed at rest, besides one
    #[arg(long, default_value_t = 300)]
    services: usize,
    /// Length of a window at rest; a query waits 55 s, so that a shorter one may see none of them asked again
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        if options.rounds > 0 {
            come_and_go(options.rounds).await;
        }
        let window = Duration::from_secs(options.seconds);
        println!("\nat rest for {window:?} | queries/s | connections | doubted, denied, failed");
        rest("1 service", 1, Setting::Raised, window).await;
        rest(&format!("{} services", options.services), options.services, Setting::Raised, window).await;
        rest(&format!("{} services, limits as shipped", options.services), options.services, Setting::Shipped, window)
            .await;
    });
}

/// When an instance came and when it went, as a client saw it.
#[derive(Default)]
struct Seen {
    first: Option<Instant>,
    last: Option<Instant>,
}

async fn come_and_go(rounds: usize) {
    let (stays, comes) = (Origin::start("stays").await, Origin::start("comes").await);
    let consul = Consul::start().await;
    consul.register_service("web", "stays", stays.address()).await;
    let proxy = Proxy::start(&to_service(&consul.url(), "policy = \"round_robin\""));
    eventually("ready", PATIENCE, async || is_ready(proxy.admin()).await).await;
    let (seen, done) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
    let client = {
        let (address, seen, done) = (proxy.address(), Arc::clone(&seen), Arc::clone(&done));
        thread::spawn(move || ask_without_a_pause(address, &seen, &done))
    };
    let (mut joined, mut left) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        *seen.lock().unwrap() = Seen::default();
        consul.register_service("web", "comes", comes.address()).await;
        let registered = Instant::now();
        let first = eventually("the first answer", PATIENCE, async || seen.lock().unwrap().first).await;
        joined.push(first.saturating_duration_since(registered));
        sleep(PAUSE).await;
        consul.deregister("comes").await;
        let deregistered = Instant::now();
        eventually("out", PATIENCE, async || usable(proxy.admin(), "web").await == [stays.address().port()]).await;
        sleep(PAUSE).await;
        let last = seen.lock().unwrap().last.unwrap();
        left.push(last.saturating_duration_since(deregistered));
    }
    done.store(true, Ordering::Relaxed);
    // Not on this thread: it is where the origins answer.
    let requests = tokio::task::spawn_blocking(move || client.join().unwrap()).await.unwrap();
    println!("{rounds} rounds, {requests} requests, none failed");
    println!("from register returning to the first answer of the new instance:  {}", spread(joined));
    println!("from deregister returning to the last answer of the old instance: {}", spread(left));
    proxy.drain().await;
}

/// Asks on one connection until it is done; the number of requests. Every answer is a 200.
fn ask_without_a_pause(address: SocketAddr, seen: &Mutex<Seen>, done: &AtomicBool) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut client = Client::connect(address).await;
        let mut requests = 0;
        while !done.load(Ordering::Relaxed) {
            let answer = client.exchange("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
            assert_eq!(answer.status, 200);
            requests += 1;
            if answer.body == b"comes" {
                let (mut seen, now) = (seen.lock().unwrap(), Instant::now());
                seen.first.get_or_insert(now);
                seen.last = Some(now);
            }
        }
        requests
    })
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1e3;
    let mut text = String::new();
    for (name, share) in [("min", 0.0), ("median", 0.5), ("p99", 0.99), ("max", 1.0)] {
        let _ = write!(text, "{name} {:.1} ms  ", at(share));
    }
    text
}

/// The connections that an agent takes, and that lictor makes.
#[derive(Clone, Copy, PartialEq)]
enum Setting {
    /// Enough for a query for each service.
    Raised,
    /// An agent that takes 200 from one address, and lictor's own default.
    Shipped,
}

async fn rest(what: &str, services: usize, setting: Setting, window: Duration) {
    let (limits, queries) = match setting {
        Setting::Raised => ("limits { http_max_conns_per_client = 2000 }", "max_queries = 1900"),
        Setting::Shipped => ("", ""),
    };
    let consul = Consul::start_with(limits).await;
    let mut config = String::new();
    for service in 0..services {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        consul.register_service(&format!("s{service}"), &format!("s{service}"), address).await;
        let _ = writeln!(config, "[clusters.s{service}]\nconsul = {{ service = \"s{service}\" }}");
    }
    let forwarder = Forwarder::start(consul.address()).await;
    let proxy = Proxy::start(&format!("[consul]\naddress = \"http://{}\"\n{queries}\n{config}", forwarder.address));
    let began = Instant::now();
    eventually("every service has its list", PATIENCE, async || is_ready(proxy.admin()).await).await;
    let ready = began.elapsed();
    sleep(SETTLE).await;
    let before = forwarder.queries.load(Ordering::Relaxed);
    sleep(window).await;
    let asked = forwarder.queries.load(Ordering::Relaxed) - before;
    let rate = asked as f64 / window.as_secs_f64();
    let troubles = [
        updates(proxy.admin(), "doubted").await,
        updates(proxy.admin(), "denied").await,
        updates(proxy.admin(), "error").await,
    ];
    println!("{what}: {rate:.2} | {} | {troubles:?} | all lists after {ready:.1?}", consul.connections());
    proxy.drain().await;
}

/// Passes connections on to an agent, and counts the queries on them.
struct Forwarder {
    address: SocketAddr,
    queries: Arc<AtomicUsize>,
}

impl Forwarder {
    async fn start(agent: SocketAddr) -> Forwarder {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, queries) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let counter = Arc::clone(&queries);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(agent).await else { continue };
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                let counter = Arc::clone(&counter);
                tokio::spawn(pass(near_in, far_out, move |piece| {
                    counter.fetch_add(piece.windows(5).filter(|five| *five == b"GET /").count(), Ordering::Relaxed);
                }));
                tokio::spawn(pass(far_in, near_out, |_| {}));
            }
        });
        Forwarder { address, queries }
    }
}

/// Passes bytes on until one side ends. Queries come whole: they are small, and the next waits for the answer.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, look: impl Fn(&[u8])) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        look(&buffer[..length]);
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
