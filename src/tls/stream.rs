//! A connection with or without TLS on it, as both sides of the proxy use it.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{TlsStream, client};

/// A byte stream under which there may be a socket and nothing else.
pub trait Bare: AsyncRead + AsyncWrite + Unpin {
    /// Shows the socket, if what goes over it is no more than what is said, and nothing of it was read before.
    fn bare<R>(&self, show: impl FnOnce(&TcpStream) -> R) -> Option<R>;
}

/// A byte stream to a peer.
#[derive(Debug)]
pub enum Stream {
    /// As it is.
    Plain(TcpStream),
    /// Encrypted. On the heap: it is large, and most connections inside a network have none.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// The protocol that was agreed on by ALPN, if any was.
    pub fn alpn(&self) -> Option<&[u8]> {
        match self {
            Stream::Plain(_) => None,
            Stream::Tls(stream) => stream.get_ref().1.alpn_protocol(),
        }
    }

    /// True if nothing has come that was not asked for, and no end: what a connection should be like while nobody uses it. Costs no
    /// system call unless an event has come; with `probe` the kernel is asked even so, since the event may be on its way.
    pub fn is_quiet(&mut self, probe: bool) -> bool {
        let found = match self {
            Stream::Plain(stream) if probe => SockRef::from(&*stream).peek(&mut [MaybeUninit::uninit()]),
            Stream::Plain(stream) => stream.try_read(&mut [0]),
            // What is about the session alone, such as tickets for the next one, is read on the way.
            Stream::Tls(stream) => match &mut **stream {
                TlsStream::Client(stream) if probe => pull(stream),
                stream => {
                    let (mut byte, cx) = ([0], &mut Context::from_waker(Waker::noop()));
                    let mut buffer = ReadBuf::new(&mut byte);
                    return Pin::new(stream).poll_read(cx, &mut buffer).is_pending();
                }
            },
        };
        matches!(found, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The socket, if what goes over it is no more than what is said.
    pub fn plain(&self) -> Option<&TcpStream> {
        match self {
            Stream::Plain(stream) => Some(stream),
            Stream::Tls(_) => None,
        }
    }

    /// The socket underneath.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.get_ref().0,
        }
    }
}

/// Reads past tokio what is there, into the session; an error once nothing is, else what is no business of the session's.
fn pull(stream: &mut client::TlsStream<TcpStream>) -> io::Result<usize> {
    let (socket, session) = stream.get_mut();
    let socket = SockRef::from(&*socket);
    loop {
        let state = session.process_new_packets().map_err(io::Error::other)?;
        if state.plaintext_bytes_to_read() > 0 || state.peer_has_closed() || session.read_tls(&mut &*socket)? == 0 {
            return Ok(0);
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Stream::Plain(stream)
    }
}

impl Bare for Stream {
    fn bare<R>(&self, show: impl FnOnce(&TcpStream) -> R) -> Option<R> {
        self.plain().map(show)
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
