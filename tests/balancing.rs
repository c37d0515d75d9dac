//! Which endpoint serves: the policies, clients that stay with theirs, who is near, how one begins, and what is done when few
//! are left. All of it as clients and operators see it.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::app::{Proxy, to_endpoints};
use crate::support::client::{Client, eventually};
use crate::support::origin::{Origin, Script};

mod hashing;
mod policies;
mod reserves;
mod sessions;
mod sessions_and_consul;

const SOON: Duration = Duration::from_secs(15);
const GET: &str = "GET /a HTTP/1.1\r\nhost: shop\r\n\r\n";

/// Every policy by its name.
const POLICIES: [&str; 6] = ["p2c", "ewma", "least_connections", "round_robin", "random", "consistent_hash"];

async fn origins<const N: usize>() -> [Origin; N] {
    let mut origins = Vec::new();
    for place in 0..N {
        origins.push(Origin::start(&format!("origin-{place}")).await);
    }
    origins.try_into().ok().unwrap()
}

fn addresses(origins: &[Origin]) -> Vec<SocketAddr> {
    origins.iter().map(Origin::address).collect()
}

/// So many origins, and a proxy whose cluster `web` has them and these keys.
async fn start<const N: usize>(more: &str) -> ([Origin; N], Proxy) {
    let origins = origins().await;
    let proxy = Proxy::start(&to_endpoints(&addresses(&origins), more));
    (origins, proxy)
}

/// A catch-all route to a cluster `web` of these endpoints, each with fields of its own, and `more` keys for the cluster.
fn to_each<'a>(endpoints: impl IntoIterator<Item = (&'a Origin, String)>, more: &str) -> String {
    let endpoint = |(origin, fields): (&Origin, String)| format!("{{ address = \"{}\", {fields} }}", origin.address());
    let endpoints: Vec<String> = endpoints.into_iter().map(endpoint).collect();
    format!("[[routes]]\ncluster = \"web\"\n[clusters.web]\nendpoints = [{}]\n{more}\n", endpoints.join(", "))
}

fn to_weighted(origins: &[Origin], weights: &[u32], more: &str) -> String {
    to_each(origins.iter().zip(weights.iter().map(|weight| format!("weight = {weight}"))), more)
}

fn hits(origins: &[Origin]) -> Vec<usize> {
    origins.iter().map(Origin::hits).collect()
}

/// How many requests each origin had during this.
async fn during(origins: &[Origin], what: impl Future<Output = ()>) -> Vec<usize> {
    let before = hits(origins);
    what.await;
    hits(origins).iter().zip(before).map(|(after, before)| after - before).collect()
}

/// So many requests, one after the other on one connection, all of them answered with 200.
async fn send(proxy: &Proxy, count: usize) {
    let mut client = Client::connect(proxy.address()).await;
    for _ in 0..count {
        let answer = client.exchange(GET).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// So many requests that origins which hang leave in flight, each begun when the one before has arrived.
async fn hold(proxy: &Proxy, origins: &[Origin], count: usize, request: &str) -> Vec<Client> {
    let mut held = Vec::new();
    for _ in 0..count {
        let before: usize = hits(origins).iter().sum();
        let mut client = Client::connect(proxy.address()).await;
        client.send(request).await;
        eventually("the request arrives", SOON, async || hits(origins).iter().sum::<usize>() > before).await;
        held.push(client);
    }
    held
}

fn all(origins: &[Origin], script: &Script) {
    origins.iter().for_each(|origin| origin.always(script.clone()));
}

fn sorted(mut counts: Vec<usize>) -> Vec<usize> {
    counts.sort_unstable();
    counts
}

/// Six and a half standard deviations of a binomial: chance alone leaves them less than once in ten billion times.
fn is_about(count: usize, of: usize, share: f64) -> bool {
    let of = of as f64;
    (count as f64 - of * share).abs() <= 6.5 * (of * share * (1.0 - share)).sqrt()
}
