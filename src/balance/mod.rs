//! Which one serves. A [`Balancer`] is the running form of a policy: made once for a list of candidates, then asked with
//! every attempt, by all workers at once. It is pure: no clock, no I/O, time and chance are passed in, so that a test can
//! choose them.
//!
//! A balancer never sees an endpoint that may not be picked, and is never made for an empty list: weights stay right when
//! someone is out, and the arithmetic needs no special case. An endpoint that is only beginning (slow start) is one of less
//! weight.

mod alias;
mod consistent_hash;
mod ewma;
mod least_connections;
mod p2c;
mod random;
mod ring;
mod round_robin;

use std::sync::Arc;

use crate::config::{self, Policy};
use crate::endpoint::{Endpoint, Id, InFlight, Keeps, Ledger, Tick};

pub use ring::{Ring, hash, mix};
pub use round_robin::Cursors;

/// An endpoint that may be picked.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Its share relative to its neighbours, as of now; at least 1.
    pub weight: u32,
    /// How much of its whole share that is, in hundredths: less than 100 while it starts slowly.
    pub percent: u32,
    /// Its place in the ring.
    pub place: u32,
}

/// What a pick may lean on besides the candidates.
#[derive(Debug)]
pub struct Ask<'a> {
    /// The worker that asks, from 0.
    pub worker: usize,
    /// That worker's chance.
    pub rng: &'a mut fastrand::Rng,
    /// The time by the cluster's ledger.
    pub now: Tick,
    /// What the request is known by, for those who go by that.
    pub key: Option<u64>,
    /// Endpoints that the request has tried.
    pub tried: &'a [Id],
}

/// A policy at work on one list of candidates.
pub trait Balancer: Send + Sync {
    /// Begins an attempt at the candidate that is to serve: one that was not tried, while there is any.
    fn pick(&self, ask: &mut Ask<'_>) -> InFlight {
        self.foresee(ask).begin()
    }

    /// Whom it would pick as things are, of whom nothing is begun. Where candidates take turns, it is anybody's, by their shares.
    fn foresee(&self, ask: &mut Ask<'_>) -> &Arc<Endpoint>;

    /// True if whoever has this key, out of all who could be candidates, is one. Only those who hash can tell.
    fn has_home(&self, _key: u64) -> bool {
        true
    }
}

/// What outlives a list of candidates, and what is made for it elsewhere.
#[derive(Debug)]
pub struct Context<'a> {
    /// How to choose.
    pub settings: &'a config::Cluster,
    /// Turns go on where they were.
    pub cursors: &'a Arc<Cursors>,
    /// Of the candidates' cluster.
    pub ledger: &'a Arc<Ledger>,
    /// Where the candidates have their places; there for those who hash.
    pub ring: Option<&'a Arc<Ring>>,
    /// Which of the cluster's groups these candidates are.
    pub group: usize,
    /// Grows with every list of candidates; 0 for one that is not the newest.
    pub stamp: u64,
}

/// What a policy wants to be kept in its cluster's ledger.
pub fn keeps(settings: &config::Cluster) -> Keeps {
    match settings.policy {
        Policy::LeastConnections => Keeps::Least,
        Policy::ConsistentHash if settings.balancing.hash.load_factor > 0.0 => Keeps::Total,
        _ => Keeps::Nothing,
    }
}

/// The balancer of a policy; none for no candidates.
pub fn balancer(candidates: &Arc<[Candidate]>, context: &Context<'_>) -> Option<Box<dyn Balancer>> {
    if candidates.is_empty() {
        return None;
    }
    let ours = Arc::clone(candidates);
    let settings = &context.settings.balancing;
    Some(match (context.settings.policy, context.ring) {
        (Policy::RoundRobin, _) => Box::new(round_robin::RoundRobin::new(ours, context)),
        (Policy::P2c, _) => Box::new(p2c::P2c::new(ours)),
        (Policy::LeastConnections, _) => Box::new(least_connections::LeastConnections::new(ours, context)),
        (Policy::Ewma, _) => Box::new(ewma::Ewma::new(ours, &settings.ewma)),
        (Policy::ConsistentHash, Some(ring)) => Box::new(consistent_hash::ConsistentHash::new(ours, ring, context)),
        (Policy::Random | Policy::ConsistentHash, _) => Box::new(random::Random::new(ours)),
    })
}

impl Candidate {
    /// True if `self` carries less than `other`, each relative to its weight.
    fn is_lighter_than(&self, other: &Candidate) -> bool {
        let product = |a: &Candidate, b: &Candidate| u64::from(a.endpoint.in_flight()) * u64::from(b.weight);
        product(self, other) < product(other, self)
    }

    fn is_starting(&self) -> bool {
        self.percent < 100
    }
}

/// The index drawn, unless it was tried: then it is drawn again, so that a retry goes by weight and load as well, and after
/// as many draws as there were tries it is the first neighbour that was not.
fn untried(candidates: &[Candidate], ask: &mut Ask<'_>, mut draw: impl FnMut(&mut Ask<'_>) -> usize) -> usize {
    let first = draw(ask);
    let tried = ask.tried;
    let fits = |index: &usize| !tried.contains(&candidates[*index].endpoint.id());
    if tried.is_empty() || fits(&first) {
        return first;
    }
    let again = (0..tried.len()).map(|_| draw(ask)).find(fits);
    let neighbour = || (first..candidates.len()).chain(0..first).find(fits);
    again.or_else(neighbour).unwrap_or(first)
}

#[cfg(test)]
mod tests;
