//! Who carries least relative to weight, kept as attempts begin and end: a tournament over a binary tree. Each node knows the
//! least load below it and the weight of all who have it, so that one walk from the root finds a least one, drawn by weight
//! among equals, and one walk to the root tells of a change: O(log n) for both.

use super::Id;

/// The tree; its leaves are contestants by place.
#[derive(Debug, Default)]
pub struct Tournament {
    // The root is nodes[1], the children of i are 2i and 2i + 1, the leaves begin at `base`.
    nodes: Vec<Node>,
    base: usize,
    contestants: Vec<Contestant>,
}

/// Who takes part.
#[derive(Debug, Clone, Copy)]
pub struct Contestant {
    /// Whom it stands for.
    pub id: Id,
    /// Its share; at least 1.
    pub weight: u32,
    /// What it counts as carrying beyond what it does, in hundredths.
    pub handicap: u32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Node {
    load: u64,
    tied: u64,
}

const NOBODY: Node = Node { load: u64::MAX, tied: 0 };
/// Binary places of a load: enough to tell any two fractions of weights up to 2^16 apart, with room for 2^24 in flight.
const PLACES: u32 = 40;
const MOST: u32 = (1 << (u64::BITS - PLACES)) - 1;

impl Tournament {
    /// Of these, who carry what they carry.
    pub fn new(contestants: Vec<Contestant>, in_flight: impl Fn(usize) -> u32) -> Self {
        let base = contestants.len().next_power_of_two();
        let mut nodes = vec![NOBODY; base * 2];
        for (place, contestant) in contestants.iter().enumerate() {
            nodes[base + place] = contestant.node(in_flight(place));
        }
        for place in (1..base).rev() {
            nodes[place] = better(nodes[place * 2], nodes[place * 2 + 1]);
        }
        Tournament { nodes, base, contestants }
    }

    /// True if the endpoint of that name has that place.
    pub(super) fn has(&self, place: usize, id: Id) -> bool {
        self.contestants.get(place).is_some_and(|contestant| contestant.id == id)
    }

    /// Brings a contestant in step with what it carries.
    pub(super) fn settle(&mut self, place: usize, in_flight: u32) {
        let node = self.contestants[place].node(in_flight);
        self.set(place, node);
    }

    /// The place of one who carries least, of those who are not `barred` if there is any.
    pub fn least(&mut self, barred: &[usize], rng: &mut fastrand::Rng) -> usize {
        if barred.is_empty() {
            return self.winner(rng).unwrap_or_default();
        }
        let kept: Vec<(usize, Node)> = barred.iter().map(|place| (*place, self.nodes[self.base + place])).collect();
        kept.iter().for_each(|(place, _)| self.set(*place, NOBODY));
        let winner = self.winner(rng);
        // Twice the same place would come back as nobody if it were not undone in reverse.
        kept.into_iter().rev().for_each(|(place, node)| self.set(place, node));
        winner.or_else(|| self.winner(rng)).unwrap_or_default()
    }

    fn winner(&self, rng: &mut fastrand::Rng) -> Option<usize> {
        let root = self.nodes[1];
        if root.tied == 0 {
            return None;
        }
        let mut ticket = if root.tied == 1 { 0 } else { rng.u64(..root.tied) };
        let mut place = 1;
        while place < self.base {
            let left = self.nodes[place * 2];
            place *= 2;
            if left.load == root.load && ticket < left.tied {
                continue;
            }
            if left.load == root.load {
                ticket -= left.tied;
            }
            place += 1;
        }
        Some(place - self.base)
    }

    fn set(&mut self, place: usize, node: Node) {
        let mut place = self.base + place;
        self.nodes[place] = node;
        while place > 1 {
            place /= 2;
            let next = better(self.nodes[place * 2], self.nodes[place * 2 + 1]);
            if self.nodes[place] == next {
                return;
            }
            self.nodes[place] = next;
        }
    }
}

impl Contestant {
    fn node(&self, in_flight: u32) -> Node {
        let carried = u64::from(in_flight.min(MOST - 1)) << PLACES;
        let handicap = (u64::from(self.handicap) << PLACES) / 100;
        let (weight, load) = (u64::from(self.weight), carried + handicap);
        // The usual weight does not need the division, which is half of the work.
        Node { load: if weight == 1 { load } else { load / weight }, tied: weight }
    }
}

fn better(left: Node, right: Node) -> Node {
    match left.load.cmp(&right.load) {
        std::cmp::Ordering::Less => left,
        std::cmp::Ordering::Greater => right,
        std::cmp::Ordering::Equal => Node { load: left.load, tied: left.tied + right.tied },
    }
}
