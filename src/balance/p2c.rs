//! Two random choices, then the one with less in flight (M. Mitzenmacher, "The Power of Two Choices in Randomized Load
//! Balancing", 1996): nearly as even as looking at all, at the price of looking at two, and without the herd that follows
//! an exact minimum.
//!
//! Both draws go by weight and loads are compared relative to weight; a tie keeps the first draw, so that without load the
//! shares are the weights'.

use std::sync::Arc;

use super::alias::Draw;
use super::{Ask, Balancer, Candidate, untried};
use crate::endpoint::Endpoint;

pub(super) struct P2c {
    candidates: Arc<[Candidate]>,
    draw: Draw,
}

impl P2c {
    pub(super) fn new(candidates: Arc<[Candidate]>) -> Self {
        let draw = Draw::of(&candidates);
        P2c { candidates, draw }
    }
}

impl Balancer for P2c {
    fn foresee(&self, ask: &mut Ask<'_>) -> &Arc<Endpoint> {
        let index = untried(&self.candidates, ask, |ask| {
            let (first, second) = self.draw.two(ask.rng);
            if self.candidates[second].is_lighter_than(&self.candidates[first]) { second } else { first }
        });
        &self.candidates[index].endpoint
    }
}
