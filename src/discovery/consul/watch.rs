//! Following one service for as long as it is wanted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{SemaphorePermit, watch as channel};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::follow::{Ask, Follow, Reason, Rights, Verdict};
use super::model::{self, About, Said};
use super::share::{Lane, Turns};
use super::{Shared, Update, rights};
use crate::config::{Consistency, Lookup, Selection};
use crate::consul::{Backoff, Bucket, Failure, vary};
use crate::endpoint::List;
use crate::metrics::{self, Doubt, WatchSeries};

/// Between two looks at a service that has no query of its own.
pub(super) const SWEEP: Duration = Duration::from_secs(10);

/// Between two looks at a list that is empty for want of rights. These are given by people.
const HIDDEN: Duration = Duration::from_secs(5);

pub(super) struct Watch {
    shared: Arc<Shared>,
    turns: Arc<Turns>,
    rounds: channel::Receiver<u64>,
    selection: Selection,
    series: Arc<WatchSeries>,
    wanted: Arc<AtomicBool>,
    bucket: Bucket,
    backoff: Backoff,
    /// Whether the agent is known to do what is asked of it.
    supported: bool,
    /// Why the last list was not believed, if it was not.
    doubted: Option<Reason>,
    /// The list from before the start, if there is one.
    recalled: Option<List>,
    about: About,
    /// True while the list is empty, as ever, and may be so for want of rights.
    is_hidden: bool,
}

/// A query that may be held open, and its place on a connection.
struct Query<'a> {
    _permit: SemaphorePermit<'a>,
    lane: Lane,
}

/// When to ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// After this.
    After(Duration),
    /// After this, or when something has changed in the catalogue.
    ByTurns(Duration),
}

impl Watch {
    pub(super) fn new(
        shared: &Arc<Shared>,
        selection: Selection,
        series: Arc<WatchSeries>,
        wanted: Arc<AtomicBool>,
        recalled: Option<List>,
    ) -> Self {
        let (shared, turns) = (Arc::clone(shared), shared.everywhere.of(selection.datacenter.as_ref()));
        Watch {
            rounds: turns.rounds.subscribe(),
            turns,
            shared,
            selection,
            series,
            wanted,
            bucket: Bucket::new(Instant::now()),
            backoff: Backoff::default(),
            supported: false,
            doubted: None,
            recalled,
            about: About::default(),
            is_hidden: false,
        }
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
            if query.is_none() && self.selection.lookup != Lookup::Query {
                let held = shared.queries.try_acquire().ok();
                query = held.map(|permit| Query { _permit: permit, lane: shared.lanes.take() });
            }
            let wait = self.bucket.take(Instant::now());
            if !wait.is_zero() {
                self.series.throttled();
                sleep(wait).await;
            }
            let token = shared.agent.token_version();
            match self.step(&mut follow, query.as_ref()).await {
                Ok(next) => {
                    if self.backoff.reset() {
                        info!(service = %self.selection, "followed again");
                    }
                    if !knows_agent && let Some(mode) = shared.mode().await {
                        follow.read(mode);
                        knows_agent = true;
                    }
                    if self.is_hidden {
                        // An alarm, and no state to wait for changes of: rights move no index.
                        self.series.hidden();
                        follow.failed();
                        shared.agent.another_token(token, vary(HIDDEN)).await;
                    } else {
                        self.pause(next).await;
                    }
                }
                Err(failure) => {
                    follow.failed();
                    self.fail(failure, token).await;
                }
            }
        }
        debug!(service = %self.selection, "not followed any more");
    }

    async fn fail(&mut self, failure: Failure, token: u64) {
        self.supported = false;
        self.series.index_reset();
        let pause = self.pause_after(&failure);
        if self.backoff.is_first() {
            let _ = self.shared.updates.send(Update::Unheard(self.selection.clone())).await;
        }
        match failure {
            // A token that was rotated is worth a try at once.
            Failure::Denied { .. } => self.shared.agent.another_token(token, pause).await,
            _ => sleep(pause).await,
        }
    }

    async fn pause(&mut self, next: Next) {
        match next {
            Next::After(pause) if pause.is_zero() => {}
            Next::After(pause) => sleep(pause).await,
            Next::ByTurns(pause) => {
                // Fails only when the turns are gone, which this watch holds: then time decides.
                let _ = timeout(pause, self.rounds.changed()).await;
            }
        }
    }

    /// One query and what follows from it; returns when to ask again.
    async fn step(&mut self, follow: &mut Follow, query: Option<&Query<'_>>) -> Result<Next, Failure> {
        self.look_for_support().await?;
        let (ask, turns) = (follow.ask(), Arc::clone(&self.turns));
        let Some(query) = query else {
            let ask = Ask { index: 0, ..ask };
            // Never closed, so there is always a permit to wait for.
            let _turn = turns.sweepers.acquire().await;
            self.rounds.mark_unchanged();
            let pause = self.ask(follow, ask, (Duration::ZERO, 0)).await?;
            return Ok(match self.selection.lookup {
                _ if !pause.is_zero() => Next::After(pause),
                Lookup::Query => Next::After(vary(self.shared.settings.poll)),
                Lookup::Service | Lookup::Connect => Next::ByTurns(vary(SWEEP)),
            });
        };
        let wait = (vary(self.shared.settings.wait), query.lane.number);
        if ask.index > 0 {
            return self.ask(follow, ask, wait).await.map(Next::After);
        }
        let _turn = turns.openers.acquire().await;
        self.ask(follow, ask, wait).await.map(Next::After)
    }

    /// Before it is asked for.
    async fn look_for_support(&mut self) -> Result<(), Failure> {
        if !self.supported {
            self.shared.agent.supports(&self.selection).await?;
            self.supported = true;
        }
        Ok(())
    }

    async fn ask(
        &mut self,
        follow: &mut Follow,
        ask: Ask,
        (wait, lane): (Duration, usize),
    ) -> Result<Duration, Failure> {
        let asked = Instant::now();
        let answer = self.shared.agent.health(&self.selection, ask.mode, (ask.index, wait), lane).await?;
        let meta = answer.meta.clone();
        let early = follow
            .is_behind(&meta, (ask, self.shared.settings.max_lag), Instant::now())
            .or_else(|| follow.is_early(&meta, (ask, asked.elapsed(), wait)));
        let (body, cost) = answer.body().await?;
        let verdict = match early {
            // The body was read to its end only so that the connection can be used again.
            Some(verdict) => verdict,
            None => {
                self.bucket.cost(cost, body.len());
                let Said { list, about, skipped } = model::read(&body, &self.selection, &self.shared.place.zone_key)?;
                self.series.skipped(skipped);
                let is_empty = list.is_empty();
                self.is_hidden = is_empty && (follow.is_new() || self.is_hidden) && self.explain_emptiness().await;
                let verdict = match follow.judge(&meta, ask, list, Instant::now()) {
                    Verdict::Pending => self.look_for_rights(follow).await,
                    verdict => verdict,
                };
                // Where nobody is left to say anything, what was said holds.
                if matches!(verdict, Verdict::Changed(..) | Verdict::Unchanged) && !is_empty {
                    self.tell(about).await;
                }
                verdict
            }
        };
        self.series.index(follow.accepted());
        Ok(self.conclude(verdict).await)
    }

    /// Says what instances say of their service, if that is something else than before.
    async fn tell(&mut self, about: About) {
        if self.about != about {
            self.about = about.clone();
            let _ = self.shared.updates.send(Update::About(self.selection.clone(), about)).await;
        }
    }

    /// A first list that is empty is an answer; but one that only seems to be should not have to be puzzled over. Returns whether it only
    /// seems to be, as far as anybody can tell.
    async fn explain_emptiness(&self) -> bool {
        let (agent, place) = (&self.shared.agent, self.shared.agent.catalogue(&self.selection));
        let question = rights::question_of_any(&self.selection);
        if rights::ask(agent, &place, question).await == Rights::Whole {
            return false;
        }
        if !self.is_hidden {
            warn!(
                service = %self.selection,
                "the first list is empty, and may be so for want of rights: the token needs service:read for the service, and \
                 node:read for the nodes of its instances"
            );
        }
        rights::ask(agent, &place, rights::question_of_service(&self.selection)).await == Rights::Hidden
            || self.is_listed().await
    }

    /// True if the catalogue has the name, which it only has while there are instances: so they are on nodes that may not be read, though
    /// others may.
    async fn is_listed(&self) -> bool {
        let Selection { service, filter, datacenter, peer, lookup } = &self.selection;
        if *lookup != Lookup::Service || filter.is_some() || peer.is_some() {
            return false;
        }
        let now = (0, Duration::ZERO);
        let names =
            async { self.shared.agent.services(datacenter.as_ref(), Consistency::Default, now, 0).await?.json().await };
        let names = names.await.unwrap_or_default();
        names.as_object().is_some_and(|names| names.keys().any(|name| name.eq_ignore_ascii_case(service)))
    }

    /// Before much is believed to be gone: whether we could see it if it were not.
    async fn look_for_rights(&self, follow: &mut Follow) -> Verdict {
        let question = rights::question(&self.selection, follow.missing());
        let rights = rights::ask(&self.shared.agent, &self.shared.agent.catalogue(&self.selection), question).await;
        follow.conclude(rights, Instant::now())
    }

    async fn conclude(&mut self, verdict: Verdict) -> Duration {
        let doubted = self.doubted.take();
        self.bucket.brought(matches!(verdict, Verdict::Changed(..)));
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
            Reason::Lag => info!(
                %service,
                "whoever answered has not heard of Consul's leader for longer than consul.max_lag; the leader is asked"
            ),
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
    pub(super) fn figure(self) -> Doubt {
        match self {
            Reason::Acl => Doubt::Acl,
            Reason::Leader => Doubt::Leader,
            Reason::Index => Doubt::Index,
            Reason::Mass => Doubt::Mass,
            Reason::Lag => Doubt::Lag,
        }
    }
}
