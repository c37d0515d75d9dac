//! The time after which an exchange has stood still for too long. Its timer belongs to the connection and is set only when it
//! fires: it then looks at when something last moved. A busy connection pays for one timer in an idle period, not for one
//! with each request.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::{Sleep, sleep_until};

use super::Limits;

#[derive(Debug)]
pub(super) struct Stall {
    sleep: Pin<Box<Sleep>>,
    idle: Duration,
    deadline: Option<Instant>,
}

impl Stall {
    pub(super) fn new() -> Self {
        let far = Duration::from_secs(24 * 60 * 60);
        Stall { sleep: Box::pin(sleep_until((Instant::now() + far).into())), idle: far, deadline: None }
    }

    /// Takes on the limits of a new attempt.
    pub(super) fn arm(&mut self, limits: &Limits, last: Instant) {
        self.idle = limits.idle;
        self.deadline = limits.deadline;
        let due = self.due(last);
        if self.sleep.deadline() > due.into() {
            self.sleep.as_mut().reset(due.into());
        }
    }

    /// Ready once nothing has moved since `last` for the idle time, or the deadline is over.
    pub(super) fn poll_expired(&mut self, cx: &mut Context<'_>, last: Instant) -> Poll<()> {
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            let due = self.due(last);
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(due.into());
        }
    }

    /// True once the deadline is over.
    pub(super) fn is_late(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    fn due(&self, last: Instant) -> Instant {
        let idle = last + self.idle;
        self.deadline.map_or(idle, |deadline| deadline.min(idle))
    }
}
