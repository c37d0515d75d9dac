//! A request's body on its way to an endpoint. It knows whether its sender is waited for, and whether what was taken of it can
//! be sent again: from that follow whose fault an error is, and whether the request can be sent elsewhere.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use hyper::body::Incoming;

/// A request's body.
#[derive(Debug, Default)]
pub struct Upload {
    // None if there never was one.
    body: Option<Incoming>,
    kept: Kept,
    awaited: bool,
}

/// What was taken of a body, for sending it again.
#[derive(Debug)]
struct Kept {
    frames: Vec<Piece>,
    /// Bytes that may still be kept.
    room: usize,
    /// Frames that were sent again.
    again: usize,
    /// All that was taken is there.
    whole: bool,
    ended: bool,
}

#[derive(Debug, Clone)]
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Upload {
    /// A body as it comes in, of which up to so many bytes are kept.
    pub fn new(body: Incoming, room: usize) -> Self {
        let body = Some(body).filter(|body| !body.is_end_stream());
        // One that is longer than the room is not worth keeping a part of.
        let room = if body.as_ref().is_some_and(|body| body.size_hint().lower() > room as u64) { 0 } else { room };
        Upload { body, kept: Kept { room, ..Kept::default() }, awaited: false }
    }

    /// True if there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.body.is_none()
    }

    /// True if the body can be sent from its beginning.
    pub fn can_repeat(&self) -> bool {
        self.kept.whole
    }

    /// Begins again at the beginning.
    pub fn rewind(&mut self) {
        self.kept.again = 0;
        self.awaited = false;
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
        if let Some(piece) = self.kept.next() {
            return Poll::Ready(Some(Ok(piece)));
        }
        let Some(body) = self.body.as_mut().filter(|_| !self.kept.ended) else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        self.awaited = polled.is_pending();
        match &polled {
            Poll::Pending => {}
            Poll::Ready(None) => self.kept.ended = true,
            Poll::Ready(Some(Ok(frame))) => self.kept.add(frame),
            Poll::Ready(Some(Err(_))) => self.kept.give_up(),
        }
        polled
    }
}

impl Default for Kept {
    fn default() -> Self {
        Kept { frames: Vec::new(), room: 0, again: 0, whole: true, ended: false }
    }
}

impl Kept {
    /// What is to be sent again next.
    fn next(&mut self) -> Option<Frame<Bytes>> {
        let piece = self.frames.get(self.again)?.clone();
        self.again += 1;
        Some(match piece {
            Piece::Data(data) => Frame::data(data),
            Piece::Trailers(trailers) => Frame::trailers(trailers),
        })
    }

    fn add(&mut self, frame: &Frame<Bytes>) {
        if !self.whole {
            return;
        }
        let piece = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => Piece::Data(data.clone()),
            (_, Some(trailers)) => Piece::Trailers(trailers.clone()),
            (None, None) => return,
        };
        // A trailer section is bounded by whoever read it, and there is one.
        let length = if let Piece::Data(data) = &piece { data.len() } else { 0 };
        match self.room.checked_sub(length) {
            Some(room) => {
                self.room = room;
                self.frames.push(piece);
                self.again = self.frames.len();
            }
            None => self.give_up(),
        }
    }

    fn give_up(&mut self) {
        self.frames = Vec::new();
        self.again = 0;
        self.whole = false;
    }
}
