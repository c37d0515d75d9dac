//! By chance, in proportion to weight: nothing to remember, nothing to share, and no two proxies in step.

use std::sync::Arc;

use super::alias::Draw;
use super::{Ask, Balancer, Candidate, untried};
use crate::endpoint::Endpoint;

pub(super) struct Random {
    candidates: Arc<[Candidate]>,
    draw: Draw,
}

impl Random {
    pub(super) fn new(candidates: Arc<[Candidate]>) -> Self {
        let draw = Draw::of(&candidates);
        Random { candidates, draw }
    }
}

impl Balancer for Random {
    fn foresee(&self, ask: &mut Ask<'_>) -> &Arc<Endpoint> {
        let index = untried(&self.candidates, ask, |ask| self.draw.one(ask.rng));
        &self.candidates[index].endpoint
    }
}
