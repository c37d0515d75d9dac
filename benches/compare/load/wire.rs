//! One connection's bytes, without waiting: TCP, or TLS above it. Nothing here knows what the bytes mean.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::RecvFlags;
use rustls::ClientConnection;
use rustls::HandshakeKind;
use socket2::{Domain, Socket, Type};

/// What rustls asks a socket for at once; if less came, the socket is empty.
const TLS_READ: usize = 4096;

/// A connection that never blocks.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// Whether the socket held no more when it was last read: the next bytes come with an event of their own.
    drained: bool,
}

impl Wire {
    /// Begins to connect. What goes wrong shows when it is written or read.
    pub fn connect(address: SocketAddr, tls: Option<ClientConnection>) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Err(error) = socket.connect(&address.into())
            && error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error())
        {
            return Err(error);
        }
        Ok(Self { stream: socket.into(), tls: tls.map(Box::new), drained: true })
    }

    /// One that has been accepted.
    pub fn accepted(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, tls: None, drained: true })
    }

    /// Whether there is no use in reading before the next event.
    pub fn is_drained(&self) -> bool {
        self.drained
    }

    /// Whether bytes can be thrown away unread.
    pub fn can_discard(&self) -> bool {
        self.tls.is_none()
    }

    /// How the handshake went, once it is over.
    pub fn handshake(&self) -> Option<HandshakeKind> {
        self.tls.as_ref().and_then(|tls| tls.handshake_kind())
    }

    /// Reads what is there; 0 at the end. `WouldBlock` where there is nothing.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Self { stream, tls, drained } = self;
        let Some(tls) = tls else {
            let read = stream.read(buffer)?;
            *drained = read < buffer.len();
            return Ok(read);
        };
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(read) => {
                    // With room left over, rustls has handed out all that it has.
                    return Ok(read);
                }
                Err(error) => return Err(error),
            }
            let received = tls.read_tls(stream)?;
            *drained = received < TLS_READ && received > 0;
            tls.process_new_packets().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if tls.wants_write() {
                self::flush(tls, stream)?;
            }
        }
    }

    /// Throws away up to the buffer's length without copying it. Only where `can_discard`.
    pub fn discard(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len();
        let (_, read) = rustix::net::recv(&self.stream, buffer, RecvFlags::TRUNC)?;
        self.drained = read < wanted;
        Ok(read)
    }

    /// Writes what can be written now, which may be nothing.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return match self.stream.write(bytes) {
                Err(error) if is_not_yet(&error) => Ok(0),
                written => written,
            };
        };
        let written = tls.writer().write(bytes)?;
        flush(tls, &mut self.stream)?;
        Ok(written)
    }

    /// Goes on writing what TLS still holds; to be called when the socket has room again.
    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => flush(tls, &mut self.stream),
            None => Ok(()),
        }
    }
}

fn flush(tls: &mut ClientConnection, stream: &mut TcpStream) -> io::Result<()> {
    while tls.wants_write() {
        match tls.write_tls(stream) {
            Err(error) if is_not_yet(&error) => return Ok(()),
            Err(error) => return Err(error),
            Ok(_) => {}
        }
    }
    Ok(())
}

/// Full, or still connecting.
fn is_not_yet(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected)
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
