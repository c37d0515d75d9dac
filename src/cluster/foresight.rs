//! Whom a request would be picked for, were it here now: asked by people, who want to know why. It goes the way of a pick
//! ([`super::Handle::begin`]) with the same rules and candidates, and begins, counts and changes nothing.

use std::collections::HashMap;
use std::time::Instant;

use super::{Cluster, Request};
use crate::balance::Ask;
use crate::endpoint::{Id, Standing};

/// How often a policy is asked that goes by chance: enough to tell a share to a hundredth, roughly.
const DRAWS: u32 = 4_000;

/// What would become of a request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Foresight {
    /// The endpoint that its session is bound to, if it may stay there.
    pub session: Option<Id>,
    /// The endpoint whose trial it would be, before any other is looked at.
    pub trial: Option<Id>,
    /// Whom the policy picks otherwise, and for what share of such requests, 0 to 1; the greatest share first.
    pub shares: Vec<(Id, f64)>,
    /// Those who may be picked at all.
    pub candidates: Vec<Id>,
    /// The share of requests that each tier takes, the nearest first, and how many are in it, for tiers where there is anybody.
    pub tiers: Vec<(f64, usize)>,
    /// True if all serve because too few are eligible.
    pub panic: bool,
    /// As of when those who may be picked were found; some ejection may have ended since, which the next request sees to.
    pub sorted: Option<Instant>,
}

impl Cluster {
    /// True if nobody may be picked.
    pub fn has_nobody(&self) -> bool {
        self.candidates.load().count() == 0
    }

    /// What would become of a first attempt.
    pub fn foresee(&self, request: &Request<'_>) -> Foresight {
        let candidates = self.candidates.load();
        let is_free = |id: &Standing| *id == Standing::Probation;
        let mut awaiting = self.awaiting(&candidates, request).filter(|endpoint| is_free(&endpoint.standing()));
        let mut rng = fastrand::Rng::with_seed(request.key.unwrap_or_default());
        let now = self.lasting.ledger.tick(request.now);
        // Who goes by a key goes the same way each time.
        let draws = if request.key.is_some() { 1 } else { DRAWS };
        let mut counts = HashMap::<Id, u32>::new();
        for _ in 0..draws {
            let mut ask = Ask { worker: request.worker, rng: &mut rng, now, key: request.key, tried: request.tried };
            if let Some(endpoint) = candidates.foresee(&mut ask) {
                *counts.entry(endpoint.id()).or_default() += 1;
            }
        }
        let share = |(id, count)| (id, f64::from(count) / f64::from(draws));
        let mut shares: Vec<(Id, f64)> = counts.into_iter().map(share).collect();
        shares.sort_by(|(one, a), (other, b)| b.total_cmp(a).then(one.cmp(other)));
        Foresight {
            session: self.kept(&candidates, request).map(|endpoint| endpoint.id()),
            trial: awaiting.next().map(|endpoint| endpoint.id()),
            shares,
            candidates: candidates.all().map(|endpoint| endpoint.id()).collect(),
            tiers: candidates.tiers().collect(),
            panic: candidates.panic,
            sorted: candidates.sorted,
        }
    }
}
