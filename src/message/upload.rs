//! A request's body on its way to an endpoint. It knows whether its sender is waited for, and whether any of it was taken:
//! from that follow whose fault an error is, and whether the request can be sent elsewhere.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::body::Incoming;

/// A request's body.
#[derive(Debug, Default)]
pub struct Upload {
    // None if there never was one.
    body: Option<Incoming>,
    taken: bool,
    awaited: bool,
}

impl Upload {
    /// A body as it comes in.
    pub fn new(body: Incoming) -> Self {
        Upload { body: Some(body).filter(|body| !body.is_end_stream()), ..Upload::default() }
    }

    /// True if there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.body.is_none()
    }

    /// True if the body can still be sent whole.
    pub fn is_whole(&self) -> bool {
        !self.taken
    }

    /// True if its length is not known before its end.
    pub fn is_chunked(&self) -> bool {
        self.body.as_ref().is_some_and(|body| body.size_hint().exact().is_none())
    }

    /// True if the body was asked for and the client has not gone on with it: it is the one that is waited for.
    pub fn awaits_sender(&self) -> bool {
        self.awaited
    }

    /// The next piece of the body, or none at its end.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        self.awaited = polled.is_pending();
        self.taken |= polled.is_ready();
        polled
    }
}
