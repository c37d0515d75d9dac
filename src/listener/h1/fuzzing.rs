//! Reading and writing without a connection: what the fuzz targets in `tests/fuzz` drive, and nobody else. Here and not there, since
//! it is what a connection does with the same code.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::{BufMut, Bytes, BytesMut};
use http::{Method, StatusCode, Version, request};
use http_body::Body;

use super::answer::{Answer, Question};
use super::{Next, Reading};
use crate::config::Http;
use crate::message::{Fields, Framing};

/// What bytes were taken for.
#[derive(Debug)]
pub enum Verdict {
    /// A head.
    Head(Box<Taken>),
    /// Something that is answered with this and ends the connection.
    Refused(StatusCode),
    /// Another protocol's beginning.
    Http2,
    /// The beginning of something.
    More,
}

/// A head that was taken.
#[derive(Debug)]
pub struct Taken {
    /// As it goes to the service.
    pub head: request::Parts,
    /// How the end of its body is told.
    pub framing: Framing,
    /// Whether the client keeps the connection.
    pub keep_alive: bool,
    /// Whether it waits for a 100.
    pub expects: bool,
    /// What was read behind it.
    pub rest: Bytes,
    /// Pieces that were read.
    pub pieces: usize,
}

/// Reads what comes in these pieces, up to the end of the first head.
pub fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>, rules: &Http) -> Verdict {
    let (mut reading, mut buffer) = (Reading::new(rules.http2), BytesMut::new());
    for (index, piece) in pieces.enumerate() {
        buffer.extend_from_slice(piece);
        if buffer.len() <= reading.looked {
            continue;
        }
        match reading.look(&mut buffer, rules, || None) {
            None => {}
            Some(Next::Head(head)) => {
                return Verdict::Head(Box::new(Taken {
                    head: *head.parts,
                    framing: head.framing,
                    keep_alive: head.keep_alive,
                    expects: head.expects,
                    rest: buffer.freeze(),
                    pieces: index + 1,
                }));
            }
            Some(Next::Refused(refused)) => return Verdict::Refused(refused.status),
            Some(Next::Http2) => return Verdict::Http2,
            // The end of the stream, which no bytes are.
            Some(Next::Over) => break,
        }
    }
    Verdict::More
}

/// What an answer has to know of its request.
#[derive(Debug)]
pub struct Asked {
    /// Its method.
    pub method: Method,
    /// Its version.
    pub version: Version,
    /// Whether the client keeps the connection.
    pub keep_alive: bool,
    /// Whether it takes trailers.
    pub trailers: bool,
}

/// An answer as it was written.
#[derive(Debug)]
pub struct Written {
    /// Head and body.
    pub bytes: BytesMut,
    /// Whether another request may follow.
    pub keep: bool,
    /// Whether the body is whole, and nothing else was in its place.
    pub ended: io::Result<()>,
}

/// Writes an answer.
pub fn write<B>(head: (StatusCode, &mut Fields), asked: Asked, mut body: B) -> Written
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin,
{
    let mut out = BytesMut::new();
    let Asked { method, version, keep_alive, trailers } = asked;
    let date = |out: &mut BytesMut| out.put_slice(b"Sun, 06 Nov 1994 08:49:37 GMT");
    let question = Question { method, version, keep_alive, trailers };
    let answer = Answer::put(&mut out, head, &question, (&body, true, &date));
    let (mut sending, mut cx) = (answer.sending(), Context::from_waker(Waker::noop()));
    let mut ended = Ok(());
    while !sending.ended && ended.is_ok() {
        ended = match Pin::new(&mut body).poll_frame(&mut cx) {
            Poll::Ready(frame) => sending.stage(frame, &mut out),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        };
        out.put(std::mem::take(&mut sending.data));
        out.put_slice(std::mem::take(&mut sending.tail));
    }
    Written { bytes: out, keep: answer.keep, ended }
}
