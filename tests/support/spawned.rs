//! lictor as a process of its own, for what only a process has: an environment, and a standard error that is read by people.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::NamedTempFile;

use super::app::configuration;
use super::client::eventually;

/// How long a process may take to say something.
const PATIENCE: Duration = Duration::from_secs(15);

/// A running `lictor serve`. Dropped, it is killed.
pub struct Spawned {
    process: Child,
    said: Arc<Mutex<Vec<String>>>,
    file: NamedTempFile,
}

impl Drop for Spawned {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Spawned {
    /// Starts with [`configuration`]`(rest)` and these variables on top of the test's own environment, without its `CONSUL_*`.
    pub fn start(rest: &str, environment: &[(&str, &str)]) -> Spawned {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lictor"));
        command.stdout(Stdio::null());
        Spawned::run(command, rest, environment)
    }

    /// Starts with [`configuration`]`(rest)`, and with at most so many descriptors.
    pub fn start_within(rest: &str, descriptors: u32) -> Spawned {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"")).arg(env!("CARGO_BIN_EXE_lictor"));
        shell.stdout(Stdio::null());
        Spawned::run(shell, rest, &[])
    }

    /// Starts with [`configuration`]`(rest)`, this socket under this name as a service manager hands it over, and these variables.
    pub fn start_handed((name, socket): (&str, &TcpListener), rest: &str, environment: &[(&str, &str)]) -> Spawned {
        let mut shell = Command::new("sh");
        // What the shell is, the program that takes its place is: its number is known before there is one.
        let hand = "exec 3<&0 0</dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\" \"$@\"";
        shell.arg("-c").arg(hand).arg(env!("CARGO_BIN_EXE_lictor")).env("LISTEN_FDNAMES", name);
        shell.stdin(OwnedFd::from(socket.try_clone().unwrap())).stdout(Stdio::null());
        Spawned::run_as_is(shell, rest, environment)
    }

    /// Starts with [`configuration`]`(rest)`; its standard output goes there.
    pub fn start_to(rest: &str, output: Stdio) -> Spawned {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lictor"));
        command.stdout(output);
        Spawned::run(command, rest, &[])
    }

    fn run(mut command: Command, rest: &str, environment: &[(&str, &str)]) -> Spawned {
        command.stdin(Stdio::null());
        Spawned::run_as_is(command, rest, environment)
    }

    fn run_as_is(mut command: Command, rest: &str, environment: &[(&str, &str)]) -> Spawned {
        let file = NamedTempFile::with_suffix(".toml").unwrap();
        std::fs::write(file.path(), configuration(rest)).unwrap();
        command.arg("serve").arg("--config").arg(file.path()).env_remove("RUST_LOG");
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CONSUL_")) {
            command.env_remove(name);
        }
        command.envs(environment.iter().copied()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let (lines, heard) = (BufReader::new(process.stderr.take().unwrap()).lines(), Arc::clone(&said));
        // Ends with the process.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| heard.lock().unwrap().push(line)));
        Spawned { process, said, file }
    }

    /// Writes [`configuration`]`(rest)` over what it was started with.
    pub fn rewrite(&self, rest: &str) {
        std::fs::write(self.file.path(), configuration(rest)).unwrap();
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let process = Pid::from_raw(i32::try_from(self.id()).unwrap()).unwrap();
        kill_process(process, signal).unwrap();
    }

    /// Waits for its end, and returns its exit code.
    pub async fn exit_code(&mut self) -> Option<i32> {
        eventually("it ends", PATIENCE, async || self.process.try_wait().unwrap()).await.code()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits until it has written a line with this text to standard error, and returns the line.
    pub async fn says(&self, text: &str) -> String {
        let find = async || self.said.lock().unwrap().iter().find(|line| line.contains(text)).cloned();
        eventually(&format!("it says {text:?}"), PATIENCE, find).await
    }

    /// What it has said so far.
    pub fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }

    /// Waits until it listens, and returns where.
    pub async fn address(&self) -> SocketAddr {
        let line = self.says("listener=\"edge\" address=").await;
        line.rsplit_once("address=").unwrap().1.parse().unwrap()
    }

    /// The same for the operator's window.
    pub async fn admin(&self) -> SocketAddr {
        let line = self.says("admin listening address=").await;
        line.rsplit_once("address=").unwrap().1.parse().unwrap()
    }
}
