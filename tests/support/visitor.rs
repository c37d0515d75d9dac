//! Clients that ask again and again, and say who answered.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::app::Proxy;
use super::client::{Client, try_get};

/// Between two requests of a [`Visitor`].
const STEP: Duration = Duration::from_millis(2);
/// Visits that say something: on a machine that is busy, all that a test does may be over before the third.
const FEWEST: usize = 6;

/// Who answered how many of so many requests, one after the other on one connection; errors are counted by their status.
pub async fn shares(proxy: &Proxy, host: &str, requests: usize) -> BTreeMap<String, usize> {
    let mut client = Client::connect(proxy.address()).await;
    let mut shares = BTreeMap::new();
    for _ in 0..requests {
        let answer = client.exchange(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
        let who = if answer.status == 200 { answer.text() } else { answer.status.to_string() };
        *shares.entry(who).or_default() += 1;
    }
    shares
}

/// A client that asks again and again, 2 ms after each answer, each time on a connection of its own, until it is told to leave.
pub struct Visitor {
    leave: Arc<AtomicBool>,
    visits: JoinHandle<BTreeMap<String, usize>>,
}

impl Visitor {
    /// Starts asking.
    pub fn start(proxy: &Proxy) -> Visitor {
        let (address, leave) = (proxy.address(), Arc::new(AtomicBool::new(false)));
        Visitor { leave: Arc::clone(&leave), visits: tokio::spawn(visit(address, leave)) }
    }

    /// Stops asking, not before it has asked a few times; who answered how often, errors by their text.
    pub async fn leave(self) -> BTreeMap<String, usize> {
        self.leave.store(true, Ordering::Relaxed);
        self.visits.await.unwrap()
    }
}

async fn visit(address: SocketAddr, leave: Arc<AtomicBool>) -> BTreeMap<String, usize> {
    let mut answers = BTreeMap::new();
    let mut asked = 0;
    while !leave.load(Ordering::Relaxed) || asked < FEWEST {
        asked += 1;
        let who = match try_get(address, "visitor", "/").await {
            Ok(answer) if answer.status == 200 => answer.text(),
            Ok(answer) => format!("{} {}", answer.status, answer.text()),
            Err(error) => error.to_string(),
        };
        *answers.entry(who).or_default() += 1;
        sleep(STEP).await;
    }
    answers
}
