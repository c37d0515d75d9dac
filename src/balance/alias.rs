//! Weighted draws in constant time: Vose's alias method (M. D. Vose, "A Linear Algorithm for Generating Random Numbers with
//! a Given Distribution", 1991), in integers, so that shares are exact.

use super::Candidate;

/// Draws an index with a probability in proportion to its weight.
#[derive(Debug)]
pub(super) enum Draw {
    /// All weights are the same: no table, no second read.
    Even(usize),
    /// A slot keeps its own index below its threshold, else gives its alias.
    Table { slots: Box<[(u64, usize)]>, total: u64 },
}

impl Draw {
    /// Draws by the candidates' weights.
    pub(super) fn of(candidates: &[Candidate]) -> Self {
        Draw::new(candidates.iter().map(|candidate| candidate.weight))
    }

    /// A table for at least one weight, each at least 1.
    fn new(weights: impl ExactSizeIterator<Item = u32> + Clone) -> Self {
        let mut sorted = weights.clone();
        let first = sorted.next().unwrap_or(1);
        if sorted.all(|weight| weight == first) {
            return Draw::Even(weights.len());
        }
        let count = weights.len();
        let total: u64 = weights.clone().map(u64::from).sum();
        // Scaled by the count, the average is `total`: each slot is to hold exactly that much.
        let mut slots: Vec<(u64, usize)> =
            weights.enumerate().map(|(index, weight)| (u64::from(weight) * count as u64, index)).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..count).partition(|index| slots[*index].0 < total);
        while let (Some(poor), Some(rich)) = (small.pop(), large.last().copied()) {
            slots[poor].1 = rich;
            slots[rich].0 -= total - slots[poor].0;
            if slots[rich].0 < total {
                large.pop();
                small.push(rich);
            }
        }
        Draw::Table { slots: slots.into(), total }
    }

    /// Two indices, different ones where there are two. A weighted second draw is tried twice more before it may repeat
    /// the first: one candidate may hold nearly all of the weight.
    pub(super) fn two(&self, rng: &mut fastrand::Rng) -> (usize, usize) {
        let first = self.one(rng);
        let second = match self {
            Draw::Even(1) => first,
            Draw::Even(count) => (first + rng.usize(1..*count)) % count,
            Draw::Table { .. } => (0..3).map(|_| self.one(rng)).find(|second| *second != first).unwrap_or(first),
        };
        (first, second)
    }

    /// One index.
    pub(super) fn one(&self, rng: &mut fastrand::Rng) -> usize {
        match self {
            Draw::Even(count) => rng.usize(..count),
            Draw::Table { slots, total } => {
                let slot = rng.usize(..slots.len());
                let (threshold, alias) = slots[slot];
                if rng.u64(..total) < threshold { slot } else { alias }
            }
        }
    }
}
