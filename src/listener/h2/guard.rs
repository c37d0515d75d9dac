//! What frames come, seen before they are acted on. The library below bounds what each costs; here is bounded how many may come that
//! move nothing: a client that sends pings, settings or resets without end keeps a core busy and asks for nothing
//! (CVE-2019-9511 to 9518, CVE-2023-44487, CVE-2024-27316). Nobody who means well comes near the bounds.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::io::Io;
use super::super::pulse::Pulse;

const PREFACE: usize = 24;
const FRAME_HEAD: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Frames that move nothing, at once and then in each second.
const MOST_IDLE: f64 = 1000.0;
const IDLE_A_SECOND: f64 = 100.0;
/// What else earns such a frame: so many bytes moved in either direction, since windows are updated for them.
const BYTES_A_FRAME: f64 = 2048.0;
/// And so many a request, for its priority, its window and its pings.
const FRAMES_A_REQUEST: f64 = 10.0;
/// Streams that a client gives up, at once and then in each second. Each answered one earns another.
const MOST_RESETS: f64 = 100.0;
const RESETS_A_SECOND: f64 = 10.0;

/// What is left to a client.
#[derive(Debug)]
pub(super) struct Guard {
    frames: RefCell<Frames>,
    idle: Cell<f64>,
    resets: Cell<f64>,
    since: Cell<Instant>,
    pulse: Arc<Pulse>,
}

/// Where in the stream of frames we are.
#[derive(Debug)]
struct Frames {
    head: [u8; FRAME_HEAD],
    /// Bytes of the head that are there.
    have: usize,
    /// Bytes to come before the next head.
    skip: usize,
    /// A header block has begun and not ended.
    in_block: bool,
}

impl Guard {
    pub(super) fn new(pulse: &Arc<Pulse>) -> Rc<Self> {
        Rc::new(Guard {
            frames: RefCell::new(Frames { head: [0; FRAME_HEAD], have: 0, skip: PREFACE, in_block: false }),
            idle: Cell::new(MOST_IDLE),
            resets: Cell::new(MOST_RESETS),
            since: Cell::new(Instant::now()),
            pulse: Arc::clone(pulse),
        })
    }

    /// True once a client has sent so much for nothing that it has to go.
    pub(super) fn is_spent(&self) -> bool {
        self.idle.get() < 0.0 || self.resets.get() < 0.0
    }

    /// A request has been answered to its end.
    pub(super) fn answered(&self) {
        self.resets.set((self.resets.get() + 1.0).min(MOST_RESETS));
    }

    fn saw(&self, bytes: &[u8]) {
        self.earn(bytes.len());
        let frames = &mut *self.frames.borrow_mut();
        let mut rest = bytes;
        while let Some((head, left)) = frames.next(rest) {
            rest = left;
            let (kind, flags) = (head[3], head[4]);
            let is_empty = head[..3] == [0; 3];
            match kind {
                HEADERS => self.idle.set(self.idle.get() + FRAMES_A_REQUEST),
                DATA if !is_empty || flags & END_STREAM != 0 => {}
                RST_STREAM => self.resets.set(self.resets.get() - 1.0),
                _ => self.idle.set(self.idle.get() - 1.0),
            }
            frames.in_block = match kind {
                HEADERS | CONTINUATION => flags & END_HEADERS == 0,
                _ => frames.in_block,
            };
        }
        self.idle.set(self.idle.get().min(MOST_IDLE));
        self.pulse.partial(frames.is_partial());
        if self.is_spent() {
            self.regain();
        }
    }

    fn earn(&self, bytes: usize) {
        self.idle.set((self.idle.get() + bytes as f64 / BYTES_A_FRAME).min(MOST_IDLE));
    }

    /// What time has given back; looked at only when there is need.
    fn regain(&self) {
        let now = Instant::now();
        let seconds = (now - self.since.replace(now)).as_secs_f64();
        self.idle.set((self.idle.get() + seconds * IDLE_A_SECOND).min(MOST_IDLE));
        self.resets.set((self.resets.get() + seconds * RESETS_A_SECOND).min(MOST_RESETS));
    }
}

impl Frames {
    /// The head of the next frame that begins in these bytes, and what is behind it.
    fn next<'a>(&mut self, bytes: &'a [u8]) -> Option<([u8; FRAME_HEAD], &'a [u8])> {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        let bytes = &bytes[skipped..];
        let count = (FRAME_HEAD - self.have).min(bytes.len());
        self.head[self.have..self.have + count].copy_from_slice(&bytes[..count]);
        self.have += count;
        if self.have < FRAME_HEAD {
            return None;
        }
        self.have = 0;
        self.skip = usize::from(self.head[0]) << 16 | usize::from(self.head[1]) << 8 | usize::from(self.head[2]);
        Some((self.head, &bytes[count..]))
    }

    fn is_partial(&self) -> bool {
        self.have > 0 || self.skip > 0 || self.in_block
    }
}

/// A connection under guard.
pub(super) struct Guarded {
    pub(super) io: Io,
    pub(super) guard: Rc<Guard>,
}

impl AsyncRead for Guarded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.guard.is_spent() {
            // Nothing more is acted on. Whoever looks after the connection ends it.
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buffer);
        self.guard.saw(&buffer.filled()[before..]);
        polled
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.guard.wrote(&polled);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.guard.wrote(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl Guard {
    fn wrote(&self, polled: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(count)) = polled {
            self.earn(*count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let mut frame = vec![0, (length >> 8) as u8, length as u8, kind, flags, 0, 0, 0, 1];
        frame.resize(FRAME_HEAD + length, 0);
        frame
    }

    fn guard() -> Rc<Guard> {
        let guard = Guard::new(&Arc::new(Pulse::new()));
        guard.saw(&[b'x'; PREFACE]);
        guard
    }

    #[test]
    fn frames_are_told_apart_however_their_bytes_come() {
        let bytes = [frame(DATA, 0, 300), frame(6, 0, 8), frame(HEADERS, END_HEADERS, 40), frame(6, 0, 8)].concat();
        for piece in 1..bytes.len() {
            let guard = guard();
            bytes.chunks(piece).for_each(|bytes| guard.saw(bytes));
            assert!(!guard.frames.borrow().is_partial());
            assert!(guard.idle.get() > MOST_IDLE - 3.0 && guard.idle.get() < MOST_IDLE, "{}", guard.idle.get());
        }
    }

    #[test]
    fn whoever_sends_pings_or_resets_without_end_has_to_go() {
        for (kind, most) in [(6, MOST_IDLE), (4, MOST_IDLE), (DATA, MOST_IDLE), (RST_STREAM, MOST_RESETS)] {
            let guard = guard();
            let sent = (0..5000).take_while(|_| {
                guard.saw(&frame(kind, 0, 0));
                !guard.is_spent()
            });
            let sent = sent.count() as f64;
            assert!(sent >= most - 1.0 && sent < most * 1.5, "{kind}: {sent}");
        }
    }

    #[test]
    fn what_belongs_to_requests_is_free() {
        let guard = guard();
        for _ in 0..100_000 {
            guard.saw(
                &[frame(HEADERS, END_HEADERS, 30), frame(8, 0, 4), frame(8, 0, 4), frame(RST_STREAM, 0, 4)].concat(),
            );
            guard.answered();
        }
        assert!(!guard.is_spent());
    }
}
