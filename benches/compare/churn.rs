//! Many endpoints from a real Consul, which come and go while requests are under way, against the same when nothing changes.
//! Lictor alone: the others do not follow Consul, or not by themselves.

mod consul;

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failure;
use crate::check::Visitor;
use crate::findings::{Churn, Findings, Mode, Round};
use crate::machine::Cores;
use crate::peers::Peer;
use crate::run::{SHARE, settle};
use crate::stage::{Stage, Target};
use crate::work::Work;
use crate::{report, usage};

use consul::Fleet;

/// Services, each a cluster behind a route of its own.
pub const SERVICES: usize = 100;
/// Instances of each.
const INSTANCES: usize = 50;
/// A listener for each, and a connection from the proxy to most.
pub const DESCRIPTORS: usize = 2 * SERVICES * INSTANCES;
/// How long lictor may take until it has every list.
const PATIENCE: Duration = Duration::from_secs(60);
/// After the changes, until their traces are gone from the machine.
const SETTLE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(50);

/// Measures rounds of both, in turn.
pub fn measure(stage: &Stage, lictor: &Path, findings: &mut Findings) -> Result<(), Failure> {
    let origins = stage.add_origins(SERVICES * INSTANCES)?;
    let addresses: Vec<SocketAddr> = origins.iter().map(|origin| origin.address).collect();
    let mut fleet = Fleet::start(&addresses, SERVICES)?;
    let lictor = Lictor::start(lictor, stage, fleet.address())?;
    lictor.wait_until_ready(stage)?;
    let target = Target {
        peer: Peer::Lictor,
        address: lictor.address,
        processes: usage::family(lictor.child.id())?,
        tls: Vec::new(),
    };
    settle(Work::Churn, target.peer, &stage.warm_up(Work::Churn, &target)?, findings);
    let most = stage.measure((Work::Churn, Mode::Saturated), &target, &origins)?;
    let mode = Mode::Paced((most.rate() * SHARE).floor().max(1.0));
    for round in 1..=stage.rounds {
        let (mut still, mut changing) = (None, None);
        // Each goes first in turn.
        for turn in 0..2 {
            let measured = if (round + turn) % 2 == 0 {
                still.insert(Round { round, ..stage.measure((Work::Churn, mode), &target, &origins)? })
            } else {
                let storm = fleet.storm()?;
                let measured = stage.measure((Work::Churn, mode), &target, &origins);
                let changes = storm.end()?;
                stage.stop.sleep(SETTLE)?;
                &mut changing.insert((changes, Round { round, ..measured? })).1
            };
            settle(Work::Churn, target.peer, &measured.tally, findings);
            report::print_round(measured, stage.rounds);
        }
        if let (Some(still), Some((changes, changing))) = (still, changing) {
            findings.churn.push(Churn { still, changing, changes });
        }
    }
    Ok(())
}

/// A lictor that follows Consul, ended when dropped.
struct Lictor {
    child: Child,
    address: SocketAddr,
    admin: SocketAddr,
}

impl Lictor {
    fn start(program: &Path, stage: &Stage, consul: SocketAddr) -> Result<Self, Failure> {
        let (address, admin) = (free_address()?, free_address()?);
        let file = stage.scratch.join("churn.toml");
        fs::write(&file, configuration(address, admin, consul)?)?;
        let mut command = match stage.cores {
            Some(Cores { proxy, .. }) => {
                let mut command = Command::new("taskset");
                command.args(["-c", &proxy.to_string()]).arg(program);
                command
            }
            None => Command::new(program),
        };
        let log = fs::File::create(stage.scratch.join("churn.log"))?;
        command.args(["serve", "--config"]).arg(&file);
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        Ok(Self { child, address, admin })
    }

    fn wait_until_ready(&self, stage: &Stage) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        while !is_ready(self.admin) {
            stage.stop.sleep(POLL)?;
            if Instant::now() > deadline {
                let said = fs::read_to_string(stage.scratch.join("churn.log")).unwrap_or_default();
                return Err(format!("lictor is not ready\n{}", said.trim()).into());
            }
        }
        let mut visitor = Visitor::connect(self.address, None)?;
        let script = Work::Churn.script();
        script.requests.iter().try_for_each(|request| visitor.ask(request, &script.answer))
    }
}

impl Drop for Lictor {
    fn drop(&mut self) {
        // Nothing depends on how it leaves.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_ready(admin: SocketAddr) -> bool {
    let request = b"GET /readyz HTTP/1.1\r\nHost: compare\r\n\r\n";
    Visitor::connect(admin, None).is_ok_and(|mut visitor| visitor.status(request).is_ok_and(|status| status == 200))
}

fn configuration(address: SocketAddr, admin: SocketAddr, consul: SocketAddr) -> Result<String, std::fmt::Error> {
    let mut text = format!(
        "workers = 1
[admin]
bind = \"{admin}\"
[consul]
address = \"http://{consul}\"
[[listeners]]
name = \"edge\"
bind = \"{address}\"
"
    );
    for service in 0..SERVICES {
        writeln!(text, "[[routes]]\npath = \"/r/{service}/\"\ncluster = \"s{service}\"")?;
    }
    for service in 0..SERVICES {
        writeln!(text, "[clusters.s{service}]\nconsul = {{ service = \"s{service}\" }}\npolicy = \"round_robin\"")?;
    }
    Ok(text)
}

fn free_address() -> Result<SocketAddr, Failure> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
