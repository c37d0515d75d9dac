//! The time after which an exchange has taken too long. Its timer belongs to the connection and is set only when it fires: it
//! then asks when it would be too late as things are now. A busy connection pays for one timer every few seconds, not for
//! one with each request.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::{Sleep, sleep_until};

/// How long it sleeps at most: what becomes due without anything having moved, such as the end of an endpoint that has left, is
/// noticed by then.
const LOOK: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Stall(Pin<Box<Sleep>>);

impl Stall {
    pub(super) fn new() -> Self {
        Stall(Box::pin(sleep_until((Instant::now() + LOOK).into())))
    }

    /// Sees to it that it is awake by then.
    pub(super) fn arm(&mut self, due: Instant) {
        if self.0.deadline() > due.into() {
            self.0.as_mut().reset(due.into());
        }
    }

    /// Ready once `due` is over, which is asked when somebody has to look.
    pub(super) fn poll_due(&mut self, cx: &mut Context<'_>, due: impl Fn() -> Instant) -> Poll<()> {
        loop {
            ready!(self.0.as_mut().poll(cx));
            let (due, now) = (due(), Instant::now());
            if due <= now {
                return Poll::Ready(());
            }
            self.0.as_mut().reset(due.min(now + LOOK).into());
        }
    }
}
