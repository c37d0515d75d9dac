//! Copies of requests, sent to another cluster for it to be tried out on what really comes. Nobody waits for them, nothing of
//! their answers is used, and neither their number nor what is kept of bodies grows beyond a bound: what does not fit is not copied,
//! and counted. An attempt counts in its own cluster like any other and is never repeated.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue, TRAILER, TRANSFER_ENCODING};
use http::{HeaderMap, request};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::forward::Guard;
use super::series::Entry;
use super::{attempt, preface};
use crate::cluster::{self, Purpose};
use crate::health::Outcome;
use crate::message::{self, Answer, Broken, Incoming, Passing, Upload, Way};
use crate::upstream::{Call, Error, Exchange, Limits, Upstream};

/// Copies of one worker that are under way at once: with the buffer, 8 MiB at most.
const MOST: usize = 128;
/// Bytes of a body that are kept for its copy.
const BUFFER: usize = 64 * 1024;
/// Bytes of an answer that are read for the sake of its connection.
const MOST_READ: usize = 1024 * 1024;
/// How long a copy may take where its cluster sets no end to requests.
const LONGEST: Duration = Duration::from_secs(30);
/// Tells whoever gets a copy that it is one. Believed only from trusted peers.
const MARK: HeaderName = HeaderName::from_static("x-lictor-mirror");

/// A worker's copies that are under way. Dropped, it gives them up.
#[derive(Default)]
pub(super) struct Mirrors(RefCell<JoinSet<()>>);

/// What a copy is made of.
pub(super) struct Copy {
    pub(super) head: Box<request::Parts>,
    pub(super) way: Way,
    /// What its cluster knows it by.
    pub(super) key: Option<u64>,
    pub(super) body: Copied,
}

/// What there is of a body for its copy.
pub(super) enum Copied {
    /// There is none.
    Nothing,
    /// It is too long.
    TooLong,
    /// It comes as soon as it is there whole; or nothing comes.
    Awaited(oneshot::Receiver<Bytes>),
}

/// Where copies are sent from.
pub(super) struct From {
    pub(super) upstream: Upstream,
    pub(super) worker: usize,
    pub(super) rng: fastrand::Rng,
}

impl Mirrors {
    /// Begins to send a copy, unless there are too many.
    pub(super) fn send(&self, copy: Copy, entry: Rc<Entry>, from: From) {
        let mut running = self.0.borrow_mut();
        while running.try_join_next().is_some() {}
        if running.len() >= MOST {
            return entry.attempts.not_mirrored("busy");
        }
        running.spawn_local(async move {
            if let Err(why) = send(copy, &entry, from).await {
                entry.attempts.not_mirrored(why);
            }
        });
    }
}

/// Has a body copied while it is sent.
pub(super) fn copied(body: Incoming) -> (Option<Incoming>, Copied) {
    if body.size_hint().lower() > BUFFER as u64 {
        return (Some(body), Copied::TooLong);
    }
    let (sender, receiver) = oneshot::channel();
    let tee = Tee { body, copy: Some((BytesMut::new(), sender)) };
    (Some(Box::pin(tee)), Copied::Awaited(receiver))
}

/// A body that leaves a copy behind, if it comes to its end.
struct Tee {
    body: Incoming,
    copy: Option<(BytesMut, oneshot::Sender<Bytes>)>,
}

impl Tee {
    fn note(&mut self, frame: &Frame<Bytes>) {
        let Some(data) = frame.data_ref() else { return };
        match &mut self.copy {
            Some((copy, _)) if copy.len() + data.len() <= BUFFER => copy.extend_from_slice(data),
            copy => *copy = None,
        }
    }

    fn finish(&mut self) {
        if let Some((copy, sender)) = self.copy.take() {
            let _ = sender.send(copy.freeze());
        }
    }
}

impl Passing for Tee {}

impl Body for Tee {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let polled = self.body.as_mut().poll_frame(cx);
        match &polled {
            Poll::Pending => {}
            Poll::Ready(Some(Ok(frame))) => {
                self.note(frame);
                if self.body.is_end_stream() {
                    self.finish();
                }
            }
            Poll::Ready(Some(Err(_))) => self.copy = None,
            Poll::Ready(None) => self.finish(),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Sends a copy and reads its answer away. Says why, if it is not sent.
async fn send(copy: Copy, entry: &Rc<Entry>, mut from: From) -> Result<(), &'static str> {
    let Copy { mut head, way, key, body } = copy;
    let body = match body {
        Copied::Nothing => None,
        Copied::TooLong => return Err("body"),
        Copied::Awaited(body) => Some(body.await.map_err(|_| "body")?),
    };
    mark(&mut head.headers, body.as_ref());
    let now = Instant::now();
    if entry.cluster.is_expired() || entry.cluster.is_hopeless() {
        return Err("no_endpoint");
    }
    let _permit = entry.cluster.enter(now, Some(now)).await.map_err(|_| "overload")?;
    let request = cluster::Request {
        now,
        worker: from.worker,
        tried: &[],
        purpose: Purpose::First,
        can_retry: false,
        key,
        session: None,
    };
    let attempt = entry.cluster.begin(&request, &mut from.rng).ok_or("overload")?;
    let mut guard = Guard::new(attempt, entry, from.worker, false);
    let end = now + entry.timeouts.request.unwrap_or(LONGEST);
    let limits = Limits { deadline: Some(end), ..attempt::limits(entry, now) };
    let preface = preface::of(entry.cluster.settings(), None);
    let grpc = message::is_grpc(&head.headers);
    let mut call = Call {
        upgrades: false,
        grpc,
        head: &RefCell::new(head),
        way: &way,
        parent: None,
        upload: &mut Upload::new(body.map(whole), 0),
        limits,
        protocol: entry.cluster.settings().protocol,
        tls: entry.cluster.tls(),
        preface,
        probe: false,
        late: &Cell::new(false),
        interim: &mut |_, _: &HeaderMap| {},
    };
    match from.upstream.send(guard.attempt().endpoint(), &mut call).await {
        Ok(answer) => {
            guard.answered(&answer);
            read_away(answer, guard).await;
        }
        Err(error) => guard.fail(&error),
    }
    Ok(())
}

/// Its length is known by now, and its trailers have not been kept.
fn mark(headers: &mut HeaderMap, body: Option<&Bytes>) {
    headers.insert(MARK, HeaderValue::from_static("true"));
    if let Some(body) = body {
        headers.remove(TRANSFER_ENCODING);
        headers.remove(TRAILER);
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
}

fn whole(body: Bytes) -> Incoming {
    Box::pin(Full::new(body).map_err(|never| match never {}))
}

async fn read_away(mut answer: Answer<Box<Exchange>>, mut guard: Guard) {
    let mut exchange = Pin::new(&mut answer.body);
    let mut left = MOST_READ;
    loop {
        let frame: Option<Result<Frame<Bytes>, Error>> = poll_fn(|cx| exchange.as_mut().poll_frame(cx)).await;
        let length = match frame {
            Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
            Some(Err(error)) => return guard.fail(&error),
            None => break,
        };
        let Some(less) = left.checked_sub(length) else { break };
        left = less;
    }
    guard.judge(Outcome::Success);
}
