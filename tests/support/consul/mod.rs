//! A real Consul for tests: one agent in `-dev` mode, or several that join each other (`join`), on ports of their own, that
//! live no longer than the test.
//!
//! `Catalog` is the client's half: what a test says to any registry that speaks Consul's HTTP API, so that one scenario can be
//! held against the real agent and against `lictor::registry`. `Consul` is an agent and a `Catalog` of it. The binary is looked
//! for (`CONSUL_BIN`, `PATH`, the target directory) and at last fetched from Debian, once; where that cannot be, tests fail and
//! say what to do: a test that is skipped proves nothing.

mod catalog;
mod certificates;
mod join;

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::ops::Deref;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;
use std::{io, process};

use tempfile::TempDir;

use super::binary::{self, CONSUL};
use super::client::{eventually, try_get};
pub use catalog::Catalog;
pub use certificates::Certificates;

/// Where the `consul` command is.
pub fn command() -> PathBuf {
    CONSUL.find().unwrap_or_else(|error| panic!("no Consul: {error}"))
}

/// How long an agent may take until its catalog answers; 0.4 s is usual, ten at once on two busy cores take some more.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// How often new ports are tried when another process was quicker to bind them.
const START_ATTEMPTS: usize = 5;

/// Where ports are taken from: under the range from which Linux takes the ports of outgoing connections (32768 and up), so
/// that none of those can sit on an agent's port while the agent restarts.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// HTTP, server RPC and the gossip of the LAN, without which there is no agent, and the gossip of the WAN for those who have one.
const PORTS_PER_AGENT: u16 = 4;

/// The `consul` command, or a failed test that says how to come by it.
pub async fn binary() -> PathBuf {
    let found = tokio::task::spawn_blocking(|| CONSUL.find()).await;
    let found = found.expect("the search for consul ends");
    found.unwrap_or_else(|error| {
        panic!(
            "these tests need Consul: install it so that `consul` is on PATH, or set CONSUL_BIN to the binary, or have apt, dpkg \
             and a Debian mirror; {error}"
        )
    })
}

/// A running agent, or one that was killed and can be started again. Dropped, it is killed.
pub struct Consul {
    catalog: Catalog,
    binary: PathBuf,
    /// Its configuration and its log.
    home: TempDir,
    /// Its name, by which we know that what answers on the port is it.
    node: String,
    agent: Option<Child>,
    ports: Ports,
    role: Role,
}

/// What an agent is among others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// All there is, and nothing is kept.
    Dev,
    /// One of several, which keeps what it knows in its directory.
    Member,
}

impl Deref for Consul {
    type Target = Catalog;
    fn deref(&self) -> &Catalog {
        &self.catalog
    }
}

impl Drop for Consul {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Consul {
    /// An agent whose catalog answers.
    pub async fn start() -> Consul {
        Consul::start_with("").await
    }

    /// The same, with more configuration: HCL, as in a file of its own.
    pub async fn start_with(extra: &str) -> Consul {
        let mut last = String::new();
        for _ in 0..START_ATTEMPTS {
            let mut consul = Consul::prepare(Role::Dev, extra).await;
            match consul.launch().await {
                Ok(()) => return consul,
                Err(log) if is_taken(&log) => last = log,
                Err(log) => panic!("consul did not start: {log}"),
            }
        }
        panic!("consul found no free ports: {last}");
    }

    /// The agent's process.
    pub fn process(&self) -> u32 {
        let guard = self.agent.as_ref().expect("it runs").id();
        let children =
            fs::read_to_string(format!("/proc/{guard}/task/{guard}/children")).expect("the guard's children");
        let name =
            |pid: &&str| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "consul");
        children.split_whitespace().find(name).expect("the agent").parse().expect("a number")
    }

    /// Stops it where it is, as a machine does that is out of breath, or lets it go on.
    pub fn signal(&self, signal: &str) {
        let agent = self.process();
        let done = Command::new("sh").args(["-c", &format!("kill -{signal} {agent}")]).status().expect("run sh");
        assert!(done.success(), "kill -{signal} {agent}");
    }

    /// As a crash: SIGKILL. Everything registered is lost, for a `-dev` agent keeps nothing.
    pub fn kill(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            drop(agent.stdin.take());
            agent.wait().expect("wait for the agent's end");
        }
    }

    /// Kills it if need be, and starts it again: same ports, same configuration, nothing registered.
    pub async fn restart(&mut self) {
        self.kill();
        for _ in 0..START_ATTEMPTS {
            match self.launch().await {
                Ok(()) => return,
                Err(log) if is_taken(&log) => {}
                Err(log) => panic!("consul did not start again: {log}"),
            }
        }
        panic!("the ports of {} are taken", self.url());
    }

    /// How many TCP connections to its HTTP port are established, whoever holds them.
    pub fn connections(&self) -> usize {
        Consul::connections_to(self.address().port())
    }

    /// The same for another port.
    pub fn connections_to(port: u16) -> usize {
        let local = format!(":{port:04X}");
        let table = fs::read_to_string("/proc/net/tcp").expect("/proc/net/tcp");
        let established = table.lines().skip(1).filter(|line| {
            let mut columns = line.split_whitespace().skip(1);
            let is_ours = columns.next().is_some_and(|address| address.ends_with(&local));
            is_ours && columns.nth(1) == Some("01")
        });
        established.count()
    }

    async fn prepare(role: Role, extra: &str) -> Consul {
        let binary = binary().await;
        let home = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("the agent's directory");
        let ports = Ports::claim();
        let node = format!("lictor-{}-{}", process::id(), ports.http);
        let config = format!(
            r#"
disable_update_check = true
disable_host_node_id = true
bind_addr = "127.0.0.1"
client_addr = "127.0.0.1"
log_level = "ERR"
node_name = "{node}"
ports {{
  http = {}
  server = {}
  serf_lan = {}
  serf_wan = -1
  dns = -1
  grpc = -1
  https = -1
}}
"#,
            ports.http,
            ports.server(),
            ports.gossip(),
        );
        fs::write(home.path().join("1.hcl"), config).expect("write the configuration");
        fs::write(home.path().join("2.hcl"), extra).expect("write the configuration");
        let catalog = Catalog::new(&format!("http://127.0.0.1:{}", ports.http));
        Consul { catalog, binary, home, node, agent: None, ports, role }
    }

    /// Starts the agent and waits for its catalog; what it logged if it ended instead.
    async fn launch(&mut self) -> Result<(), String> {
        let log = self.home.path().join("log");
        let output = File::create(&log).expect("the agent's log");
        let mut guard = binary::guarded(&self.binary);
        guard.arg("agent");
        match self.role {
            Role::Dev => guard.arg("-dev"),
            Role::Member => guard.arg("-data-dir").arg(self.home.path().join("data")),
        };
        for file in ["1.hcl", "2.hcl"] {
            guard.arg("-config-file").arg(self.home.path().join(file));
        }
        guard.stderr(output.try_clone().expect("the agent's log")).stdout(output);
        self.agent = Some(guard.spawn().expect("run sh"));

        let started = eventually("consul's catalog answers", START_PATIENCE, async || {
            if self.agent.as_mut().is_some_and(|agent| agent.try_wait().is_ok_and(|ended| ended.is_some())) {
                return Some(false);
            }
            self.is_ready().await.is_ok_and(|ready| ready).then_some(true)
        });
        if started.await {
            return Ok(());
        }
        self.kill();
        Err(fs::read_to_string(&log).unwrap_or_default())
    }

    /// Whether somebody leads and its node is known; where it is alone: whether it leads itself and shows itself in its
    /// catalog. Where ACLs hide that from us the first has to do, and that it knows the token which tests give it as the first.
    async fn is_ready(&self) -> io::Result<bool> {
        let see = async |path| try_get(self.address(), "consul", path).await;
        let leader = see("/v1/status/leader").await?.text();
        if self.role == Role::Member {
            return Ok(leader.len() > 2 && see("/v1/catalog/nodes").await?.text().contains(&self.node));
        }
        if !leader.contains(&format!(":{}\"", self.ports.server())) {
            return Ok(false);
        }
        if see("/v1/agent/self").await?.status == 403 {
            return Ok(see("/v1/acl/token/self?token=root").await?.status == 200);
        }
        Ok(see("/v1/catalog/service/consul").await?.text().contains(&self.node))
    }
}

fn is_taken(log: &str) -> bool {
    log.contains("address already in use")
}

/// Free ports in a row that no other agent of these tests has or gets, whether it runs now or not.
struct Ports {
    http: u16,
    _claim: UnixListener,
}

impl Ports {
    fn claim() -> Ports {
        let places = (PORTS.end - PORTS.start) / PORTS_PER_AGENT;
        let first = fastrand::u16(..places);
        let mut bases = (0..places).map(|place| PORTS.start + (first + place) % places * PORTS_PER_AGENT);
        let claimed = bases.find_map(|http| {
            let claim = binary::claim(&format!("agent at {http}")).ok()?;
            (http..http + PORTS_PER_AGENT).all(is_free).then_some(Ports { http, _claim: claim })
        });
        claimed.expect("free ports in a row")
    }

    fn server(&self) -> u16 {
        self.http + 1
    }

    fn gossip(&self) -> u16 {
        self.http + 2
    }

    fn wide_gossip(&self) -> u16 {
        self.http + 3
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok() && UdpSocket::bind(("127.0.0.1", port)).is_ok()
}

#[cfg(test)]
mod tests;
