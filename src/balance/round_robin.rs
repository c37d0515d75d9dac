//! Turns in proportion to weight, spread over the round: the k-th turn of a candidate with weight w stands at (k + o) / w of
//! it, where the offsets o of candidates with the same weight are spread over the interval between two turns, so that they
//! take their turns one after the other and a heavy candidate's turns fall between theirs. Over every window of the weights'
//! sum each candidate has exactly its weight in turns (nginx's "smooth" round robin has the same aim, but needs a lock or a
//! walk over all candidates for each pick).
//!
//! Each worker walks the schedule with a cursor of its own, which starts at random: neither workers nor proxies that were
//! started together march in step, and no cache line is shared.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Ask, Balancer, Candidate};

/// A worker's place in the turns, kept by the cluster for as long as it exists.
#[derive(Debug)]
pub struct Cursors(Box<[Cursor]>);

#[derive(Debug)]
#[repr(align(128))]
struct Cursor(AtomicUsize);

impl Cursors {
    /// One cursor for each of `workers` (at least one), somewhere.
    pub fn new(workers: usize) -> Self {
        Cursors((0..workers.max(1)).map(|_| Cursor(AtomicUsize::new(fastrand::usize(..)))).collect())
    }

    fn next(&self, worker: usize) -> usize {
        // Only its own worker writes a cursor; the modulus is for callers that are not workers.
        let cursor = &self.0[worker % self.0.len()].0;
        let turn = cursor.load(Ordering::Relaxed);
        cursor.store(turn.wrapping_add(1), Ordering::Relaxed);
        turn
    }
}

// Longest schedule, unless there are more candidates than that. Weights whose sum, divided by their greatest common
// divisor, is larger are scaled down to it: shares are then right to a few in ten thousand instead of exactly.
const MAX_TURNS: u64 = 16_384;

pub(super) struct RoundRobin {
    schedule: Box<[u32]>,
    cursors: Arc<Cursors>,
}

impl RoundRobin {
    pub(super) fn new(candidates: &[Candidate], cursors: Arc<Cursors>) -> Self {
        let weights: Vec<u64> = candidates.iter().map(|candidate| u64::from(candidate.weight)).collect();
        RoundRobin { schedule: schedule(&reduce(weights)), cursors }
    }
}

impl Balancer for RoundRobin {
    fn pick(&self, ask: &mut Ask<'_>) -> usize {
        self.schedule[self.cursors.next(ask.worker) % self.schedule.len()] as usize
    }
}

/// The same proportions in the smallest numbers, or nearly the same ones within [`MAX_TURNS`].
fn reduce(mut weights: Vec<u64>) -> Vec<u64> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    weights.iter_mut().for_each(|weight| *weight /= divisor);
    let sum: u64 = weights.iter().sum();
    let most = MAX_TURNS.max(weights.len() as u64 * 2);
    if sum > most {
        weights.iter_mut().for_each(|weight| *weight = (*weight * most / sum).max(1));
    }
    weights
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn schedule(weights: &[u64]) -> Box<[u32]> {
    if weights.iter().all(|weight| *weight == 1) {
        return (0..weights.len() as u32).collect();
    }
    let mut alike: HashMap<u64, (u32, u32)> = HashMap::new();
    weights.iter().for_each(|weight| alike.entry(*weight).or_default().0 += 1);
    let mut turns: Vec<(f64, u32)> = Vec::with_capacity(weights.iter().sum::<u64>() as usize);
    for (index, weight) in weights.iter().enumerate() {
        let (count, place) = alike.entry(*weight).or_default();
        let offset = (f64::from(*place) + 0.5) / f64::from(*count);
        *place += 1;
        turns.extend((0..*weight).map(|turn| ((turn as f64 + offset) / *weight as f64, index as u32)));
    }
    turns.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    turns.into_iter().map(|(_, index)| index).collect()
}
