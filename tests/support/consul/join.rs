//! Agents that join each other: for what one alone cannot show, such as an agent that leaves while others stay, or servers
//! that have lost their majority.

use super::{Consul, Role, START_PATIENCE};
use crate::support::client::{Client, eventually, try_get};

impl Consul {
    /// A client agent of this server, whose node is in the catalog.
    pub async fn join(&self) -> Consul {
        let mut client =
            Consul::prepare(Role::Member, &format!("server = false\n{}", joins(&[self.ports.gossip()]))).await;
        client.launch().await.unwrap_or_else(|log| panic!("a client agent did not start: {log}"));
        client
    }

    /// A server that keeps what it knows, as those in production do, with more configuration.
    pub async fn server_with(extra: &str) -> Consul {
        let config = format!("server = true\nbootstrap_expect = 1\nperformance {{ raft_multiplier = 1 }}\n{extra}");
        let mut server = Consul::prepare(Role::Member, &config).await;
        server.launch().await.unwrap_or_else(|log| panic!("a server did not start: {log}"));
        server
    }

    /// Three servers that have elected a leader.
    pub async fn three() -> [Consul; 3] {
        let mut all = Vec::new();
        for _ in 0..3 {
            all.push(Consul::prepare(Role::Member, "").await);
        }
        let ports: Vec<u16> = all.iter().map(|server| server.ports.gossip()).collect();
        let config =
            format!("server = true\nbootstrap_expect = 3\nperformance {{ raft_multiplier = 1 }}\n{}", joins(&ports));
        for server in &all {
            std::fs::write(server.home.path().join("2.hcl"), &config).expect("write the configuration");
        }
        let [mut one, mut two, mut three] = <[Consul; 3]>::try_from(all).ok().expect("three");
        let started = tokio::join!(one.launch(), two.launch(), three.launch());
        for result in [started.0, started.1, started.2] {
            result.unwrap_or_else(|log| panic!("a server did not start: {log}"));
        }
        [one, two, three]
    }

    /// True if this server leads.
    pub async fn leads(&self) -> bool {
        self.get("/v1/agent/self").await["Stats"]["consul"]["leader"] == "true"
    }

    /// Two datacenters, `dc1` and `dc2`, of one agent each, which know the way to each other.
    pub async fn two_datacenters() -> [Consul; 2] {
        Consul::two_datacenters_with(["", ""]).await
    }

    /// The same, each with more configuration.
    pub async fn two_datacenters_with(extra: [&str; 2]) -> [Consul; 2] {
        let mut one = Consul::prepare(Role::Dev, "").await;
        let mut two = Consul::prepare(Role::Dev, "").await;
        for (agent, other, name, extra) in [(&one, &two, "dc1", extra[0]), (&two, &one, "dc2", extra[1])] {
            let config = format!(
                "datacenter = \"{name}\"\nports {{ serf_wan = {} }}\nretry_join_wan = [\"127.0.0.1:{}\"]\n\
                 retry_interval_wan = \"1s\"\n{extra}\n",
                agent.ports.wide_gossip(),
                other.ports.wide_gossip(),
            );
            std::fs::write(agent.home.path().join("2.hcl"), config).expect("write the configuration");
        }
        let started = tokio::join!(one.launch(), two.launch());
        for result in [started.0, started.1] {
            result.unwrap_or_else(|log| panic!("a datacenter did not start: {log}"));
        }
        let both = [one, two];
        both[0].until_reached(&both[1]).await;
        both[1].until_reached(&both[0]).await;
        both
    }

    /// Waits until this agent can ask the datacenter of another.
    pub async fn until_reached(&self, other: &Consul) {
        let datacenter = other.get("/v1/agent/self").await["Config"]["Datacenter"].as_str().expect("a name").to_owned();
        let path = format!("/v1/catalog/nodes?dc={datacenter}");
        let reached = async || {
            let answer = try_get(self.address(), "consul", &path).await;
            answer.is_ok_and(|answer| answer.status == 200 && answer.text().contains(&other.node))
        };
        eventually(&format!("{datacenter} can be asked"), START_PATIENCE, reached).await;
    }

    /// Leaves in peace and ends, as on SIGTERM before an upgrade: this server takes its node and all that runs there out of
    /// the catalog. What it was told to register it keeps for its next start.
    pub async fn leave(&mut self, server: &Consul) {
        let mut client = Client::connect(self.address()).await;
        client.send("PUT /v1/agent/leave HTTP/1.1\r\nhost: consul\r\ncontent-length: 0\r\n\r\n").await;
        let gone = async || !server.get("/v1/catalog/nodes").await.to_string().contains(&self.node);
        eventually("the node is gone", START_PATIENCE, gone).await;
        // It lingers for seconds; and one that has only just started puts its services back meanwhile, in its first round
        // of syncing.
        self.kill();
    }
}

fn joins(gossip: &[u16]) -> String {
    let ports: Vec<String> = gossip.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
    format!("retry_join = [{}]\nretry_interval = \"1s\"\n", ports.join(", "))
}
