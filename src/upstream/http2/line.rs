//! A connection that many requests share, as they see it: whether it takes another, and a seat for each that it has taken.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::hub::Hub;
use super::{Sender, driver};
use crate::endpoint::Connected;
use crate::tls;

/// Streams at once, whatever an endpoint offers: what ends with one connection should not be everything.
pub(super) const MOST_STREAMS: usize = 1000;

/// What connections are secured with: those that were made under other terms are not used under these.
#[derive(Debug, Clone, Default)]
pub(in crate::upstream) struct Terms(pub(in crate::upstream) Option<Arc<Result<tls::Client, tls::Error>>>);

impl PartialEq for Terms {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        }
    }
}

#[derive(Debug)]
pub(in crate::upstream) struct Line {
    sender: Sender,
    state: Rc<State>,
    terms: Terms,
    opened: Instant,
    /// 0 to 1, drawn when it was opened.
    haste: f64,
    used: Cell<bool>,
}

/// What a connection's driver and those who use it tell each other.
#[derive(Debug)]
pub(super) struct State {
    streams: Cell<usize>,
    idle_since: Cell<Instant>,
    over: Cell<bool>,
    doubted: Cell<bool>,
    reads: Cell<u64>,
    written: Cell<u64>,
    connected: RefCell<Option<Connected>>,
    /// Wakes the driver.
    pub(super) look: Notify,
    /// Wakes who waits for a place.
    changed: Rc<Notify>,
}

/// A request's place on a connection.
#[derive(Debug)]
pub(in crate::upstream) struct Seat {
    line: Rc<Line>,
    /// Whether the connection had carried a request before.
    pub(in crate::upstream) reused: bool,
}

/// Whether a connection takes another request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Free,
    /// It is being asked whether it still stands.
    Doubted,
    Full,
    /// It never will again.
    Over,
}

impl Line {
    pub(super) fn new(sender: Sender, state: Rc<State>, terms: Terms) -> Self {
        let (opened, haste) = (Instant::now(), fastrand::f64());
        Line { sender, state, terms, opened, haste, used: Cell::new(false) }
    }

    /// Counts it as one to its endpoint for as long as it stands.
    pub(in crate::upstream) fn counts(&self, connected: Connected) {
        *self.state.connected.borrow_mut() = Some(connected);
    }

    /// Whether it takes another request, of these terms and with that bound on its age. One that was idle for long is asked
    /// first whether it still stands.
    pub(super) fn room(&self, terms: &Terms, age: Option<Duration>, now: Instant) -> Room {
        let lived = now.saturating_duration_since(self.opened);
        let is_old = age.is_some_and(|age| lived >= age.mul_f64(1.0 - 0.1 * self.haste));
        if self.state.over.get() || is_old || self.terms != *terms || self.is_leaving() {
            return Room::Over;
        }
        if self.state.doubted.get() {
            return Room::Doubted;
        }
        if self.state.streams.get() == 0 && self.state.idle(now) >= driver::SILENCE {
            self.state.doubted.set(true);
            self.state.look.notify_one();
            return Room::Doubted;
        }
        if self.state.streams.get() < self.most() { Room::Free } else { Room::Full }
    }

    /// Requests that it takes at once.
    pub(super) fn most(&self) -> usize {
        self.sender.current_max_send_streams().min(MOST_STREAMS)
    }

    /// True once the other side has said that it takes no more, or nothing can be sent any more.
    fn is_leaving(&self) -> bool {
        matches!(self.sender.clone().poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(_)))
    }

    /// A place on it.
    pub(super) fn sit(self: &Rc<Self>) -> Seat {
        self.state.begin();
        Seat { line: Rc::clone(self), reused: self.used.replace(true) }
    }

    /// True if nobody has used it for so long, or its place is needed more elsewhere.
    pub(super) fn is_unwanted(&self, most: Duration, now: Instant) -> bool {
        let gives_way = || self.state.connected.borrow().as_ref().is_some_and(Connected::give_way);
        self.is_idle() && (self.state.idle(now) > most || gives_way())
    }

    pub(super) fn is_idle(&self) -> bool {
        self.state.streams.get() == 0
    }
}

impl State {
    pub(super) fn new(hub: &Hub) -> Self {
        State {
            streams: Cell::default(),
            idle_since: Cell::new(Instant::now()),
            over: Cell::default(),
            doubted: Cell::default(),
            reads: Cell::default(),
            written: Cell::default(),
            connected: RefCell::default(),
            look: Notify::new(),
            changed: hub.changed(),
        }
    }

    pub(super) fn heard(&self) {
        self.reads.set(self.reads.get().wrapping_add(1));
    }

    pub(super) fn wrote(&self, count: usize) {
        self.written.set(self.written.get().wrapping_add(count as u64));
    }

    /// Changes whenever something comes.
    pub(super) fn reads(&self) -> u64 {
        self.reads.get()
    }

    pub(super) fn has_streams(&self) -> bool {
        self.streams.get() > 0
    }

    /// Counts a stream.
    pub(super) fn begin(&self) {
        self.streams.set(self.streams.get() + 1);
    }

    /// It has answered.
    pub(super) fn trust(&self) {
        if self.doubted.replace(false) {
            self.idle_since.set(Instant::now());
            self.changed.notify_waiters();
        }
    }

    /// It has ended, for whatever reason.
    pub(super) fn end(&self) {
        self.over.set(true);
        self.connected.borrow_mut().take();
        self.changed.notify_waiters();
    }

    fn idle(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.idle_since.get())
    }
}

impl Seat {
    pub(super) fn sender(&self) -> Sender {
        self.line.sender.clone()
    }

    /// Bytes that the connection has taken so far, of all who sit on it.
    pub(super) fn written(&self) -> u64 {
        self.line.state.written.get()
    }

    /// Whether the connection is secured.
    pub(super) fn is_secured(&self) -> bool {
        self.line.terms.0.is_some()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let state = &self.line.state;
        state.streams.set(state.streams.get().saturating_sub(1));
        if state.streams.get() == 0 {
            state.idle_since.set(Instant::now());
        }
        // Costs nothing where nobody waits.
        state.changed.notify_waiters();
    }
}
