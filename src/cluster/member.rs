//! Who is in a cluster, as its list says: a list never changes, so neither does this.

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Cluster, Lasting, New, locality};
use crate::balance::{hash, mix};
use crate::config;
use crate::endpoint::{Address, Endpoint, Finding, List, Listed, Measure, Standing, Status, What};

/// One endpoint, and what the list says of it.
#[derive(Debug, Clone)]
pub struct Member {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// The source's name for it.
    pub id: Arc<str>,
    /// The source's word on its health.
    pub status: Status,
    /// Its share; 0 takes no requests.
    pub weight: u32,
    /// What its source says that its share is.
    pub listed_weight: u32,
    /// What an operator has done about it.
    pub measures: Option<Arc<[Measure]>>,
    /// Which of the cluster's lists it is on, where these serve in turn: 0 is the first.
    pub level: usize,
    /// How near it is: 0 is nearest.
    pub tier: usize,
    /// Its place among the groups that are chosen from: by level, and within a level by tier.
    pub(super) group: usize,
    /// When it was first seen fit to serve, if that was after the cluster had its first list.
    pub since: Option<Instant>,
    /// Since when it is in maintenance, if it is.
    pub resting: Option<Instant>,
    /// The hash of its address: who it is in every process alike.
    pub(super) name: u64,
    /// Its place in this process's order of preference among equals.
    pub(super) rank: u64,
}

/// Everyone on the list; who was known before is known again.
pub(super) fn all(
    settings: &config::Cluster,
    list: Option<&List>,
    previous: Option<&Cluster>,
    (lasting, new): (&Lasting, &New<'_>),
) -> Box<[Member]> {
    let mut known = Known::of(previous);
    // Whoever is on a first list has been there before us.
    let has_list = |level: usize| known.members.iter().any(|member| member.level == level);
    let is_first =
        |level: usize| previous.is_none_or(|previous| previous.list.is_none()) || level > 0 && !has_list(level);
    let is_first: Vec<bool> = (0..settings.source.draws().len().max(1)).map(is_first).collect();
    let mut text = String::new();
    let member = |listed: &Listed| {
        // Who has to prove to be somebody else is somebody else, even at the same address.
        let known = known.find(&listed.address).filter(|known| known.endpoint.identity() == listed.identity.as_ref());
        let (endpoint, name) = match known {
            Some(member) => (Arc::clone(&member.endpoint), member.name),
            None => {
                let fresh = || {
                    let endpoint = Endpoint::new(listed.address.clone(), new.ids, &lasting.ledger);
                    Arc::new(endpoint.identified(listed.identity.clone()))
                };
                let endpoint = lasting.return_of(listed).unwrap_or_else(fresh);
                text.clear();
                // A string refuses nothing.
                let _ = write!(text, "{}", listed.address);
                (endpoint, hash(text.as_bytes()))
            }
        };
        let level = if settings.in_turn { usize::from(listed.level) } else { 0 };
        let tier = locality::tier(&settings.balancing.locality, new.vantage, &listed.locality);
        let resting = known.and_then(|known| known.resting).unwrap_or(new.now);
        let measures = new.measures.and_then(|measures| measures.get(&listed.address)).cloned();
        let mut member = Member {
            endpoint,
            id: Arc::clone(&listed.id),
            status: listed.status,
            weight: measures.as_deref().and_then(given_weight).unwrap_or(listed.weight),
            listed_weight: listed.weight,
            measures,
            level,
            tier,
            group: level * settings.balancing.locality.tiers() + tier,
            since: known.and_then(|known| known.since),
            resting: (listed.status == Status::Maintenance).then_some(resting),
            name,
            rank: mix(new.own.seed ^ name),
        };
        // Whoever was only thought to be gone has not become cold by it.
        let was_usable = known.is_some_and(|known| known.is_usable() || known.is_suspect());
        if member.is_usable() && !was_usable && !is_first.get(level).copied().unwrap_or_default() {
            member.since = Some(new.now);
        }
        member
    };
    list.into_iter().flat_map(|list| list.iter()).map(member).collect()
}

/// Who was there before, in the order of addresses.
struct Known<'a> {
    members: Vec<&'a Member>,
    /// Where the next one is, if those of now are those of before.
    next: usize,
}

impl<'a> Known<'a> {
    fn of(previous: Option<&'a Cluster>) -> Self {
        let mut members: Vec<&Member> = previous.into_iter().flat_map(|previous| previous.members.iter()).collect();
        // What a file lists is in the file's order.
        members.sort_by(|a, b| a.endpoint.address().cmp(b.endpoint.address()));
        Known { members, next: 0 }
    }

    fn find(&mut self, address: &Address) -> Option<&'a Member> {
        if self.members.get(self.next).is_none_or(|member| member.endpoint.address() != address) {
            self.next = self.members.binary_search_by(|member| member.endpoint.address().cmp(address)).ok()?;
        }
        self.next += 1;
        self.members.get(self.next - 1).copied()
    }
}

/// The share that an operator has given, if one has.
fn given_weight(measures: &[Measure]) -> Option<u32> {
    measures.iter().find_map(|measure| match measure.what {
        What::Weight(weight) => Some(weight),
        What::Ejected | What::Drained => None,
    })
}

/// How many groups these are in.
pub(super) fn groups(members: &[Member]) -> usize {
    members.iter().map(|member| member.group + 1).max().unwrap_or_default()
}

impl Member {
    /// True if its source and the probes let it take requests.
    pub fn is_usable(&self) -> bool {
        self.is_possible() && matches!(self.status, Status::Passing | Status::Warning) && !self.is_failing()
    }

    /// True if it fails its probes.
    pub fn is_failing(&self) -> bool {
        self.endpoint.finding() == Some(Finding::Failing)
    }

    /// True if it could serve, were it well: nobody has taken it out on purpose.
    pub fn is_possible(&self) -> bool {
        let is_out = || self.is_under(What::Ejected) || self.is_under(What::Drained);
        self.weight > 0 && self.status != Status::Maintenance && !is_out()
    }

    /// True if an operator has done that about it.
    pub fn is_under(&self, what: What) -> bool {
        self.measures.iter().flat_map(|all| all.iter()).any(|measure| measure.what == what)
    }

    /// Whether it may be picked, or what keeps it from that: the word for people. Labels have another for
    /// whoever was ejected by hand.
    pub fn state(&self) -> &'static str {
        match (self.status, self.endpoint.standing()) {
            _ if self.is_under(What::Ejected) => "ejected",
            (Status::Critical, _) => "critical",
            (Status::Maintenance, _) => "maintenance",
            (Status::Suspect, _) => "suspect",
            _ if self.weight == 0 || self.is_under(What::Drained) => "drained",
            _ if self.is_failing() => "unhealthy",
            (_, standing) => standing.name(),
        }
    }

    /// True if it was on the list until a moment ago: it serves where nobody who is on it can.
    pub fn is_suspect(&self) -> bool {
        self.status == Status::Suspect
    }

    /// True if who came with it may go on there: it takes no new clients, but nobody has said that it does not work. In
    /// maintenance that holds for so long.
    pub(super) fn keeps_sessions(&self, patience: Duration, now: Option<Instant>) -> bool {
        let is_over = self.rests_until(patience).is_some_and(|until| now.is_some_and(|now| until <= now));
        let is_well = self.status != Status::Critical && !self.is_failing() && !self.is_under(What::Ejected);
        is_well && !is_over && self.endpoint.standing() == Standing::Eligible
    }

    /// When its clients have had their time since its maintenance began, if it is in maintenance.
    pub(super) fn rests_until(&self, patience: Duration) -> Option<Instant> {
        self.resting.map(|since| since + patience)
    }
}
