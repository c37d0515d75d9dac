//! One try at one endpoint: in flight until it is dropped, judged at most once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Cluster, Handle};
use crate::endpoint::{Endpoint, InFlight, Standing, Tick};
use crate::health::{Outcome, Reason};

/// One try at one endpoint. Dropped without a verdict, it means that the client left, and nobody is to blame.
pub struct Attempt {
    cluster: Handle,
    in_flight: InFlight,
    trial: bool,
    /// For whoever wants to know how long it took to be answered, until it was.
    began: Option<Tick>,
}

/// What a failure led to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ejected {
    /// Out for this long.
    For(Duration),
    /// The rules forbid it, for the reason named.
    Not(&'static str),
}

impl Attempt {
    pub(super) fn new(cluster: Handle, in_flight: InFlight, trial: bool, began: Option<Tick>) -> Self {
        Attempt { cluster, in_flight, trial, began }
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
        self.trial || self.began.is_some()
    }

    /// The endpoint has begun to answer: enough to pass a trial, which must not last as long as a stream does.
    pub fn answered(&mut self, now: Instant) {
        if let (Some(began), Some(decay)) = (self.began.take(), self.cluster.decay) {
            let tick = self.cluster.lasting.ledger.tick(now);
            let (latency, took) = (self.endpoint().latency(), tick.since(began));
            // Somebody who is back is what it is now: what it was has been paid for.
            if self.trial { latency.restart(took, tick) } else { latency.observe(took, tick, decay) }
        }
        self.pass(now);
    }

    /// The endpoint has answered that it will not do it: it is there, and passes a trial, but that is no sign of speed.
    pub fn refused(&mut self, now: Instant) {
        self.penalize(now);
        self.pass(now);
    }

    fn pass(&mut self, now: Instant) {
        if std::mem::take(&mut self.trial) {
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

    /// Takes the verdict. Says what a failure led to, if the rules were asked at all.
    pub fn judge(&mut self, outcome: Outcome, now: Instant) -> Option<(Reason, Ejected)> {
        let Outcome::Failure(reason) = outcome else {
            self.answered(now);
            self.endpoint().succeeded();
            return None;
        };
        self.penalize(now);
        let failures = self.endpoint().failed();
        // It may have been readmitted meanwhile; then this is one failure like any other.
        let trial = std::mem::take(&mut self.trial) && self.endpoint().standing() != Standing::Eligible;
        let limit = self.cluster.settings.ejection.consecutive_failures;
        if limit == 0 {
            if trial {
                // Ejection was turned off while it was out: there is nothing to return from.
                self.cluster.readmit(self.endpoint(), now);
            }
            return None;
        }
        if failures < limit && !trial {
            return None;
        }
        let ejected = match self.cluster.eject(self.endpoint(), now) {
            Ok(length) => Ejected::For(length),
            // Attempts that were under way when it was ejected: nothing new.
            Err("ejected") => return None,
            // Said once for each row of failures, not with each request of an outage.
            Err(_) if !failures.is_multiple_of(limit) => return None,
            Err(why) => Ejected::Not(why),
        };
        Some((reason, ejected))
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.trial {
            self.endpoint().release_trial();
        }
        if let (Some(began), Some(decay)) = (self.began, self.cluster.decay) {
            let now = self.cluster.lasting.ledger.tick(Instant::now());
            self.endpoint().latency().observe_at_least(now.since(began), now, decay);
        }
    }
}
