//! One connection from a proxy after its upgrade to WebSocket (RFC 6455): each message goes back.

use std::io;

use crate::load::{Ready, Wire};
use crate::origin::Ledger;

/// Longer messages than the short form of a length can say are not sent.
const LONGEST: u8 = 125;
const MASKED: u8 = 0x80;
/// Bytes before a masked message.
const HEAD: usize = 6;

/// The origin's side of one connection.
#[derive(Debug, Default)]
pub struct WebSocket {
    held: Vec<u8>,
    out: Vec<u8>,
}

impl WebSocket {
    /// Does what can be done now. Returns whether the connection is still open.
    pub fn serve(&mut self, wire: &mut Wire, ready: Ready, ledger: &Ledger, buffer: &mut [u8]) -> io::Result<bool> {
        if ready != Ready::Write && !self.read(wire, ready, ledger, buffer)? {
            return Ok(false);
        }
        if !self.out.is_empty() {
            let written = wire.write(&self.out)?;
            self.out.drain(..written);
        }
        Ok(true)
    }

    /// Whether the connection is still open.
    fn read(&mut self, wire: &mut Wire, ready: Ready, ledger: &Ledger, buffer: &mut [u8]) -> io::Result<bool> {
        loop {
            match wire.read(buffer) {
                Ok(0) => return Ok(false),
                Ok(read) => self.held.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
            self.echo(ledger)?;
            if wire.is_drained() && ready != Ready::Ended {
                return Ok(true);
            }
        }
    }

    fn echo(&mut self, ledger: &Ledger) -> io::Result<()> {
        let mut from = 0;
        while let Some(head) = self.held.get(from..from + HEAD) {
            let length = head[1] & !MASKED;
            if head[1] & MASKED == 0 || length > LONGEST {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let end = from + HEAD + usize::from(length);
            let Some(payload) = self.held.get(from + HEAD..end) else { break };
            self.out.extend_from_slice(&[head[0], length]);
            self.out.extend(payload.iter().zip(head[2..].iter().cycle()).map(|(byte, mask)| byte ^ mask));
            ledger.count(b"");
            from = end;
        }
        self.held.drain(..from);
        Ok(())
    }
}
