//! An answer's body on its way to the client. The attempt is in flight until the last byte: the body carries its guard, tells
//! how it ended, and counts the request when it is dropped, however that comes about.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use tracing::{info, warn};

use super::retry;
use super::series::Entry;
use crate::cluster::{Attempt, Ejected};
use crate::health::{self, Outcome, Reason};
use crate::metrics::End;
use crate::upstream::{Error, Exchange};

/// The body of an answer that an endpoint gives.
pub struct Forward {
    exchange: Box<Exchange>,
    guard: Guard,
    // Last, so that the request is counted after all else has ended.
    _record: Record,
}

/// An attempt together with its count; judged once.
pub(super) struct Guard {
    attempt: Attempt,
    entry: Rc<Entry>,
    worker: usize,
    judged: bool,
}

/// A request, counted when it is over.
pub(super) struct Record {
    pub(super) entry: Rc<Entry>,
    pub(super) worker: usize,
    pub(super) code: u16,
    pub(super) started: Instant,
}

impl Forward {
    pub(super) fn new(exchange: Box<Exchange>, mut guard: Guard, record: Record) -> Self {
        // hyper does not ask an empty body for its end.
        if exchange.is_end_stream() {
            guard.judge(Outcome::Success);
        }
        Forward { exchange, guard, _record: record }
    }
}

impl Body for Forward {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = Pin::new(&mut self.exchange).poll_frame(cx);
        match &polled {
            Poll::Pending => {}
            Poll::Ready(Some(Err(error))) => self.guard.fail(error),
            Poll::Ready(None) => self.guard.judge(Outcome::Success),
            Poll::Ready(Some(Ok(_))) => {
                if self.exchange.is_end_stream() {
                    self.guard.judge(Outcome::Success);
                }
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.exchange.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.exchange.size_hint()
    }
}

impl Guard {
    pub(super) fn new(attempt: Attempt, entry: &Rc<Entry>, worker: usize) -> Self {
        Guard { attempt, entry: Rc::clone(entry), worker, judged: false }
    }

    pub(super) fn attempt(&self) -> &Attempt {
        &self.attempt
    }

    /// The endpoint has begun to answer.
    pub(super) fn answered(&mut self, status: StatusCode) {
        // The clock is read only for those who need it: it is not free, and this is every request.
        match (self.attempt.is_awaited(), health::is_refusal(status)) {
            (false, _) => {}
            (true, false) => self.attempt.answered(Instant::now()),
            (true, true) => self.attempt.refused(Instant::now()),
        }
    }

    /// Takes the verdict, unless there was one.
    pub(super) fn judge(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.judged, true) {
            return;
        }
        self.entry.attempts.attempt(self.worker, end(outcome));
        if outcome == Outcome::Success && !self.attempt.is_awaited() {
            return self.attempt.endpoint().succeeded();
        }
        if let Some((reason, ejected)) = self.attempt.judge(outcome, Instant::now()) {
            self.report(reason, ejected);
        }
    }

    /// The verdict that goes with an error.
    pub(super) fn fail(&mut self, error: &Error) {
        if let Some(reason) = retry::blame(error) {
            self.judge(Outcome::Failure(reason));
        }
    }

    fn report(&self, reason: Reason, ejected: Ejected) {
        let (cluster, endpoint) = (self.attempt.cluster().name(), self.attempt.endpoint().address());
        match ejected {
            Ejected::For(length) => {
                self.entry.attempts.ejection(reason.name(), None);
                warn!(%cluster, %endpoint, reason = reason.name(), ?length, "ejected");
            }
            Ejected::Not(why) => {
                self.entry.attempts.ejection(reason.name(), Some(why));
                info!(%cluster, %endpoint, reason = reason.name(), why, "fails, but was not ejected");
            }
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.judged {
            self.entry.attempts.attempt(self.worker, End::Abandoned);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.entry.request.record(self.worker, self.code, self.started.elapsed());
    }
}

fn end(outcome: Outcome) -> End {
    match outcome {
        Outcome::Success => End::Success,
        Outcome::Failure(Reason::Connect) => End::Connect,
        Outcome::Failure(Reason::Timeout) => End::Timeout,
        Outcome::Failure(Reason::Reset) => End::Reset,
        Outcome::Failure(Reason::Gateway) => End::Gateway,
    }
}
