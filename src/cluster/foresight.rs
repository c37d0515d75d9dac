//! Whom a request would be picked for, were it here now: asked by people, who want to know why. It goes the way of a pick
//! ([`super::Handle::begin`]) with the same rules and candidates, and begins, counts and changes nothing.

use std::cell::LazyCell;
use std::collections::HashMap;

use super::{Candidates, Cluster, Member, Request};
use crate::balance::Ask;
use crate::endpoint::{Endpoint, Id, Standing};
use crate::health;

/// How often a policy is asked that goes by chance: enough to tell a share to a hundredth, roughly.
const DRAWS: u32 = 4_000;

/// What would become of a request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Foresight {
    /// The endpoint that its session is bound to, if it may stay there.
    pub session: Option<Id>,
    /// The endpoint whose trial it would be, before any other is looked at.
    pub trial: Option<Id>,
    /// Who serves otherwise: whom the policy picks, or, in place of one that has no room, who has most of it. And for what share of such
    /// requests, 0 to 1; the greatest share first. Together less than 1 if there is no room for the rest.
    pub shares: Vec<(Id, f64)>,
    /// Those who may be picked at all.
    pub candidates: Vec<Id>,
    /// The share of requests that each tier takes, the nearest first, and how many are in it, for tiers where there is anybody.
    pub tiers: Vec<(f64, usize)>,
    /// True if all serve because too few are eligible.
    pub panic: bool,
}

impl Cluster {
    /// True if nobody may be picked.
    pub fn has_nobody(&self) -> bool {
        self.candidates.load().count() == 0
    }

    /// What would become of a first attempt.
    pub fn foresee(&self, request: &Request<'_>) -> Foresight {
        let candidates = self.candidates.load();
        let mut rng = fastrand::Rng::with_seed(request.key.unwrap_or_default());
        let now = self.lasting.ledger.tick(request.now);
        // Who goes by a key goes the same way each time.
        let draws = if request.key.is_some() { 1 } else { DRAWS };
        let mut counts = HashMap::<Id, u32>::new();
        let roomiest = LazyCell::new(|| {
            candidates.all().filter(|endpoint| self.has_room(endpoint)).min_by_key(|endpoint| endpoint.in_flight())
        });
        for _ in 0..draws {
            let mut ask = Ask { worker: request.worker, rng: &mut rng, now, key: request.key, tried: request.tried };
            let picked = candidates.foresee(&mut ask);
            let given = picked.and_then(|picked| if self.has_room(picked) { Some(picked) } else { *roomiest });
            if let Some(endpoint) = given {
                *counts.entry(endpoint.id()).or_default() += 1;
            }
        }
        let share = |(id, count)| (id, f64::from(count) / f64::from(draws));
        let mut shares: Vec<(Id, f64)> = counts.into_iter().map(share).collect();
        shares.sort_by(|(one, a), (other, b)| b.total_cmp(a).then(one.cmp(other)));
        Foresight {
            session: self.kept(&candidates, request).map(|endpoint| endpoint.id()),
            trial: self.foresee_trial(&candidates, request),
            shares,
            candidates: candidates.all().map(|endpoint| endpoint.id()).collect(),
            tiers: candidates.tiers().collect(),
            panic: candidates.panic,
        }
    }

    /// True if it may have one more attempt.
    fn has_room(&self, endpoint: &Endpoint) -> bool {
        let most = self.settings.limits.endpoint_in_flight;
        most == 0 || endpoint.in_flight() < most
    }

    /// Whose trial it would be: of somebody on probation, or whose ejection is over, which the next request sees to.
    fn foresee_trial(&self, candidates: &Candidates, request: &Request<'_>) -> Option<Id> {
        let (patience, now) = (self.settings.ejection.base, request.now);
        let is_over = |endpoint: &Endpoint| endpoint.ejections().until.is_none_or(|until| until <= now);
        let awaits_it = |endpoint: &Endpoint| match endpoint.standing() {
            Standing::Probation => true,
            Standing::Ejected => is_over(endpoint),
            Standing::Eligible | Standing::Trial => false,
        };
        let is_fit = |endpoint: &Endpoint| request.can_retry || health::is_overdue(endpoint, patience, now);
        let is_asked = |member: &Member| candidates.level.is_none_or(|level| member.level <= level);
        let members = self.members.iter().filter(|member| member.is_usable() && !member.is_suspect());
        let mut members = members.filter(|member| is_asked(member)).map(|member| &*member.endpoint);
        let found = members.find(|endpoint| awaits_it(endpoint) && is_fit(endpoint));
        // In a panic all serve, and nobody is on trial.
        found.filter(|_| !candidates.panic && request.tried.is_empty()).map(Endpoint::id)
    }
}
