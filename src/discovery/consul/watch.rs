//! Following one service for as long as it is wanted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::SemaphorePermit;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::follow::{Ask, Follow, Reason, Rights, Verdict};
use super::{Shared, Update, model, rights};
use crate::config::{Consistency, Selection};
use crate::consul::{Backoff, Bucket, Failure, vary};
use crate::endpoint::List;
use crate::metrics::{self, Doubt, WatchSeries};

/// Between two looks at a service that has no query of its own.
pub(super) const SWEEP: Duration = Duration::from_secs(10);

pub(super) struct Watch {
    shared: Arc<Shared>,
    selection: Selection,
    lane: usize,
    series: Arc<WatchSeries>,
    wanted: Arc<AtomicBool>,
    bucket: Bucket,
    backoff: Backoff,
    /// Why the last list was not believed, if it was not.
    doubted: Option<Reason>,
    /// The list from before the start, if there is one.
    recalled: Option<List>,
}

impl Watch {
    pub(super) fn new(
        shared: &Arc<Shared>,
        (selection, lane): (Selection, usize),
        series: Arc<WatchSeries>,
        wanted: Arc<AtomicBool>,
        recalled: Option<List>,
    ) -> Self {
        let bucket = Bucket::new(Instant::now());
        let (shared, backoff) = (Arc::clone(shared), Backoff::default());
        Watch { shared, selection, lane, series, wanted, bucket, backoff, doubted: None, recalled }
    }

    pub(super) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        // Of the leader until the agent has said what it is, which it is asked when it has answered at all.
        let (mut follow, mut knows_agent) = (Follow::new(Consistency::Default, shared.settings.doubt.percent), false);
        if let Some(list) = self.recalled.take() {
            follow.recall(list);
        }
        // Held for as long as the service is followed; whoever has none takes the first that is given up.
        let mut query = None;
        while self.wanted.load(Ordering::Acquire) {
            if query.is_none() {
                query = shared.queries.try_acquire().ok();
            }
            let wait = self.bucket.take(Instant::now());
            if !wait.is_zero() {
                self.series.throttled();
                sleep(wait).await;
            }
            let token = shared.agent.token_version();
            let step = self.step(&mut follow, query.as_ref()).await;
            match step {
                Ok(pause) => {
                    if self.backoff.reset() {
                        info!(service = %self.selection, "followed again");
                    }
                    if !knows_agent && let Some(mode) = shared.mode().await {
                        follow.read(mode);
                        knows_agent = true;
                    }
                    sleep_some(pause).await;
                }
                Err(failure) => {
                    follow.failed();
                    self.series.index_reset();
                    let pause = self.pause_after(&failure);
                    if self.backoff.is_first() {
                        let _ = shared.updates.send(Update::Unheard(self.selection.clone())).await;
                    }
                    match failure {
                        // A token that was rotated is worth a try at once.
                        Failure::Denied { .. } => shared.agent.another_token(token, pause).await,
                        _ => sleep(pause).await,
                    }
                }
            }
        }
        debug!(service = %self.selection, "not followed any more");
    }

    /// One query and what follows from it; returns how long to pause.
    async fn step(&mut self, follow: &mut Follow, query: Option<&SemaphorePermit<'_>>) -> Result<Duration, Failure> {
        let ask = follow.ask();
        let Some(_) = query else {
            let ask = Ask { index: 0, ..ask };
            // Never closed, so there is always a permit to wait for.
            let shared = Arc::clone(&self.shared);
            let _turn = shared.sweepers.acquire().await;
            let pause = self.ask(follow, ask, Duration::ZERO).await?;
            return Ok(if pause.is_zero() { vary(SWEEP) } else { pause });
        };
        self.ask(follow, ask, vary(self.shared.settings.wait)).await
    }

    async fn ask(&mut self, follow: &mut Follow, ask: Ask, wait: Duration) -> Result<Duration, Failure> {
        let asked = Instant::now();
        let answer = self.shared.agent.health(&self.selection, ask.mode, (ask.index, wait), self.lane).await?;
        let meta = answer.meta.clone();
        let verdict = match follow.is_expiry(&meta, (ask, asked.elapsed(), wait)) {
            Some(verdict) => {
                // Read to its end, so that the connection can be used again.
                answer.body().await?;
                verdict
            }
            None => {
                let (body, cost) = answer.body().await?;
                self.bucket.cost(cost);
                let (list, skipped) = model::parse(&body, &self.shared.place.zone_key)
                    .map_err(|error| Failure::Garbled(error.to_string()))?;
                self.series.skipped(skipped);
                if list.is_empty() && follow.is_new() {
                    self.explain_emptiness().await;
                }
                match follow.judge(&meta, ask, list, Instant::now()) {
                    Verdict::Pending => self.look_for_rights(follow).await,
                    verdict => verdict,
                }
            }
        };
        self.series.index(follow.accepted());
        Ok(self.conclude(verdict).await)
    }

    /// A first list that is empty is an answer; but one that only seems to be should not have to be puzzled over.
    async fn explain_emptiness(&self) {
        let question = rights::question_of_any(&self.selection.service);
        if rights::ask(&self.shared.agent, &self.selection, question).await == Rights::Hidden {
            warn!(
                service = %self.selection,
                "the first list is empty, and may be so for want of rights: the token needs service:read for the service, and \
                 node:read for the nodes of its instances"
            );
        }
    }

    /// Before much is believed to be gone: whether we could see it if it were not.
    async fn look_for_rights(&self, follow: &mut Follow) -> Verdict {
        let question = rights::question(&self.selection.service, follow.missing());
        let rights = rights::ask(&self.shared.agent, &self.selection, question).await;
        follow.conclude(rights, Instant::now())
    }

    async fn conclude(&mut self, verdict: Verdict) -> Duration {
        let doubted = self.doubted.take();
        match verdict {
            // Another watch may follow the same by now.
            Verdict::Changed(..) if !self.wanted.load(Ordering::Acquire) => Duration::ZERO,
            Verdict::Changed(list, loss) => {
                self.series.update(metrics::Update::Changed);
                debug!(service = %self.selection, endpoints = list.len(), "changed");
                // Fails only when discovery has ended, and this watch with it.
                let _ = self.shared.updates.send(Update::List { selection: self.selection.clone(), list, loss }).await;
                Duration::ZERO
            }
            Verdict::Unchanged => {
                self.confirm().await;
                Duration::ZERO
            }
            // Nothing is left pending; if it were, it would be asked again.
            Verdict::Reset | Verdict::Pending => {
                self.confirm().await;
                self.series.index_reset();
                Duration::ZERO
            }
            Verdict::Doubted(pause, reason) => {
                self.series.update(metrics::Update::Doubted);
                self.series.doubt(reason.figure());
                if doubted != Some(reason) {
                    self.say(reason);
                }
                self.doubted = Some(reason);
                pause
            }
        }
    }

    async fn confirm(&self) {
        self.series.update(metrics::Update::Unchanged);
        let _ = self.shared.updates.send(Update::Confirmed(self.selection.clone())).await;
    }

    /// Once in a row of doubts for the same reason.
    fn say(&self, reason: Reason) {
        let service = &self.selection;
        match reason {
            Reason::Acl => warn!(
                %service,
                "the token may not read all of this service any more, or not its nodes; the last list stays until it may"
            ),
            Reason::Leader => {
                warn!(%service, "a list is missing somebody, and Consul knows of no leader; the last list stays")
            }
            Reason::Index => info!(%service, "the index went backwards; the list is looked at again"),
            Reason::Mass => info!(%service, "a list that is missing much is looked at again"),
        }
    }

    /// Counts and reports a failure, and says how long to leave Consul alone.
    fn pause_after(&mut self, failure: &Failure) -> Duration {
        let pause = self.backoff.after(failure);
        if self.backoff.is_first() {
            warn!(service = %self.selection, error = %failure, "cannot be followed; the last list stays");
        }
        let denied = matches!(failure, Failure::Denied { .. });
        self.series.update(if denied { metrics::Update::Denied } else { metrics::Update::Error });
        pause
    }
}

impl Reason {
    fn figure(self) -> Doubt {
        match self {
            Reason::Acl => Doubt::Acl,
            Reason::Leader => Doubt::Leader,
            Reason::Index => Doubt::Index,
            Reason::Mass => Doubt::Mass,
        }
    }
}

async fn sleep_some(pause: Duration) {
    if !pause.is_zero() {
        sleep(pause).await;
    }
}
