//! The proxies in the comparison: how each is found, told to do the same work, started and ended.
//!
//! The same work is: one worker, keep-alive on both sides without a limit on requests, three origins in turn, the `Host`
//! passed on, `X-Forwarded-For` added, no access log. Everything else stays as each ships it.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::Serialize;

use crate::machine::{self, Cores};
use crate::origin::Origin;
use crate::{Failure, client, usage};

/// How long a proxy may take from its start to its first right answer.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take to leave once asked; then it is killed.
const END_TIMEOUT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(25);

/// Who can take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Peer {
    /// This crate's.
    Lictor,
    /// nginx, as packaged.
    Nginx,
    /// HAProxy, as packaged.
    Haproxy,
}

impl Peer {
    /// As on the command line; also the program's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lictor => "lictor",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
        }
    }
}

/// A proxy's program.
#[derive(Clone, Debug)]
pub struct Program {
    peer: Peer,
    path: PathBuf,
}

impl Program {
    /// The first line in which it names its version.
    pub fn version(&self) -> String {
        let flag = if self.peer == Peer::Lictor { "--version" } else { "-v" };
        let unknown = format!("{}, version unknown", self.peer.name());
        let Ok(output) = Command::new(&self.path).arg(flag).stdin(Stdio::null()).output() else { return unknown };
        // nginx says it on standard error.
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&said).lines().find(|line| !line.is_empty()).map_or(unknown, str::to_owned)
    }
}

/// The peers asked for, each once, in that order.
pub fn distinct(peers: &[Peer]) -> Vec<Peer> {
    let mut distinct = Vec::new();
    for peer in peers {
        if !distinct.contains(peer) {
            distinct.push(*peer);
        }
    }
    distinct
}

/// Finds every program; installs what is missing where that is possible.
pub fn find_programs(peers: &[Peer], lictor: &Path) -> Result<Vec<Program>, Failure> {
    let find = |peer: Peer| match peer {
        Peer::Lictor => lictor.is_file().then(|| lictor.to_owned()),
        _ => machine::find_program(peer.name()),
    };
    let missing: Vec<&str> = peers
        .iter()
        .filter(|peer| find(**peer).is_none())
        .filter_map(|peer| match peer {
            Peer::Lictor => None,
            Peer::Nginx => Some("nginx-light"),
            Peer::Haproxy => Some("haproxy"),
        })
        .collect();
    if !missing.is_empty() {
        machine::install(&missing).map_err(|failure| format!("{}: {failure}", missing.join(", ")))?;
    }
    let program = |peer: &Peer| match (find(*peer), peer) {
        (Some(path), _) => Ok(Program { peer: *peer, path }),
        (None, Peer::Lictor) => Err(format!("lictor: no file {}", lictor.display()).into()),
        (None, _) => Err(format!("{}: neither on PATH nor in /usr/sbin", peer.name()).into()),
    };
    peers.iter().map(program).collect()
}

/// A running proxy, ended when dropped.
#[derive(Debug)]
pub struct Proxy {
    /// Which it is.
    pub peer: Peer,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its processes, the one we started first.
    pub processes: Vec<u32>,
    child: Child,
}

impl Proxy {
    /// Starts a proxy on a free port and waits for its first right answer.
    pub async fn start(
        program: &Program,
        scratch: &Path,
        origins: &[Origin],
        cores: Option<Cores>,
    ) -> Result<Self, Failure> {
        let peer = program.peer;
        let folder = scratch.join(peer.name());
        fs::create_dir(&folder)?;
        let address = free_address()?;
        let file = folder.join("config");
        fs::write(&file, configuration(peer, address, origins, &folder))?;
        let log = folder.join("log");

        let mut command = match cores {
            Some(cores) => {
                let mut command = Command::new("taskset");
                command.args(["-c", &cores.proxy.to_string()]).arg(&program.path);
                command
            }
            None => Command::new(&program.path),
        };
        match peer {
            Peer::Lictor => command.args(["serve", "--config"]).arg(&file),
            Peer::Nginx => command.args(["-e", "stderr", "-p"]).arg(&folder).arg("-c").arg(&file),
            Peer::Haproxy => command.args(["-db", "-f"]).arg(&file),
        };
        let output = fs::File::create(&log)?;
        let child = command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).spawn()?;
        let mut proxy = Self { peer, address, processes: vec![child.id()], child };
        proxy.wait_until_ready(&log).await?;
        proxy.processes = usage::family(proxy.child.id())?;
        Ok(proxy)
    }

    async fn wait_until_ready(&mut self, log: &Path) -> Result<(), Failure> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let trouble = match client::ask_in_turn(self.address, 1).await {
                Ok(()) => return Ok(()),
                Err(trouble) => trouble,
            };
            let ended = self.child.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let state = ended.map_or_else(|| format!("not ready: {trouble}"), |status| format!("ended: {status}"));
                let said = fs::read_to_string(log).unwrap_or_default();
                return Err(format!("{} {state}\n{}", self.peer.name(), said.trim()).into());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Names the proxy in a failure to read its processes, which means that one of them is gone.
    pub fn explain(&self, failure: &Failure) -> Failure {
        format!("{}: {failure}", self.peer.name()).into()
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if self.has_ended() {
            return;
        }
        // Asked first, because a killed nginx would leave its worker behind. The standard library cannot send SIGTERM.
        signal("TERM", &[self.child.id()]);
        let deadline = Instant::now() + END_TIMEOUT;
        while !self.has_ended() {
            if Instant::now() > deadline {
                signal("KILL", &self.processes);
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(POLL);
        }
    }
}

fn signal(name: &str, processes: &[u32]) {
    let processes: Vec<String> = processes.iter().map(u32::to_string).collect();
    let command = format!("kill -{name} {}", processes.join(" "));
    // A process that is gone already is what we wanted.
    let _ = Command::new("sh").args(["-c", &command]).stderr(Stdio::null()).status();
}

/// Free at this moment: nobody else binds loopback ports in the instant until the proxy does, or its start fails loudly.
fn free_address() -> Result<SocketAddr, Failure> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn configuration(peer: Peer, address: SocketAddr, origins: &[Origin], folder: &Path) -> String {
    match peer {
        Peer::Lictor => lictor_configuration(address, origins),
        Peer::Nginx => nginx_configuration(address, origins, folder),
        Peer::Haproxy => haproxy_configuration(address, origins),
    }
}

fn lictor_configuration(address: SocketAddr, origins: &[Origin]) -> String {
    let endpoints: Vec<String> = origins.iter().map(|origin| format!("\"{}\"", origin.address)).collect();
    format!(
        r#"workers = 1

[[listeners]]
name = "edge"
bind = "{address}"

[[routes]]
cluster = "web"

[clusters.web]
endpoints = [{}]
policy = "round_robin"
"#,
        endpoints.join(", ")
    )
}

/// `keepalive` is above what `--connections` can leave idle in any sensible run; nginx's own limit of 1,000 requests a
/// connection is lifted, because the others have none.
fn nginx_configuration(address: SocketAddr, origins: &[Origin], folder: &Path) -> String {
    let servers: String = origins.iter().map(|origin| format!("        server {};\n", origin.address)).collect();
    let folder = folder.display();
    format!(
        "daemon off;
worker_processes 1;
pid {folder}/pid;
error_log stderr warn;
events {{
    worker_connections 4096;
}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000000;
    upstream web {{
{servers}        keepalive 1024;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {address};
        location / {{
            proxy_pass http://web;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        }}
    }}
}}
"
    )
}

fn haproxy_configuration(address: SocketAddr, origins: &[Origin]) -> String {
    let server = |(number, origin): (usize, &Origin)| format!("    server origin{number} {}\n", origin.address);
    let servers: String = origins.iter().enumerate().map(server).collect();
    format!(
        "global
    nbthread 1
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    option forwardfor
frontend edge
    bind {address}
    default_backend web
backend web
    balance roundrobin
    http-reuse always
{servers}"
    )
}
