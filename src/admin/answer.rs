//! What the operator's window answers with: text, JSON, problems as RFC 9457 writes them down, and bodies that go on for as long as
//! somebody listens (server-sent events).

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::Full;
use serde::Serialize;

use crate::message::Passing;

pub(super) const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";
const EVENTS: &str = "text/event-stream";

/// What a handler comes to.
pub(super) type Reply = Result<Response<Body>, Problem>;

/// The body of an answer.
pub enum Body {
    /// All of it.
    Whole(Full<Bytes>),
    /// Piece by piece, until its end or until nobody listens any more.
    Flow(Flow),
}

/// Pieces that are still to come.
pub type Flow = Pin<Box<dyn http_body::Body<Data = Bytes, Error = Infallible>>>;

/// What was wrong with a request, or what keeps it from being answered.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    detail: String,
    field: Option<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem of that kind, in a sentence that says what would be right.
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Problem { status, detail: detail.into(), field: None }
    }

    /// The request is wrong in itself.
    pub(super) fn bad(detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::BAD_REQUEST, detail)
    }

    /// There is no such thing.
    pub(super) fn missing(detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::NOT_FOUND, detail)
    }

    /// The same, with a field for the head.
    pub(super) fn with(self, name: HeaderName, value: HeaderValue) -> Self {
        Problem { field: Some((name, value)), ..self }
    }

    /// The status that it is answered with.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }
}

/// RFC 9457 section 3.1; `about:blank` says that the status is all there is to its type.
#[derive(Serialize)]
struct Written<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
}

impl From<Problem> for Response<Body> {
    fn from(problem: Problem) -> Self {
        let written = Written {
            r#type: "about:blank",
            title: problem.status.canonical_reason().unwrap_or("Problem"),
            status: problem.status.as_u16(),
            detail: &problem.detail,
        };
        let mut response = whole(problem.status, PROBLEM, serialized(&written).unwrap_or_default());
        if let Some((name, value)) = problem.field {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// A body that is at hand.
pub(super) fn whole(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    respond(status, kind, Body::Whole(Full::new(body.into())))
}

/// Lines for people.
pub(super) fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    whole(status, TEXT, text)
}

/// A value as JSON.
pub(super) fn json(value: &impl Serialize) -> Reply {
    let written = serialized(value);
    let written = written.map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(whole(StatusCode::OK, JSON, written))
}

/// Server-sent events, as [`event`] writes them: each step is given what the one before it left, and returns the next piece, or none
/// at the end.
pub(super) fn events<S, F, R>(begin: S, step: F) -> Response<Body>
where
    S: 'static,
    F: FnMut(S) -> R + 'static,
    R: Future<Output = Option<(Bytes, S)>> + 'static,
{
    let pieces: Flow = Box::pin(Pieces { step, left: Some(begin), running: None });
    let mut response = respond(StatusCode::OK, EVENTS, Body::Flow(pieces));
    // Proxies on the way are asked not to collect it.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// One event: its number, if it has one, its name, and a value in JSON, which is a single line.
pub(super) fn event(id: Option<u64>, name: &str, value: &impl Serialize) -> String {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    let data = serde_json::to_string(value).unwrap_or_default();
    format!("{id}event: {name}\ndata: {data}\n\n")
}

fn respond(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn serialized(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut written = serde_json::to_vec_pretty(value)?;
    written.push(b'\n');
    Ok(written)
}

/// A body made by one future after the other.
struct Pieces<S, F, R> {
    step: F,
    left: Option<S>,
    running: Option<Pin<Box<R>>>,
}

// Nothing in it is pinned but what is behind a pointer.
impl<S, F, R> Unpin for Pieces<S, F, R> {}

impl<S, F, R> http_body::Body for Pieces<S, F, R>
where
    F: FnMut(S) -> R,
    R: Future<Output = Option<(Bytes, S)>>,
{
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        if let Some(left) = this.left.take() {
            this.running = Some(Box::pin((this.step)(left)));
        }
        let Some(running) = &mut this.running else { return Poll::Ready(None) };
        let stepped = ready!(running.as_mut().poll(cx));
        this.running = None;
        Poll::Ready(stepped.map(|(piece, left)| {
            this.left = Some(left);
            Ok(Frame::data(piece))
        }))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Body::Whole(whole) => Pin::new(whole).poll_frame(cx),
            Body::Flow(flow) => flow.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Whole(whole) => whole.is_end_stream(),
            Body::Flow(flow) => flow.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(whole) => whole.size_hint(),
            Body::Flow(flow) => flow.size_hint(),
        }
    }
}

impl Passing for Body {}
