//! The way of one request onto the wire: its head, then its body piece by piece, each taken from the client only when the one
//! before it has left.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderValue, request};
use tokio::io::AsyncWrite;

use super::encode;
use crate::message::{Broken, Moved, Upload, Way, framing};
use crate::tls::Stream;

#[derive(Debug)]
pub(super) struct Sending {
    pub(super) upload: Upload,
    // What is to be written now: head or chunk size, then data, then what ends a chunk.
    lead: BytesMut,
    data: Bytes,
    tail: &'static [u8],
    chunked: bool,
    state: State,
    written: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Going,
    /// Everything is written.
    Done,
    /// The endpoint takes no more. It may have answered all the same.
    Broken,
}

impl Sending {
    /// The lead is a buffer for its head.
    pub(super) fn new(
        mut lead: BytesMut,
        head: &request::Parts,
        (way, parent): (&Way, Option<&HeaderValue>),
        upload: Upload,
    ) -> Self {
        encode::head(&mut lead, head, way, parent);
        let chunked = upload.is_chunked();
        Sending { upload, lead, data: Bytes::new(), tail: b"", chunked, state: State::Going, written: 0 }
    }

    /// True once every byte of the request is written.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Its buffer, of no more use once everything is written.
    pub(super) fn lead(&mut self) -> &mut BytesMut {
        &mut self.lead
    }

    /// Ends the sending before its time, and gives the body back.
    pub(super) fn give_up(&mut self) -> Upload {
        if self.state == State::Going {
            self.state = State::Broken;
        }
        std::mem::take(&mut self.upload)
    }

    /// Bytes that the kernel took.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Writes what can be written now; true if anything was. Fails only when the client breaks off its body.
    pub(super) fn poll(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Result<bool, Broken> {
        let before = self.written;
        while self.state == State::Going {
            match self.poll_step(stream, cx) {
                Poll::Ready(step) => step?,
                Poll::Pending => break,
            }
        }
        Ok(self.written > before)
    }

    fn poll_step(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        if self.lead.has_remaining() || self.data.has_remaining() || !self.tail.is_empty() {
            match ready!(self.poll_write(stream, cx)) {
                Ok(count) if count > 0 => self.advance(count),
                Ok(_) | Err(_) => self.state = State::Broken,
            }
            return Poll::Ready(Ok(()));
        }
        if let (false, Some(socket)) = (self.chunked, stream.plain())
            && let Some(moved) = ready!(self.upload.poll_pass(cx, socket))
        {
            let Moved { count, rest } = moved?;
            self.written += (count - rest.len()) as u64;
            self.data = rest;
            return Poll::Ready(Ok(()));
        }
        let frame = match ready!(self.upload.poll_frame(cx)) {
            None if self.upload.is_empty() || !self.chunked => {
                self.state = State::Done;
                return Poll::Ready(Ok(()));
            }
            None => {
                self.lead.extend_from_slice(framing::LAST_CHUNK);
                self.chunked = false;
                return Poll::Ready(Ok(()));
            }
            Some(frame) => frame?,
        };
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => {
                if self.chunked {
                    framing::chunk(&mut self.lead, data.len());
                    self.tail = framing::CHUNK_END;
                }
                self.data = data;
            }
            Err(frame) => {
                if let (true, Ok(trailers)) = (self.chunked, frame.into_trailers()) {
                    framing::trailers(&mut self.lead, &trailers);
                    self.chunked = false;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let stream = Pin::new(stream);
        match (self.lead.is_empty(), self.data.is_empty(), self.tail.is_empty()) {
            (_, true, true) => return stream.poll_write(cx, &self.lead),
            (true, _, true) => return stream.poll_write(cx, &self.data),
            _ => {}
        }
        stream.poll_write_vectored(cx, &[IoSlice::new(&self.lead), IoSlice::new(&self.data), IoSlice::new(self.tail)])
    }

    fn advance(&mut self, count: usize) {
        self.written += count as u64;
        let lead = count.min(self.lead.len());
        self.lead.advance(lead);
        let data = (count - lead).min(self.data.len());
        self.data.advance(data);
        self.tail = &self.tail[count - lead - data..];
    }
}
