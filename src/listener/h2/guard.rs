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

use h2::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::io::Io;
use super::super::pulse::Pulse;
use super::frames::{DATA, END_STREAM, Frames, HEADERS, Head, RST_STREAM};

/// Frames that move nothing, at once and then in each second.
const MOST_IDLE: f64 = 1000.0;
const IDLE_A_SECOND: f64 = 100.0;
/// What else earns such a frame: so many bytes moved in either direction, since windows are updated for them.
const BYTES_A_FRAME: f64 = 2048.0;
/// And so many a request, for its priority, its window and its pings.
const FRAMES_A_REQUEST: f64 = 10.0;
/// And so many a piece of an answer: there are clients who measure with each how much is on its way (grpc-go's BDP estimator).
const FRAMES_A_PIECE: f64 = 4.0;
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
    verdict: Cell<Option<Reason>>,
    pulse: Arc<Pulse>,
}

impl Guard {
    pub(super) fn new(pulse: &Arc<Pulse>) -> Rc<Self> {
        Rc::new(Guard {
            frames: RefCell::default(),
            verdict: Cell::new(None),
            idle: Cell::new(MOST_IDLE),
            resets: Cell::new(MOST_RESETS),
            since: Cell::new(Instant::now()),
            pulse: Arc::clone(pulse),
        })
    }

    /// Why a client has to go, if it has to.
    pub(super) fn verdict(&self) -> Option<Reason> {
        self.verdict.get()
    }

    /// A request has been answered to its end.
    pub(super) fn answered(&self) {
        self.resets.set((self.resets.get() + 1.0).min(MOST_RESETS));
    }

    /// A piece of an answer has come for the client; counted before its window makes it into many.
    pub(super) fn gave(&self) {
        self.idle.set((self.idle.get() + FRAMES_A_PIECE).min(MOST_IDLE));
    }

    /// Looks at bytes that came. Returns how many of them may be acted on.
    pub(super) fn saw(&self, bytes: &[u8]) -> usize {
        self.earn(bytes.len());
        let frames = &mut *self.frames.borrow_mut();
        let mut rest = bytes;
        loop {
            let acceptable = bytes.len() - rest.len();
            match frames.next(&mut rest) {
                Ok(Some(head)) => self.count(head),
                Ok(None) => break,
                Err(reason) => {
                    self.verdict.set(Some(reason));
                    return acceptable;
                }
            }
            if self.idle.get() < 0.0 || self.resets.get() < 0.0 {
                self.regain();
            }
            if self.idle.get() < 0.0 || self.resets.get() < 0.0 {
                self.verdict.set(Some(Reason::ENHANCE_YOUR_CALM));
                return acceptable;
            }
        }
        self.idle.set(self.idle.get().min(MOST_IDLE));
        self.pulse.partial(frames.is_partial());
        bytes.len()
    }

    fn count(&self, head: Head) {
        match head.kind {
            HEADERS => self.idle.set(self.idle.get() + FRAMES_A_REQUEST),
            DATA if head.length > 0 || head.flags & END_STREAM != 0 => {}
            RST_STREAM => self.resets.set(self.resets.get() - 1.0),
            _ => self.idle.set(self.idle.get() - 1.0),
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

/// A connection under guard.
pub(super) struct Guarded {
    pub(super) io: Io,
    pub(super) guard: Rc<Guard>,
}

impl AsyncRead for Guarded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.guard.verdict().is_some() {
            // Nothing more is acted on. Whoever looks after the connection ends it.
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buffer);
        let acceptable = self.guard.saw(&buffer.filled()[before..]);
        buffer.set_filled(before + acceptable);
        match (acceptable, self.guard.verdict()) {
            // Not the end of the stream, which no bytes would be.
            (0, Some(_)) => Poll::Pending,
            _ => polled,
        }
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
    use super::super::frames::FRAME_HEAD;
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, length: usize) -> Vec<u8> {
        let mut frame = vec![0, (length >> 8) as u8, length as u8, kind, flags];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.resize(FRAME_HEAD + length, 0);
        frame
    }

    fn guard() -> Rc<Guard> {
        let guard = Guard::new(&Arc::new(Pulse::new()));
        guard.saw(&[b'x'; 24]);
        guard.saw(&frame(4, 0, 0, 0));
        guard
    }

    #[test]
    fn whoever_sends_frames_that_move_nothing_without_end_has_to_go() {
        let empty_data = |_| frame(DATA, 0, 1, 0);
        let ping = |_| frame(6, 0, 0, 8);
        let settings = |_| frame(4, 0, 0, 0);
        for (flood, most) in [(ping as fn(u32) -> Vec<u8>, MOST_IDLE), (settings, MOST_IDLE), (empty_data, MOST_IDLE)] {
            let guard = guard();
            guard.saw(&frame(HEADERS, 4, 1, 30));
            let sent = (0..5000).take_while(|turn| guard.saw(&flood(*turn)) > 0).count() as f64;
            assert!(sent >= most - 1.0 && sent < most * 1.5, "{sent}");
            assert_eq!(guard.verdict(), Some(Reason::ENHANCE_YOUR_CALM));
        }
    }

    #[test]
    fn whoever_gives_up_what_it_asks_for_without_end_has_to_go() {
        let guard = guard();
        let pair = |turn: u32| [frame(HEADERS, 5, 2 * turn + 1, 30), frame(RST_STREAM, 0, 2 * turn + 1, 4)].concat();
        let sent = (0..5000).take_while(|turn| guard.saw(&pair(*turn)) == pair(*turn).len()).count() as f64;
        assert!((MOST_RESETS - 1.0..MOST_RESETS * 1.5).contains(&sent), "{sent}");
    }

    #[test]
    fn what_belongs_to_requests_is_free() {
        let guard = guard();
        for turn in 0..100_000 {
            let stream = 2 * turn + 1;
            let window = frame(8, 0, stream, 4);
            let bytes = [frame(HEADERS, 4, stream, 30), window.clone(), window, frame(RST_STREAM, 0, stream, 4)];
            guard.saw(&bytes.concat());
            guard.answered();
        }
        assert_eq!(guard.verdict(), None);
    }
}
