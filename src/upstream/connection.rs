//! One HTTP/1.1 connection to an endpoint, and one request on it at a time. Whoever polls for an answer drives it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use tokio::net::TcpStream;

use super::io::{Facts, Io};
use super::stall::Stall;
use super::{Error, Kind, Limits, Progress};
use crate::message::Upload;

/// What an endpoint may send as a head; more is an error, not a reason to grow.
const MAX_HEAD: usize = 64 * 1024;

pub(super) struct Connection {
    sender: http1::SendRequest<Upload>,
    driver: http1::Connection<Io, Upload>,
    ended: bool,
    facts: Arc<Facts>,
    stall: Stall,
    reused: bool,
    idle_since: Instant,
}

type Sent = Result<Response<Incoming>, TrySendError<Request<Upload>>>;

impl Connection {
    pub(super) async fn open(stream: TcpStream) -> Result<Box<Self>, Error> {
        let (io, facts) = Io::new(stream);
        let mut http = http1::Builder::new();
        http.max_header_size(MAX_HEAD).max_buf_size(2 * MAX_HEAD);
        let (sender, driver) = http.handshake(io).await.map_err(|error| Error::connect(Kind::Connect, error))?;
        Ok(Box::new(Connection {
            sender,
            driver,
            ended: false,
            facts,
            stall: Stall::new(),
            reused: false,
            idle_since: Instant::now(),
        }))
    }

    /// Does what can be done on the connection now.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        if !self.ended && Pin::new(&mut self.driver).poll(cx).is_ready() {
            self.ended = true;
        }
    }

    /// True if it can take another request.
    pub(super) fn is_ready(&self) -> bool {
        !self.ended && self.sender.is_ready()
    }

    /// True if an idle connection still stands; `probe` asks the kernel as well as the event loop.
    pub(super) async fn is_usable(&mut self, probe: bool) -> bool {
        if probe {
            self.facts.probe();
        }
        poll_fn(|cx| {
            self.drive(cx);
            Poll::Ready(self.is_ready())
        })
        .await
    }

    pub(super) fn idle_since(&self) -> Instant {
        self.idle_since
    }

    /// Marks it as one that has carried a request and waits for the next.
    pub(super) fn rest(&mut self) {
        self.reused = true;
        self.idle_since = Instant::now();
    }

    pub(super) fn poll_expired(&mut self, cx: &mut Context<'_>, last: Instant) -> Poll<()> {
        self.stall.poll_expired(cx, last)
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(
        mut self: Box<Self>,
        request: Request<Upload>,
        limits: &Limits,
    ) -> Result<(Response<Answering>, Box<Self>), Error> {
        self.stall.arm(limits);
        let before = self.facts.written();
        let mut answer = pin!(self.sender.try_send_request(request));
        let sent: Option<Sent> = poll_fn(|cx| {
            self.drive(cx);
            if let Poll::Ready(sent) = answer.as_mut().poll(cx) {
                return Poll::Ready(Some(sent));
            }
            self.poll_expired(cx, limits.activity.last()).map(|()| None)
        })
        .await;
        let progress = if self.facts.written() == before { Progress::NothingSent } else { Progress::Sent };
        match sent {
            Some(Ok(response)) => {
                limits.activity.touch();
                let activity = std::rc::Rc::clone(&limits.activity);
                Ok((response.map(|body| Answering { body, activity }), self))
            }
            Some(Err(error)) => Err(self.failure(error, progress, limits)),
            None => Err(Error::late(&limits.activity, progress, self.reused)),
        }
    }

    fn failure(&self, mut error: TrySendError<Request<Upload>>, progress: Progress, limits: &Limits) -> Error {
        let progress = if error.take_message().is_some() { Progress::NothingSent } else { progress };
        let error = error.into_error();
        let kind = match () {
            () if limits.activity.sender_failed() => Kind::Downstream,
            () if error.is_parse() => Kind::Protocol,
            () => Kind::Reset,
        };
        Error::new(kind, progress, self.reused).caused_by(error)
    }

    /// The stream and what was read beyond HTTP, after an answer that switched protocols.
    pub(super) fn into_stream(self) -> (TcpStream, bytes::Bytes) {
        let parts = self.driver.into_parts();
        (parts.io.into_inner(), parts.read_buf)
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("ended", &self.ended).field("reused", &self.reused).finish_non_exhaustive()
    }
}

/// The body of an answer, before it is joined with its connection.
#[derive(Debug)]
pub(super) struct Answering {
    pub(super) body: Incoming,
    pub(super) activity: std::rc::Rc<crate::message::Activity>,
}
