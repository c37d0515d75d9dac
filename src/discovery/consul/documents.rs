//! Documents under a prefix of Consul's KV store, followed by one blocking query for as long as the process runs. `prefix` says what an
//! answer is worth; what the documents say is for those who asked. The leader answers: a server that replays its log would show a
//! prefix that is half empty.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tracing::{info, warn};

use super::follow::Reason;
use super::prefix::{Prefix, Verdict};
use super::{Shared, Update, rights};
use crate::config::Documents;
use crate::consul::{Backoff, Bucket, Failure, vary};
use crate::metrics::{self, WatchSeries};

/// Longest wait of a query. Deleting a prefix without its slash wakes nobody, and is noticed when the wait is over.
const WAIT: Duration = Duration::from_secs(30);

/// Follows a prefix.
pub(super) struct Reading {
    shared: Arc<Shared>,
    prefix: String,
    series: Arc<WatchSeries>,
    bucket: Bucket,
    backoff: Backoff,
    /// Why the last answer was not believed, if it was not.
    doubted: Option<Reason>,
    /// Whether it was said last that nothing can be read.
    is_unread: bool,
}

impl Reading {
    pub(super) fn new(shared: &Arc<Shared>, prefix: &str, series: Arc<WatchSeries>) -> Self {
        let (bucket, backoff) = (Bucket::new(Instant::now()), Backoff::default());
        Reading {
            shared: Arc::clone(shared),
            prefix: prefix.to_owned(),
            series,
            bucket,
            backoff,
            doubted: None,
            is_unread: false,
        }
    }

    /// Runs until it is dropped; goes on from documents of before the start, if there are any.
    pub(super) async fn run(mut self, recalled: Option<Arc<Documents>>) {
        let shared = Arc::clone(&self.shared);
        let mut prefix = recalled.map_or_else(Prefix::default, |recalled| Prefix::recall(Documents::clone(&recalled)));
        loop {
            let wait = self.bucket.take(Instant::now());
            if !wait.is_zero() {
                self.series.throttled();
                sleep(wait).await;
            }
            let token = shared.agent.token_version();
            match self.step(&mut prefix).await {
                Ok(pause) => {
                    if self.backoff.reset() {
                        info!(prefix = self.prefix, "followed again");
                    }
                    sleep(pause).await;
                }
                Err(failure) => {
                    prefix.failed();
                    let pause = self.backoff.after(&failure);
                    self.fail(&failure).await;
                    match failure {
                        Failure::Denied { .. } => shared.agent.another_token(token, pause).await,
                        _ => sleep(pause).await,
                    }
                }
            }
        }
    }

    /// One query and what follows from it; returns how long to pause.
    async fn step(&mut self, prefix: &mut Prefix) -> Result<Duration, Failure> {
        let (index, wait) = (prefix.index(), vary(WAIT.min(self.shared.settings.wait)));
        let asked = Instant::now();
        let (meta, mut found) = self.shared.agent.entries(&self.prefix, (index, wait)).await?;
        // The prefix by itself is a folder in Consul's own interface, and no document.
        found.retain(|key, value| !(value.is_empty() && key.ends_with('/')));
        let is_early = prefix.is_early(&meta, (index, asked.elapsed(), wait));
        let verdict = if is_early { Verdict::Reset } else { prefix.judge(&meta, found, Instant::now()) };
        let verdict = if verdict == Verdict::Pending { self.look_for_rights(prefix).await } else { verdict };
        self.series.index(prefix.accepted());
        Ok(self.conclude(verdict).await)
    }

    /// Before anything is believed to be gone: whether we could see it if it were not.
    async fn look_for_rights(&self, prefix: &mut Prefix) -> Verdict {
        let agent = &self.shared.agent;
        let question = rights::question_of_keys(&self.prefix, prefix.missing());
        let rights = rights::ask(agent, &agent.place(None), question).await;
        prefix.conclude(rights, Instant::now())
    }

    async fn conclude(&mut self, verdict: Verdict) -> Duration {
        let doubted = self.doubted.take();
        match verdict {
            Verdict::Changed(documents) => {
                self.series.update(metrics::Update::Changed);
                self.is_unread = false;
                self.tell(Update::Documents { prefix: self.prefix.clone(), documents }).await;
                Duration::ZERO
            }
            // Nothing is left pending; if it were, it would be asked again.
            Verdict::Unchanged | Verdict::Reset | Verdict::Pending => {
                self.series.update(metrics::Update::Unchanged);
                if verdict != Verdict::Unchanged {
                    self.series.index_reset();
                }
                if std::mem::take(&mut self.is_unread) {
                    self.tell(Update::Read(self.prefix.clone())).await;
                }
                Duration::ZERO
            }
            Verdict::Doubted(pause, reason) => {
                self.series.update(metrics::Update::Doubted);
                self.series.doubt(reason.figure());
                if doubted != Some(reason) {
                    self.say(reason).await;
                }
                self.doubted = Some(reason);
                pause
            }
        }
    }

    /// Once in a row of doubts for the same reason.
    async fn say(&mut self, reason: Reason) {
        let prefix = &self.prefix;
        match reason {
            Reason::Acl => {
                let why = "the token may not read what is under the prefix: it needs key:read there";
                warn!(prefix, "{why}; what was read last stays until it may");
                self.unread(why.to_owned()).await;
            }
            Reason::Leader => warn!(prefix, "a document is missing, and Consul knows of no leader; it stays"),
            Reason::Index => info!(prefix, "the index went backwards; the prefix is looked at again"),
            Reason::Lag => info!(prefix, "whoever answered is behind the leader; the leader is asked"),
            Reason::Mass => info!(prefix, "a document is missing, and is looked for again"),
        }
    }

    /// Counts and reports a failure.
    async fn fail(&mut self, failure: &Failure) {
        self.doubted = None;
        self.series.index_reset();
        let is_denied = matches!(failure, Failure::Denied { .. });
        self.series.update(if is_denied { metrics::Update::Denied } else { metrics::Update::Error });
        if self.backoff.is_first() {
            warn!(prefix = self.prefix, error = %failure, "cannot be followed; what was read last stays");
            self.unread(failure.to_string()).await;
        }
    }

    async fn unread(&mut self, why: String) {
        self.is_unread = true;
        self.tell(Update::Unread { prefix: self.prefix.clone(), why }).await;
    }

    async fn tell(&self, update: Update) {
        // Fails only when discovery has ended, and this with it.
        let _ = self.shared.updates.send(update).await;
    }
}
