//! Bytes both ways on one HTTP/2 stream, once it is a tunnel (RFC 8441, and RFC 9113 section 8.5): what a socket is where HTTP/1.1
//! has switched protocols. Whoever drives the connection moves them; here they only wait for its flow control.
//!
//! The end of one direction is END_STREAM, so that each can be closed by itself as with TCP. Dropped before its own end, the
//! stream is reset with CANCEL, which is what a TCP reset is mapped to.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is asked of the other side's window at once, and so what a writer's bytes are copied to.
const PIECE: usize = 16 * 1024;

/// A tunnel on an HTTP/2 stream.
#[derive(Debug)]
pub struct Duplex {
    sending: SendStream<Bytes>,
    receiving: RecvStream,
    // Received, and not yet read.
    bytes: Bytes,
    /// Our own end has been sent.
    shut: bool,
}

impl Duplex {
    /// The tunnel of a stream whose heads have been exchanged.
    pub fn new(sending: SendStream<Bytes>, receiving: RecvStream) -> Self {
        Duplex { sending, receiving, bytes: Bytes::new(), shut: false }
    }

    /// Waits until something is there to be read; false at the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while self.bytes.is_empty() {
            match ready!(self.receiving.poll_data(cx)) {
                Some(Ok(bytes)) => self.bytes = bytes,
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => return Poll::Ready(Ok(false)),
            }
        }
        Poll::Ready(Ok(true))
    }
}

impl AsyncRead for Duplex {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if ready!(self.poll_fill(cx))? {
            let count = self.bytes.len().min(buffer.remaining());
            buffer.put_slice(&self.bytes[..count]);
            self.bytes.advance(count);
            // What has been read makes room for more. A stream that has ended needs none.
            let _ = self.receiving.flow_control().release_capacity(count);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Duplex {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.sending.reserve_capacity(bytes.len().min(PIECE));
        while self.sending.capacity() == 0 {
            match ready!(self.sending.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let count = self.sending.capacity().min(bytes.len()).min(PIECE);
        let sent = self.sending.send_data(Bytes::copy_from_slice(&bytes[..count]), false);
        Poll::Ready(sent.map(|()| count).map_err(broken))
    }

    /// What was taken leaves by itself.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.shut, true) {
            // Where the stream is gone, there is nothing left to end.
            let _ = self.sending.send_data(Bytes::new(), true);
        }
        Poll::Ready(Ok(()))
    }
}

fn broken(error: h2::Error) -> io::Error {
    if error.is_io() { error.into_io().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into()) } else { reset(error) }
}

fn reset(error: h2::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}

#[cfg(test)]
mod tests {
    use h2::{client, server};
    use http::{Request, Response};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, split};
    use tokio::task::JoinSet;

    use super::*;

    const MUCH: usize = 1_000_000;

    /// Both ends of a stream whose heads are through; the tasks drive the connection.
    async fn pair() -> (Duplex, Duplex, JoinSet<()>) {
        let (near, far) = duplex(64 * 1024);
        let mut tasks = JoinSet::new();
        let (near, far) = tokio::join!(client::handshake(near), server::handshake(far));
        let ((mut requests, connection), mut far) = (near.unwrap(), far.unwrap());
        tasks.spawn(async move { drop(connection.await) });
        let (response, sending) = requests.send_request(Request::new(()), false).unwrap();
        let (request, mut respond) = far.accept().await.unwrap().unwrap();
        let other = respond.send_response(Response::new(()), false).unwrap();
        tasks.spawn(async move { while far.accept().await.is_some() {} });
        let answer = response.await.unwrap();
        tasks.spawn(async move {
            let _held = requests;
            std::future::pending::<()>().await;
        });
        (Duplex::new(sending, answer.into_body()), Duplex::new(other, request.into_body()), tasks)
    }

    #[tokio::test]
    async fn more_than_a_window_goes_both_ways_at_once_and_each_direction_ends_by_itself() {
        let (near, far, _tasks) = pair().await;
        let ((mut near_read, mut near_write), (mut far_read, mut far_write)) = (split(near), split(far));
        let (a, b) = (vec![b'a'; MUCH], vec![b'b'; MUCH]);
        let (mut at_near, mut at_far) = (Vec::new(), Vec::new());
        let forth = async {
            near_write.write_all(&a).await.unwrap();
            near_write.shutdown().await.unwrap();
        };
        tokio::join!(forth, async { far_read.read_to_end(&mut at_far).await.unwrap() });
        assert!(at_far == a);
        let back = async {
            far_write.write_all(&b).await.unwrap();
            far_write.shutdown().await.unwrap();
        };
        tokio::join!(back, async { near_read.read_to_end(&mut at_near).await.unwrap() });
        assert!(at_near == b);
    }

    #[tokio::test]
    async fn whoever_leaves_without_an_end_resets_the_stream() {
        let (near, mut far, _tasks) = pair().await;
        drop(near);
        let error = far.read(&mut [0; 10]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let error = far.write_all(&[0; MUCH]).await.unwrap_err();
        assert!([io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset].contains(&error.kind()), "{error}");
    }

    #[tokio::test]
    async fn a_writer_waits_for_a_reader() {
        let (mut near, mut far, _tasks) = pair().await;
        let mut written = 0;
        while let Ok(count) =
            tokio::time::timeout(std::time::Duration::from_millis(50), near.write(&[b'x'; PIECE])).await
        {
            written += count.unwrap();
            assert!(written < MUCH, "nobody reads");
        }
        let mut read = vec![0; written];
        far.read_exact(&mut read).await.unwrap();
        near.write_all(b"more").await.unwrap();
    }
}
