//! Who is in a cluster, as its list says: a list never changes, so neither does this.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::endpoint::{Endpoint, Finding, Standing, Status};

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
    /// How near it is: 0 is nearest.
    pub tier: usize,
    /// When it was first seen fit to serve, if that was after the cluster had its first list.
    pub since: Option<Instant>,
    /// Since when it is in maintenance, if it is.
    pub resting: Option<Instant>,
    /// The hash of its address: who it is in every process alike.
    pub(super) name: u64,
    /// Its place in this process's order of preference among equals.
    pub(super) rank: u64,
}

/// How many tiers these are in.
pub(super) fn tiers(members: &[Member]) -> usize {
    members.iter().map(|member| member.tier + 1).max().unwrap_or_default()
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
        self.weight > 0 && self.status != Status::Maintenance
    }

    /// True if it was on the list until a moment ago: it serves where nobody who is on it can.
    pub fn is_suspect(&self) -> bool {
        self.status == Status::Suspect
    }

    /// True if who came with it may go on there: it takes no new clients, but nobody has said that it does not work. In
    /// maintenance that holds for so long.
    pub(super) fn keeps_sessions(&self, patience: Duration, now: Option<Instant>) -> bool {
        let is_over = self.rests_until(patience).is_some_and(|until| now.is_some_and(|now| until <= now));
        let is_well = self.status != Status::Critical && !self.is_failing();
        is_well && !is_over && self.endpoint.standing() == Standing::Eligible
    }

    /// When its clients have had their time since its maintenance began, if it is in maintenance.
    pub(super) fn rests_until(&self, patience: Duration) -> Option<Instant> {
        self.resting.map(|since| since + patience)
    }
}
