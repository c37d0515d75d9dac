//! Who is at home where: the construction behind `consistent_hash`.
//!
//! Every endpoint has a few points on a ring of 2^32 places, and a key a few probes; the point that comes first behind any of the
//! probes has it (multi-probe consistent hashing: B. Appleton and M. O'Reilly, 2015). Why this and not
//!
//! - a ring with one probe (Karger, ketama): as even only with ten times as many points, which for thousands of endpoints is
//!   megabytes that no cache holds, built anew with each list;
//! - Maglev: the most even, but when one endpoint leaves, some keys of others move as well, and when it returns again;
//! - rendezvous hashing: as strict, but asks every endpoint for every key.
//!
//! Weights are speeds: the distance from a probe to a point counts divided by the weight of the point's endpoint, so that an
//! endpoint's share is in proportion to its weight whatever others there are. A search may stop where even the fastest point
//! would come too late; so that one heavy endpoint does not make everybody search far, each power of two of weights has a ring of
//! its own, and the best of all rings wins.
//!
//! An endpoint's points depend on its address alone, and its distance on its own weight: taking one away moves its keys and no
//! others, in whatever order things happened, and in every proxy alike. Nothing here may change without notice: proxies of two
//! versions side by side would not agree.

use xxhash_rust::xxh3::xxh3_64;

/// Points of an endpoint and probes of a key: together they make shares even to about six per cent (standard deviation).
const POINTS: u64 = 16;
const PROBES: usize = 6;
/// Makes probes out of a key, which is a hash already: odd numbers without a pattern (SplitMix64 from 1 on).
const SCATTER: [u64; PROBES] = [
    0x910a_2dec_8902_5cc1,
    0xbeeb_8da1_658e_ec67,
    0xf893_a2ee_fb32_555f,
    0x71c1_8690_ee42_c90b,
    0x71bb_54d8_d101_b5b9,
    0xc34d_0bff_9015_0281,
];

/// The places of all endpoints.
#[derive(Debug)]
pub struct Ring {
    owners: Box<[Owner]>,
    classes: Box<[Class]>,
}

#[derive(Debug, Clone, Copy)]
struct Owner {
    place: usize,
    name: u64,
    slowness: f64,
}

/// The points of endpoints whose weights have the same highest bit.
#[derive(Debug)]
struct Class {
    /// Where points are, in order, and behind them the end of the ring: apart from whose they are, so that a search reads half as
    /// much.
    places: Box<[u32]>,
    /// Whose they are.
    owners: Box<[u32]>,
    /// For each equal part of the ring, of which there are at least as many as points, the first point that is not before it.
    index: Box<[u32]>,
    shift: u32,
    /// Of the fastest in here.
    slowness: f64,
    /// True if that is everybody's.
    is_uniform: bool,
}

/// A number for these bytes that is the same everywhere and always: XXH3 with 64 bits.
pub fn hash(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

/// Another number that follows from this one (the finalizer of SplitMix64).
pub fn mix(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

/// The n-th number that follows from this one.
fn nth(number: u64, n: u64) -> u32 {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    (mix(number.wrapping_add(STEP.wrapping_mul(n + 1))) >> 32) as u32
}

fn probes(key: u64) -> [u32; PROBES] {
    SCATTER.map(|odd| (key.wrapping_mul(odd) >> 32) as u32)
}

impl Ring {
    /// Of endpoints by what they are to be called here, name, which is the hash of their address, and weight.
    pub fn new(endpoints: impl Iterator<Item = (usize, u64, u32)>) -> Self {
        let mut owners = Vec::new();
        let mut classes: Vec<(Vec<(u32, u32)>, f64)> = vec![(Vec::new(), f64::MAX); u32::BITS as usize];
        for (place, name, weight) in endpoints.filter(|(_, _, weight)| *weight > 0) {
            let slowness = 1.0 / f64::from(weight);
            let (points, least) = &mut classes[weight.ilog2() as usize];
            points.extend((0..POINTS).map(|n| (nth(name, n), owners.len() as u32)));
            owners.push(Owner { place, name, slowness });
            *least = least.min(slowness);
        }
        let classes = classes.into_iter().filter(|(points, _)| !points.is_empty());
        Ring {
            classes: classes.map(|(points, slowness)| Class::new(points, slowness, &owners)).collect(),
            owners: owners.into(),
        }
    }

    /// Who has this key, of all; none if there is nobody.
    pub fn home(&self, key: u64) -> Option<usize> {
        match &*self.classes {
            // The usual case, in which nothing needs to be compared but distances.
            [class] if class.is_uniform => Some(self.owners[class.owners[class.nearest(key)] as usize].place),
            _ => self.find(key, |_, _| true),
        }
    }

    /// Who has this key, of those who fit; none if nobody does. Those who do not are as if they were not there.
    pub fn find(&self, key: u64, mut fits: impl FnMut(usize, u64) -> bool) -> Option<usize> {
        let mut best = None;
        let mut least = f64::MAX;
        for class in &self.classes {
            for probe in probes(key) {
                for point in class.from(probe) {
                    let distance = f64::from(class.places[point].wrapping_sub(probe));
                    if distance * class.slowness >= least {
                        break;
                    }
                    let owner = &self.owners[class.owners[point] as usize];
                    let cost = distance * owner.slowness;
                    if cost < least && fits(owner.place, owner.name) {
                        (least, best) = (cost, Some(owner.place));
                    }
                }
            }
        }
        best
    }
}

impl Class {
    fn new(mut points: Vec<(u32, u32)>, slowness: f64, all: &[Owner]) -> Self {
        points.sort_unstable();
        let (mut places, owners): (Vec<u32>, Vec<u32>) = points.into_iter().unzip();
        places.push(u32::MAX);
        let is_uniform = owners.iter().all(|owner| all[*owner as usize].slowness == slowness);
        let parts = owners.len().next_power_of_two();
        let shift = u32::BITS - parts.ilog2();
        let first = |part: usize| {
            places[..owners.len()].partition_point(|place| u64::from(*place) < (part as u64) << shift) as u32
        };
        let index = (0..parts).map(first).collect();
        Class { index, shift, slowness, is_uniform, places: places.into(), owners: owners.into() }
    }

    /// The point that comes first behind any of the key's probes.
    fn nearest(&self, key: u64) -> usize {
        let behind = |probe: u32| {
            let first = self.first(probe);
            u64::from(self.places[first].wrapping_sub(probe)) << 32 | first as u64
        };
        let nearest = probes(key).into_iter().map(behind).min().unwrap_or_default();
        (nearest & u64::from(u32::MAX)) as usize
    }

    /// All points, from the first that is not before this place.
    fn from(&self, place: u32) -> impl Iterator<Item = usize> {
        let first = self.first(place);
        (first..self.owners.len()).chain(0..first)
    }

    /// The first point that is not before this place.
    fn first(&self, place: u32) -> usize {
        // A shift by all bits is the first and only part.
        let mut point = self.index[(u64::from(place) >> self.shift) as usize] as usize;
        // None or one is passed over, nearly always: without asking which, since that could not be foreseen.
        point += usize::from(self.places[point] < place);
        while self.places[point] < place {
            point += 1;
        }
        if point == self.owners.len() { 0 } else { point }
    }
}
