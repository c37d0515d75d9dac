//! One request at a time over HTTP/1.1, as a client that knows what it will be answered.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::load::wire::Wire;
use crate::load::{Ready, Script, Shared, Trouble};

/// Of long answers every so many are compared byte for byte, the others only measured …
const SAMPLE: u64 = 16;
/// … and these are long.
const LONG: usize = 64 * 1024;

/// Where a connection is.
#[derive(Debug)]
enum State {
    /// Between two requests.
    Idle,
    /// Until the answer's head is whole.
    Head,
    /// Until so many more bytes of its body have come.
    Body { left: usize },
    /// The answer was the last; until the other side closes.
    Closing,
    /// It has.
    Closed,
}

/// The client's side of one connection.
#[derive(Debug)]
pub struct Http1 {
    script: Arc<Script>,
    state: State,
    /// The request under way, and how much of it has been written.
    request: usize,
    written: usize,
    due: Instant,
    /// A head that is not whole.
    held: Vec<u8>,
    answers: u64,
    /// Whether the connection ends with this answer.
    last: bool,
}

impl Http1 {
    /// A connection on which nothing has been asked yet.
    pub fn new(script: Arc<Script>) -> Self {
        Self {
            script,
            state: State::Idle,
            request: 0,
            written: 0,
            due: Instant::now(),
            held: Vec::new(),
            answers: 0,
            last: false,
        }
    }

    /// How many more requests it can take.
    pub fn room(&self) -> usize {
        usize::from(matches!(self.state, State::Idle))
    }

    /// Requests without an answer.
    pub fn waiting(&self) -> usize {
        usize::from(matches!(self.state, State::Head | State::Body { .. }))
    }

    /// Whether it is over.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Sends the request of this number, which was due then.
    pub fn ask(&mut self, wire: &mut Wire, number: u64, due: Instant) -> Result<(), Trouble> {
        self.request = (number % self.script.requests.len() as u64) as usize;
        self.written = 0;
        self.due = due;
        self.state = State::Head;
        self.go_on(wire)
    }

    /// Writes what is left of the request.
    pub fn go_on(&mut self, wire: &mut Wire) -> Result<(), Trouble> {
        let request = &self.script.requests[self.request];
        while self.waiting() > 0 && self.written < request.len() {
            match wire.write(&request[self.written..])? {
                0 => return Ok(()),
                written => self.written += written,
            }
        }
        Ok(())
    }

    /// Reads what has come. The answered request is put into `shared.done`.
    pub fn receive(&mut self, wire: &mut Wire, ready: Ready, shared: &mut Shared) -> Result<(), Trouble> {
        if ready == Ready::Write {
            return Ok(());
        }
        loop {
            let read = match self.read(wire, shared) {
                Ok(0) => return self.end(),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // Whoever closes may not wait for our end of the conversation.
                Err(_) if matches!(self.state, State::Closing) => return self.end(),
                Err(error) => return Err(error.into()),
            };
            self.take(read, shared)?;
            let more = self.waiting() > 0 && !wire.can_discard();
            if wire.is_drained() && !more && ready != Ready::Ended {
                return Ok(());
            }
        }
    }

    /// Long bodies are thrown away where they are, unless it is their turn to be compared.
    fn read(&mut self, wire: &mut Wire, shared: &mut Shared) -> io::Result<usize> {
        let compare = self.compares();
        match self.state {
            State::Body { left } if wire.can_discard() && !compare => {
                let most = left.min(shared.buffer.len());
                wire.discard(&mut shared.buffer[..most])
            }
            _ => wire.read(&mut shared.buffer),
        }
    }

    fn compares(&self) -> bool {
        self.script.answer.len() <= LONG || self.answers.is_multiple_of(SAMPLE)
    }

    fn end(&mut self) -> Result<(), Trouble> {
        match self.state {
            State::Idle | State::Closing | State::Closed => {
                self.state = State::Closed;
                Ok(())
            }
            State::Head | State::Body { .. } => Err(Trouble::Lost(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    fn take(&mut self, read: usize, shared: &mut Shared) -> Result<(), Trouble> {
        match self.state {
            State::Head if self.held.is_empty() => {
                let buffer = std::mem::take(&mut shared.buffer);
                let taken = self.take_head(&buffer[..read], shared);
                shared.buffer = buffer;
                taken
            }
            State::Head => {
                let mut held = std::mem::take(&mut self.held);
                held.extend_from_slice(&shared.buffer[..read]);
                self.take_head(&held, shared)
            }
            State::Body { left } => {
                let compare = self.compares();
                self.take_body(left, read, compare, shared)
            }
            State::Idle | State::Closing | State::Closed => Err(Trouble::wrong("bytes that nobody asked for")),
        }
    }

    fn take_head(&mut self, received: &[u8], shared: &mut Shared) -> Result<(), Trouble> {
        let Some(head) = shared.heads.read(received)? else {
            self.held = received.to_vec();
            return Ok(());
        };
        let expected = &self.script.answer;
        if head.status != 200 || head.length != Some(expected.len()) {
            return Err(Trouble::Wrong(format!("status {}, Content-Length {:?}", head.status, head.length)));
        }
        let body = &received[head.size..];
        if !expected.starts_with(body) {
            return Err(Trouble::wrong("another body, or more than that"));
        }
        self.held.clear();
        self.last = head.close;
        if self.written < self.script.requests[self.request].len() {
            return Err(Trouble::wrong("an answer to half a request"));
        }
        self.advance(expected.len() - body.len(), shared);
        Ok(())
    }

    fn take_body(&mut self, left: usize, read: usize, compare: bool, shared: &mut Shared) -> Result<(), Trouble> {
        let expected = &self.script.answer;
        if read > left {
            return Err(Trouble::wrong("a body that is too long"));
        }
        let from = expected.len() - left;
        if compare && shared.buffer[..read] != expected[from..from + read] {
            return Err(Trouble::wrong("another body"));
        }
        self.advance(left - read, shared);
        Ok(())
    }

    fn advance(&mut self, left: usize, shared: &mut Shared) {
        if left > 0 {
            self.state = State::Body { left };
            return;
        }
        self.answers += 1;
        self.state = if self.last || !self.script.reuse { State::Closing } else { State::Idle };
        shared.done.push(self.due);
    }
}
