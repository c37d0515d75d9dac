//! How long a connection may stay: its timeouts, its age, and its part in a drain. One timer, which is not touched per request; it
//! looks at the [`Pulse`] when it fires.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::time::{Duration, Instant};

use tokio::time::{Sleep, sleep_until};

use super::Limits;
use super::h1::Wire;
use super::pulse::Pulse;
use super::room::Place;
use crate::lifecycle::Draining;

/// A client that keeps its connection may be sending its next request just when we want to end it; closing on it would lose
/// that request. So an idle connection stays for one more, or for so long.
pub(super) const LINGER: Duration = Duration::from_secs(1);
/// A connection that was idle for so long is put to rest: it keeps its socket and nothing else.
const AWAKE: Duration = Duration::from_secs(1);
/// Ages differ by up to this share, so that connections that came together do not leave together.
const JITTER: f64 = 0.1;

/// What is known of a connection's end.
pub(super) struct Stay {
    pub(super) pulse: Arc<Pulse>,
    /// Its place among all connections, until its socket has it.
    pub(super) place: Option<Place>,
    limits: Limits,
    draining: Draining,
    timer: Pin<Box<Sleep>>,
    // When it is too old.
    old: Option<Instant>,
    leave: Leave,
    // Whether it can be put to rest.
    rests: bool,
    // Whether it came when others were asked to end already.
    came_late: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Leave {
    NotYet,
    /// With the next request, or then.
    By(Instant),
    Now,
}

/// What is to be done with a connection.
#[derive(Debug, PartialEq)]
pub(super) enum Look {
    /// Nothing; whoever asked will be woken.
    Wait,
    /// Ends it in peace: with the answer that is at work, or at once.
    Leave,
    /// It has waited too long.
    Late,
    /// Nothing has happened for a while.
    Rest,
}

impl Stay {
    pub(super) fn new(place: Option<Place>, limits: Limits, draining: Draining) -> Self {
        let now = Instant::now();
        let old = limits.age.map(|age| now + age.mul_f64(1.0 - JITTER * fastrand::f64()));
        let timer = Box::pin(sleep_until((now + AWAKE).into()));
        let came_late = draining.is_urged();
        let mut stay = Stay {
            pulse: Arc::new(Pulse::new()),
            place,
            limits,
            draining,
            timer,
            old,
            leave: Leave::NotYet,
            rests: true,
            came_late,
        };
        stay.set(now);
        stay
    }

    /// Returns when the drain begins.
    pub(super) fn begun(&self) -> impl Future<Output = ()> + 'static {
        let mut draining = self.draining.clone();
        async move { draining.begun().await }
    }

    /// Returns while connections are asked to end, be it for the drain.
    pub(super) fn urged(&self) -> impl Future<Output = ()> + 'static {
        let mut draining = self.draining.clone();
        async move { draining.urged().await }
    }

    /// True if [`Self::look`] has something to see. Cheap: asked whenever the connection moves.
    pub(super) fn is_pressing(&self) -> bool {
        self.draining.is_urged() || self.timer.is_elapsed() || self.leave != Leave::NotYet
    }

    /// How long a client may take nothing.
    pub(super) fn idle(&self) -> Duration {
        self.limits.idle
    }

    /// True as long as nothing has ended the connection's time.
    pub(super) fn is_open(&self) -> bool {
        self.leave == Leave::NotYet
    }

    /// Whoever serves it now does so to its end.
    pub(super) fn stay_awake(&mut self) {
        self.rests = false;
        self.set(Instant::now());
    }

    /// One more request, or a moment.
    pub(super) fn linger(&mut self) {
        let now = Instant::now();
        // Whoever comes although it need not is served: its first request has its time like any other's.
        let is_served = self.came_late && self.draining.is_withdrawn();
        let patience = if is_served { LINGER.max(self.limits.request_header) } else { LINGER };
        self.leave = Leave::By(now + patience);
        self.set(now);
    }

    pub(super) fn look(&mut self, cx: &mut Context<'_>) -> Look {
        loop {
            if matches!(self.leave, Leave::By(_)) && self.pulse.is_busy() {
                self.leave = Leave::Now;
                return Look::Leave;
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Look::Wait;
            }
            let now = Instant::now();
            if self.pulse.due(&self.limits).is_some_and(|due| due <= now) {
                return Look::Late;
            }
            match self.leave {
                Leave::NotYet if self.old.is_some_and(|old| old <= now) => self.leave = Leave::By(now + LINGER),
                Leave::NotYet if self.rests && self.pulse.idle_since().is_some_and(|since| since + AWAKE <= now) => {
                    return Look::Rest;
                }
                Leave::By(then) if then <= now => {
                    self.leave = Leave::Now;
                    return Look::Leave;
                }
                _ => {}
            }
            self.set(now);
        }
    }

    /// Waits at an idle connection until its client sends something or closes; false if its time is over before.
    pub(super) async fn rest(&mut self, wire: &Wire) -> bool {
        let mut urged = Box::pin(self.urged());
        loop {
            let idle = self.pulse.idle_since().unwrap_or_else(Instant::now) + self.limits.idle;
            let until = match self.leave {
                Leave::NotYet => self.old.map_or(idle, |old| old.min(idle)),
                Leave::By(then) => then,
                Leave::Now => return false,
            };
            self.timer.as_mut().reset(until.into());
            tokio::select! {
                biased;
                () = wire.readable() => {
                    self.set(Instant::now());
                    return true;
                }
                () = &mut urged, if self.is_open() => self.leave = Leave::By(Instant::now() + LINGER),
                () = &mut self.timer => match self.leave {
                    Leave::NotYet if until < idle => self.leave = Leave::By(until + LINGER),
                    _ => return false,
                },
            }
        }
    }

    /// Sets the timer for what can come first.
    fn set(&mut self, now: Instant) {
        // While a request is at work its own timeouts hold. The next head may begin at any moment, and has less time.
        let awake = if self.rests { AWAKE } else { Duration::MAX };
        let soon = now + self.limits.request_header.min(self.limits.idle).min(awake);
        let due = self.pulse.due(&self.limits).map_or(soon, |due| due.min(soon));
        let next = match self.leave {
            Leave::NotYet => self.old.map_or(due, |old| old.min(due)),
            Leave::By(then) => then.min(due),
            Leave::Now => due,
        };
        self.timer.as_mut().reset(next.max(now).into());
    }
}
