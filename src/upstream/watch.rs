//! What an exchange is held to while it runs, whatever carries it: when something moved last, and what is over first.

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::stall::Stall;
use super::{Kind, Limits};
use crate::endpoint::Endpoint;

#[derive(Debug)]
pub(super) struct Watch {
    pub(super) limits: Limits,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) moved: Instant,
    /// The head of the answer came.
    pub(super) answered: bool,
    // The endpoint was waited for since it last gave something.
    awaited: bool,
    // When the whole request had left, while the head of the answer is awaited and that is bounded.
    sent: Option<Instant>,
}

/// How far the request is, for whoever asks what is over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    /// All of it has left.
    pub(super) whole: bool,
    /// It is the client who is waited for.
    pub(super) awaits_sender: bool,
}

/// What is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Idle,
    Deadline,
    Try,
    Patience,
    Drain,
}

impl Watch {
    pub(super) fn new(limits: Limits, endpoint: &Arc<Endpoint>, moved: Instant) -> Self {
        let endpoint = Arc::clone(endpoint);
        Watch { limits, endpoint, moved, answered: false, awaited: false, sent: None }
    }

    /// Something has moved.
    pub(super) fn stir(&mut self) {
        self.moved = Instant::now();
    }

    /// The endpoint has given a piece of its answer; an error if the time for that is over.
    pub(super) fn gave(&mut self) -> Result<(), Kind> {
        if self.limits.deadline.is_some_and(|deadline| deadline <= self.moved) {
            // An endpoint that always had something to give was never waited for: then the client is the slow one.
            return Err(if self.awaited { Kind::Deadline } else { Kind::DownstreamTimeout });
        }
        self.awaited = false;
        Ok(())
    }

    /// Waits for the endpoint: ready once something is over, with what went wrong by that.
    pub(super) fn poll_expired(&mut self, cx: &mut Context<'_>, stall: &mut Stall, request: Sent) -> Poll<Kind> {
        self.awaited = true;
        if self.limits.first_byte.is_some() && self.sent.is_none() && !self.answered && request.whole {
            self.sent = Some(Instant::now());
            stall.arm(self.due().0);
        }
        loop {
            ready!(stall.poll_due(cx, || self.due().0));
            match self.due().1 {
                Due::Patience => self.limits.patience = None,
                Due::Idle | Due::Deadline | Due::Try if request.awaits_sender => {
                    return Poll::Ready(Kind::DownstreamTimeout);
                }
                Due::Idle => return Poll::Ready(Kind::Timeout),
                Due::Deadline => return Poll::Ready(Kind::Deadline),
                Due::Try => return Poll::Ready(Kind::TryTimeout),
                Due::Drain => return Poll::Ready(Kind::Drained),
            }
        }
    }

    /// What is over first, as things are.
    fn due(&self) -> (Instant, Due) {
        let Limits { deadline, per_try, patience, first_byte, drain, idle, .. } = self.limits;
        let is_sought = |_: &Instant| !self.answered;
        let first_byte = self.sent.zip(first_byte).map(|(sent, within)| sent + within);
        let departed = self.endpoint.departed().map(|at| at + drain);
        let dues = [
            (deadline, Due::Deadline),
            (departed, Due::Drain),
            (per_try.filter(is_sought), Due::Try),
            (first_byte.filter(is_sought), Due::Try),
            (patience.filter(is_sought), Due::Patience),
        ];
        let first = (self.moved + idle, Due::Idle);
        let sooner = |first: (Instant, Due), (at, due): (Option<Instant>, Due)| match at {
            Some(at) if at < first.0 => (at, due),
            _ => first,
        };
        dues.into_iter().fold(first, sooner)
    }

    /// How long the head of the answer took, for whom has just got it.
    pub(super) fn answered_after(&self) -> Duration {
        self.moved.saturating_duration_since(self.limits.began)
    }
}
