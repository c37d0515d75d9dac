//! Three servers, of which the leader dies: all that lictor takes from Consul stays while there is no leader, and goes on with the next.

use std::time::Duration;

use serde_json::json;

use crate::support::app::Proxy;
use crate::support::client::{eventually, get, try_get};
use crate::support::consul::Consul;
use crate::support::origin::Origin;
use crate::support::window::{counted, is_ready, usable};

/// An election takes four seconds, and whatever it broke comes back in two more.
const LATER: Duration = Duration::from_secs(20);

/// An edge and an egress listener, with a part in everything.
fn settings(consul: &Consul) -> String {
    format!(
        r#"
        [[listeners]]
        name = "edge"
        bind = "127.0.0.1:0"
        [[listeners]]
        name = "egress"
        bind = "127.0.0.1:0"
        egress = true
        [consul]
        address = "{}"
        [kv]
        prefix = "lictor/"
        [service_routes]
        enabled = true
        [registration]
        name = "lictor"
        id = "lictor"
        listener = "edge"
        [[routes]]
        host = "main"
        cluster = "main"
        [clusters.main]
        consul = {{ service = "main" }}
        failover = [{{ service = "spare" }}]
        "#,
        consul.url()
    )
}

fn document(host: &str) -> String {
    format!("[[routes]]\nhost = \"{host}\"\ncluster = \"main\"\n")
}

async fn leader_and_others() -> (Consul, Vec<Consul>) {
    let mut servers: Vec<Consul> = Consul::three().await.into();
    let mut leader = 0;
    while !servers[leader].leads().await {
        leader = (leader + 1) % 3;
    }
    (servers.swap_remove(leader), servers)
}

#[tokio::test]
async fn whatever_comes_from_consul_stays_without_a_leader_and_goes_on_with_the_next() {
    let (mut leader, servers) = leader_and_others().await;
    let home = &servers[0];
    let [main, spare, late] = [Origin::start("main").await, Origin::start("spare").await, Origin::start("late").await];
    for origin in [&main, &spare, &late] {
        home.register_service(origin.name(), origin.name(), origin.address()).await;
    }
    let claim = |id: &str, origin: &Origin, tag: &str| {
        let (ip, port) = (origin.address().ip(), origin.address().port());
        json!({ "Name": id, "ID": id, "Address": ip, "Port": port, "Tags": [tag] })
    };
    home.register(claim("claimed", &main, "urlprefix-claimed/")).await;
    home.put("/v1/kv/lictor/one", document("shop")).await;
    let proxy = Proxy::start(&settings(home));
    let egress = proxy.app().address("egress").unwrap();
    let serves = async |host: &str, who: &str| {
        let is_served = async || get(proxy.address(), host, "/").await.text() == who;
        eventually(&format!("{host} is served by {who}"), LATER, is_served).await;
    };
    let entered = async |agent: &Consul| {
        let answer = try_get(agent.address(), "consul", "/v1/health/service/lictor?passing").await;
        answer.is_ok_and(|answer| answer.status == 200 && answer.text().contains("\"lictor\""))
    };
    eventually("ready", LATER, async || is_ready(proxy.admin()).await).await;
    for host in ["main", "shop", "claimed"] {
        serves(host, "main").await;
    }
    eventually("a name is known", LATER, async || get(egress, "main", "/").await.text() == "main").await;
    eventually("it is entered", LATER, async || entered(home).await).await;

    leader.kill();
    // While there is no leader, and a moment longer.
    let mut is_led = false;
    while !is_led {
        for (address, host) in
            [(proxy.address(), "main"), (proxy.address(), "shop"), (proxy.address(), "claimed"), (egress, "main")]
        {
            assert_eq!(get(address, host, "/").await.text(), "main", "{host}");
        }
        // Whoever is asked for for the first time now is found by way of a follower, or told that nobody answers.
        let first = get(egress, "late", "/").await;
        assert!(first.status == 503 || first.text() == "late", "{}: {}", first.status, first.text());
        assert!(is_ready(proxy.admin()).await);
        is_led = servers[0].leads().await || servers[1].leads().await;
    }
    eventually("a new name is found", LATER, async || get(egress, "late", "/").await.text() == "late").await;

    // All of it goes on.
    let home = &servers[0];
    home.put("/v1/kv/lictor/two", document("bazaar")).await;
    serves("bazaar", "main").await;
    home.register(claim("claims", &late, "urlprefix-claims/")).await;
    serves("claims", "late").await;
    eventually("it is still entered, or again", LATER, async || entered(&servers[1]).await).await;
    home.maintenance("main", true).await;
    serves("main", "spare").await;
    counted(proxy.admin(), "lictor_cluster_level{cluster=\"main\"}", 1.0).await;
    home.register_service("spare", "more", late.address()).await;
    eventually("the later list is followed", LATER, async || usable(proxy.admin(), "main").await.len() == 2).await;
    assert!(is_ready(proxy.admin()).await);
    proxy.drain().await;
    eventually("it is taken out", LATER, async || !entered(&servers[1]).await).await;
}
