//! Bodies without a connection.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use lictor::message::{Broken, Framing, Passing, Step};

/// What was read as a body.
#[derive(Debug, Default, PartialEq)]
pub struct Read {
    pub data: Vec<u8>,
    pub trailers: Option<HeaderMap>,
    pub end: End,
    /// What stands behind it, if it has an end.
    pub rest: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Whole,
    /// More would have to come.
    #[default]
    Cut,
    Malformed,
}

/// Reads a body that comes in these pieces.
pub fn read<'a>(mut framing: Framing, pieces: impl Iterator<Item = &'a [u8]>) -> Read {
    let (mut read, mut pieces, mut bytes) = (Read::default(), pieces, Bytes::new());
    loop {
        match framing.decode(&mut bytes) {
            Err(_) => {
                read.end = End::Malformed;
                return read;
            }
            Ok(Step::End) => {
                read.end = End::Whole;
                read.rest = bytes.to_vec();
                pieces.for_each(|piece| read.rest.extend_from_slice(piece));
                return read;
            }
            Ok(Step::More) => {
                assert!(bytes.is_empty(), "all is used up");
                match pieces.next() {
                    Some(piece) => bytes = Bytes::copy_from_slice(piece),
                    None => {
                        if matches!(framing, Framing::UntilClose) {
                            read.end = End::Whole;
                        }
                        return read;
                    }
                }
            }
            Ok(Step::Frame(frame)) => match frame.into_data() {
                Ok(data) => read.data.extend_from_slice(&data),
                Err(frame) => read.trailers = frame.into_trailers().ok(),
            },
        }
    }
}

/// A body that was read, to be passed on.
pub struct Pieces {
    frames: VecDeque<Result<Frame<Bytes>, Broken>>,
    length: Option<u64>,
}

impl Pieces {
    /// In pieces of that size, and with that length if one was named.
    pub fn new(read: &Read, piece: usize, length: Option<u64>) -> Self {
        let data = read.data.chunks(piece).map(|data| Ok(Frame::data(Bytes::copy_from_slice(data))));
        let trailers = read.trailers.clone().map(|trailers| Ok(Frame::trailers(trailers)));
        let broken = (read.end != End::Whole).then(|| Err(Broken("it broke off".into())));
        Pieces { frames: data.chain(trailers).chain(broken).collect(), length }
    }
}

impl Passing for Pieces {}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        Poll::Ready(self.frames.pop_front())
    }

    fn is_end_stream(&self) -> bool {
        self.length == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
