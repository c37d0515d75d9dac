//! One address that can serve: who it is, what we learned of it, and how much of our traffic is on it right now.
//!
//! An [`Endpoint`] is found again by its [`Address`] when a list changes, so that what we learned outlives every table. What
//! a list says of it (weight, status) may change at any time and is not here but in [`Listed`].

mod address;
mod standing;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

pub use address::Address;
pub use standing::{Ejections, Standing};

/// What a source says of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Where it serves.
    pub address: Address,
    /// The source's own name for it, for people.
    pub id: Arc<str>,
    /// Whether it may be used.
    pub status: Status,
    /// Its share relative to its neighbours, already the one that goes with `status`; 0 takes no requests.
    pub weight: u32,
}

/// What a source says of an endpoint's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Serves.
    Passing,
    /// Serves, at the weight the source gives for that.
    Warning,
    /// Does not serve.
    Critical,
    /// Taken out by a person.
    Maintenance,
}

/// A list in the order of addresses, each once.
pub type List = Arc<[Listed]>;

/// One address that can serve.
#[derive(Debug)]
pub struct Endpoint {
    id: Id,
    address: Address,
    // On cache lines of their own: every worker writes here with each attempt.
    load: Padded<AtomicU32>,
    failures: AtomicU32,
    standing: standing::Cell,
}

/// Names an endpoint within this process, for as long as it runs; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(u64);

/// Hands out [`Id`]s.
#[derive(Debug, Default)]
pub struct Ids(AtomicU64);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

impl Ids {
    fn next(&self) -> Id {
        Id(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

impl Endpoint {
    /// An endpoint of which nothing is known yet.
    pub fn new(address: Address, ids: &Ids) -> Self {
        Endpoint {
            id: ids.next(),
            address,
            load: Padded::default(),
            failures: AtomicU32::default(),
            standing: standing::Cell::default(),
        }
    }

    /// Its name within this process.
    pub fn id(&self) -> Id {
        self.id
    }

    /// Where it serves.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Attempts begun and not ended, over all workers.
    pub fn in_flight(&self) -> u32 {
        self.load.0.load(Ordering::Relaxed)
    }

    /// Begins an attempt; it ends when the guard is dropped.
    pub fn begin(self: Arc<Self>) -> InFlight {
        self.load.0.fetch_add(1, Ordering::Relaxed);
        InFlight(self)
    }

    /// Counts a failure and returns how many there were in a row.
    pub fn failed(&self) -> u32 {
        self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// Ends a row of failures.
    pub fn succeeded(&self) {
        // Read first: the line stays shared between workers as long as all is well.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// Whether it may be picked, as far as we judge.
    pub fn standing(&self) -> Standing {
        self.standing.load()
    }

    /// Takes probation's one trial; false if another request has it.
    pub fn claim_trial(&self) -> bool {
        self.standing.exchange(Standing::Probation, Standing::Trial)
    }

    /// Gives the trial back unused.
    pub fn release_trial(&self) {
        self.standing.exchange(Standing::Trial, Standing::Probation);
    }

    /// The history of its ejections. Held briefly, and by a request only while somebody of its cluster is out.
    pub fn ejections(&self) -> std::sync::MutexGuard<'_, Ejections> {
        self.standing.ejections()
    }

    /// Changes the standing; only the cluster's book-keeping does.
    pub fn stand(&self, standing: Standing) {
        self.standing.store(standing);
    }
}

/// An attempt that runs; dropped when it ends.
#[derive(Debug)]
pub struct InFlight(Arc<Endpoint>);

impl InFlight {
    /// The endpoint it runs at.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.load.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Status {
    /// The word for people and labels.
    pub fn name(self) -> &'static str {
        match self {
            Status::Passing => "passing",
            Status::Warning => "warning",
            Status::Critical => "critical",
            Status::Maintenance => "maintenance",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_in_flight_until_its_guard_is_dropped() {
        let endpoint = Arc::new(Endpoint::new(Address::from(([127, 0, 0, 1], 80)), &Ids::default()));
        let first = Arc::clone(&endpoint).begin();
        let second = Arc::clone(&endpoint).begin();
        assert_eq!(endpoint.in_flight(), 2);
        drop(first);
        assert_eq!(second.endpoint().in_flight(), 1);
    }
}
