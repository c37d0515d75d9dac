//! The fewest in flight relative to weight, exactly, over all workers; ties are drawn by weight. The cluster's ledger keeps
//! the ranking while attempts begin and end, so that a pick costs the logarithm of the number of candidates, and picks and
//! begins in one step: two workers cannot take the same place for free.
//!
//! Exact needs one truth, and so a lock, which is held for a walk down and up a small tree.
//!
//! An endpoint that starts slowly carries nothing, and would be handed everything. It counts as carrying what it must not yet
//! have; while others are idle as well, it is drawn by its weight.

use std::sync::Arc;

use super::alias::Draw;
use super::{Ask, Balancer, Candidate, Context};
use crate::endpoint::{Contestant, Endpoint, Id, InFlight, Ledger, Tournament};

pub(super) struct LeastConnections {
    candidates: Arc<[Candidate]>,
    ledger: Arc<Ledger>,
    stamp: u64,
    group: usize,
    /// If somebody starts slowly.
    starting: Option<Draw>,
}

impl LeastConnections {
    pub(super) fn new(candidates: Arc<[Candidate]>, context: &Context<'_>) -> Self {
        let entries = candidates.iter().map(|candidate| (&candidate.endpoint, candidate.contestant())).collect();
        context.ledger.enter(context.stamp, context.group, entries);
        let starting = candidates.iter().any(Candidate::is_starting).then(|| Draw::of(&candidates));
        LeastConnections {
            candidates,
            ledger: Arc::clone(context.ledger),
            stamp: context.stamp,
            group: context.group,
            starting,
        }
    }

    /// One that starts slowly and is idle, as often as its weight says.
    fn beginner(&self, ask: &mut Ask<'_>) -> Option<usize> {
        let index = self.starting.as_ref()?.one(ask.rng);
        let drawn = &self.candidates[index];
        let fits = drawn.is_starting() && drawn.endpoint.in_flight() == 0;
        (fits && !ask.tried.contains(&drawn.endpoint.id())).then_some(index)
    }

    /// For those who still hold an older list than the one in the ledger.
    fn scan(&self, ask: &mut Ask<'_>) -> usize {
        let entries = self.candidates.iter().map(Candidate::contestant).collect();
        let mut ranking = Tournament::new(entries, |index| self.candidates[index].endpoint.in_flight());
        ranking.least(&self.barred(ask.tried), ask.rng)
    }

    fn barred(&self, tried: &[Id]) -> Vec<usize> {
        if tried.is_empty() {
            return Vec::new();
        }
        let was_tried = |index: &usize| tried.contains(&self.candidates[*index].endpoint.id());
        (0..self.candidates.len()).filter(was_tried).collect()
    }
}

impl Balancer for LeastConnections {
    fn pick(&self, ask: &mut Ask<'_>) -> InFlight {
        let barred = self.barred(ask.tried);
        let beginner = self.beginner(ask);
        let mut rankings = self.ledger.rankings();
        let found = rankings.find(self.stamp, self.group).map(|ranking| ranking.least(&barred, ask.rng));
        let Some(least) = found else {
            drop(rankings);
            return self.candidates[beginner.unwrap_or_else(|| self.scan(ask))].endpoint.begin();
        };
        rankings.begin(&self.candidates[beginner.unwrap_or(least)].endpoint)
    }

    fn foresee(&self, ask: &mut Ask<'_>) -> &Arc<Endpoint> {
        let barred = self.barred(ask.tried);
        let beginner = self.beginner(ask);
        let least = || {
            let mut rankings = self.ledger.rankings();
            rankings.find(self.stamp, self.group).map(|ranking| ranking.least(&barred, ask.rng))
        };
        let index = beginner.or_else(least).unwrap_or_else(|| self.scan(ask));
        &self.candidates[index].endpoint
    }
}

impl Candidate {
    fn contestant(&self) -> Contestant {
        Contestant { id: self.endpoint.id(), weight: self.weight, handicap: 100 - self.percent.min(100) }
    }
}
