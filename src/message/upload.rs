//! A request's body on its way to an endpoint. It notes when it moves, whether its sender failed, and whether any of it was
//! taken: from that follow the idle timeout, whose fault an error is, and whether the request can be sent elsewhere.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// What both directions of one exchange know of each other.
#[derive(Debug)]
pub struct Activity {
    moved: Cell<Instant>,
    sender_failed: Cell<bool>,
    sender_awaited: Cell<bool>,
}

/// A body that can be taken back as long as nothing of it was taken. Clones are the same body.
#[derive(Debug, Clone)]
pub struct Upload(Option<Rc<Source>>);

#[derive(Debug)]
struct Source {
    body: RefCell<Incoming>,
    taken: Cell<bool>,
    activity: Rc<Activity>,
}

impl Activity {
    /// Nothing moved since `now`.
    pub fn new(now: Instant) -> Self {
        Activity { moved: Cell::new(now), sender_failed: Cell::new(false), sender_awaited: Cell::new(false) }
    }

    /// When something last moved.
    pub fn last(&self) -> Instant {
        self.moved.get()
    }

    /// Something moves.
    pub fn touch(&self) {
        self.moved.set(Instant::now());
    }

    /// True if the body was asked for and the client has not gone on with it: it is the one that is waited for.
    pub fn awaits_sender(&self) -> bool {
        self.sender_awaited.get()
    }

    /// True if the client broke off its own body.
    pub fn sender_failed(&self) -> bool {
        self.sender_failed.get()
    }
}

impl Upload {
    /// A body as it comes in; an empty one has no state at all.
    pub fn new(body: Incoming, activity: &Rc<Activity>) -> Self {
        if body.is_end_stream() {
            return Upload(None);
        }
        let activity = Rc::clone(activity);
        Upload(Some(Rc::new(Source { body: RefCell::new(body), taken: Cell::new(false), activity })))
    }

    /// True if there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// True if the body can still be sent whole.
    pub fn is_whole(&self) -> bool {
        self.0.as_ref().is_none_or(|source| !source.taken.get())
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(source) = &self.0 else { return Poll::Ready(None) };
        let polled = Pin::new(&mut *source.body.borrow_mut()).poll_frame(cx);
        source.activity.sender_awaited.set(polled.is_pending());
        match &polled {
            Poll::Pending => {}
            Poll::Ready(frame) => {
                source.taken.set(true);
                source.activity.touch();
                source.activity.sender_failed.set(matches!(frame, Some(Err(_))));
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|source| source.body.borrow().is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            None => SizeHint::with_exact(0),
            Some(source) => source.body.borrow().size_hint(),
        }
    }
}
