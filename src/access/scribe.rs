//! One worker's side of the access log: makes lines, and passes them on by the batch.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use tokio::sync::Notify;

use super::stamp::Stamp;
use super::{combined, json};
use crate::account::Facts;
use crate::config::{AccessLog, LogFormat};
use crate::metrics::AccessSeries;

/// Bytes that are passed on at once: some thirty lines, so that neither the queue nor the writing is felt.
const BATCH: usize = 16 * 1024;
/// How long a line waits for others.
const LINGER: Duration = Duration::from_millis(100);

/// Lines on their way.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) text: Vec<u8>,
    pub(super) lines: u64,
}

/// One worker's part.
#[derive(Debug)]
pub struct Scribe {
    settings: Arc<AccessLog>,
    queue: SyncSender<Batch>,
    series: Arc<AccessSeries>,
    desk: RefCell<Desk>,
    begun: Notify,
}

/// What lines are made with.
#[derive(Debug, Default)]
struct Desk {
    batch: Batch,
    stamp: Stamp,
    rng: fastrand::Rng,
}

impl Scribe {
    pub(super) fn new(settings: &Arc<AccessLog>, queue: &SyncSender<Batch>, series: &Arc<AccessSeries>) -> Self {
        Scribe {
            settings: Arc::clone(settings),
            queue: queue.clone(),
            series: Arc::clone(series),
            desk: RefCell::default(),
            begun: Notify::new(),
        }
    }

    /// What is written down.
    pub fn settings(&self) -> &AccessLog {
        &self.settings
    }

    /// Writes a line, unless it is one of the many that nobody has to see.
    pub fn write(&self, facts: &Facts<'_>) {
        let desk = &mut *self.desk.borrow_mut();
        let is_usual = facts.account.flags.is_empty() && facts.status < 400;
        if is_usual && self.settings.sample < 1.0 && desk.rng.f64() >= self.settings.sample {
            return;
        }
        if desk.batch.text.is_empty() {
            self.begun.notify_one();
        }
        let out = &mut desk.batch.text;
        match self.settings.format {
            LogFormat::Combined => combined::write(out, facts, &mut desk.stamp),
            LogFormat::Json => {
                let AccessLog { request_headers, response_headers, .. } = &*self.settings;
                let names = json::Names { request: request_headers, response: response_headers };
                json::write(out, facts, names, &mut desk.stamp);
            }
        }
        desk.batch.lines += 1;
        if out.len() >= BATCH {
            self.pass_on(&mut desk.batch);
        }
    }

    /// Passes on what has waited for long enough, for as long as it is polled.
    pub async fn run(&self) {
        loop {
            self.begun.notified().await;
            tokio::time::sleep(LINGER).await;
            self.flush();
        }
    }

    /// Passes on what there is.
    pub fn flush(&self) {
        self.pass_on(&mut self.desk.borrow_mut().batch);
    }

    fn pass_on(&self, batch: &mut Batch) {
        if batch.lines == 0 {
            return;
        }
        let room = Batch { text: Vec::with_capacity(BATCH + BATCH / 4), lines: 0 };
        match self.queue.try_send(std::mem::replace(batch, room)) {
            Ok(()) => {}
            Err(TrySendError::Full(lost) | TrySendError::Disconnected(lost)) => self.series.dropped(lost.lines),
        }
    }
}

impl Drop for Scribe {
    fn drop(&mut self) {
        self.flush();
    }
}
