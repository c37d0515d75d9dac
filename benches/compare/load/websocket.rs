//! One message at a time over WebSocket (RFC 6455), each of which comes back.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::load::wire::Wire;
use crate::load::{Ready, Script, Shared, Trouble};

/// Larger than the head of any answer to an upgrade.
const HEAD_LIMIT: usize = 8 * 1024;

/// Where a connection is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    /// Nothing has been said yet.
    New,
    /// The upgrade has been asked for.
    Upgrading,
    /// Between two messages.
    Idle,
    /// A message has been sent.
    Waiting,
    /// It is over.
    Closed,
}

/// The client's side of one connection.
#[derive(Debug)]
pub struct WebSocket {
    script: Arc<Script>,
    state: State,
    due: Instant,
    out: Vec<u8>,
    held: Vec<u8>,
}

impl WebSocket {
    /// A connection on which nothing has been said yet.
    pub fn new(script: Arc<Script>) -> Self {
        Self { script, state: State::New, due: Instant::now(), out: Vec::new(), held: Vec::new() }
    }

    /// How many more messages it can take.
    pub fn room(&self) -> usize {
        usize::from(matches!(self.state, State::New | State::Idle))
    }

    /// Messages that have not come back.
    pub fn waiting(&self) -> usize {
        usize::from(matches!(self.state, State::Upgrading | State::Waiting))
    }

    /// Whether it is over.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Sends a message, which was due then; the first one when the upgrade is done.
    pub fn ask(&mut self, wire: &mut Wire, due: Instant) -> Result<(), Trouble> {
        let [upgrade, message] = self.script.requests.as_slice() else { return Err(Trouble::wrong("no request")) };
        self.due = due;
        let (state, bytes) = match self.state {
            State::New => (State::Upgrading, upgrade),
            _ => (State::Waiting, message),
        };
        self.state = state;
        self.out.extend_from_slice(bytes);
        self.go_on(wire)
    }

    /// Writes what is left.
    pub fn go_on(&mut self, wire: &mut Wire) -> Result<(), Trouble> {
        if !self.out.is_empty() {
            let written = wire.write(&self.out)?;
            self.out.drain(..written);
        }
        Ok(())
    }

    /// Reads what has come. The message that has come back is put into `shared.done`.
    pub fn receive(&mut self, wire: &mut Wire, ready: Ready, shared: &mut Shared) -> Result<(), Trouble> {
        if ready == Ready::Write {
            return Ok(());
        }
        loop {
            match wire.read(&mut shared.buffer) {
                Ok(0) if self.waiting() == 0 => {
                    self.state = State::Closed;
                    return Ok(());
                }
                Ok(0) => return Err(Trouble::Lost(io::ErrorKind::UnexpectedEof.into())),
                Ok(read) => self.held.extend_from_slice(&shared.buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            self.take(wire, shared)?;
            if wire.is_drained() && ready != Ready::Ended {
                return Ok(());
            }
        }
    }

    fn take(&mut self, wire: &mut Wire, shared: &mut Shared) -> Result<(), Trouble> {
        match self.state {
            State::Upgrading => {
                let Some(blank) = memchr::memmem::find(&self.held, b"\r\n\r\n") else {
                    let long = self.held.len() > HEAD_LIMIT;
                    return if long { Err(Trouble::wrong("a head larger than 8 KiB")) } else { Ok(()) };
                };
                if !self.held.starts_with(b"HTTP/1.1 101 ") || self.held.len() != blank + 4 {
                    return Err(Trouble::Wrong(String::from_utf8_lossy(&self.held).into_owned()));
                }
                self.held.clear();
                self.state = State::Idle;
                self.ask(wire, self.due)
            }
            State::Waiting if *self.held == *self.script.answer => {
                self.held.clear();
                self.state = State::Idle;
                shared.done.push(self.due);
                Ok(())
            }
            State::Waiting if self.script.answer.starts_with(&self.held) => Ok(()),
            _ => Err(Trouble::wrong("another message, or one that nobody sent")),
        }
    }
}
