//! What the endpoints of one cluster have in common: its clock, and what a policy needs to know of all of them at once. That
//! costs every attempt something, so it is kept only where a policy asked for it.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::connected::Connections;
use super::latency::Tick;
use super::tournament::{Contestant, Tournament};
use super::{Endpoint, InFlight};

/// What is kept of a cluster's endpoints as a whole.
#[derive(Debug)]
pub struct Ledger {
    opened: Instant,
    keeps: AtomicU8,
    total: Padded<AtomicU32>,
    rankings: Mutex<Rankings>,
    connections: Arc<Connections>,
}

/// What attempts tell the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Keeps {
    /// Nothing.
    Nothing = 0,
    /// How many are in flight at all endpoints together.
    Total = 1,
    /// Who carries least.
    Least = 2,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

/// Tournaments, one for each group of candidates, as of the last [`Ledger::enter`].
#[derive(Debug, Default)]
pub struct Rankings {
    stamp: u64,
    groups: Vec<Tournament>,
}

/// An endpoint's place in the rankings: the group in the upper half, the place in the lower.
#[derive(Debug)]
pub(super) struct Seat(AtomicU64);

impl Ledger {
    /// Keeps nothing yet.
    pub fn new(now: Instant) -> Arc<Self> {
        Arc::new(Ledger {
            opened: now,
            keeps: AtomicU8::new(Keeps::Nothing as u8),
            total: Padded::default(),
            rankings: Mutex::default(),
            connections: Arc::default(),
        })
    }

    /// That moment by the ledger's clock.
    pub fn tick(&self, now: Instant) -> Tick {
        let passed = now.saturating_duration_since(self.opened);
        Tick(passed.as_secs() * 1_000_000_000 + u64::from(passed.subsec_nanos()))
    }

    pub(super) fn connections(&self) -> &Arc<Connections> {
        &self.connections
    }

    /// Connections to its endpoints so far, those that could not be made included.
    pub fn begun_connections(&self) -> u64 {
        self.connections.begun()
    }

    /// Connections to all of its endpoints.
    pub fn open_connections(&self) -> u32 {
        self.connections.open()
    }

    /// The moment of that tick.
    pub(super) fn time(&self, tick: Tick) -> Instant {
        self.opened + Duration::from_nanos(tick.0)
    }

    /// Says what to keep from now on.
    pub fn keep(&self, what: Keeps) {
        self.keeps.store(what as u8, Ordering::Relaxed);
    }

    pub(super) fn keeps(&self) -> Keeps {
        match self.keeps.load(Ordering::Relaxed) {
            1 => Keeps::Total,
            2 => Keeps::Least,
            _ => Keeps::Nothing,
        }
    }

    /// Attempts in flight at all endpoints, of those that began since the ledger keeps count.
    pub fn total(&self) -> u32 {
        self.total.0.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self) {
        self.total.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn subtract(&self) {
        self.total.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Enters a group of endpoints into the rankings. Those of an older stamp are over, and are not heard any more.
    pub fn enter(&self, stamp: u64, group: usize, entries: Vec<(&Arc<Endpoint>, Contestant)>) {
        let mut rankings = self.rankings();
        if stamp > rankings.stamp {
            rankings.groups.clear();
            rankings.stamp = stamp;
        }
        if stamp < rankings.stamp {
            return;
        }
        for (place, (endpoint, _)) in entries.iter().enumerate() {
            endpoint.seat.take(group, place);
        }
        let contestants = entries.iter().map(|(_, contestant)| *contestant).collect();
        let tournament = Tournament::new(contestants, |place| entries[place].0.in_flight());
        if rankings.groups.len() <= group {
            rankings.groups.resize_with(group + 1, Tournament::default);
        }
        rankings.groups[group] = tournament;
    }

    /// The rankings, which nobody else can change meanwhile: held for a pick, never across an await.
    pub fn rankings(&self) -> MutexGuard<'_, Rankings> {
        // A panic elsewhere leaves a tree that the next change of its leaves mends.
        self.rankings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rankings {
    /// The tournament of a group as of that stamp; none if there is a newer one.
    pub fn find(&mut self, stamp: u64, group: usize) -> Option<&mut Tournament> {
        if self.stamp == stamp { self.groups.get_mut(group) } else { None }
    }

    /// Begins an attempt before anybody else can pick.
    pub fn begin(&mut self, endpoint: &Arc<Endpoint>) -> InFlight {
        endpoint.load.begin();
        self.settle(endpoint);
        InFlight::new(endpoint, false)
    }

    pub(super) fn settle(&mut self, endpoint: &Endpoint) {
        let (group, place) = endpoint.seat.read();
        if let Some(tournament) = self.groups.get_mut(group)
            && tournament.has(place, endpoint.id)
        {
            tournament.settle(place, endpoint.in_flight());
        }
    }
}

impl Seat {
    pub(super) fn new() -> Self {
        Seat(AtomicU64::new(u64::MAX))
    }

    fn take(&self, group: usize, place: usize) {
        self.0.store((group as u64) << 32 | place as u64, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> (usize, usize) {
        let seat = self.0.load(Ordering::Relaxed);
        ((seat >> 32) as usize, (seat & u64::from(u32::MAX)) as usize)
    }
}
