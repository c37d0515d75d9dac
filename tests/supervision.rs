//! The proxy as a service manager meets it: what it is told of starts, reloads and ends, the watchdog, and sockets that it hands over so
//! that a restart refuses nobody. The manager is played by the test: a datagram socket, and a parent with a socket that listens.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::net::UnixDatagram;

use crate::support::app::to_endpoints;
use crate::support::client::{Client, eventually, get};
use crate::support::origin::Origin;
use crate::support::spawned::Spawned;

const SOON: Duration = Duration::from_secs(15);

/// Who is told.
struct Manager {
    socket: UnixDatagram,
    directory: TempDir,
}

impl Manager {
    fn new() -> Manager {
        let directory = TempDir::new().unwrap();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        Manager { socket, directory }
    }

    fn place(&self) -> String {
        self.directory.path().join("notify").to_str().unwrap().to_owned()
    }

    async fn hears(&self) -> String {
        let mut text = vec![0; 4096];
        let heard = tokio::time::timeout(SOON, self.socket.recv(&mut text)).await.expect("it says something").unwrap();
        text.truncate(heard);
        String::from_utf8(text).unwrap()
    }

    /// The next message with this line, and all before it.
    async fn hears_of(&self, line: &str) -> Vec<String> {
        let mut heard = Vec::new();
        loop {
            heard.push(self.hears().await);
            if heard.last().is_some_and(|message| message.lines().any(|said| said == line)) {
                return heard;
            }
        }
    }
}

fn listens(on: SocketAddr, rest: &str) -> String {
    format!("[[listeners]]\nname = \"edge\"\nbind = \"{on}\"\n{rest}")
}

fn socket() -> (TcpListener, SocketAddr) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

#[tokio::test]
async fn the_service_manager_hears_of_the_start_of_reloads_and_of_the_end() {
    let (manager, origin) = (Manager::new(), Origin::start("one").await);
    let good = to_endpoints(&[origin.address()], "");
    let mut lictor = Spawned::start(&good, &[("NOTIFY_SOCKET", &manager.place())]);
    let address = lictor.address().await;
    assert!(manager.hears_of("READY=1").await.last().unwrap().contains("\nSTATUS=ready\n"));
    assert_eq!(get(address, "shop", "/").await.text(), "one", "who is ready serves");

    lictor.signal(Signal::HUP);
    let reloading = manager.hears_of("RELOADING=1").await;
    let times = reloading.last().unwrap().lines().filter_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    assert!(times.map(|time| time.parse::<u64>().unwrap()).all(|time| time > 0), "{reloading:?}");
    assert!(reloading.last().unwrap().contains("MONOTONIC_USEC="), "{reloading:?}");
    assert!(manager.hears_of("READY=1").await.last().unwrap().contains("\nSTATUS=ready\n"));

    lictor.rewrite("[clusters.web]\nendpoint = []\n");
    lictor.signal(Signal::HUP);
    manager.hears_of("RELOADING=1").await;
    let refused = manager.hears_of("READY=1").await;
    let words = "STATUS=ready; the last reload was refused: ";
    assert!(refused.last().unwrap().contains(words) && refused.last().unwrap().contains("endpoint"), "{refused:?}");

    lictor.signal(Signal::TERM);
    let stopping = manager.hears_of("STOPPING=1").await;
    // Its own time to end is 10 seconds; that of the manager may be shorter.
    let patience = stopping.last().unwrap().lines().find_map(|line| line.strip_prefix("EXTEND_TIMEOUT_USEC="));
    assert!(patience.unwrap().parse::<u64>().unwrap() > 10_000_000, "{stopping:?}");
    assert_eq!(lictor.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_start_without_discovery_is_over_all_the_same_and_says_what_is_missing() {
    let manager = Manager::new();
    let rest = "[consul]\naddress = \"http://127.0.0.1:1\"\n[[routes]]\ncluster = \"web\"\n[clusters.web]\nconsul = { service = \"web\" }\n";
    let _lictor = Spawned::start(rest, &[("NOTIFY_SOCKET", &manager.place())]);
    let heard = manager.hears_of("READY=1").await;
    assert_eq!(heard[0], "STATUS=not ready: waiting for the first answer of discovery\n");
    assert!(heard.last().unwrap().contains("STATUS=not ready: waiting"), "{heard:?}");
}

#[tokio::test]
async fn the_watchdog_hears_that_it_is_alive_and_nobody_else_does() {
    let (manager, origin) = (Manager::new(), Origin::start("one").await);
    let (place, text) = (manager.place(), to_endpoints(&[origin.address()], ""));
    let mut lictor = Spawned::start(&text, &[("NOTIFY_SOCKET", &place), ("WATCHDOG_USEC", "600000")]);
    for _ in 0..5 {
        manager.hears_of("WATCHDOG=1").await;
    }
    lictor.signal(Signal::TERM);
    assert_eq!(lictor.exit_code().await, Some(0));
    assert!(manager.hears_of("STOPPING=1").await.len() < 5);

    // It is meant for another process.
    let manager = Manager::new();
    let meant = [("NOTIFY_SOCKET", &*manager.place()), ("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "1")];
    let lictor = Spawned::start(&text, &meant);
    manager.hears_of("READY=1").await;
    lictor.signal(Signal::TERM);
    let heard = manager.hears_of("STOPPING=1").await;
    assert!(!heard.iter().any(|message| message.contains("WATCHDOG=1")), "{heard:?}");
}

/// Asks by a new connection each time until told to stop; each has to be accepted and answered. How often that was.
async fn newcomer(address: SocketAddr, stop: tokio::sync::watch::Receiver<bool>) -> usize {
    let mut answered = 0;
    while !*stop.borrow() {
        let mut client = Client::connect(address).await;
        let answer = client.exchange("GET / HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "one"));
        answered += 1;
    }
    answered
}

#[tokio::test]
async fn a_restart_with_a_socket_that_was_handed_over_refuses_nobody() {
    let (origin, (socket, address)) = (Origin::start("one").await, socket());
    let text = format!("workers = 2\n{}", listens(address, &to_endpoints(&[origin.address()], "")));
    let mut lictor = Spawned::start_handed(("edge", &socket), &text, &[]);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let newcomers: Vec<_> = (0..4).map(|_| tokio::spawn(newcomer(address, stopped.clone()))).collect();
    for _ in 0..2 {
        let before = origin.hits();
        eventually("load is on", SOON, async || origin.hits() > before + 100).await;
        lictor.signal(Signal::TERM);
        assert_eq!(lictor.exit_code().await, Some(0));
        // Now there is nobody, and whoever comes waits in the socket's queue.
        lictor = Spawned::start_handed(("edge", &socket), &text, &[]);
        assert_eq!(lictor.address().await, address);
    }
    let before = origin.hits();
    eventually("load goes on", SOON, async || origin.hits() > before + 100).await;
    stop.send_replace(true);
    for newcomer in newcomers {
        assert!(newcomer.await.expect("every one of them was accepted and answered") > 10);
    }
}

#[tokio::test]
async fn a_socket_that_has_no_name_of_ours_is_known_by_its_address() {
    let (origin, (socket, address)) = (Origin::start("one").await, socket());
    let text = listens(address, &to_endpoints(&[origin.address()], ""));
    let lictor = Spawned::start_handed(("lictor.socket", &socket), &text, &[]);
    assert_eq!(lictor.address().await, address);
    assert_eq!(get(address, "shop", "/").await.text(), "one");
}

#[tokio::test]
async fn a_socket_that_nobody_would_serve_stops_the_start() {
    let (socket, address) = socket();
    let elsewhere = to_endpoints(&["127.0.0.1:1".parse().unwrap()], "");
    for (name, words) in [
        ("other", format!("the socket \"other\" was handed over on {address}, but no listener has that name")),
        ("edge", format!("the socket \"edge\" was handed over on {address}, but the listener of that name has bind")),
    ] {
        let rest = listens("127.0.0.2:0".parse().unwrap(), &elsewhere);
        let mut lictor = Spawned::start_handed((name, &socket), &rest, &[]);
        lictor.says(&words).await;
        assert_eq!(lictor.exit_code().await, Some(1));
    }
}
