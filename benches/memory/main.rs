//! What clients cost who hold a connection and do nothing, or next to nothing: memory for each idle one and for slow readers, and
//! CPU time where there are more of them than descriptors. And what an endpoint costs that is listed. See `benches/README.md`. Linux
//! only.

#![allow(missing_docs, clippy::print_stdout, clippy::print_stderr, reason = "what it prints is what it is for")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a run ends where it fails")]

mod origin;
#[allow(dead_code, reason = "the fault matrix uses the rest")]
#[path = "../../tests/faults/process.rs"]
mod process;
#[allow(dead_code, reason = "the fault matrix uses the rest")]
#[path = "../../tests/faults/proxy.rs"]
mod proxy;
#[allow(dead_code, reason = "the fault matrix uses the rest")]
#[path = "../../tests/faults/wire.rs"]
mod wire;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use proxy::{Proxy, configuration};
use wire::{Framing, Wire};

/// Clients that asked once and keep their connection.
const IDLE: u64 = 10_000;
/// Clients that ask for a long answer and take little of it.
const SLOW: usize = 800;
/// How much of it they take in a second.
const SIP: usize = 10_000;
const ROOM: u32 = 16 * 1024;
/// An idle connection gives back what it does not need after one or two seconds.
const QUIET: Duration = Duration::from_secs(4);
/// The descriptors that lictor has where they run out, and the clients that come.
const DESCRIPTORS: u64 = 320;
const CROWD: usize = 700;
/// Of a large installation: clusters, and endpoints of each; and endpoints of one large cluster.
const CLUSTERS: usize = 1_000;
const EACH: usize = 10;
const LARGE: usize = 5_000;
/// How long the crowd is looked at.
const WATCHED: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let first = arguments.next().unwrap_or_default();
    if first == process::ROLE {
        return process::become_it(arguments);
    }
    let lictor = std::env::args().skip_while(|argument| argument != "--lictor").nth(1);
    let lictor = lictor.unwrap_or_else(|| env!("CARGO_BIN_EXE_lictor").to_owned());
    process::raise_descriptors();
    let origin = origin::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        idle(&lictor, origin).await;
        slow(&lictor, origin).await;
        crowd(&lictor, origin).await;
        endpoints(&lictor, origin).await;
    });
    ExitCode::SUCCESS
}

async fn start(lictor: &str, origin: SocketAddr, descriptors: Option<u64>) -> Proxy {
    let proxy = Proxy::start_this(lictor, &configuration(&[origin], ""), descriptors).await;
    // What the first requests cost is not a connection's.
    let mut warm = Vec::new();
    for _ in 0..64 {
        warm.push(ask(proxy.address).await.unwrap());
    }
    drop(warm);
    sleep(Duration::from_millis(300)).await;
    proxy
}

/// A request and its answer on a new connection, which is kept.
async fn ask(address: SocketAddr) -> std::io::Result<Wire> {
    let mut wire = Wire::new(TcpStream::connect(address).await?);
    wire.write(b"GET /short HTTP/1.1\r\nHost: memory\r\nAccept: */*\r\n\r\n").await?;
    let head = wire.head().await?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
    wire.body(head.framing(Framing::Length(0))?).await?;
    Ok(wire)
}

async fn idle(lictor: &str, origin: SocketAddr) {
    let proxy = start(lictor, origin, None).await;
    let before = process::resident(proxy.id());
    let mut kept = Vec::new();
    for _ in 0..IDLE {
        kept.push(ask(proxy.address).await.unwrap().stream);
    }
    sleep(QUIET).await;
    let after = process::resident(proxy.id());
    let each = (after - before) as f64 / IDLE as f64;
    println!("{IDLE} idle connections: {before} KiB before, {after} KiB with them, {each:.2} KiB each");
}

async fn slow(lictor: &str, origin: SocketAddr) {
    let proxy = start(lictor, origin, None).await;
    let before = process::resident(proxy.id());
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..SLOW {
        let address = proxy.address;
        readers.spawn(async move {
            let socket = TcpSocket::new_v4().unwrap();
            // Little room, so that what is not taken has to stay with the proxy.
            socket.set_recv_buffer_size(ROOM).unwrap();
            let mut stream = socket.connect(address).await.unwrap();
            stream.write_all(b"GET /long HTTP/1.1\r\nHost: memory\r\n\r\n").await.unwrap();
            let mut sip = vec![0; SIP];
            while stream.read(&mut sip).await.is_ok_and(|count| count > 0) {
                sleep(Duration::from_secs(1)).await;
            }
        });
    }
    let mut most = 0;
    for _ in 0..50 {
        sleep(Duration::from_millis(100)).await;
        most = most.max(process::resident(proxy.id()));
    }
    println!("{SLOW} slow readers of {} bytes: {before} KiB before, {most} KiB at most", origin::LONG);
}

/// Clusters and endpoints that are in the file, beside one of each.
async fn endpoints(lictor: &str, origin: SocketAddr) {
    let alone = with(lictor, origin, (0, 0)).await;
    let clusters = with(lictor, origin, (CLUSTERS, 1)).await;
    let endpoints = with(lictor, origin, (CLUSTERS, EACH)).await;
    let large = with(lictor, origin, (1, LARGE)).await;
    let each = |more: u64, less: u64, count: usize| (more as f64 - less as f64) / count as f64;
    println!(
        "{alone} KiB with one endpoint; {:.2} KiB for each of {CLUSTERS} clusters with a route and an endpoint; {:.2} KiB for each \
         endpoint more, up to {EACH} in each; {:.2} KiB for each of {LARGE} in one cluster",
        each(clusters, alone, CLUSTERS),
        each(endpoints, clusters, CLUSTERS * (EACH - 1)),
        each(large, alone, LARGE),
    );
}

/// Resident memory with so many clusters more, of so many endpoints each.
async fn with(lictor: &str, origin: SocketAddr, (clusters, each): (usize, usize)) -> u64 {
    let mut more = String::new();
    for cluster in 0..clusters {
        let address = |place: usize| {
            let [.., a, b, c] = (cluster * each + place).to_be_bytes();
            format!("\"10.{a}.{b}.{c}:8080\"")
        };
        let listed: Vec<String> = (0..each).map(address).collect();
        more += &format!("[clusters.more-{cluster}]\nendpoints = [{}]\n", listed.join(", "));
        more += &format!("[[routes]]\nhost = \"host-{cluster}.test\"\ncluster = \"more-{cluster}\"\n");
    }
    let proxy = Proxy::start_this(lictor, &configuration(&[origin], &more), None).await;
    sleep(QUIET).await;
    process::resident(proxy.id())
}

async fn crowd(lictor: &str, origin: SocketAddr) {
    let mut proxy = start(lictor, origin, Some(DESCRIPTORS)).await;
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        crowd.push(TcpStream::connect(proxy.address).await.unwrap());
    }
    let before = process::cpu_seconds(proxy.id());
    sleep(WATCHED).await;
    let used = process::cpu_seconds(proxy.id()) - before;
    let window = proxy.has_window().await;
    drop(crowd);
    let left = Instant::now();
    let answered = timeout(Duration::from_secs(10), ask(proxy.address)).await.is_ok_and(|answered| answered.is_ok());
    println!(
        "{CROWD} clients with {DESCRIPTORS} descriptors: {used:.2} s of CPU time in {} s; operator's window answered: \
         {window}; {:.3} s after they left a request was answered: {answered}; lictor runs: {}",
        WATCHED.as_secs(),
        left.elapsed().as_secs_f64(),
        proxy.is_running(),
    );
}
