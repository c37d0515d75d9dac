//! A long body from one socket to the other without passing through this process: the kernel moves the pages that it has received
//! into a pipe, and out of it to be sent (splice(2)), where reading and writing would copy every byte twice. What nobody has to look
//! at can go this way: a body whose length is known, or what is in a tunnel, if there is no TLS on either side.
//!
//! Nothing stays in a pipe: what its receiver does not take at once comes back as bytes, as if it had been read. So one pipe serves
//! all connections of a thread, and a client that takes nothing holds no more than it does anywhere else.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Body;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// What is moved at once: what a pipe holds unless it is asked to hold more. Larger pieces save few system calls, and where TCP is
/// paced (BBR) they are sent by timers, which costs more than that.
const PIECE: u64 = 64 * 1024;
/// Less than this is read: so little is copied as fast.
const WORTHWHILE: u64 = 16 * 1024;

/// A pipe of one thread, which is opened when it is first used.
#[derive(Debug, Default)]
pub struct Pipe {
    // Empty, both of them; none while they are in use, and after a failure.
    ends: RefCell<Option<Ends>>,
    /// It cannot be done here, and is not tried again.
    useless: Cell<bool>,
}

#[derive(Debug)]
struct Ends {
    out: File,
    into: File,
}

/// What was moved.
#[derive(Debug, PartialEq, Eq)]
pub struct Moved {
    /// Bytes that have been taken from the sender.
    pub count: usize,
    /// The last of them, which the receiver has not taken: to be written before anything else.
    pub rest: Bytes,
}

/// A body that may go past this process.
pub trait Passing: Body<Data = Bytes> {
    /// Moves its next piece to a socket. None if it has to be polled for a frame instead, which is also how its end shows.
    fn poll_pass(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &TcpStream,
    ) -> Poll<Option<Result<Moved, <Self as Body>::Error>>> {
        Poll::Ready(None)
    }
}

impl Passing for http_body_util::Full<Bytes> {}

impl<B: Passing, F: FnMut(B::Error) -> E, E> Passing for http_body_util::combinators::MapErr<B, F> {}

impl Pipe {
    /// Moves what has come, and no more than `left`, from one socket to another. None if it has to be read instead: at the end of the
    /// stream, for one. That the receiver has failed shows when what comes back is written to it.
    pub fn poll_move(
        &self,
        cx: &mut Context<'_>,
        (from, to): (&TcpStream, &TcpStream),
        left: u64,
    ) -> Poll<Option<io::Result<Moved>>> {
        if left < WORTHWHILE || self.useless.get() {
            return Poll::Ready(None);
        }
        loop {
            if let Err(error) = ready!(from.poll_read_ready(cx)) {
                return Poll::Ready(Some(Err(error)));
            }
            let Some(ends) = self.ends.take().or_else(|| self.open()) else { return Poll::Ready(None) };
            let piece = usize::try_from(left.min(PIECE)).unwrap_or_default();
            let filled = from.try_io(Interest::READABLE, || kernel::splice(from, &ends.into, piece));
            match filled {
                Ok(count @ 1..) => return Poll::Ready(Some(self.empty(ends, to, count))),
                // Nothing has come into it.
                Ok(0) => *self.ends.borrow_mut() = Some(ends),
                Err(error) => {
                    *self.ends.borrow_mut() = Some(ends);
                    match error.kind() {
                        io::ErrorKind::WouldBlock => continue,
                        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => self.useless.set(true),
                        _ => return Poll::Ready(Some(Err(error))),
                    }
                }
            }
            return Poll::Ready(None);
        }
    }

    fn open(&self) -> Option<Ends> {
        let opened = kernel::open();
        // Without descriptors it is read as long as there are none; without pipes for good.
        self.useless.set(matches!(&opened, Err(error) if error.kind() == io::ErrorKind::Unsupported));
        opened.ok()
    }

    /// Moves so many bytes on. A pipe in which something may be left is closed.
    fn empty(&self, ends: Ends, to: &TcpStream, count: usize) -> io::Result<Moved> {
        let mut left = count;
        while left > 0 {
            match to.try_io(Interest::WRITABLE, || kernel::splice(&ends.out, to, left)) {
                Ok(taken @ 1..) => left -= taken,
                // Full, or broken.
                _ => break,
            }
        }
        let mut rest = Vec::with_capacity(left);
        if left > 0 {
            (&ends.out).take(left as u64).read_to_end(&mut rest)?;
        }
        if rest.len() != left {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        *self.ends.borrow_mut() = Some(ends);
        Ok(Moved { count, rest: rest.into() })
    }
}

#[cfg(target_os = "linux")]
mod kernel {
    use std::io;
    use std::os::fd::AsFd;

    use rustix::pipe::{PipeFlags, SpliceFlags};

    use super::Ends;

    pub(super) fn open() -> io::Result<Ends> {
        let (out, into) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Ends { out: out.into(), into: into.into() })
    }

    pub(super) fn splice(from: impl AsFd, to: impl AsFd, most: usize) -> io::Result<usize> {
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        Ok(rustix::pipe::splice(from, None, to, None, most, flags)?)
    }
}

/// Elsewhere everything is read.
#[cfg(not(target_os = "linux"))]
mod kernel {
    use std::io;

    use super::Ends;

    pub(super) fn open() -> io::Result<Ends> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn splice<F, T>(_: F, _: T, _: usize) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Both ends of a connection.
    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (near, listener.accept().await.unwrap().0)
    }

    fn text(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at % 251) as u8).collect()
    }

    /// Moves so many bytes, by whichever way; gives how many of them were given back.
    async fn move_all(pipe: &Pipe, from: &mut TcpStream, to: &mut TcpStream, mut left: u64) -> usize {
        let mut returned = 0;
        while left > 0 {
            let bytes = match poll_fn(|cx| pipe.poll_move(cx, (from, to), left)).await {
                Some(moved) => {
                    let Moved { count, rest } = moved.unwrap();
                    assert!(count as u64 <= PIECE.min(left) && rest.len() <= count);
                    left -= count as u64;
                    returned += rest.len();
                    rest
                }
                None => {
                    let mut bytes = bytes::BytesMut::new();
                    left -= from.read_buf(&mut bytes).await.unwrap() as u64;
                    bytes.freeze()
                }
            };
            to.write_all(&bytes).await.unwrap();
        }
        returned
    }

    #[tokio::test]
    async fn all_of_it_arrives_in_order_however_slowly_it_is_taken() {
        const LENGTH: usize = 20_000_000;
        let ((mut sender, mut from), (mut to, mut receiver)) = (pair().await, pair().await);
        let sending = tokio::spawn(async move { sender.write_all(&text(LENGTH)).await.map(|()| sender) });
        let receiving = tokio::spawn(async move {
            let (mut all, mut some) = (Vec::new(), vec![0; 100_000]);
            while all.len() < LENGTH {
                let count = receiver.read(&mut some).await.unwrap();
                all.extend_from_slice(&some[..count]);
                // Whoever sends has its turn meanwhile.
                tokio::task::yield_now().await;
            }
            all
        });
        let returned = move_all(&Pipe::default(), &mut from, &mut to, LENGTH as u64).await;
        assert!(returned > 0, "there always was room");
        assert!(receiving.await.unwrap() == text(LENGTH));
        sending.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn no_more_is_taken_than_belongs_to_the_body() {
        let ((mut sender, mut from), (mut to, mut receiver)) = (pair().await, pair().await);
        sender.write_all(&text(50_000)).await.unwrap();
        move_all(&Pipe::default(), &mut from, &mut to, 20_000).await;
        let mut taken = vec![0; 20_000];
        receiver.read_exact(&mut taken).await.unwrap();
        let mut left = vec![0; 30_000];
        from.read_exact(&mut left).await.unwrap();
        assert!([taken, left].concat() == text(50_000));
    }

    #[tokio::test]
    async fn the_end_of_a_stream_is_left_to_be_read() {
        let ((sender, from), (to, _receiver)) = (pair().await, pair().await);
        drop(sender);
        assert!(poll_fn(|cx| Pipe::default().poll_move(cx, (&from, &to), 1 << 20)).await.is_none());
    }

    #[tokio::test]
    async fn nothing_of_one_connection_is_left_for_another_when_a_receiver_breaks_off() {
        let pipe = Pipe::default();
        let ((mut sender, from), (to, receiver)) = (pair().await, pair().await);
        socket2::SockRef::from(&receiver).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(receiver);
        sender.write_all(&vec![b'a'; 60_000]).await.unwrap();
        to.readable().await.unwrap();
        let moved = poll_fn(|cx| pipe.poll_move(cx, (&from, &to), 1 << 20)).await.unwrap().unwrap();
        assert_eq!(moved.rest.len(), moved.count, "it had nowhere to go");
        let ((mut sender, mut from), (mut to, mut receiver)) = (pair().await, pair().await);
        sender.write_all(&text(60_000)).await.unwrap();
        move_all(&pipe, &mut from, &mut to, 60_000).await;
        let mut all = vec![0; 60_000];
        receiver.read_exact(&mut all).await.unwrap();
        assert!(all == text(60_000));
    }
}
