//! What lictor tells its operators, as far as tests look at it, and a client that notices every request that fails.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::app::Proxy;
use super::client::{Client, get, try_get};

/// Between two requests of a [`Visitor`].
const STEP: Duration = Duration::from_millis(2);

/// One endpoint of a cluster, as `/v1/clusters` shows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shown {
    pub port: u16,
    pub status: String,
    pub weight: u64,
}

/// The endpoints of a cluster in the order of their ports; empty as well before the first list.
pub async fn endpoints(proxy: &Proxy, cluster: &str) -> Vec<Shown> {
    let clusters: Value = serde_json::from_slice(&get(proxy.admin(), "admin", "/v1/clusters").await.body).unwrap();
    let cluster = clusters.as_array().unwrap().iter().find(|view| view["name"] == cluster).unwrap();
    let show = |endpoint: &Value| Shown {
        port: endpoint["address"].as_str().unwrap().rsplit_once(':').unwrap().1.parse().unwrap(),
        status: endpoint["status"].as_str().unwrap().to_owned(),
        weight: endpoint["weight"].as_u64().unwrap(),
    };
    let mut endpoints: Vec<Shown> = cluster["endpoints"].as_array().unwrap().iter().map(show).collect();
    endpoints.sort();
    endpoints
}

/// The ports of a cluster's endpoints that the source lets take requests.
pub async fn usable(proxy: &Proxy, cluster: &str) -> Vec<u16> {
    let mut endpoints = endpoints(proxy, cluster).await;
    endpoints.retain(|endpoint| matches!(&*endpoint.status, "passing" | "warning") && endpoint.weight > 0);
    endpoints.into_iter().map(|endpoint| endpoint.port).collect()
}

/// Whether lictor takes itself for ready.
pub async fn is_ready(proxy: &Proxy) -> bool {
    get(proxy.admin(), "admin", "/readyz").await.status == 200
}

/// The sum of all series of a family whose labels contain this text; 0 if there is none.
pub async fn metric(proxy: &Proxy, family: &str, labels: &str) -> f64 {
    let metrics = get(proxy.admin(), "admin", "/metrics").await.text();
    let values = metrics.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let rest = series.strip_prefix(family)?;
        let is_family = rest.is_empty() || rest.starts_with('{');
        (is_family && rest.contains(labels)).then(|| value.parse::<f64>().unwrap())
    });
    values.sum()
}

/// How many answers of discovery came to this.
pub async fn updates(proxy: &Proxy, result: &str) -> f64 {
    metric(proxy, "lictor_discovery_updates_total", &format!("result=\"{result}\"")).await
}

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

    /// Stops asking; who answered how often, errors by their text.
    pub async fn leave(self) -> BTreeMap<String, usize> {
        self.leave.store(true, Ordering::Relaxed);
        self.visits.await.unwrap()
    }
}

async fn visit(address: SocketAddr, leave: Arc<AtomicBool>) -> BTreeMap<String, usize> {
    let mut answers = BTreeMap::new();
    while !leave.load(Ordering::Relaxed) {
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
