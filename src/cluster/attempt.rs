//! One try at one endpoint: in flight until it is dropped, judged at most once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::verdict::Spared;
use super::{Cluster, Handle};
use crate::endpoint::{Endpoint, InFlight, Standing, Tick};
use crate::health::{self, Outcome, Reason};

/// One try at one endpoint. Dropped without a verdict, it means that the client left, and nobody is to blame.
pub struct Attempt {
    cluster: Handle,
    in_flight: InFlight,
    trial: Trial,
    /// For whoever wants to know how long it took to be answered, until it was.
    began: Option<Tick>,
    judged: bool,
}

/// Whether an attempt decides on an endpoint that is out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Trial {
    /// It is not out.
    #[default]
    None,
    /// It does, as one of several: nobody keeps others away.
    Open,
    /// It is the one trial, to be given back if nothing comes of it.
    Claimed,
}

impl Trial {
    /// Of an attempt at whoever is asked whatever its standing is.
    pub(super) fn at(endpoint: &Endpoint) -> Self {
        match endpoint.standing() {
            Standing::Eligible => Trial::None,
            Standing::Probation if endpoint.claim_trial() => Trial::Claimed,
            _ => Trial::Open,
        }
    }
}

impl Attempt {
    pub(super) fn new(cluster: Handle, in_flight: InFlight, trial: Trial, began: Option<Tick>) -> Self {
        Attempt { cluster, in_flight, trial, began, judged: false }
    }

    /// Where it goes.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        self.in_flight.endpoint()
    }

    /// The cluster it belongs to.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// True if it matters when it is answered: probation or an expectation hangs on it.
    pub fn is_awaited(&self) -> bool {
        self.trial != Trial::None || self.began.is_some()
    }

    /// The endpoint has begun to answer: enough to pass a trial, which must not last as long as a stream does.
    pub fn answered(&mut self, now: Instant) {
        if let Some(began) = self.began.take() {
            let tick = self.cluster.lasting.ledger.tick(now);
            self.learn(tick.since(began), tick);
        }
        self.pass(now);
    }

    fn learn(&self, took: f32, now: Tick) {
        let latency = self.endpoint().latency();
        match self.cluster.decay {
            // Somebody who is back is what it is now: what it was has been paid for.
            Some(_) if self.trial != Trial::None => latency.restart(took, now),
            Some(decay) => latency.observe(took, now, decay),
            None => {}
        }
        self.endpoint().answered_after(Duration::try_from_secs_f32(took).unwrap_or_default());
    }

    /// The endpoint has answered that it will not do it: it is there, and passes a trial, but that is no sign of speed.
    pub fn refused(&mut self, now: Instant) {
        self.penalize(now);
        self.pass(now);
    }

    fn pass(&mut self, now: Instant) {
        if std::mem::take(&mut self.trial) != Trial::None {
            self.cluster.readmit(self.endpoint(), now);
        }
    }

    /// However fast that was, it was not an answer.
    fn penalize(&mut self, now: Instant) {
        let Some(decay) = self.cluster.decay else { return };
        let now = self.cluster.lasting.ledger.tick(now);
        let waited = self.began.take().map_or(0.0, |began| now.since(began));
        let penalty = self.cluster.settings.balancing.ewma.penalty.as_secs_f32();
        self.endpoint().latency().observe(waited.max(penalty), now, decay);
    }

    /// Takes the verdict, and what follows from it for the endpoint.
    pub fn judge(&mut self, outcome: Outcome, now: Instant) {
        self.judged = true;
        let Outcome::Failure(reason) = outcome else {
            self.answered(now);
            return self.endpoint().succeeded();
        };
        self.endpoint().erred();
        let settings = std::sync::Arc::clone(&self.cluster.settings);
        let rules = &settings.ejection;
        if !reason.counts(rules.failures) {
            // An answer, if not a good one: it counts in its share of errors and not in the row.
            self.refused(now);
            return self.endpoint().succeeded();
        }
        let limit = rules.consecutive_failures;
        self.penalize(now);
        let failures = self.endpoint().failed();
        // It may have been readmitted meanwhile; then this is one failure like any other.
        let trial = std::mem::take(&mut self.trial) != Trial::None && self.endpoint().standing() != Standing::Eligible;
        // Where nobody listens any more, whoever took it off the list was right.
        let is_suspect =
            reason == Reason::Connect && self.cluster.member(self.endpoint()).is_some_and(super::Member::is_suspect);
        let is_off = limit == 0 && !health::compares(rules);
        if trial && (is_off || rules.dry_run) {
            // Ejection was turned off while it was out: there is nothing to return from.
            self.cluster.readmit(self.endpoint(), now);
        }
        let is_row = limit > 0 && failures >= limit;
        if is_off || !is_row && !trial && !is_suspect {
            return;
        }
        match self.cluster.try_eject(self.endpoint(), reason, now) {
            // Said once for each row of failures, not with each request of an outage.
            Err(Spared::By(_)) if !failures.is_multiple_of(limit) => {}
            ejected => self.cluster.report_ejection(self.endpoint(), reason, ejected),
        }
    }

    /// The usual verdict: answered whole. For attempts that nobody awaits.
    pub fn succeeded(&mut self) {
        self.judged = true;
        self.endpoint().succeeded();
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.trial == Trial::Claimed {
            self.endpoint().release_trial();
        }
        if !self.judged {
            self.endpoint().unjudged();
        }
        if let (Some(began), Some(decay)) = (self.began, self.cluster.decay) {
            let now = self.cluster.lasting.ledger.tick(Instant::now());
            self.endpoint().latency().observe_at_least(now.since(began), now, decay);
        }
    }
}
