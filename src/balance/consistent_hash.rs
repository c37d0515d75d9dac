//! The same endpoint for the same key, as long as it is there: for caches, and for whatever keeps something about a client.
//! [`Ring`] says who is at home where.
//!
//! Loads are bounded (V. Mirrokni, M. Thorup and M. Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2018): nobody takes
//! more than a factor times its share of all that is in flight; what would be beyond goes to the next in the key's own order,
//! so that one hot key or one slow endpoint does not become an outage.
//!
//! While an endpoint starts slowly it gets some of its keys, and more of them as time passes, and never loses one again.

use std::sync::Arc;

use super::ring::{Ring, mix};
use super::{Ask, Balancer, Candidate, Context};
use crate::endpoint::{Endpoint, Id, InFlight, Ledger};

pub(super) struct ConsistentHash {
    candidates: Arc<[Candidate]>,
    ring: Arc<Ring>,
    /// The candidate at each place of the ring.
    present: Box<[u32]>,
    ledger: Arc<Ledger>,
    /// How far beyond its share anybody may be loaded; none without a bound.
    factor: Option<f64>,
    total_weight: f64,
    /// In flight without being in the ledger's total: begun before there was a bound.
    uncounted: u32,
}

/// A place at which there is no candidate.
const NOBODY: u32 = u32::MAX;

impl ConsistentHash {
    pub(super) fn new(candidates: Arc<[Candidate]>, ring: &Arc<Ring>, context: &Context<'_>) -> Self {
        let places = candidates.iter().map(|candidate| candidate.place as usize + 1).max().unwrap_or_default();
        let mut present = vec![NOBODY; places];
        for (index, candidate) in candidates.iter().enumerate() {
            present[candidate.place as usize] = index as u32;
        }
        let factor = context.settings.balancing.hash.load_factor;
        ConsistentHash {
            factor: (factor > 0.0).then_some(factor),
            total_weight: candidates.iter().map(|candidate| f64::from(candidate.weight)).sum(),
            uncounted: candidates
                .iter()
                .map(|candidate| candidate.endpoint.in_flight())
                .fold(0, u32::saturating_add)
                .saturating_sub(context.ledger.total()),
            candidates,
            ring: Arc::clone(ring),
            present: present.into(),
            ledger: Arc::clone(context.ledger),
        }
    }

    fn at(&self, place: usize) -> Option<&Candidate> {
        self.candidates.get(*self.present.get(place)? as usize)
    }

    /// Who is at home there, if that one is there.
    fn home(&self, key: u64) -> Option<&Candidate> {
        self.at(self.ring.home(key)?)
    }

    fn find(&self, key: u64, fits: impl Fn(&Candidate, u64) -> bool) -> Option<&Candidate> {
        let place = self.ring.find(key, |place, name| self.at(place).is_some_and(|candidate| fits(candidate, name)))?;
        self.at(place)
    }

    /// The key's own endpoint and the most that it may carry: nearly always possible, and found without asking everybody on the way
    /// whether they fit.
    fn at_home(&self, key: u64, ask: &Ask<'_>) -> Option<(&Candidate, Option<u32>)> {
        let home = self.home(key)?;
        if !ask.tried.is_empty() || home.is_starting() {
            return None;
        }
        Some((home, self.factor.map(|factor| self.bound(home, self.allowed(factor)))))
    }

    /// The first in the key's own order who was not tried and has room, and the most that it may carry.
    fn with_room(&self, key: u64, tried: &[Id], factor: f64) -> Option<(&Candidate, u32)> {
        let allowed = self.allowed(factor);
        let has_room = |candidate: &Candidate| candidate.endpoint.in_flight() < self.bound(candidate, allowed);
        let fits = |candidate: &Candidate, name| {
            is_due(candidate, key, name) && is_untried(candidate, tried) && has_room(candidate)
        };
        let found = self.find(key, fits)?;
        Some((found, self.bound(found, allowed)))
    }

    /// The first in the key's own order who was not tried, whoever has room.
    fn anybody(&self, key: u64, tried: &[Id]) -> &Candidate {
        let found = self.find(key, |candidate, name| is_due(candidate, key, name) && is_untried(candidate, tried));
        let found = found.or_else(|| self.find(key, |candidate, _| is_untried(candidate, tried)));
        // Everybody was tried: the key's own.
        found.or_else(|| self.find(key, |_, _| true)).unwrap_or(&self.candidates[0])
    }

    /// Most that may be in flight at all candidates together, this request included.
    fn allowed(&self, factor: f64) -> f64 {
        factor * (f64::from(self.ledger.total()) + f64::from(self.uncounted) + 1.0)
    }

    /// Most that a candidate may carry, this request included, of all that is allowed together.
    fn bound(&self, candidate: &Candidate, allowed: f64) -> u32 {
        // In this order, so that what comes out even is not rounded up.
        let bound = allowed * f64::from(candidate.weight) / self.total_weight;
        let whole = bound as u32;
        whole.saturating_add(u32::from(bound > f64::from(whole)))
    }
}

impl Balancer for ConsistentHash {
    fn has_home(&self, key: u64) -> bool {
        self.home(key).is_some()
    }

    fn pick(&self, ask: &mut Ask<'_>) -> InFlight {
        let key = ask.key.unwrap_or_else(|| ask.rng.u64(..));
        if let Some((home, most)) = self.at_home(key, ask) {
            let Some(most) = most else { return home.endpoint.begin() };
            if let Some(begun) = home.endpoint.begin_below(most) {
                return begun;
            }
        }
        if let Some(factor) = self.factor {
            // Again only if another worker took the last free place meanwhile.
            for _ in 0..self.candidates.len() {
                let Some((found, most)) = self.with_room(key, ask.tried, factor) else { break };
                if let Some(begun) = found.endpoint.begin_below(most) {
                    return begun;
                }
            }
        }
        self.anybody(key, ask.tried).endpoint.begin()
    }

    fn foresee(&self, ask: &mut Ask<'_>) -> &Arc<Endpoint> {
        let key = ask.key.unwrap_or_else(|| ask.rng.u64(..));
        let has_room =
            |(home, most): &(&Candidate, Option<u32>)| most.is_none_or(|most| home.endpoint.in_flight() < most);
        let home = self.at_home(key, ask).filter(has_room).map(|(home, _)| home);
        let with_room = || Some(self.with_room(key, ask.tried, self.factor?)?.0);
        let found = home.or_else(with_room).unwrap_or_else(|| self.anybody(key, ask.tried));
        &found.endpoint
    }
}

fn is_untried(candidate: &Candidate, tried: &[Id]) -> bool {
    !tried.contains(&candidate.endpoint.id())
}

/// True unless the candidate starts slowly, and this key is not one of those that it has so far.
fn is_due(candidate: &Candidate, key: u64, name: u64) -> bool {
    !candidate.is_starting() || mix(key ^ name) % 100 < u64::from(candidate.percent)
}
