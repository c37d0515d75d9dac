//! A proxy while it runs: started on its core, waited for, and ended with all its processes.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Launch, Peer, Plan, Program, Site};
use crate::machine::Cores;
use crate::{Failure, usage};

/// How long a proxy may take from its start until it works.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How long it may take to leave once asked; then it is killed.
const END_TIMEOUT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(25);
/// Where listeners are put: below the ports that the system gives to connections, of which a run has many.
const PORTS: std::ops::Range<u16> = 15_000..32_000;

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
    /// Starts a proxy on a free port, on the proxies' core, and waits until it works. `scratch` is any folder; the proxy gets one in it.
    pub fn start(program: &Program, plan: &Plan<'_>, scratch: &Path, cores: Option<Cores>) -> Result<Self, Failure> {
        let peer = program.peer;
        let kind = peer.kind();
        let (address, spare) = free_addresses()?;
        let folder = scratch.join(format!("{}-{}", peer.name(), address.port()));
        fs::create_dir(&folder)?;
        let launch = (kind.launch)(&Site { plan, address, spare, folder: &folder })?;
        let log = folder.join("log");

        let mut command = match cores {
            Some(cores) => {
                let mut command = Command::new("taskset");
                command.args(["-c", &cores.proxy.to_string()]).arg(&program.path);
                command
            }
            None => Command::new(&program.path),
        };
        let output = fs::File::create(&log)?;
        command.args(&launch.arguments).envs(launch.environment.iter().cloned()).current_dir(&folder);
        // A person's wish for logs is not for a comparison.
        command.env_remove("RUST_LOG");
        let child = command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).spawn()?;
        let mut proxy = Self { peer, address, processes: vec![child.id()], child };
        proxy.wait_until_it_works(&launch, &log)?;
        Ok(proxy)
    }

    /// Names the proxy in a failure to read its processes, which means that one of them is gone.
    pub fn explain(&self, failure: &Failure) -> Failure {
        format!("{}: {failure}", self.peer.name()).into()
    }

    fn wait_until_it_works(&mut self, launch: &Launch, log: &Path) -> Result<(), Failure> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let accepts = TcpStream::connect(self.address).is_ok();
            self.processes = usage::family(self.child.id())?;
            if accepts && self.processes.len() >= launch.processes && launch.ready.is_none_or(knows_what_to_do) {
                return Ok(());
            }
            let ended = self.child.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let state = ended.map_or_else(|| "does not accept".to_owned(), |status| format!("ended: {status}"));
                let said = fs::read_to_string(log).unwrap_or_default();
                return Err(format!("{} {state}\n{}", self.peer.name(), said.trim()).into());
            }
            std::thread::sleep(POLL);
        }
    }

    fn has_ended(&mut self) -> bool {
        let child_has = !matches!(self.child.try_wait(), Ok(None));
        child_has && self.processes.iter().all(|process| !usage::runs(*process))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Asked first, because a killed nginx would leave its worker behind. The standard library cannot send SIGTERM.
        if matches!(self.child.try_wait(), Ok(None)) {
            signal("TERM", &[self.child.id()]);
        }
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

/// Whether whoever listens there has a route for a request.
fn knows_what_to_do(address: SocketAddr) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(START_TIMEOUT))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: lictor.test\r\nConnection: close\r\n\r\n")?;
        let mut status = [0; b"HTTP/1.1 404".len()];
        stream.read_exact(&mut status)?;
        std::io::Result::Ok(status)
    };
    ask().is_ok_and(|status| !status.ends_with(b"404"))
}

/// Free at this moment: nobody else binds these in the instant until the proxy does, or its start fails loudly.
fn free_addresses() -> Result<(SocketAddr, SocketAddr), Failure> {
    // Not always the same first, so that two runs at once seldom meet.
    let count = PORTS.len() as u32;
    let first = std::process::id().wrapping_mul(97) % count;
    let ports = (0..count).map(|step| PORTS.start + ((first + step) % count) as u16);
    let mut free =
        ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port))).filter(|at| TcpListener::bind(at).is_ok());
    match (free.next(), free.next()) {
        (Some(one), Some(other)) => Ok((one, other)),
        _ => Err(format!("no free ports from {} to {}", PORTS.start, PORTS.end).into()),
    }
}
