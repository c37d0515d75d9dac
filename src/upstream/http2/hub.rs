//! A worker's connections to one endpoint, and who is about to open another. Those who come while one is being opened wait for it,
//! unless they are too many for it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::MAX_AGE;
use super::line::{Line, Room, Seat, Terms};
use crate::endpoint::Endpoint;
use crate::upstream::{Error, Kind};

/// What is expected of an endpoint that has not yet said how many streams it takes: RFC 9113 section 6.5.2 wants no less.
const USUAL_STREAMS: usize = 100;

#[derive(Debug)]
pub(in crate::upstream) struct Hub {
    // Nor does a hub keep an endpoint alive.
    endpoint: Weak<Endpoint>,
    lines: RefCell<Vec<Rc<Line>>>,
    /// Under way.
    dials: Cell<usize>,
    waiting: Cell<usize>,
    /// What the last connection took at once.
    streams: Cell<usize>,
    /// Under these terms, the endpoint has chosen HTTP/1.1.
    http1: RefCell<Option<Terms>>,
    failures: Cell<u64>,
    failure: RefCell<Option<(Kind, String)>>,
    /// What was last said to be wrong with its TLS.
    complaint: RefCell<String>,
    changed: Rc<Notify>,
}

/// What there is for a request.
#[derive(Debug)]
pub(in crate::upstream) enum Place {
    Seat(Seat),
    /// A connection is to be opened. Until this is dropped, others wait.
    Dial(Dial),
    /// There may be one soon.
    Wait,
}

/// A connection that is being opened.
#[derive(Debug)]
pub(in crate::upstream) struct Dial(Rc<Hub>);

impl Hub {
    pub(super) fn new(endpoint: &Arc<Endpoint>) -> Self {
        Hub {
            endpoint: Arc::downgrade(endpoint),
            lines: RefCell::default(),
            dials: Cell::default(),
            waiting: Cell::default(),
            streams: Cell::new(USUAL_STREAMS),
            http1: RefCell::default(),
            failures: Cell::default(),
            failure: RefCell::default(),
            complaint: RefCell::default(),
            changed: Rc::default(),
        }
    }

    pub(super) fn changed(&self) -> Rc<Notify> {
        Rc::clone(&self.changed)
    }

    /// A place for a request.
    pub(in crate::upstream) fn place(self: &Rc<Self>, terms: &Terms, age: Option<Duration>, now: Instant) -> Place {
        let (mut doubted, mut free) = (0, None);
        self.lines.borrow_mut().retain(|line| {
            let room = if free.is_some() { Room::Full } else { line.room(terms, age, now) };
            match room {
                Room::Free => free = Some(line.sit()),
                Room::Doubted => doubted += 1,
                // Those who sit there stay.
                Room::Over => return false,
                Room::Full => {}
            }
            true
        });
        if let Some(seat) = free {
            return Place::Seat(seat);
        }
        let coming = self.dials.get() + doubted;
        let wanted = self.dials.get() + self.waiting.get() + 1;
        if wanted <= coming.saturating_mul(self.streams.get().max(1)) {
            return Place::Wait;
        }
        self.dials.set(self.dials.get() + 1);
        Place::Dial(Dial(Rc::clone(self)))
    }

    /// Returns when it is worth another look; with what went wrong for whoever was waited for, if something did.
    pub(in crate::upstream) async fn wait(&self) -> Result<(), Error> {
        let (failures, _waiting) = (self.failures.get(), Waiting::new(&self.waiting));
        self.changed.notified().await;
        match &*self.failure.borrow() {
            Some((kind, text)) if self.failures.get() != failures => Err(Error::connect(*kind, text.clone())),
            _ => Ok(()),
        }
    }

    /// True if the endpoint was asked under these terms, and does not speak HTTP/2.
    pub(in crate::upstream) fn speaks_http1(&self, terms: &Terms) -> bool {
        self.http1.borrow().as_ref() == Some(terms)
    }

    /// Notes what the endpoint has chosen.
    pub(in crate::upstream) fn chose(&self, terms: &Terms, http1: bool) {
        *self.http1.borrow_mut() = http1.then(|| terms.clone());
    }

    /// A connection stands: the first place on it.
    pub(in crate::upstream) fn add(&self, line: Rc<Line>) -> Seat {
        let seat = line.sit();
        self.streams.set(line.most());
        self.lines.borrow_mut().push(line);
        seat
    }

    /// A connection does not stand: those who wait for it learn of it, unless it was for want of time, of which they have their own,
    /// or was one too many: they may wait for another one, which is not.
    pub(in crate::upstream) fn failed(&self, error: &Error) {
        if !error.kind.is_for_want_of_time() && error.kind != Kind::Limit {
            *self.failure.borrow_mut() = Some((error.kind, error.cause()));
            self.failures.set(self.failures.get() + 1);
        }
    }

    /// True if that has not just been said of its TLS: an operator wants to know it, but not with each request.
    pub(in crate::upstream) fn is_news(&self, complaint: &str) -> bool {
        let is_news = *self.complaint.borrow() != complaint;
        if is_news {
            complaint.clone_into(&mut self.complaint.borrow_mut());
        }
        is_news
    }

    pub(super) fn has_departed(&self) -> bool {
        self.endpoint.strong_count() == 0
    }

    pub(super) fn sweep(&self, now: Instant) {
        self.lines.borrow_mut().retain(|line| !line.is_unwanted(MAX_AGE, now));
    }

    /// Closes what nobody uses; false if there was nothing.
    pub(super) fn clear(&self) -> bool {
        let mut lines = self.lines.borrow_mut();
        let before = lines.len();
        lines.retain(|line| !line.is_idle());
        lines.len() < before
    }
}

impl Drop for Dial {
    fn drop(&mut self) {
        self.0.dials.set(self.0.dials.get() - 1);
        self.0.changed.notify_waiters();
    }
}

/// Counts who waits.
struct Waiting<'a>(&'a Cell<usize>);

impl<'a> Waiting<'a> {
    fn new(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
