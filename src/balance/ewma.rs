//! Two random choices, then the one that is expected to answer sooner: a moving average of the time to the first byte that
//! jumps to peaks (Finagle's "Peak EWMA", whose decay of ten seconds is the default here), times what is in flight and this
//! request. It turns away from a slow endpoint after one answer, and looks at it again as the memory fades.
//!
//! A failure counts as an answer that took the penalty at least, so that an endpoint which fails fast does not look fast.
//! One that has never answered is tried, as in Finagle, and then left alone until it has.
//!
//! Draws go by weight; what is in flight counts relative to the average weight, so that without load the shares are the
//! weights'.

use std::sync::Arc;

use super::alias::Draw;
use super::{Ask, Balancer, Candidate, untried};
use crate::config;
use crate::endpoint::{Endpoint, Tick};

pub(super) struct Ewma {
    candidates: Arc<[Candidate]>,
    draw: Draw,
    average_weight: f32,
    decay: f32,
}

/// More than any time multiplied by any number in flight: for whoever has not answered yet, and is being tried.
const UNTRIED: f32 = 1e30;

impl Ewma {
    pub(super) fn new(candidates: Arc<[Candidate]>, settings: &config::Ewma) -> Self {
        let total: u64 = candidates.iter().map(|candidate| u64::from(candidate.weight)).sum();
        let average_weight = total as f32 / candidates.len() as f32;
        Ewma { draw: Draw::of(&candidates), candidates, average_weight, decay: settings.decay_milliseconds() }
    }

    /// What one more request at this candidate is expected to take.
    fn cost(&self, index: usize, now: Tick) -> f32 {
        let candidate = &self.candidates[index];
        let in_flight = candidate.endpoint.in_flight() as f32;
        match candidate.endpoint.latency().read(now, self.decay) {
            Some(average) => average * (1.0 + in_flight * self.average_weight / candidate.weight as f32),
            None => in_flight * UNTRIED,
        }
    }
}

impl Balancer for Ewma {
    fn foresee(&self, ask: &mut Ask<'_>) -> &Arc<Endpoint> {
        let index = untried(&self.candidates, ask, |ask| {
            let (first, second) = self.draw.two(ask.rng);
            if self.cost(second, ask.now) < self.cost(first, ask.now) { second } else { first }
        });
        &self.candidates[index].endpoint
    }
}
