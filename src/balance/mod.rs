//! Which one serves. A [`Balancer`] is the running form of a policy: made once for a list of candidates, then asked with
//! every attempt, by all workers at once. It is pure: no clock, no I/O, and chance is passed in, so that a test can seed it.
//!
//! A balancer never sees an endpoint that may not be picked, and is never made for an empty list: weights stay right when
//! someone is out, and the arithmetic needs no special case.

mod alias;
mod least_connections;
mod p2c;
mod round_robin;

use std::sync::Arc;

use crate::config::Policy;
use crate::endpoint::Endpoint;

pub use round_robin::Cursors;

/// An endpoint that may be picked.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Its share relative to its neighbours; at least 1.
    pub weight: u32,
}

/// What a pick may lean on besides the candidates.
#[derive(Debug)]
pub struct Ask<'a> {
    /// The worker that asks, from 0.
    pub worker: usize,
    /// That worker's chance.
    pub rng: &'a mut fastrand::Rng,
}

/// A policy at work on one list of candidates.
pub trait Balancer: Send + Sync {
    /// The index of the candidate that is to serve, out of those that the balancer was made for.
    fn pick(&self, ask: &mut Ask<'_>) -> usize;
}

/// The balancer of a policy; none for no candidates. `cursors` outlive it, so that turns go on where they were when the
/// candidates change.
pub fn balancer(policy: Policy, candidates: &Arc<[Candidate]>, cursors: &Arc<Cursors>) -> Option<Box<dyn Balancer>> {
    if candidates.is_empty() {
        return None;
    }
    Some(match policy {
        Policy::RoundRobin => Box::new(round_robin::RoundRobin::new(candidates, Arc::clone(cursors))),
        Policy::P2c => Box::new(p2c::P2c::new(Arc::clone(candidates))),
        Policy::LeastConnections => Box::new(least_connections::LeastConnections::new(Arc::clone(candidates))),
    })
}

impl Candidate {
    /// True if `self` carries less than `other`, each relative to its weight.
    fn is_lighter_than(&self, other: &Candidate) -> bool {
        let product = |a: &Candidate, b: &Candidate| u64::from(a.endpoint.in_flight()) * u64::from(b.weight);
        product(self, other) < product(other, self)
    }
}

#[cfg(test)]
mod tests;
