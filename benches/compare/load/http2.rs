//! Several requests at a time over HTTP/2, as a client that knows what it will be answered.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::frames::{self, Frame};
use crate::load::wire::Wire;
use crate::load::{Ready, Script, Shared, Trouble};

/// Received bytes after which the other side is allowed as many more.
const REPLENISH: u32 = frames::WINDOW / 2;

/// The client's side of one connection.
#[derive(Debug)]
pub struct Http2 {
    script: Arc<Script>,
    /// How many requests it has at once.
    most: usize,
    /// Whether answers end with trailers.
    trailers: bool,
    streams: Vec<Stream>,
    next: u32,
    /// What we may send.
    window: i64,
    /// Bytes of bodies received since the other side was last allowed more.
    received: u32,
    out: Vec<u8>,
    written: usize,
    held: Vec<u8>,
    closed: bool,
}

/// A request without an answer.
#[derive(Debug)]
struct Stream {
    id: u32,
    due: Instant,
    headed: bool,
    body: usize,
}

impl Http2 {
    /// A connection on which nothing has been said yet.
    pub fn new(script: Arc<Script>, most: usize, trailers: bool) -> Self {
        let mut out = frames::PREFACE.to_vec();
        frames::put_settings(&mut out);
        Self {
            script,
            most,
            trailers,
            streams: Vec::new(),
            next: 1,
            window: frames::FIRST_WINDOW,
            received: 0,
            out,
            written: 0,
            held: Vec::new(),
            closed: false,
        }
    }

    /// How many more requests it can take.
    pub fn room(&self) -> usize {
        if self.closed || self.window < self.script.upload as i64 { 0 } else { self.most - self.streams.len() }
    }

    /// Requests without an answer.
    pub fn waiting(&self) -> usize {
        self.streams.len()
    }

    /// Whether it is over.
    pub fn is_closed(&self) -> bool {
        self.closed && self.streams.is_empty()
    }

    /// Sends a request, which was due then: the first in full, the others by what the first has told.
    pub fn ask(&mut self, wire: &mut Wire, due: Instant) -> Result<(), Trouble> {
        let [first, .., later] = self.script.requests.as_slice() else { return Err(Trouble::wrong("no request")) };
        let request = if self.next == 1 { first } else { later };
        frames::put_for(&mut self.out, request, self.next);
        self.window -= self.script.upload as i64;
        self.streams.push(Stream { id: self.next, due, headed: false, body: 0 });
        self.next += 2;
        self.go_on(wire)
    }

    /// Writes what is left.
    pub fn go_on(&mut self, wire: &mut Wire) -> Result<(), Trouble> {
        while self.written < self.out.len() {
            match wire.write(&self.out[self.written..])? {
                0 => return Ok(()),
                written => self.written += written,
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    /// Reads what has come. Answered requests are put into `shared.done`.
    pub fn receive(&mut self, wire: &mut Wire, ready: Ready, shared: &mut Shared) -> Result<(), Trouble> {
        if ready == Ready::Write {
            return Ok(());
        }
        loop {
            match wire.read(&mut shared.buffer) {
                Ok(0) => return self.end(),
                Ok(read) => self.take_some(read, shared)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) if self.streams.is_empty() => return self.end(),
                Err(error) => return Err(error.into()),
            }
            if wire.is_drained() && ready != Ready::Ended {
                break;
            }
        }
        self.go_on(wire)
    }

    fn take_some(&mut self, read: usize, shared: &mut Shared) -> Result<(), Trouble> {
        if self.held.is_empty() {
            let buffer = std::mem::take(&mut shared.buffer);
            let taken = self.take_all(&buffer[..read], shared);
            shared.buffer = buffer;
            return taken;
        }
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(&shared.buffer[..read]);
        self.take_all(&held, shared)
    }

    fn end(&mut self) -> Result<(), Trouble> {
        self.closed = true;
        if self.streams.is_empty() { Ok(()) } else { Err(Trouble::Lost(io::ErrorKind::UnexpectedEof.into())) }
    }

    fn take_all(&mut self, mut received: &[u8], shared: &mut Shared) -> Result<(), Trouble> {
        while let Some((frame, size)) = frames::split(received) {
            self.take(&frame, shared)?;
            received = &received[size..];
        }
        self.held.clear();
        self.held.extend_from_slice(received);
        Ok(())
    }

    fn take(&mut self, frame: &Frame<'_>, shared: &mut Shared) -> Result<(), Trouble> {
        match frame.kind {
            frames::DATA | frames::HEADERS => self.take_answer(frame, shared),
            frames::RST_STREAM => Err(Trouble::Wrong(format!("RST_STREAM {:?}", frame.payload))),
            frames::GOAWAY => {
                self.closed = true;
                Ok(())
            }
            frames::WINDOW_UPDATE if frame.stream == 0 => {
                self.window += i64::from(frame.number().unwrap_or_default());
                Ok(())
            }
            _ => {
                frames::put_reply(&mut self.out, frame);
                Ok(())
            }
        }
    }

    fn take_answer(&mut self, frame: &Frame<'_>, shared: &mut Shared) -> Result<(), Trouble> {
        let found = self.streams.iter().position(|stream| stream.id == frame.stream);
        let (Some(index), Some(content)) = (found, frame.content()) else {
            return Err(Trouble::wrong("a frame that belongs nowhere"));
        };
        let stream = &mut self.streams[index];
        let ends = frame.has(frames::END_STREAM);
        let mut trailers = false;
        if frame.kind == frames::DATA {
            let expected = self.script.answer.get(stream.body..).unwrap_or_default();
            if !stream.headed || !expected.starts_with(content) {
                return Err(Trouble::wrong("another body"));
            }
            stream.body += content.len();
            self.received += frame.payload.len() as u32;
        } else if !frame.has(frames::END_HEADERS) {
            return Err(Trouble::wrong("headers in parts"));
        } else if stream.headed {
            trailers = true;
        } else {
            stream.headed = frames::is_200(content);
        }
        if !stream.headed || (trailers && !ends) {
            return Err(Trouble::wrong("another status, or headers out of place"));
        }
        if ends && (stream.body != self.script.answer.len() || trailers != self.trailers) {
            return Err(Trouble::Wrong(format!("{} bytes, trailers: {trailers}", stream.body)));
        }
        if ends {
            shared.done.push(self.streams.swap_remove(index).due);
        }
        if self.received >= REPLENISH {
            let received = std::mem::take(&mut self.received);
            frames::put(&mut self.out, frames::WINDOW_UPDATE, 0, 0, &received.to_be_bytes());
        }
        Ok(())
    }
}
