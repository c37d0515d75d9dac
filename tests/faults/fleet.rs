//! The origins of a run as their parent sees them: started, told what to do, killed, stopped, and started again where they were.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::behaviour::Behaviour;
use crate::origin;
use crate::process::Process;

/// How long an origin that runs may take to do what it is told.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often each POST was seen by any origin, by its id.
pub type Seen = Arc<Mutex<HashMap<u64, u32>>>;

/// One origin.
pub struct Member {
    pub name: String,
    pub address: SocketAddr,
    process: Process,
    said: mpsc::UnboundedReceiver<String>,
    seen: Seen,
}

impl Member {
    pub async fn start(name: &str, seen: &Seen) -> Member {
        Member::start_at(name, 0, seen).await
    }

    async fn start_at(name: &str, port: u16, seen: &Seen) -> Member {
        let arguments = [origin::ROLE.into(), name.into(), port.to_string().into()];
        let mut process = Process::start(&arguments, |command| command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let lines = BufReader::new(process.child().stdout.take().unwrap()).lines();
        let (sender, said) = mpsc::unbounded_channel();
        let noted = Arc::clone(seen);
        // Ends with the process.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                match line.strip_prefix("seen ") {
                    Some(id) => *noted.lock().unwrap().entry(id.parse().unwrap()).or_default() += 1,
                    None => drop(sender.send(line)),
                }
            }
        });
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut member = Member { name: name.to_owned(), address, process, said, seen: Arc::clone(seen) };
        let port = member.hear("port ").await.parse().unwrap();
        member.address.set_port(port);
        member
    }

    /// Returns when it is in force.
    pub async fn tell(&mut self, behaviour: Behaviour) {
        assert!(self.try_tell(behaviour).await, "{} has not done as it was told", self.name);
    }

    /// The same; false if it does not say so in time, for a run that is about something else.
    pub async fn try_tell(&mut self, behaviour: Behaviour) -> bool {
        self.say(&behaviour.to_string());
        timeout(PATIENCE, self.said.recv()).await.ok().flatten().is_some_and(|line| line == "done")
    }

    /// Requests with an id that reached it, since its start.
    pub async fn count(&mut self) -> u64 {
        self.say("count");
        self.hear("count ").await.parse().unwrap()
    }

    pub fn kill(&mut self) {
        self.process.kill();
    }

    pub fn stop(&self) {
        self.process.signal(Signal::STOP);
    }

    pub fn go_on(&self) {
        self.process.signal(Signal::CONT);
    }

    /// A new process at the same address, after [`Self::kill`].
    pub async fn restart(&mut self) {
        *self = Member::start_at(&self.name, self.address.port(), &self.seen).await;
    }

    fn say(&mut self, line: &str) {
        writeln!(self.process.child().stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    async fn hear(&mut self, beginning: &str) -> String {
        let heard = timeout(PATIENCE, self.said.recv()).await;
        let line = heard.unwrap_or_default().unwrap_or_else(|| panic!("{} does not say {beginning:?}", self.name));
        line.strip_prefix(beginning).unwrap_or_else(|| panic!("{} says {line:?}", self.name)).to_owned()
    }
}
