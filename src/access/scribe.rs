//! One worker's side of the access log: makes lines, and passes them on by the batch.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::queue::Queue;
use super::stamp::Stamp;
use super::{combined, json};
use crate::account::Facts;
use crate::config::{AccessLog, LogFormat};
use crate::metrics::AccessSeries;

/// Bytes that are passed on at once: some thirty lines, so that the queue is not felt, and what they are made in stays near the processor.
const BATCH: usize = 16 * 1024;
/// How long a line waits for others.
const LINGER: Duration = Duration::from_millis(100);

/// One worker's part.
#[derive(Debug)]
pub struct Scribe {
    settings: Arc<AccessLog>,
    queue: Arc<Queue>,
    series: Arc<AccessSeries>,
    desk: RefCell<Desk>,
    begun: Notify,
}

/// What lines are made with.
#[derive(Debug, Default)]
struct Desk {
    /// Lines that have not been passed on.
    text: Vec<u8>,
    /// How many they are.
    lines: u64,
    stamp: Stamp,
    rng: fastrand::Rng,
}

impl Scribe {
    pub(super) fn new(settings: &Arc<AccessLog>, queue: &Arc<Queue>, series: &Arc<AccessSeries>) -> Self {
        Scribe {
            settings: Arc::clone(settings),
            queue: Arc::clone(queue),
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
        if desk.text.is_empty() {
            self.begun.notify_one();
        }
        let out = &mut desk.text;
        match self.settings.format {
            LogFormat::Combined => combined::write(out, facts, &mut desk.stamp),
            LogFormat::Json => {
                let AccessLog { request_headers, response_headers, .. } = &*self.settings;
                let names = json::Names { request: request_headers, response: response_headers };
                json::write(out, facts, names, &mut desk.stamp);
            }
        }
        desk.lines += 1;
        if desk.text.len() >= BATCH {
            self.pass_on(desk);
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

    /// Passes on what there is, as far as there is room. What there is no room for goes on growing, and is tried again.
    fn flush(&self) {
        let desk = &mut *self.desk.borrow_mut();
        if self.queue.add(&desk.text) {
            desk.clear();
        } else {
            self.begun.notify_one();
        }
    }

    /// Passes on what there is, or drops it.
    fn pass_on(&self, desk: &mut Desk) {
        if !desk.text.is_empty() && !self.queue.add(&desk.text) {
            self.series.dropped(desk.lines);
        }
        desk.clear();
    }
}

impl Desk {
    fn clear(&mut self) {
        self.text.clear();
        self.lines = 0;
    }
}

impl Drop for Scribe {
    fn drop(&mut self) {
        self.pass_on(&mut self.desk.borrow_mut());
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::time::Instant;

    use super::super::queue::{MOST, Next};
    use super::*;
    use crate::account::Account;

    fn settings() -> AccessLog {
        AccessLog {
            format: LogFormat::Json,
            path: None,
            sample: 1.0,
            request_headers: Vec::new(),
            response_headers: Vec::new(),
        }
    }

    fn facts(account: &Account) -> Facts<'_> {
        Facts {
            account,
            started: Instant::now(),
            listener: "edge",
            route: "",
            cluster: "",
            peer: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 1))),
            scheme: "http",
            security: None,
            server_name: None,
            status: 200,
            took: Duration::ZERO,
            first_byte: None,
            received: 0,
            sent: 0,
        }
    }

    #[test]
    fn lines_that_find_no_room_wait_for_it_until_they_are_a_batch() {
        let (queue, series, account) = (Arc::<Queue>::default(), Arc::<AccessSeries>::default(), Account::default());
        let scribe = Scribe::new(&Arc::new(settings()), &queue, &series);
        assert!(queue.add(&vec![b'x'; MOST]));
        scribe.write(&facts(&account));
        scribe.flush();
        scribe.write(&facts(&account));
        assert_eq!(series.count(), [0, 0, 0], "they are still there");
        let mut text = Vec::new();
        queue.take(&mut text);
        scribe.flush();
        assert_eq!(queue.take(&mut text), Next::Write);
        assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), 2);
        assert!(queue.add(&vec![b'x'; MOST]));
        while series.count()[1] == 0 {
            scribe.write(&facts(&account));
        }
        assert!(series.count()[1] as usize > BATCH / 1024, "a whole batch at once");
    }
}
