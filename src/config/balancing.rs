//! How an endpoint is chosen, as it is meant: the policy, what it leans on, and what holds for every policy.

use std::time::Duration;

use http::HeaderName;

use super::Secret;

/// How an endpoint is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Smooth weighted turns.
    RoundRobin,
    /// By chance, in proportion to weight.
    Random,
    /// Two random choices, the one with fewer in flight.
    P2c,
    /// The fewest in flight.
    LeastConnections,
    /// Two random choices, the one that is expected to answer sooner.
    Ewma,
    /// Always the same one for the same key.
    ConsistentHash,
}

/// What a policy leans on, and what holds for every policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Balancing {
    /// For [`Policy::Ewma`].
    pub ewma: Ewma,
    /// For [`Policy::ConsistentHash`].
    pub hash: Hash,
    /// How a new or returning endpoint begins.
    pub slow_start: SlowStart,
    /// Who is preferred for being near.
    pub locality: Locality,
    /// When the lists of a cluster that has several in turn take over from each other.
    pub failover: FailoverWhen,
    /// Everybody serves when fewer than this share of the endpoints, 0 to 100, are eligible; 0 never.
    pub panic_percent: u32,
    /// Endpoints that this process spreads its requests over; 0 for all.
    pub subset_size: usize,
    /// Whether a client stays with an endpoint, and by which cookie.
    pub sticky: Option<Sticky>,
}

/// What the policy `ewma` expects.
#[derive(Debug, Clone, PartialEq)]
pub struct Ewma {
    /// After this long, a sample counts for 1/e of what it did.
    pub decay: Duration,
    /// The least that a failed attempt counts as.
    pub penalty: Duration,
}

/// What the policy `consistent_hash` goes by.
#[derive(Debug, Clone, PartialEq)]
pub struct Hash {
    /// The first that a request has is its key; not empty.
    pub keys: Vec<HashKey>,
    /// How far beyond its share of what is in flight an endpoint may be loaded, at least 1; 0 for no bound.
    pub load_factor: f64,
}

/// What of a request can be its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// The first header of this name.
    Header(HeaderName),
    /// The first cookie of this name.
    Cookie(String),
    /// The first query parameter of this name.
    Query(String),
    /// The path without the query.
    Path,
    /// The IP address at the other end of the connection.
    ClientAddress,
    /// Who the client has proved to be.
    Identity,
}

/// How a new or returning endpoint begins.
#[derive(Debug, Clone, PartialEq)]
pub struct SlowStart {
    /// Until it has its whole share; zero for at once.
    pub window: Duration,
    /// What it begins with, 1 to 100 per cent of its share.
    pub start_percent: u32,
}

/// When a level, which is what one of a cluster's lists is made of, gives way to the next, and when it gets its requests back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailoverWhen {
    /// It is left when less than this share of its weight, 1 to 100 per cent, may serve.
    pub below_percent: u32,
    /// It is returned to when at least this share may serve: no less than what it is left below.
    pub return_percent: u32,
    /// And has been able to for so long.
    pub return_after: Duration,
}

/// Who is preferred for being near.
#[derive(Debug, Clone, PartialEq)]
pub struct Locality {
    /// What is near.
    pub prefer: Prefer,
    /// By how much the near ones may be loaded beyond their share before others help; at least 1.
    pub overprovisioning: f64,
}

/// What is near, nearest first. What fits nowhere comes last.
#[derive(Debug, Clone, PartialEq)]
pub enum Prefer {
    /// Whatever is the same as our own.
    Levels(Vec<Level>),
    /// Whatever is not further away than this, by the network's coordinates.
    RoundTrip(Vec<Duration>),
}

/// What two places can have in common, from the narrowest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The machine.
    Node,
    /// The zone.
    Zone,
    /// The datacenter.
    Datacenter,
}

/// The cookie that keeps a client with an endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Sticky {
    /// Its name.
    pub cookie: String,
    /// Key of its signature; one that lasts as long as the process if there is none.
    pub secret: Option<Secret>,
    /// Its attributes, as they follow the value: `; Path=/; HttpOnly`.
    pub attributes: String,
    /// How long clients may stay with an endpoint that is in maintenance.
    pub maintenance: Duration,
}

impl Policy {
    /// Every policy with its name in the file.
    pub const NAMES: [(&str, Policy); 6] = [
        ("round_robin", Policy::RoundRobin),
        ("random", Policy::Random),
        ("p2c", Policy::P2c),
        ("least_connections", Policy::LeastConnections),
        ("ewma", Policy::Ewma),
        ("consistent_hash", Policy::ConsistentHash),
    ];

    /// The name in the file.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, policy)| *policy == self).map_or("", |(name, _)| name)
    }
}

impl Ewma {
    /// The decay in the memory's own unit.
    pub fn decay_milliseconds(&self) -> f32 {
        self.decay.as_secs_f32() * 1000.0
    }
}

impl Locality {
    /// How many tiers there can be.
    pub fn tiers(&self) -> usize {
        1 + match &self.prefer {
            Prefer::Levels(levels) => levels.len(),
            Prefer::RoundTrip(bounds) => bounds.len(),
        }
    }

    /// True if nobody is preferred.
    pub fn is_off(&self) -> bool {
        matches!(&self.prefer, Prefer::Levels(levels) if levels.is_empty())
    }
}
