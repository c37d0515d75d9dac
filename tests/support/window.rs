//! What the operator's window says, for tests that judge the product by it.
//!
//! Not a Prometheus client: a series is asked for by the text it has in the scrape, as a person would search for it.

use std::net::SocketAddr;

use serde_json::Value;

use super::client::get;

/// The value of a series, written as in the scrape: `name{label="value"}`. A counter that never counted is 0.
pub async fn metric(admin: SocketAddr, series: &str) -> f64 {
    let scrape = get(admin, "window", "/metrics").await.text();
    let line = scrape.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap_or_else(|_| panic!("{series} {value}")))
}

/// A JSON document of the window.
pub async fn json(admin: SocketAddr, path: &str) -> Value {
    let response = get(admin, "window", path).await;
    assert_eq!(response.status, 200, "{path}: {}", response.text());
    serde_json::from_slice(&response.body).unwrap_or_else(|error| panic!("{path}: {error}: {}", response.text()))
}

/// What `/v1/clusters` says of the endpoint with that address.
pub async fn endpoint(admin: SocketAddr, address: SocketAddr) -> Value {
    let clusters = json(admin, "/v1/clusters").await;
    let lists = clusters.as_array().into_iter().flatten().filter_map(|cluster| cluster["endpoints"].as_array());
    let found = lists.flatten().find(|endpoint| endpoint["address"] == address.to_string());
    found.cloned().unwrap_or_else(|| panic!("no endpoint {address} in {clusters}"))
}

/// Whether lictor lets that endpoint be picked: `eligible`, `ejected` or `probation`.
pub async fn standing(admin: SocketAddr, address: SocketAddr) -> String {
    endpoint(admin, address).await["standing"].as_str().unwrap_or_default().to_owned()
}

/// Attempts begun and not ended in the cluster `web`.
pub async fn in_flight(admin: SocketAddr) -> f64 {
    metric(admin, "lictor_cluster_in_flight{cluster=\"web\"}").await
}
