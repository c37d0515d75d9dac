//! One connection from a proxy, over HTTP/2 by prior knowledge: each request is read to its end, and answered as gRPC would,
//! with a message and trailers. What the headers of a request say is not looked at.

use std::collections::VecDeque;
use std::io;

use crate::frames::{self, Frame};
use crate::load::{Ready, Wire};
use crate::origin::Ledger;
use crate::origin::store::{GRPC_MESSAGE, Store};

/// Received bytes after which the proxy is allowed as many more.
const REPLENISH: u32 = frames::WINDOW / 2;

/// The origin's side of one connection.
#[derive(Debug)]
pub struct Http2 {
    /// Whether the proxy has said its preface.
    greeted: bool,
    /// Requests that have not ended, and how much of their bodies has come.
    streams: Vec<(u32, usize)>,
    /// Requests whose answer waits for room.
    waiting: VecDeque<u32>,
    /// What we may send.
    window: i64,
    received: u32,
    out: Vec<u8>,
    written: usize,
    held: Vec<u8>,
}

impl Http2 {
    /// A connection that has just been accepted.
    pub fn new() -> Self {
        let mut out = Vec::new();
        frames::put_settings(&mut out);
        Self {
            greeted: false,
            streams: Vec::new(),
            waiting: VecDeque::new(),
            window: frames::FIRST_WINDOW,
            received: 0,
            out,
            written: 0,
            held: Vec::new(),
        }
    }

    /// Does what can be done now. Returns whether the connection is still open.
    pub fn serve(
        &mut self,
        wire: &mut Wire,
        ready: Ready,
        (ledger, store): (&Ledger, &Store),
        buffer: &mut [u8],
    ) -> io::Result<bool> {
        if ready != Ready::Write && !self.read(wire, ready, ledger, buffer)? {
            return Ok(false);
        }
        self.answer(store);
        self.go_on(wire)?;
        Ok(true)
    }

    /// Whether the connection is still open.
    fn read(&mut self, wire: &mut Wire, ready: Ready, ledger: &Ledger, buffer: &mut [u8]) -> io::Result<bool> {
        loop {
            match wire.read(buffer) {
                Ok(0) => return Ok(false),
                Ok(read) => self.take_all(&buffer[..read], ledger)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
            if wire.is_drained() && ready != Ready::Ended {
                return Ok(true);
            }
        }
    }

    fn take_all(&mut self, received: &[u8], ledger: &Ledger) -> io::Result<()> {
        let mut held = std::mem::take(&mut self.held);
        let joined = if held.is_empty() {
            received
        } else {
            held.extend_from_slice(received);
            &held
        };
        let mut from = 0;
        if !self.greeted && joined.len() >= frames::PREFACE.len() {
            if !joined.starts_with(frames::PREFACE) {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.greeted = true;
            from = frames::PREFACE.len();
        }
        while self.greeted
            && let Some((frame, size)) = frames::split(&joined[from..])
        {
            self.take(&frame, ledger)?;
            from += size;
        }
        self.held = joined[from..].to_vec();
        Ok(())
    }

    fn take(&mut self, frame: &Frame<'_>, ledger: &Ledger) -> io::Result<()> {
        match frame.kind {
            frames::DATA | frames::HEADERS => return self.take_request(frame, ledger),
            frames::RST_STREAM => self.streams.retain(|(id, _)| *id != frame.stream),
            frames::WINDOW_UPDATE if frame.stream == 0 => {
                self.window += i64::from(frame.number().unwrap_or_default());
            }
            _ => frames::put_reply(&mut self.out, frame),
        }
        Ok(())
    }

    fn take_request(&mut self, frame: &Frame<'_>, ledger: &Ledger) -> io::Result<()> {
        let content = frame.content().ok_or(io::ErrorKind::InvalidData)?;
        let index = self.streams.iter().position(|(id, _)| *id == frame.stream).unwrap_or_else(|| {
            self.streams.push((frame.stream, 0));
            self.streams.len() - 1
        });
        if frame.kind == frames::DATA {
            self.streams[index].1 += content.len();
            self.received += frame.payload.len() as u32;
        }
        if self.received >= REPLENISH {
            let received = std::mem::take(&mut self.received);
            frames::put(&mut self.out, frames::WINDOW_UPDATE, 0, 0, &received.to_be_bytes());
        }
        if frame.has(frames::END_STREAM) {
            let (id, length) = self.streams.swap_remove(index);
            if length != GRPC_MESSAGE.len() {
                return Err(io::ErrorKind::InvalidData.into());
            }
            ledger.count(b"");
            self.waiting.push_back(id);
        }
        Ok(())
    }

    fn answer(&mut self, store: &Store) {
        while self.window >= GRPC_MESSAGE.len() as i64
            && let Some(id) = self.waiting.pop_front()
        {
            self.window -= GRPC_MESSAGE.len() as i64;
            frames::put_for(&mut self.out, store.grpc(), id);
        }
    }

    fn go_on(&mut self, wire: &mut Wire) -> io::Result<()> {
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
}
