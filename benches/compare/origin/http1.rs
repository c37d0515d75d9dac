//! One connection from a proxy, over HTTP/1.1: reads requests, uploads among them, and answers each with its fixed answer.

use std::io;
use std::sync::Arc;

use memchr::memmem;

use crate::load::{Ready, Wire};
use crate::origin::{Ledger, Store};

/// Larger than any head that a proxy makes of our request.
const HEAD_LIMIT: usize = 8 * 1024;

/// The origin's side of one connection.
#[derive(Debug)]
pub struct Http1 {
    state: State,
    /// A head that is not whole.
    held: Vec<u8>,
}

#[derive(Debug)]
enum State {
    /// Until a request's head is whole.
    Head,
    /// Until so many more bytes of its body have come, and then this answer.
    Body { left: usize, answer: Arc<[u8]> },
    /// Until the rest of the answer is written, and then what comes after it.
    Answer { answer: Arc<[u8]>, written: usize, then: Next },
    /// The connection belongs to another protocol.
    Upgraded,
}

/// What comes after an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Next {
    Request,
    Upgrade,
}

impl Http1 {
    /// A connection that has just been accepted.
    pub fn new() -> Self {
        Self { state: State::Head, held: Vec::new() }
    }

    /// Whether it has agreed to speak WebSocket from now on.
    pub fn is_upgraded(&self) -> bool {
        matches!(self.state, State::Upgraded)
    }

    /// Does what can be done now. Returns whether the connection is still open.
    pub fn serve(
        &mut self,
        wire: &mut Wire,
        ready: Ready,
        (ledger, store): (&Ledger, &Store),
        buffer: &mut [u8],
    ) -> io::Result<bool> {
        self.go_on(wire)?;
        while ready != Ready::Write && !matches!(self.state, State::Answer { .. } | State::Upgraded) {
            match self.read(wire, buffer) {
                Ok(0) => return Ok(false),
                Ok(read) => {
                    self.take(&buffer[..read], (ledger, store))?;
                    self.go_on(wire)?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
            if wire.is_drained() && ready != Ready::Ended {
                break;
            }
        }
        Ok(true)
    }

    /// Bodies are thrown away where they are: that they came whole is what matters.
    fn read(&mut self, wire: &mut Wire, buffer: &mut [u8]) -> io::Result<usize> {
        match self.state {
            State::Body { left, .. } => {
                let most = left.min(buffer.len());
                wire.discard(&mut buffer[..most])
            }
            _ => wire.read(buffer),
        }
    }

    fn take(&mut self, received: &[u8], (ledger, store): (&Ledger, &Store)) -> io::Result<()> {
        match &mut self.state {
            State::Head if self.held.is_empty() => self.take_head(received, (ledger, store)),
            State::Head => {
                let mut held = std::mem::take(&mut self.held);
                held.extend_from_slice(received);
                self.take_head(&held, (ledger, store))
            }
            State::Body { left, answer } => {
                *left -= received.len();
                let (left, answer) = (*left, Arc::clone(answer));
                if left == 0 {
                    self.answer(answer, Next::Request);
                }
                Ok(())
            }
            State::Answer { .. } | State::Upgraded => Ok(()),
        }
    }

    fn take_head(&mut self, received: &[u8], (ledger, store): (&Ledger, &Store)) -> io::Result<()> {
        let size = match memmem::find(received, b"\r\n\r\n") {
            Some(blank) => blank + 4,
            None if received.len() > HEAD_LIMIT => return Err(io::ErrorKind::InvalidData.into()),
            None => {
                self.held = received.to_vec();
                return Ok(());
            }
        };
        let head = &received[..size];
        ledger.count(head);
        if let Some(agreed) = store.upgrade(head) {
            self.answer(agreed, Next::Upgrade);
            return Ok(());
        }
        let answer = Arc::clone(store.find(head));
        let length = if head.starts_with(b"GET ") { 0 } else { content_length(head)? };
        // We are never asked twice before we have answered.
        match length.checked_sub(received.len() - size).ok_or(io::ErrorKind::InvalidData)? {
            0 => self.answer(answer, Next::Request),
            left => self.state = State::Body { left, answer },
        }
        Ok(())
    }

    fn answer(&mut self, answer: Arc<[u8]>, then: Next) {
        self.state = State::Answer { answer, written: 0, then };
    }

    fn go_on(&mut self, wire: &mut Wire) -> io::Result<()> {
        let State::Answer { answer, written, then } = &mut self.state else { return Ok(()) };
        while *written < answer.len() {
            match wire.write(&answer[*written..])? {
                0 => return Ok(()),
                more => *written += more,
            }
        }
        self.state = if *then == Next::Upgrade { State::Upgraded } else { State::Head };
        Ok(())
    }
}

/// Of a request that must have one. Chunks are not understood, which shows in the check.
fn content_length(head: &[u8]) -> io::Result<usize> {
    let text = std::str::from_utf8(head).map_err(io::Error::other)?;
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}
