//! A request's body on its way onto a stream: taken from the client only when the endpoint has room for more.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;

use super::head;
use crate::message::{Broken, Upload};

#[derive(Debug)]
pub(super) struct Outflow {
    pub(super) upload: Upload,
    // Taken, and not yet sent.
    data: Bytes,
    /// What its Content-Length leaves to come.
    left: Option<u64>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Going,
    /// Everything is sent.
    Done,
    /// The endpoint takes no more. It may have answered all the same.
    Broken,
}

/// Why a body cannot be gone on with.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error("the request's body is not as long as its Content-Length says")]
    Length,
}

impl Outflow {
    /// Of a body that has not begun, of an announced length if it has one.
    pub(super) fn new(upload: Upload, announced: Option<u64>) -> Self {
        let state = if upload.is_empty() { State::Done } else { State::Going };
        Outflow { upload, data: Bytes::new(), left: announced, state }
    }

    /// True once all of it is sent.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Ends the sending before its time, and gives the body back.
    pub(super) fn give_up(&mut self) -> Upload {
        if self.state == State::Going {
            self.state = State::Broken;
        }
        std::mem::take(&mut self.upload)
    }

    /// Sends what can be sent now; true if anything was. Fails only when it is the client's body that is wrong.
    pub(super) fn poll(&mut self, stream: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Result<bool, Fault> {
        let mut any = false;
        while self.state == State::Going {
            match self.poll_step(stream, cx) {
                Poll::Ready(step) => any |= step?,
                Poll::Pending => break,
            }
        }
        Ok(any)
    }

    fn poll_step(&mut self, stream: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Poll<Result<bool, Fault>> {
        // Before anything is taken from the client, there is room for a byte. More would be kept from other streams.
        stream.reserve_capacity(self.data.len().max(1));
        while stream.capacity() == 0 {
            if !matches!(ready!(stream.poll_capacity(cx)), Some(Ok(_))) {
                self.state = State::Broken;
                return Poll::Ready(Ok(false));
            }
        }
        if !self.data.is_empty() {
            let piece = self.data.split_to(self.data.len().min(stream.capacity()));
            let is_last = self.data.is_empty() && self.upload.has_ended();
            return Poll::Ready(if is_last { self.end(stream, piece) } else { Ok(self.send(stream, piece, false)) });
        }
        match ready!(self.upload.poll_frame(cx)) {
            None => Poll::Ready(self.end(stream, Bytes::new())),
            Some(frame) => match frame?.into_data() {
                Ok(data) => Poll::Ready(self.take(data).map(|()| false)),
                Err(frame) => Poll::Ready(self.end_with(stream, frame.into_trailers().unwrap_or_default())),
            },
        }
    }

    /// Takes a piece of the body.
    fn take(&mut self, data: Bytes) -> Result<(), Fault> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(data.len() as u64).ok_or(Fault::Length)?;
        }
        self.data = data;
        Ok(())
    }

    fn end(&mut self, stream: &mut SendStream<Bytes>, piece: Bytes) -> Result<bool, Fault> {
        self.is_whole()?;
        let sent = self.send(stream, piece, true);
        if sent {
            self.state = State::Done;
        }
        Ok(sent)
    }

    fn end_with(&mut self, stream: &mut SendStream<Bytes>, trailers: http::HeaderMap) -> Result<bool, Fault> {
        self.is_whole()?;
        let sent = stream.send_trailers(head::trailers(trailers)).is_ok();
        self.state = if sent { State::Done } else { State::Broken };
        Ok(sent)
    }

    fn is_whole(&self) -> Result<(), Fault> {
        if self.left.is_some_and(|left| left > 0) { Err(Fault::Length) } else { Ok(()) }
    }

    fn send(&mut self, stream: &mut SendStream<Bytes>, piece: Bytes, is_last: bool) -> bool {
        let sent = stream.send_data(piece, is_last).is_ok();
        if !sent {
            self.state = State::Broken;
        }
        sent
    }
}
