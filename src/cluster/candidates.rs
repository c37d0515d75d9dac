//! Those of a cluster that may be picked, kept ready: made when the list changes or someone is ejected or returns, so that
//! a pick never filters, and costs the same with five endpoints and with five thousand.

use std::sync::Arc;
use std::time::Instant;

use super::Member;
use crate::balance::{Balancer, Candidate, Cursors, balancer};
use crate::config::Policy;
use crate::endpoint::{Endpoint, Standing};
use crate::health;

/// One state of the list.
pub(super) struct Candidates {
    /// Those who may be picked.
    pub(super) eligible: Arc<[Candidate]>,
    /// The policy at work on them; none if there is nobody.
    pub(super) balancer: Option<Box<dyn Balancer>>,
    /// Those who wait for their trial request, or have it.
    pub(super) probation: Box<[Arc<Endpoint>]>,
    /// When the next ejection ends.
    pub(super) review: Option<Instant>,
    /// True if everybody was out: then all serve, since nobody is better.
    pub(super) desperate: bool,
}

impl Candidates {
    /// Sorts the members by their standing at `now`; ejections that are over become probation.
    pub(super) fn sort(members: &[Member], policy: Policy, cursors: &Arc<Cursors>, now: Instant) -> Self {
        let mut eligible = Vec::with_capacity(members.len());
        let mut probation = Vec::new();
        let mut review: Option<Instant> = None;
        for member in members.iter().filter(|member| member.is_usable()) {
            match standing(&member.endpoint, now) {
                Ok(()) => eligible.push(member.candidate()),
                Err(Some(until)) => review = Some(review.map_or(until, |at| at.min(until))),
                Err(None) => probation.push(Arc::clone(&member.endpoint)),
            }
        }
        let desperate = eligible.is_empty();
        if desperate {
            eligible.extend(members.iter().filter(|member| member.is_usable()).map(Member::candidate));
        }
        let eligible: Arc<[Candidate]> = eligible.into();
        let balancer = balancer(policy, &eligible, cursors);
        Candidates { eligible, balancer, probation: probation.into(), review, desperate }
    }

    /// True if time or a judgement has overtaken this state.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        self.review.is_some_and(|at| at <= now)
            || self.probation.iter().any(|endpoint| endpoint.standing() == Standing::Eligible)
    }
}

/// Eligible; or out until then; or on probation.
fn standing(endpoint: &Endpoint, now: Instant) -> Result<(), Option<Instant>> {
    match endpoint.standing() {
        Standing::Eligible => Ok(()),
        Standing::Ejected => Err(health::review(endpoint, now)),
        Standing::Probation | Standing::Trial => Err(None),
    }
}
