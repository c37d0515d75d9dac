//! A request's body on its way to an endpoint. It knows whether its sender is waited for, and whether what was taken of it can
//! be sent again: from that follow whose fault an error is, and whether the request can be sent elsewhere.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Frame;
use tokio::net::TcpStream;

use super::pipe::{Moved, Passing};

/// A request's body as it comes in, by whatever protocol.
pub type Incoming = Pin<Box<dyn Passing<Error = Broken>>>;

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("kept", &self.kept).field("awaited", &self.awaited).finish_non_exhaustive()
    }
}

/// Bytes of a body that have come, for whoever may have to tell after the body itself is gone.
pub type Tally = Rc<Cell<u64>>;

/// A body that its sender has broken off, or garbled.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub Box<dyn std::error::Error + Send + Sync>);

/// A request's body; most requests have none, and carry none of what one needs.
#[derive(Debug, Default)]
pub struct Upload(Option<Box<Held>>);

struct Held {
    body: Incoming,
    kept: Kept,
    awaited: bool,
    /// Bytes that came of it.
    received: u64,
    /// Told of them as they come, where somebody wants to know.
    tally: Option<Tally>,
}

/// What was taken of a body, for sending it again. A copy: pieces of what was read would keep all of that in memory.
#[derive(Debug)]
struct Kept {
    data: BytesMut,
    trailers: Option<HeaderMap>,
    /// Bytes that may be kept.
    room: usize,
    /// All that was taken is there.
    whole: bool,
    /// What is to be sent again before the body goes on.
    again: [Option<Frame<Bytes>>; 2],
    ended: bool,
}

impl Upload {
    /// A body as it comes in, of which up to so many bytes are kept.
    pub fn new(body: Option<Incoming>, room: usize) -> Self {
        let hold = |body: Incoming| {
            // One that is longer than the room is not worth keeping a part of.
            let room = if body.size_hint().lower() > room as u64 { 0 } else { room };
            Box::new(Held { body, kept: Kept { room, ..Kept::default() }, awaited: false, received: 0, tally: None })
        };
        Upload(body.filter(|body| !body.is_end_stream()).map(hold))
    }

    /// The same, which tells somebody of the bytes that come; who that is, is asked for where there is a body.
    pub fn telling(mut self, tally: impl FnOnce() -> Option<Tally>) -> Self {
        if let Some(held) = &mut self.0 {
            held.tally = tally();
        }
        self
    }

    /// True if there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// True if the body can be sent from its beginning.
    pub fn can_repeat(&self) -> bool {
        self.0.as_ref().is_none_or(|held| held.kept.whole)
    }

    /// Begins again at the beginning.
    pub fn rewind(&mut self) {
        if let Some(held) = &mut self.0 {
            held.kept.rewind();
            held.awaited = false;
        }
    }

    /// True if its length is not known before its end.
    pub fn is_chunked(&self) -> bool {
        self.0.as_ref().is_some_and(|held| held.body.size_hint().exact().is_none())
    }

    /// True if it is known that nothing more will come.
    pub fn has_ended(&self) -> bool {
        self.0.as_ref().is_none_or(|held| {
            held.kept.again.iter().all(Option::is_none) && (held.kept.ended || held.body.is_end_stream())
        })
    }

    /// True if the body was asked for and the client has not gone on with it: it is the one that is waited for.
    pub fn awaits_sender(&self) -> bool {
        self.0.as_ref().is_some_and(|held| held.awaited)
    }

    /// Bytes that the client has sent of it, each counted once however often it is sent on.
    pub fn received(&self) -> u64 {
        self.0.as_ref().map_or(0, |held| held.received)
    }

    /// The next piece of the body, or none at its end.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.0.as_mut().map_or(Poll::Ready(None), |held| held.poll_frame(cx))
    }

    /// Moves the next piece to a socket, unless it has to be read. What has gone that way cannot be sent again.
    pub fn poll_pass(&mut self, cx: &mut Context<'_>, to: &TcpStream) -> Poll<Option<Result<Moved, Broken>>> {
        self.0.as_mut().map_or(Poll::Ready(None), |held| held.poll_pass(cx, to))
    }
}

impl Held {
    fn count(&mut self, bytes: usize) {
        self.received += bytes as u64;
        if let Some(tally) = &self.tally {
            tally.set(self.received);
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(frame) = self.kept.again.iter_mut().find_map(Option::take) {
            return Poll::Ready(Some(Ok(frame)));
        }
        if self.kept.ended {
            return Poll::Ready(None);
        }
        let polled = self.body.as_mut().poll_frame(cx);
        self.awaited = polled.is_pending();
        match &polled {
            Poll::Pending => {}
            Poll::Ready(None) => self.kept.ended = true,
            Poll::Ready(Some(Ok(frame))) => {
                self.count(frame.data_ref().map_or(0, Bytes::len));
                self.kept.add(frame);
            }
            Poll::Ready(Some(Err(_))) => self.kept.give_up(),
        }
        polled
    }

    fn poll_pass(&mut self, cx: &mut Context<'_>, to: &TcpStream) -> Poll<Option<Result<Moved, Broken>>> {
        if self.kept.is_needed() {
            return Poll::Ready(None);
        }
        let polled = self.body.as_mut().poll_pass(cx, to);
        self.awaited = polled.is_pending();
        if let Poll::Ready(Some(moved)) = &polled {
            self.count(moved.as_ref().map_or(0, |moved| moved.count));
            self.kept.give_up();
        }
        polled
    }
}

impl Default for Kept {
    fn default() -> Self {
        let (data, again) = (BytesMut::new(), [const { None }; 2]);
        Kept { data, trailers: None, room: 0, whole: true, again, ended: false }
    }
}

impl Kept {
    /// True if what comes is to be kept, or what came is to be sent again.
    fn is_needed(&self) -> bool {
        self.ended || self.whole && self.room > 0 || self.again.iter().any(Option::is_some)
    }

    fn add(&mut self, frame: &Frame<Bytes>) {
        if !self.whole {
            return;
        }
        match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) if self.data.len() + data.len() <= self.room => self.data.extend_from_slice(data),
            (Some(_), _) => self.give_up(),
            // Bounded by whoever read it, and there is one.
            (_, Some(trailers)) => self.trailers = Some(trailers.clone()),
            (None, None) => {}
        }
    }

    fn rewind(&mut self) {
        let data = (!self.data.is_empty()).then(|| Frame::data(Bytes::copy_from_slice(&self.data)));
        self.again = [data, self.trailers.clone().map(Frame::trailers)];
    }

    fn give_up(&mut self) {
        *self = Kept { whole: false, ended: self.ended, ..Kept::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(kept: &mut Kept) -> Vec<u8> {
        kept.rewind();
        let frames = kept.again.iter_mut().filter_map(Option::take);
        frames.filter_map(|frame| frame.into_data().ok()).flatten().collect()
    }

    #[test]
    fn what_is_kept_of_a_body_holds_no_buffer_of_somebody_elses() {
        let mut kept = Kept { room: 1000, ..Kept::default() };
        for turn in 0..1000 {
            let buffer = Bytes::from(vec![turn as u8; 8192]);
            kept.add(&Frame::data(buffer.slice(..1)));
            assert!(buffer.is_unique());
        }
        assert_eq!(again(&mut kept), (0..1000).map(|turn| turn as u8).collect::<Vec<_>>());
        kept.add(&Frame::data(Bytes::from_static(b"x")));
        assert!(!kept.whole && kept.data.is_empty(), "one too many");
    }

    #[test]
    fn a_body_goes_on_behind_what_was_sent_again() {
        let mut kept = Kept { room: 1000, ..Kept::default() };
        kept.add(&Frame::data(Bytes::from_static(b"one ")));
        assert_eq!(again(&mut kept), b"one ");
        kept.add(&Frame::data(Bytes::from_static(b"two")));
        kept.add(&Frame::trailers(HeaderMap::new()));
        assert_eq!(again(&mut kept), b"one two");
    }
}
