//! All connections of one load, and which of them sends the next request when.
//!
//! In an open loop a request has its time by the schedule, and its latency counts from then, also where no connection was
//! free at that time or the load itself was late: a proxy that stands still for a second is charged with everybody who would
//! have come in that second, and not with the few who happened to wait ("coordinated omission", as wrk2's author calls it).

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustls::ClientConnection;
use rustls_pki_types::ServerName;

use crate::load::talk::Talk;
use crate::load::{Demand, Pace, Ready, Script, Shared, Tally, Trouble, Wire};
use crate::work::HOST;

/// After a failure, so that a proxy that refuses everything is not hammered.
const PAUSE: Duration = Duration::from_millis(20);

/// A load under way.
#[derive(Debug)]
pub struct Clients {
    demand: Demand,
    script: Arc<Script>,
    talks: Vec<Option<Talk>>,
    /// Who can take a request: a connection is in here once for each.
    free: VecDeque<usize>,
    /// Who has failed, until when.
    resting: VecDeque<(Instant, usize)>,
    /// When the next request is due, in an open loop.
    next: Instant,
    gap: Duration,
    window: Window,
    /// No request is due any more.
    ended: bool,
    number: u64,
    shared: Shared,
    tally: Tally,
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    began: Option<Instant>,
    ended: Option<Instant>,
}

impl Window {
    fn is_open(self) -> bool {
        self.began.is_some() && self.ended.is_none()
    }

    fn holds(self, due: Instant) -> bool {
        self.began.is_some_and(|began| due >= began) && self.ended.is_none_or(|ended| due < ended)
    }
}

impl Clients {
    /// A load whose connections are opened as they are needed.
    pub fn new(demand: Demand) -> Self {
        let gap = match demand.pace {
            Pace::Saturating => Duration::ZERO,
            Pace::PerSecond(rate) => Duration::from_secs_f64(1.0 / rate),
        };
        let connections = usize::from(demand.connections);
        Self {
            script: Arc::new(demand.script.clone()),
            talks: (0..connections).map(|_| None).collect(),
            free: (0..connections).collect(),
            resting: VecDeque::new(),
            next: Instant::now(),
            gap,
            window: Window::default(),
            ended: false,
            number: 0,
            shared: Shared::new(),
            tally: Tally::default(),
            demand,
        }
    }

    /// Counts from now on.
    pub fn begin_window(&mut self) -> Instant {
        *self.window.began.insert(Instant::now())
    }

    /// Counts no answer that comes later; the latency of what is still under way is waited for.
    pub fn end_window(&mut self) -> Instant {
        *self.window.ended.insert(Instant::now())
    }

    /// Nothing is due any more.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Whether all that was due has been answered.
    pub fn is_over(&self) -> bool {
        self.ended && self.overdue() == 0 && self.talks.iter().flatten().all(|talk| talk.waiting() == 0)
    }

    /// What was counted. Whoever still waits for an answer has waited too long.
    pub fn into_tally(mut self) -> Tally {
        for _ in self.talks.iter().flatten().filter(|talk| talk.waiting() > 0) {
            self.tally.count(&Trouble::Lost(io::ErrorKind::TimedOut.into()));
        }
        self.tally.unsent = self.overdue();
        self.tally.finish();
        self.tally
    }

    /// How long nothing will happen if nobody answers.
    pub fn rest(&self, now: Instant, most: Duration) -> Duration {
        let woken = self.resting.front().map_or(most, |(until, _)| until.saturating_duration_since(now));
        let due = match self.demand.pace {
            Pace::PerSecond(_) if !self.free.is_empty() && !self.ended => self.next.saturating_duration_since(now),
            _ => most,
        };
        woken.min(due).min(most)
    }

    /// Sends what is due and can be sent.
    pub fn dispatch(&mut self, poll: BorrowedFd<'_>) {
        let mut now = Instant::now();
        while self.resting.front().is_some_and(|(until, _)| *until <= now) {
            self.free.extend(self.resting.pop_front().map(|(_, index)| index));
        }
        while let Some(due) = self.due(now) {
            let Some(index) = self.free.pop_front() else { return };
            // The other side of an HTTP/2 connection may have taken back some of its room.
            if self.talks[index].as_ref().is_some_and(|talk| talk.room() == 0) {
                continue;
            }
            self.next += self.gap;
            self.ask(poll, index, due);
            // In an open loop time goes on while we send, and more may be due; a closed loop's next request is due when it
            // is sent.
            now = Instant::now();
        }
    }

    /// Something happened to this connection.
    pub fn serve(&mut self, poll: BorrowedFd<'_>, index: usize, ready: Ready) {
        // An event of a connection that has been closed since.
        let Some(talk) = self.talks.get_mut(index).and_then(Option::as_mut) else { return };
        let room = talk.room();
        let served = talk.serve(ready, &mut self.shared);
        let (closed, more) = (talk.is_closed(), talk.room().saturating_sub(room));
        self.settle(index);
        match served {
            Err(trouble) => self.fail(index, &trouble),
            Ok(()) if closed => self.part(index),
            Ok(()) => self.free.extend(std::iter::repeat_n(index, more)),
        }
        self.dispatch(poll);
    }

    /// Requests of the schedule that have not been sent, once it has ended.
    fn overdue(&self) -> u64 {
        match (self.demand.pace, self.window.ended) {
            (Pace::PerSecond(rate), Some(ended)) => {
                (ended.saturating_duration_since(self.next).as_secs_f64() * rate) as u64
            }
            _ => 0,
        }
    }

    fn due(&self, now: Instant) -> Option<Instant> {
        match self.demand.pace {
            Pace::Saturating => (!self.ended).then_some(now),
            Pace::PerSecond(_) if self.ended && self.overdue() == 0 => None,
            Pace::PerSecond(_) => (self.next <= now).then_some(self.next),
        }
    }

    fn ask(&mut self, poll: BorrowedFd<'_>, index: usize, due: Instant) {
        if let Err(trouble) = self.try_ask(poll, index, due) {
            self.fail(index, &trouble);
        }
    }

    fn try_ask(&mut self, poll: BorrowedFd<'_>, index: usize, due: Instant) -> Result<(), Trouble> {
        let talk = match &mut self.talks[index] {
            Some(talk) => talk,
            place => {
                let talk = connect(&self.demand, &self.script, index)?;
                let events = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
                epoll::add(poll, &talk, EventData::new_u64(index as u64), events).map_err(io::Error::from)?;
                self.tally.connections += u64::from(self.window.is_open());
                let talk = place.insert(talk);
                // One request takes the place for which it was free; the others come with the connection.
                self.free.extend(std::iter::repeat_n(index, talk.room().saturating_sub(1)));
                talk
            }
        };
        self.number += 1;
        talk.ask(self.number, due)
    }

    /// Counts the answers that have just become whole.
    fn settle(&mut self, index: usize) {
        if self.shared.done.is_empty() {
            return;
        }
        let now = Instant::now();
        let open = self.window.is_open();
        let first = !self.script.reuse && open;
        if first && self.talks[index].as_ref().is_some_and(Talk::is_resumed) {
            self.tally.resumed += 1;
        }
        for due in self.shared.done.drain(..) {
            self.tally.requests += u64::from(open);
            if self.window.holds(due) {
                self.tally.record(now.saturating_duration_since(due));
            }
        }
    }

    /// The other side has closed where it may.
    fn part(&mut self, index: usize) {
        self.talks[index] = None;
        self.free.retain(|free| *free != index);
        self.free.push_back(index);
    }

    fn fail(&mut self, index: usize, trouble: &Trouble) {
        self.tally.count(trouble);
        self.talks[index] = None;
        self.free.retain(|free| *free != index);
        self.resting.push_back((Instant::now() + PAUSE, index));
    }
}

/// Opens the connection of this place.
fn connect(demand: &Demand, script: &Arc<Script>, index: usize) -> io::Result<Talk> {
    let tls = match demand.tls.get(index % demand.tls.len().max(1)) {
        Some(config) => {
            let name = ServerName::try_from(HOST).map_err(io::Error::other)?;
            Some(ClientConnection::new(config.clone(), name).map_err(io::Error::other)?)
        }
        None => None,
    };
    Ok(Talk::new(Wire::connect(demand.address, tls)?, script))
}
