//! What a connection is doing, and since when: the ground for its timeouts. The stream notes the first byte of a request, the
//! service its start, the answer's body its end; one timer for the connection looks here only when it fires.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Limits;

/// One thread writes and reads; atomics only because hyper asks for `Send`.
#[derive(Debug)]
pub(super) struct Pulse {
    epoch: Instant,
    phase: AtomicU8,
    since: AtomicU64,
    // When a write found no room, as `since`; 0 while there is room.
    blocked: AtomicU64,
    // Since when a frame, or a block of headers, has begun and not ended, as `since`; 0 if none has.
    partial: AtomicU64,
    cut: AtomicBool,
}

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const BUSY: u8 = 2;

impl Pulse {
    pub(super) fn new() -> Self {
        Pulse {
            epoch: Instant::now(),
            phase: AtomicU8::new(IDLE),
            since: AtomicU64::new(0),
            blocked: AtomicU64::new(0),
            partial: AtomicU64::new(0),
            cut: AtomicBool::new(false),
        }
    }

    /// Bytes came: if there is no request, one begins.
    pub(super) fn received(&self) {
        if self.phase.load(Ordering::Relaxed) == IDLE {
            self.enter(HEAD);
        }
    }

    /// A request's head is whole.
    pub(super) fn busy(&self) {
        self.phase.store(BUSY, Ordering::Relaxed);
    }

    /// Its answer is over.
    pub(super) fn idle(&self) {
        self.enter(IDLE);
    }

    /// A write found room for an answer, or none because the client does not take it.
    pub(super) fn wrote(&self, room: bool) {
        let blocked = self.blocked.load(Ordering::Relaxed);
        if room && blocked != 0 {
            self.blocked.store(0, Ordering::Relaxed);
        } else if !room && blocked == 0 {
            self.blocked.store(self.now().max(1), Ordering::Relaxed);
        }
    }

    /// Something that comes in pieces has begun and not ended, or has.
    pub(super) fn partial(&self, is_partial: bool) {
        let since = self.partial.load(Ordering::Relaxed);
        if !is_partial && since != 0 {
            self.partial.store(0, Ordering::Relaxed);
        } else if is_partial && since == 0 {
            self.partial.store(self.now().max(1), Ordering::Relaxed);
        }
    }

    /// An answer whose end only a close can tell ends too early: the connection must not end like one that is whole.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    /// True while a request is at work.
    pub(super) fn is_busy(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == BUSY
    }

    /// Since when there has been neither a request nor the beginning of one, and nothing of an answer is left to be taken.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let idle = self.phase.load(Ordering::Relaxed) == IDLE && self.blocked.load(Ordering::Relaxed) == 0;
        idle.then(|| self.at(&self.since))
    }

    /// True while the head of a request is awaited or read.
    pub(super) fn is_reading_head(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == HEAD
    }

    /// When the connection will have waited too long; none while a request is at work, which has timeouts of its own, unless
    /// its client takes nothing of the answer: then nobody asks the endpoint either.
    pub(super) fn due(&self, limits: &Limits) -> Option<Instant> {
        match self.phase.load(Ordering::Relaxed) {
            _ if self.blocked.load(Ordering::Relaxed) != 0 => Some(self.at(&self.blocked) + limits.idle),
            IDLE if self.partial.load(Ordering::Relaxed) != 0 => Some(self.at(&self.partial) + limits.request_header),
            IDLE => Some(self.at(&self.since) + limits.idle),
            HEAD => Some(self.at(&self.since) + limits.request_header),
            _ => None,
        }
    }

    fn enter(&self, phase: u8) {
        self.since.store(self.now(), Ordering::Relaxed);
        self.phase.store(phase, Ordering::Relaxed);
    }

    fn at(&self, figure: &AtomicU64) -> Instant {
        self.epoch + Duration::from_nanos(figure.load(Ordering::Relaxed))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}
