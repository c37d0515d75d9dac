//! Over HTTP/1.1: a client that waits, in the clear or in TLS.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;

use crate::Failure;
use crate::check::{PATIENCE, REQUESTS};
use crate::load::Script;
use crate::work::HOST;

/// Header fields that an answer may have.
const FIELDS: usize = 64;

/// Bytes in both directions.
trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// A client that waits.
pub struct Visitor(Box<dyn Stream>);

impl Visitor {
    /// Connects, by TLS where there is a configuration for it.
    pub fn connect(address: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> Result<Self, Failure> {
        let stream = connect(address)?;
        let Some(config) = tls else { return Ok(Self(Box::new(stream))) };
        let session = ClientConnection::new(Arc::clone(config), ServerName::try_from(HOST)?)?;
        Ok(Self(Box::new(StreamOwned::new(session, stream))))
    }

    /// Sends a request and compares its answer.
    pub fn ask(&mut self, request: &[u8], expected: &[u8]) -> Result<(), Failure> {
        self.0.write_all(request)?;
        self.0.flush()?;
        let mut received = Vec::new();
        let (size, length) = loop {
            if let Some(head) = read_head(&received)? {
                break head;
            }
            self.more(&mut received)?;
        };
        while received.len() < size + length {
            self.more(&mut received)?;
        }
        if received[size..] != *expected {
            return Err(format!("another body, of {} bytes", received.len() - size).into());
        }
        Ok(())
    }

    /// Sends a request and returns its status, whatever follows.
    pub fn status(&mut self, request: &[u8]) -> Result<u16, Failure> {
        self.0.write_all(request)?;
        let mut line = [0; b"HTTP/1.1 200".len()];
        self.0.read_exact(&mut line)?;
        Ok(std::str::from_utf8(&line[9..])?.parse()?)
    }

    fn more(&mut self, received: &mut Vec<u8>) -> io::Result<()> {
        let mut gulp = [0; 64 * 1024];
        match self.0.read(&mut gulp)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                received.extend_from_slice(&gulp[..read]);
                Ok(())
            }
        }
    }
}

/// A socket with nothing above it.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// All requests of the check, one after another.
pub fn ask_all(address: SocketAddr, script: &Script, tls: Option<&Arc<ClientConfig>>) -> Result<(), Failure> {
    let mut visitor = None;
    for number in 0..REQUESTS {
        let request = &script.requests[number % script.requests.len()];
        let mut current = match visitor.take() {
            Some(visitor) => visitor,
            None => Visitor::connect(address, tls)?,
        };
        current.ask(request, &script.answer)?;
        visitor = script.reuse.then_some(current);
    }
    Ok(())
}

/// Size of the head and length of the body of an answer that is right as far as its head says.
fn read_head(received: &[u8]) -> Result<Option<(usize, usize)>, Failure> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut answer = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(size) = answer.parse(received)? else { return Ok(None) };
    if answer.code != Some(200) {
        return Err(format!("status {:?}", answer.code).into());
    }
    let is_length = |field: &&httparse::Header<'_>| field.name.eq_ignore_ascii_case("content-length");
    let fields: &[httparse::Header<'_>] = answer.headers;
    let lengths: Vec<&[u8]> = fields.iter().filter(is_length).map(|field| field.value).collect();
    let [length] = lengths[..] else { return Err(format!("{} Content-Length in an answer", lengths.len()).into()) };
    Ok(Some((size, std::str::from_utf8(length)?.parse()?)))
}
