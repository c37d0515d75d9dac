//! Turns in proportion to weight: over every window of the weights' sum each candidate has exactly its weight in turns.
//!
//! Where the weights allow a schedule of all turns, it is written down with each candidate's turns as far apart as can be, so that
//! a heavy one's fall between the others' (nginx's "smooth" round robin has the same aim, but needs a lock or a walk over all
//! candidates for each pick).
//!
//! Where there would be too many turns to write down, they are computed: all turns lie side by side, each candidate's
//! together, and every pick goes on by a stride that is prime to their number and as near as can be to the golden section
//! of it. Each turn comes once in a round, and by the three-distance theorem those of one candidate come in gaps of at most
//! three lengths.
//!
//! Each worker has a cursor of its own, which starts at random: neither workers nor proxies that were started together march
//! in step, and no cache line is shared.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Ask, Balancer, Candidate, Context, untried};
use crate::endpoint::{Endpoint, InFlight};

/// A worker's places in the turns of each group of candidates, kept by the cluster for as long as it exists.
#[derive(Debug)]
pub struct Cursors(Box<[Worker]>);

#[derive(Debug)]
#[repr(align(128))]
struct Worker([AtomicU64; MAX_GROUPS]);

/// Groups that have a cursor of their own; those beyond share the last one.
const MAX_GROUPS: usize = 8;

impl Cursors {
    /// One cursor for each of `workers` (at least one), somewhere.
    pub fn new(workers: usize) -> Self {
        let worker = |_| Worker(std::array::from_fn(|_| AtomicU64::new(fastrand::u64(..))));
        Cursors((0..workers.max(1)).map(worker).collect())
    }

    /// The next of so many turns, a stride from the one before.
    fn next(&self, (worker, group): (usize, usize), stride: u64, turns: u64) -> u64 {
        // Only its own worker writes a cursor; the modulus is for callers that are not workers.
        let cursor = &self.0[worker % self.0.len()].0[group.min(MAX_GROUPS - 1)];
        let turn = cursor.load(Ordering::Relaxed);
        // Beyond the end only when it starts, or when there are fewer turns than before.
        let turn = if turn < turns { turn } else { turn % turns };
        let next = turn + stride;
        cursor.store(if next < turns { next } else { next - turns }, Ordering::Relaxed);
        turn
    }
}

// Longest schedule, unless there are more candidates than that.
const MAX_TURNS: u64 = 16_384;

pub(super) struct RoundRobin {
    candidates: Arc<[Candidate]>,
    turns: Turns,
    cursors: Arc<Cursors>,
    group: usize,
}

enum Turns {
    /// One after the other.
    Written(Box<[u32]>),
    /// The end of each candidate's turns, and for each of as many equal parts of all turns the candidate at its start.
    Computed { ends: Box<[u64]>, guide: Box<[u32]>, stride: u64 },
}

impl RoundRobin {
    pub(super) fn new(candidates: Arc<[Candidate]>, context: &Context<'_>) -> Self {
        let weights: Vec<u64> = candidates.iter().map(|candidate| u64::from(candidate.weight)).collect();
        RoundRobin {
            turns: Turns::new(weights),
            candidates,
            cursors: Arc::clone(context.cursors),
            group: context.group,
        }
    }
}

impl Balancer for RoundRobin {
    fn pick(&self, ask: &mut Ask<'_>) -> InFlight {
        let index = untried(&self.candidates, ask, |ask| match ask.tried {
            [] => self.turns.at(self.cursors.next((ask.worker, self.group), self.turns.stride(), self.turns.count())),
            // Were retries to take turns as well, every request of an even number of endpoints could begin at the same one.
            _ => self.turns.at(ask.rng.u64(..self.turns.count())),
        });
        self.candidates[index].endpoint.begin()
    }

    fn foresee(&self, ask: &mut Ask<'_>) -> &Arc<Endpoint> {
        let index = untried(&self.candidates, ask, |ask| self.turns.at(ask.rng.u64(..self.turns.count())));
        &self.candidates[index].endpoint
    }
}

impl Turns {
    fn new(mut weights: Vec<u64>) -> Self {
        let divisor = weights.iter().copied().fold(0, gcd).max(1);
        weights.iter_mut().for_each(|weight| *weight /= divisor);
        let sum: u64 = weights.iter().sum();
        if sum <= MAX_TURNS.max(weights.len() as u64) {
            Turns::Written(spread(&weights, sum))
        } else {
            computed(&weights, sum)
        }
    }

    fn count(&self) -> u64 {
        match self {
            Turns::Written(turns) => turns.len() as u64,
            Turns::Computed { ends, .. } => ends.last().copied().unwrap_or(1),
        }
    }

    fn stride(&self) -> u64 {
        match self {
            Turns::Written(_) => 1,
            Turns::Computed { stride, .. } => *stride,
        }
    }

    /// Whose turn that is.
    fn at(&self, turn: u64) -> usize {
        match self {
            Turns::Written(turns) => turns[turn as usize] as usize,
            Turns::Computed { ends, guide, .. } => {
                let part = (u128::from(turn) * guide.len() as u128 / u128::from(self.count())) as usize;
                let from = guide[part] as usize;
                let to = guide.get(part + 1).map_or(ends.len(), |next| *next as usize + 1);
                from + ends[from..to].partition_point(|end| *end <= turn)
            }
        }
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// All turns of a round, each candidate's as far apart as can be: the candidates with the most turns together, those of one
/// weight taken as one, choose their places first, evenly among those that are free.
fn spread(weights: &[u64], sum: u64) -> Box<[u32]> {
    let mut classes: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    for (index, weight) in weights.iter().enumerate() {
        classes.entry(*weight).or_default().push(index as u32);
    }
    let mut classes: Vec<(usize, Vec<u32>)> =
        classes.into_iter().map(|(weight, members)| (weight as usize * members.len(), members)).collect();
    classes.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    let mut turns = vec![0; sum as usize];
    let mut free: Vec<usize> = (0..turns.len()).collect();
    for (count, members) in classes {
        let places = free.len();
        let mut taken = 0;
        let mut place = 0;
        free.retain(|turn| {
            // The middle of the next of `count` equal parts.
            let takes = taken < count && place == (2 * taken + 1) * places / (2 * count);
            if takes {
                turns[*turn] = members[taken % members.len()];
                taken += 1;
            }
            place += 1;
            !takes
        });
    }
    turns.into()
}

fn computed(weights: &[u64], sum: u64) -> Turns {
    let ends: Box<[u64]> = weights
        .iter()
        .scan(0, |end, weight| {
            *end += weight;
            Some(*end)
        })
        .collect();
    let parts = ends.len() as u128;
    let start = |part: u128| (u128::from(sum) * part).div_ceil(parts) as u64;
    let guide = (0..parts).map(|part| ends.partition_point(|end| *end <= start(part)) as u32).collect();
    Turns::Computed { guide, stride: stride(sum), ends }
}

/// The number nearest to the golden section of `sum` that shares no divisor with it.
fn stride(sum: u64) -> u64 {
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    let middle = (sum as f64 * GOLDEN) as u64;
    let near = (0..sum).flat_map(|far| [middle.saturating_sub(far), middle + far]);
    near.into_iter().find(|stride| (1..sum).contains(stride) && gcd(*stride, sum) == 1).unwrap_or(1)
}
