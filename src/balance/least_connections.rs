//! The fewest in flight relative to weight, exactly, over all workers; ties are drawn by weight. Looks at every candidate,
//! so it costs in proportion to their number: for clusters where each request is dear and few.

use std::sync::Arc;

use super::{Ask, Balancer, Candidate};

pub(super) struct LeastConnections {
    candidates: Arc<[Candidate]>,
}

impl LeastConnections {
    pub(super) fn new(candidates: Arc<[Candidate]>) -> Self {
        LeastConnections { candidates }
    }
}

impl Balancer for LeastConnections {
    fn pick(&self, ask: &mut Ask<'_>) -> usize {
        let (mut best, mut load, mut tied) = (0, u64::MAX, 0_u64);
        for (index, candidate) in self.candidates.iter().enumerate() {
            let weight = u64::from(candidate.weight);
            // In 32.32 fixed point, so that one division replaces a cross product with the best so far.
            let carried = (u64::from(candidate.endpoint.in_flight()) << 32) / weight;
            if carried > load {
                continue;
            }
            // A reservoir of one: each of the tied stays with a probability in proportion to its weight.
            tied = if carried < load { weight } else { tied + weight };
            if tied == weight || ask.rng.u64(..tied) < weight {
                best = index;
            }
            load = carried;
        }
        best
    }
}
