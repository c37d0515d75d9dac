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
const POINTS: u64 = 32;
const PROBES: usize = 4;
/// Points for which there is one entry in the index, on average: a search begins at most so many before its end.
const CROWD: usize = 2;

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
    /// In the order of places.
    points: Box<[Point]>,
    /// Where the points of each equal part of the ring begin.
    index: Box<[u32]>,
    shift: u32,
    /// Of the fastest in here.
    slowness: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    at: u32,
    owner: u32,
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

impl Ring {
    /// Of endpoints by what they are to be called here, name, which is the hash of their address, and weight.
    pub fn new(endpoints: impl Iterator<Item = (usize, u64, u32)>) -> Self {
        let mut owners = Vec::new();
        let mut classes: Vec<(Vec<Point>, f64)> = vec![(Vec::new(), f64::MAX); u32::BITS as usize];
        for (place, name, weight) in endpoints.filter(|(_, _, weight)| *weight > 0) {
            let slowness = 1.0 / f64::from(weight);
            let (points, least) = &mut classes[weight.ilog2() as usize];
            points.extend((0..POINTS).map(|n| Point { at: nth(name, n), owner: owners.len() as u32 }));
            owners.push(Owner { place, name, slowness });
            *least = least.min(slowness);
        }
        let classes = classes.into_iter().filter(|(points, _)| !points.is_empty());
        Ring {
            owners: owners.into(),
            classes: classes.map(|(points, slowness)| Class::new(points, slowness)).collect(),
        }
    }

    /// Who has this key, of those who fit; none if nobody does. Those who do not are as if they were not there.
    pub fn find(&self, key: u64, mut fits: impl FnMut(usize, u64) -> bool) -> Option<usize> {
        let mut best = None;
        let mut least = f64::MAX;
        let probes: [u32; PROBES] = std::array::from_fn(|n| nth(key, n as u64));
        for class in &self.classes {
            for probe in probes {
                for point in class.from(probe) {
                    let distance = f64::from(point.at.wrapping_sub(probe));
                    if distance * class.slowness >= least {
                        break;
                    }
                    let owner = &self.owners[point.owner as usize];
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
    fn new(mut points: Vec<Point>, slowness: f64) -> Self {
        points.sort_unstable();
        let parts = (points.len() / CROWD).next_power_of_two();
        let shift = u32::BITS - parts.ilog2();
        let start = |part: usize| points.partition_point(|point| u64::from(point.at) < (part as u64) << shift) as u32;
        Class { index: (0..parts).map(start).collect(), shift, slowness, points: points.into() }
    }

    /// All points, from the first that is not before this place.
    fn from(&self, place: u32) -> impl Iterator<Item = &Point> {
        // A shift by all bits is the first and only part.
        let part = u64::from(place) >> self.shift;
        let mut first = self.index[part as usize] as usize;
        while self.points.get(first).is_some_and(|point| point.at < place) {
            first += 1;
        }
        self.points[first..].iter().chain(&self.points[..first])
    }
}
