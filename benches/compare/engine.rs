//! The thread that is both ends: the load and the origins, on one core, around one epoll. What has happened on any connection
//! is done in one go before it sleeps again, and nothing is allocated for a request, so that the proxy is the bottleneck as
//! far as that can be had.

use std::io;
use std::mem::MaybeUninit;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventFlags};

use crate::Failure;
use crate::load::{Clients, Demand, Ready, Tally};
use crate::origin::{Servers, Socket};

/// Events taken at once.
const EVENTS: usize = 256;
/// The longest sleep: commands are looked for after each.
const NAP: Duration = Duration::from_millis(2);
/// How long answers under way are waited for when a load ends.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long this thread may take to do what it is told, beyond that.
const OBEDIENCE: Duration = Duration::from_secs(30);
/// Bytes that an origin reads at once.
const GULP: usize = 256 * 1024;
/// How exactly sleeps end, in ns: the kernel's own 50 µs would be late for a schedule of tens of thousands a second.
const SLACK: u64 = 1_000;

/// What an event is about: the upper half of its token, which is 0 for a client's.
const LISTENER: u64 = 1 << 32;
const SERVER: u64 = 2 << 32;
const KIND: u64 = !0 << 32;

/// The measuring thread's hold on it.
#[derive(Debug)]
pub struct Engine {
    commands: Sender<Command>,
}

#[derive(Debug)]
enum Command {
    Serve(Vec<Socket>),
    Start(Box<Demand>),
    Begin(Sender<Instant>),
    End(Sender<Instant>),
    Finish(Sender<Tally>),
}

impl Engine {
    /// Starts it; it lasts as long as the process.
    pub fn start() -> Result<Self, Failure> {
        let poll = epoll::create(CreateFlags::CLOEXEC)?;
        let (commands, orders) = channel();
        let thread = Loop { poll, orders, servers: Servers::new(GULP), clients: None, finishing: None, failure: None };
        std::thread::Builder::new().name("load".to_owned()).spawn(move || thread.run())?;
        Ok(Self { commands })
    }

    /// Serves these origins from now on.
    pub fn serve(&self, sockets: Vec<Socket>) -> Result<(), Failure> {
        self.tell(Command::Serve(sockets))
    }

    /// Starts a load, after the one before has finished.
    pub fn start_load(&self, demand: Demand) -> Result<(), Failure> {
        self.tell(Command::Start(Box::new(demand)))
    }

    /// Counts from now on.
    pub fn begin_window(&self) -> Result<Instant, Failure> {
        self.ask(Command::Begin)
    }

    /// Counts no more.
    pub fn end_window(&self) -> Result<Instant, Failure> {
        self.ask(Command::End)
    }

    /// Waits for the answers under way, closes the connections and hands out what was counted.
    pub fn finish(&self) -> Result<Tally, Failure> {
        self.ask(Command::Finish)
    }

    fn tell(&self, command: Command) -> Result<(), Failure> {
        self.commands.send(command).map_err(|_| "the load's thread has ended".into())
    }

    fn ask<T>(&self, command: impl FnOnce(Sender<T>) -> Command) -> Result<T, Failure> {
        let (sender, receiver) = channel();
        self.tell(command(sender))?;
        receiver.recv_timeout(OBEDIENCE).map_err(|error| match error {
            RecvTimeoutError::Timeout => "the load's thread does not answer".into(),
            RecvTimeoutError::Disconnected => "the load's thread has ended, or no load was running".into(),
        })
    }
}

/// The thread's own.
struct Loop {
    poll: OwnedFd,
    orders: Receiver<Command>,
    servers: Servers,
    clients: Option<Clients>,
    /// Who waits for the end of the load, and until when.
    finishing: Option<(Sender<Tally>, Instant)>,
    failure: Option<io::Error>,
}

impl Loop {
    fn run(mut self) {
        // If it cannot be had, latencies in an open loop are some tens of µs longer, for every proxy.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(SLACK));
        let mut events = [const { MaybeUninit::<Event>::uninit() }; EVENTS];
        while self.failure.is_none() {
            self.obey();
            self.dispatch();
            let rest = self.rest();
            let (happened, _) = match epoll::wait(&self.poll, &mut events, Some(&rest)) {
                Ok(happened) => happened,
                Err(rustix::io::Errno::INTR) => continue,
                // Without its epoll the thread is of no use; whoever asks it will be told that it has ended.
                Err(_) => return,
            };
            for event in happened.iter() {
                self.serve(event.data.u64(), event.flags);
            }
        }
    }

    fn rest(&self) -> Timespec {
        let rest = self.clients.as_ref().map_or(NAP, |clients| clients.rest(Instant::now(), NAP));
        Timespec { tv_sec: 0, tv_nsec: i64::from(rest.subsec_nanos()) }
    }

    fn dispatch(&mut self) {
        let Some(clients) = &mut self.clients else { return };
        clients.dispatch(self.poll.as_fd());
        let Some((_, deadline)) = &self.finishing else { return };
        if !clients.is_over() && Instant::now() < *deadline {
            return;
        }
        if let (Some(clients), Some((waiting, _))) = (self.clients.take(), self.finishing.take()) {
            // Whoever asked may have given up.
            let _ = waiting.send(clients.into_tally());
        }
    }

    fn serve(&mut self, token: u64, flags: EventFlags) {
        let ready = Ready::of(flags);
        let index = (token & !KIND) as usize;
        match token & KIND {
            LISTENER => self.servers.accept(self.poll.as_fd(), index, |index| SERVER | index as u64),
            SERVER => self.servers.serve(index, ready),
            _ => {
                if let Some(clients) = &mut self.clients {
                    clients.serve(self.poll.as_fd(), index, ready);
                }
            }
        }
    }

    fn obey(&mut self) {
        while let Ok(command) = self.orders.try_recv() {
            self.obey_one(command);
        }
    }

    /// An answer that nobody waits for any more is no failure.
    fn obey_one(&mut self, command: Command) {
        match (command, &mut self.clients) {
            (Command::Serve(sockets), _) => {
                for socket in sockets {
                    let added = self.servers.add(self.poll.as_fd(), socket, |index| LISTENER | index as u64);
                    self.failure = self.failure.take().or(added.err());
                }
            }
            (Command::Start(demand), _) => self.clients = Some(Clients::new(*demand)),
            (Command::Begin(answer), Some(clients)) => {
                let _ = answer.send(clients.begin_window());
            }
            (Command::End(answer), Some(clients)) => {
                let _ = answer.send(clients.end_window());
            }
            (Command::Finish(answer), Some(clients)) => {
                clients.end();
                self.finishing = Some((answer, Instant::now() + PATIENCE));
            }
            // Without a load there is no answer, which whoever asks is told.
            (Command::Begin(_) | Command::End(_) | Command::Finish(_), None) => {}
        }
    }
}
