//! More services than an agent takes connections: what they share, and what happens to those that have no query of their own.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use crate::support::app::Proxy;
use crate::support::client::eventually;
use crate::support::consul::{Certificates, Consul};
use crate::support::origin::Origin;
use crate::support::window::{is_ready, usable};

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn services_beyond_the_number_of_queries_are_asked_when_the_catalogue_changes() {
    let consul = Consul::server_with("").await;
    let [first, second] = [Origin::start("first").await, Origin::start("second").await];
    for service in ["a", "b", "c"] {
        consul.register_service(service, &format!("{service}-1"), first.address()).await;
    }
    let clusters = ["a", "b", "c"].map(|name| format!("[clusters.{name}]\nconsul = {{ service = \"{name}\" }}\n"));
    let settings = format!("[consul]\naddress = \"{}\"\nmax_queries = 1\n{}", consul.url(), clusters.concat());
    let proxy = Proxy::start(&settings);
    eventually("all are known", SOON, async || is_ready(proxy.admin()).await).await;
    // Long before their turn, which is ten seconds after the last.
    for service in ["a", "b", "c"] {
        consul.register_service(service, &format!("{service}-2"), second.address()).await;
    }
    let seen = async || {
        let mut two = 0;
        for service in ["a", "b", "c"] {
            two += usize::from(usable(proxy.admin(), service).await.len() == 2);
        }
        two == 3
    };
    eventually("all have two", Duration::from_secs(8), seen).await;
    proxy.drain().await;
}

#[tokio::test]
async fn by_tls_many_queries_share_a_connection() {
    let certificates = Certificates::new().await;
    let consul = Consul::start_with(&certificates.agent()).await;
    let mut settings = certificates.lictor();
    for service in 0..40 {
        let name = format!("s{service}");
        consul.register_service(&name, &name, SocketAddr::from(([127, 0, 0, 1], 1000 + service))).await;
        let _ = writeln!(settings, "[clusters.{name}]\nconsul = {{ service = \"{name}\" }}");
    }
    let proxy = Proxy::start(&settings);
    eventually("all are known", SOON, async || is_ready(proxy.admin()).await).await;
    // A handful may have been opened before it was known that one is enough; they end.
    let few = async || Consul::connections_to(certificates.port()) <= 4;
    eventually("they share what there is", SOON, few).await;
    for service in [0, 39] {
        let name = format!("s{service}");
        consul.register_service(&name, "more", SocketAddr::from(([127, 0, 0, 1], 9))).await;
        eventually("a change comes on it", SOON, async || usable(proxy.admin(), &name).await.len() == 2).await;
    }
    proxy.drain().await;
}
