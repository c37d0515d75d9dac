//! The true `lictor serve` under callgrind, and how to know that it sleeps.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::CertificateDer;
use tokio::net::TcpListener;

use crate::Failure;
use crate::work::Work;

/// What lictor's certificate is for.
pub const NAME: &str = "lictor.test";
/// To start and to end, under valgrind and on a machine that does other things.
const PATIENCE: Duration = Duration::from_secs(60);
/// From which length on the C library copies and fills by instructions that repeat themselves (`rep movsb`, `rep stosb`): never.
const NO_STRINGS: &str =
    "glibc.cpu.x86_rep_movsb_threshold=0x7fffffffffffffff:glibc.cpu.x86_rep_stosb_threshold=0x7fffffffffffffff";
/// Between two looks at whether it sleeps.
const PAUSE: Duration = Duration::from_micros(20);

/// A running lictor, killed if it has not ended when this is dropped.
pub struct Lictor {
    /// The certificate that it shows.
    pub trust: CertificateDer<'static>,
    child: Child,
    address: SocketAddr,
    files: PathBuf,
}

/// Tells when it sleeps.
pub struct Rest {
    tasks: PathBuf,
}

/// Says what to install where there is no callgrind.
pub fn find_callgrind() -> Result<(), Failure> {
    let found = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    match found {
        Ok(status) if status.success() => Ok(()),
        _ => Err("this counts with callgrind, and there is no valgrind: install it (Debian: apt-get install valgrind)"
            .into()),
    }
}

impl Lictor {
    /// Starts it with what it has when nothing is configured, and one worker. Its files begin with `files`.
    pub fn start(program: &Path, work: Work, origins: &[TcpListener], files: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(files)?;
        let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
        let (certificate, key) = (files.join("certificate.pem"), files.join("key.pem"));
        fs::write(&certificate, cert.pem())?;
        fs::write(&key, signing_key.serialize_pem())?;
        // Free at this moment: nobody else binds loopback ports in the instant until it does, or its start fails loudly.
        let address = StdListener::bind("127.0.0.1:0")?.local_addr()?;
        let endpoints: Result<Vec<_>, io::Error> =
            origins.iter().map(|origin| Ok(format!("\"{}\"", origin.local_addr()?))).collect();
        let tls = match work {
            Work::Tls => {
                format!("tls.certificates = [{{ cert = {certificate:?}, key = {key:?} }}]\n")
            }
            _ => String::new(),
        };
        let log = match work {
            Work::Logged => format!("[access_log]\nformat = \"json\"\npath = {:?}\n", files.join("access.log")),
            _ => String::new(),
        };
        let configuration = format!(
            "workers = 1\ndrain.delay = \"0s\"\n{log}[[listeners]]\nname = \"edge\"\nbind = \"{address}\"\n{tls}[[routes]]\n\
             cluster = \"web\"\n[clusters.web]\nendpoints = [{}]\npolicy = \"round_robin\"\n",
            endpoints?.join(", ")
        );
        fs::write(files.join("lictor.toml"), configuration)?;
        let mut counts = std::ffi::OsString::from("--callgrind-out-file=");
        counts.push(files.join("counts"));
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", "--separate-threads=yes", "--quiet"]).arg(counts);
        command.arg(program).args(["serve", "--config"]).arg(files.join("lictor.toml"));
        // Nothing of this environment shall make a difference. And where the C library copies by one instruction that repeats itself,
        // callgrind counts an instruction for each byte: as no processor has it.
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("GLIBC_TUNABLES", NO_STRINGS);
        let log = fs::File::create(files.join("log"))?;
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        Ok(Lictor { trust: cert.der().clone(), child, address, files: files.to_owned() })
    }

    /// Where it listens, once it does.
    pub async fn ready(&mut self) -> Result<SocketAddr, Failure> {
        let began = Instant::now();
        while !self.said().contains("listening") {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("lictor has ended: {status}").into());
            }
            if began.elapsed() > PATIENCE {
                return Err("lictor does not listen".into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(self.address)
    }

    pub fn rest(&self) -> Rest {
        Rest { tasks: format!("/proc/{}/task", self.child.id()).into() }
    }

    /// All that it and valgrind have said.
    pub fn said(&self) -> String {
        fs::read_to_string(self.files.join("log")).unwrap_or_default()
    }

    /// Ends it, and returns the instructions of its threads, in the order in which they began.
    pub fn end(&mut self) -> Result<Vec<u64>, Failure> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let began = Instant::now();
        while self.child.try_wait()?.is_none() {
            if began.elapsed() > PATIENCE {
                return Err("lictor does not end".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut counts = Vec::new();
        for thread in 1.. {
            let Ok(text) = fs::read_to_string(self.files.join(format!("counts-{thread:02}"))) else { break };
            let total = text.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok());
            counts.push(total.ok_or("callgrind's file has no totals")?);
        }
        if counts.is_empty() { Err("callgrind has written nothing".into()) } else { Ok(counts) }
    }
}

impl Drop for Lictor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Rest {
    /// Returns when every thread sleeps, which is when the worker waits for its sockets: valgrind runs one thread at a time, and
    /// a thread that could run is not asleep. Blocks the only thread here, so that nothing happens meanwhile.
    pub fn wait(&self) -> io::Result<()> {
        let began = Instant::now();
        while !(self.sleeps()? && self.sleeps()?) {
            if began.elapsed() > PATIENCE {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "lictor does not come to rest"));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn sleeps(&self) -> io::Result<bool> {
        for task in fs::read_dir(&self.tasks)? {
            // One that has just ended does nothing either.
            let Ok(stat) = fs::read_to_string(task?.path().join("stat")) else { continue };
            // The name in parentheses may contain anything (proc(5)).
            if !stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" S")) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
