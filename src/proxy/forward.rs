//! An answer's body on its way to the client. The attempt is in flight until the last byte: the body carries its guard, tells
//! how it ended, and counts the request when it is dropped, however that comes about.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderMap, HeaderName};
use http_body::{Body, Frame, SizeHint};
use tokio::net::TcpStream;

use super::attempt::Sent;
use super::record::Record;
use super::series::Entry;
use super::{flags, retry};
use crate::cluster::Attempt;
use crate::health::{self, Outcome, Reason};
use crate::message::{self, Answer, Moved, Passing};
use crate::metrics::End;
use crate::upstream::{Error, Exchange, Kind};

/// The body of an answer that an endpoint gives.
pub struct Forward {
    exchange: Box<Exchange>,
    guard: Guard,
    // Last, so that the request is counted after all else has ended.
    record: Record,
}

/// An attempt together with its count; judged once.
pub(super) struct Guard {
    attempt: Attempt,
    entry: Rc<Entry>,
    worker: usize,
    judged: bool,
    failed: bool,
    /// There was too little time for it to be blamed for not having had enough.
    hurried: bool,
}

impl Forward {
    pub(super) fn new(exchange: Box<Exchange>, mut guard: Guard, record: Record) -> Self {
        // hyper does not ask an empty body for its end.
        if exchange.is_end_stream() {
            guard.judge(Outcome::Success);
        }
        Forward { exchange, guard, record }
    }

    fn fail(&mut self, error: &Error) {
        self.guard.fail(error);
        self.record.page.flag(flags::of_error(error.kind));
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.record.received = self.exchange.upload().received();
        if !self.exchange.is_whole() && !self.exchange.is_end_stream() {
            self.record.page.broke_off();
        }
    }
}

impl Passing for Forward {
    fn poll_pass(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: &TcpStream) -> Poll<Option<Result<Moved, Error>>> {
        let polled = Pin::new(&mut *self.exchange).poll_pass(cx, to);
        match &polled {
            Poll::Ready(Some(Err(error))) => self.fail(error),
            Poll::Ready(Some(Ok(moved))) => {
                self.record.sent += moved.count as u64;
                if self.exchange.is_whole() {
                    self.guard.judge(Outcome::Success);
                }
            }
            _ => {}
        }
        polled
    }
}

impl Body for Forward {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = Pin::new(&mut self.exchange).poll_frame(cx);
        match &polled {
            Poll::Pending => {}
            Poll::Ready(Some(Err(error))) => self.fail(error),
            Poll::Ready(None) => self.guard.judge(Outcome::Success),
            Poll::Ready(Some(Ok(frame))) => {
                self.record.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
                if let Some(trailers) = frame.trailers_ref() {
                    self.guard.judge(grpc_status(trailers).unwrap_or(Outcome::Success));
                }
                if self.exchange.is_whole() {
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
    pub(super) fn new(attempt: Attempt, entry: &Rc<Entry>, worker: usize, hurried: bool) -> Self {
        Guard { attempt, entry: Rc::clone(entry), worker, judged: false, failed: false, hurried }
    }

    pub(super) fn attempt(&self) -> &Attempt {
        &self.attempt
    }

    /// The head of an answer came. A bad one is the verdict; a good one is confirmed when the body has come whole.
    pub(super) fn answered<B>(&mut self, answer: &Answer<B>) {
        let is_grpc = message::is_of_grpc(answer.fields.get("content-type"));
        let said = is_grpc.then(|| answer.fields.get("grpc-status").map(health::judge_grpc)).flatten();
        match said.unwrap_or_else(|| health::judge(answer.status)) {
            Outcome::Success => self.began(answer.status),
            failure => self.judge(failure),
        }
    }

    /// True if the verdict was a bad one.
    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    /// The endpoint has begun to answer.
    fn began(&mut self, status: StatusCode) {
        // The clock is read only for those who need it: it is not free, and this is every request.
        match (self.attempt.is_awaited(), health::is_refusal(status)) {
            (false, _) => {}
            (true, false) => self.attempt.answered(Instant::now()),
            (true, true) => self.attempt.refused(Instant::now()),
        }
    }

    /// What came of an attempt that is not the one that counts.
    pub(super) fn note(&mut self, sent: &Sent) {
        match sent {
            Ok(answer) => self.answered(answer),
            Err(error) => self.fail(error),
        }
    }

    /// Takes the verdict, unless there was one.
    pub(super) fn judge(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.judged, true) {
            return;
        }
        self.failed = outcome != Outcome::Success;
        self.entry.attempts.attempt(self.worker, end(outcome));
        if outcome == Outcome::Success && !self.attempt.is_awaited() {
            return self.attempt.succeeded();
        }
        self.attempt.judge(outcome, Instant::now());
    }

    /// The verdict that goes with an error.
    pub(super) fn fail(&mut self, error: &Error) {
        let is_excused = self.hurried && error.kind == Kind::Deadline;
        if let Some(reason) = retry::blame(error).filter(|_| !is_excused) {
            self.judge(Outcome::Failure(reason));
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

/// What gRPC says at the end of an answer, which may be in its head if there is nothing else.
fn grpc_status(fields: &HeaderMap) -> Option<Outcome> {
    const STATUS: HeaderName = HeaderName::from_static("grpc-status");
    fields.get(STATUS).map(|code| health::judge_grpc(code.as_bytes()))
}

pub(super) fn end(outcome: Outcome) -> End {
    match outcome {
        Outcome::Success => End::Success,
        Outcome::Failure(Reason::Connect) => End::Connect,
        Outcome::Failure(Reason::Reset) => End::Reset,
        Outcome::Failure(Reason::Gateway) => End::Gateway,
        Outcome::Failure(Reason::Server) => End::Server,
        // The others are said of endpoints, not of attempts.
        Outcome::Failure(_) => End::Timeout,
    }
}
