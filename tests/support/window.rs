//! What the operator's window says, for tests that judge the product by it.
//!
//! Not a Prometheus client: a series is asked for by the text it has in the scrape, as a person would search for it.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::client::get;

/// How long a count may take to be seen: far above what it takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// One endpoint of a cluster, as `/v1/clusters` shows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shown {
    pub port: u16,
    pub status: String,
    pub weight: u64,
}

/// The value of a series, written as in the scrape: `name{label="value"}`. A counter that never counted is 0.
pub async fn metric(admin: SocketAddr, series: &str) -> f64 {
    let scrape = get(admin, "localhost", "/metrics").await.text();
    let line = scrape.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap_or_else(|_| panic!("{series} {value}")))
}

/// Waits until a series has this value, and fails with the one it stayed at. A request is counted when the last of its answer has been
/// written, so a client that has all of it may look at the figures before they say so.
pub async fn counted(admin: SocketAddr, series: &str, expected: f64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = metric(admin, series).await;
        if seen == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{series} stays {seen}, not {expected}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// The sum of all series of a family whose labels contain this text; 0 if there is none.
pub async fn sum(admin: SocketAddr, family: &str, labels: &str) -> f64 {
    let metrics = get(admin, "localhost", "/metrics").await.text();
    let values = metrics.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let rest = series.strip_prefix(family)?;
        let is_family = rest.is_empty() || rest.starts_with('{');
        (is_family && rest.contains(labels)).then(|| value.parse::<f64>().unwrap())
    });
    values.sum()
}

/// How many answers of discovery came to this.
pub async fn updates(admin: SocketAddr, result: &str) -> f64 {
    sum(admin, "lictor_discovery_updates_total", &format!("result=\"{result}\"")).await
}

/// A JSON document of the window.
pub async fn json(admin: SocketAddr, path: &str) -> Value {
    let response = get(admin, "localhost", path).await;
    assert_eq!(response.status, 200, "{path}: {}", response.text());
    serde_json::from_slice(&response.body).unwrap_or_else(|error| panic!("{path}: {error}: {}", response.text()))
}

/// What `/v1/clusters` says of the endpoint with that address, which has to be there.
pub async fn endpoint(admin: SocketAddr, address: SocketAddr) -> Value {
    find_endpoint(admin, address).await.unwrap_or_else(|| panic!("no endpoint {address} in /v1/clusters"))
}

/// The same, if it is there.
pub async fn find_endpoint(admin: SocketAddr, address: SocketAddr) -> Option<Value> {
    let clusters = json(admin, "/v1/clusters").await;
    let lists = clusters.as_array().into_iter().flatten().filter_map(|cluster| cluster["endpoints"].as_array());
    lists.flatten().find(|endpoint| endpoint["address"] == address.to_string()).cloned()
}

/// Whether lictor lets that endpoint be picked: `eligible`, `ejected` or `probation`.
pub async fn standing(admin: SocketAddr, address: SocketAddr) -> String {
    endpoint(admin, address).await["standing"].as_str().unwrap_or_default().to_owned()
}

/// Attempts begun and not ended in the cluster `web`.
pub async fn in_flight(admin: SocketAddr) -> f64 {
    metric(admin, "lictor_cluster_in_flight{cluster=\"web\"}").await
}

/// The endpoints of a cluster in the order of their ports; empty as well before the first list.
pub async fn endpoints(admin: SocketAddr, cluster: &str) -> Vec<Shown> {
    let clusters = json(admin, "/v1/clusters").await;
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
pub async fn usable(admin: SocketAddr, cluster: &str) -> Vec<u16> {
    let mut endpoints = endpoints(admin, cluster).await;
    endpoints.retain(|endpoint| matches!(&*endpoint.status, "passing" | "warning") && endpoint.weight > 0);
    endpoints.into_iter().map(|endpoint| endpoint.port).collect()
}

/// Whether lictor takes itself for ready.
pub async fn is_ready(admin: SocketAddr) -> bool {
    get(admin, "localhost", "/readyz").await.status == 200
}
