//! A request's figures, which are counted when it is over, however that comes about.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::books::Page;
use super::series::Entry;
use crate::cluster::Permit;
use crate::metrics::Answered;

/// A request that is being answered; counted when it is dropped.
pub(super) struct Record {
    pub(super) entry: Rc<Entry>,
    pub(super) worker: usize,
    pub(super) code: u16,
    pub(super) started: Instant,
    /// From its head to the head of its answer.
    pub(super) first_byte: Duration,
    /// Bytes of its body.
    pub(super) received: u64,
    /// Bytes of its answer's body.
    pub(super) sent: u64,
    /// Where it is written down.
    pub(super) page: Page,
    /// Its place in its cluster, where there is a limit.
    pub(super) _permit: Option<Permit>,
}

impl Drop for Record {
    fn drop(&mut self) {
        let Record { code, first_byte, received, sent, .. } = *self;
        let took = self.started.elapsed();
        let answered = Answered { code, took, first_byte, received, sent, trace: self.page.trace() };
        self.entry.request.record(self.worker, &answered);
        std::mem::take(&mut self.page).close(&answered);
    }
}

/// What a request came to that is answered here, in one piece, of which so many bytes came.
pub(super) fn own(code: u16, (started, trace): (Instant, Option<u128>), (received, sent): (u64, u64)) -> Answered {
    let took = started.elapsed();
    Answered { code, took, first_byte: took, received, sent, trace }
}
