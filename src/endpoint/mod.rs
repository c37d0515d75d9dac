//! One address that can serve: who it is, what we learned of it, and how much of our traffic is on it right now.
//!
//! An [`Endpoint`] is found again by its [`Address`] when a list changes, so that what we learned outlives every table. What
//! a list says of it (weight, status) may change at any time and is not here but in [`Listed`].

mod address;
pub(crate) mod atomic;
mod connected;
mod freshness;
mod finding;
mod latency;
mod ledger;
mod load;
mod locality;
mod measure;
mod row;
mod standing;
mod tournament;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub use address::Address;
pub use connected::Connected;
use connected::Connections;
pub use finding::Finding;
pub use freshness::{Age, Freshness};
pub use latency::{Latency, Tick};
pub use ledger::{Keeps, Ledger, Rankings};
use load::Load;
pub use locality::{Locality, Vantage};
pub use measure::{Measure, Measures, What};
use row::Row;
pub use standing::{Ejections, Standing};
pub use tournament::{Contestant, Tournament};

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
    /// Where it stands.
    pub locality: Locality,
    /// What the source has marked it with, in order.
    pub tags: Tags,
    /// Who it has to prove to be, in the mesh: the path of its name there.
    pub identity: Option<Arc<str>>,
    /// Which choice it is of a cluster that draws on several lists: 0 is the first.
    pub level: u8,
}

/// Marks of an endpoint.
pub type Tags = Arc<[Box<str>]>;

impl Listed {
    /// Somebody who serves at that address, and of whom nothing else is said.
    pub fn new(address: Address) -> Self {
        Listed {
            address,
            id: "".into(),
            status: Status::Passing,
            weight: 1,
            locality: Locality::default(),
            tags: Tags::default(),
            identity: None,
            level: 0,
        }
    }

    /// True if it is marked with that, in whatever case, as its sources compare marks.
    pub fn carries(&self, tag: &str) -> bool {
        self.tags.iter().any(|own| own.eq_ignore_ascii_case(tag))
    }
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
    /// Was on the list until a moment ago, and went with so many others that it may be a mistake.
    Suspect,
}

/// A list in the order of addresses, each once.
pub type List = Arc<[Listed]>;

/// One address that can serve.
// In this order: what every attempt writes and reads lies together behind the reference count, which it writes as well, so
// that one cache line comes and goes with an attempt and not three.
#[derive(Debug)]
#[repr(C)]
pub struct Endpoint {
    id: Id,
    load: Load,
    failures: Row,
    latency: Latency,
    seat: ledger::Seat,
    ledger: Arc<Ledger>,
    standing: standing::Cell,
    // Of what is rare, how much there was: see `Counts`.
    errors: AtomicU32,
    unjudged: AtomicU32,
    waited: AtomicU64,
    connections: Arc<Connections>,
    finding: finding::Cell,
    address: Address,
    /// Who it has to prove to be, in the mesh.
    identity: Option<Arc<str>>,
    /// The ledger's tick after the one at which it left the list; 0 while it is on one.
    departed: AtomicU64,
}

/// How many attempts at an endpoint have ended, and how. They wrap, as a difference survives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// However they ended.
    pub ended: u32,
    /// In an error.
    pub errors: u32,
    /// Without a verdict.
    pub unjudged: u32,
    /// Microseconds that answers took to begin, where that is counted.
    pub waited: u64,
}

/// Names an endpoint within this process, for as long as it runs; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(u64);

/// Hands out [`Id`]s.
#[derive(Debug, Default)]
pub struct Ids(AtomicU64);

impl Ids {
    fn next(&self) -> Id {
        Id(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

impl Endpoint {
    /// An endpoint of which nothing is known yet, of the cluster that keeps this ledger.
    pub fn new(address: Address, ids: &Ids, ledger: &Arc<Ledger>) -> Self {
        Endpoint {
            id: ids.next(),
            load: Load::default(),
            failures: Row::default(),
            latency: Latency::default(),
            seat: ledger::Seat::new(),
            ledger: Arc::clone(ledger),
            standing: standing::Cell::default(),
            errors: AtomicU32::default(),
            unjudged: AtomicU32::default(),
            waited: AtomicU64::default(),
            connections: Arc::default(),
            finding: finding::Cell::default(),
            address,
            identity: None,
            departed: AtomicU64::default(),
        }
    }

    /// The same, which has to prove to be that: whoever else comes to serve at its address is another endpoint.
    pub fn identified(self, identity: Option<Arc<str>>) -> Self {
        Endpoint { identity, ..self }
    }

    /// Who it has to prove to be in the mesh: the path of its name there.
    pub fn identity(&self) -> Option<&Arc<str>> {
        self.identity.as_ref()
    }

    /// Its name within this process.
    pub fn id(&self) -> Id {
        self.id
    }

    /// Where it serves.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// How soon it answers.
    pub fn latency(&self) -> &Latency {
        &self.latency
    }

    /// Since when it is on no list any more; what runs there has yet to end.
    pub fn departed(&self) -> Option<Instant> {
        let tick = self.departed.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.ledger.time(Tick(tick)))
    }

    /// It has left the list, for good as far as anybody knows.
    pub fn depart(&self, now: Instant) {
        let tick = self.ledger.tick(now).0.saturating_add(1);
        // Whoever says it first knows when it was.
        let _ = self.departed.compare_exchange(0, tick, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// It is on the list again.
    pub fn arrive(&self) {
        self.departed.store(0, Ordering::Relaxed);
    }

    /// Attempts begun and not ended, over all workers.
    pub fn in_flight(&self) -> u32 {
        self.load.in_flight()
    }

    /// Attempts that have ended so far, over all workers; wraps.
    pub fn ended(&self) -> u32 {
        self.load.ended()
    }

    /// Begins an attempt; it ends when the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        match self.ledger.keeps() {
            Keeps::Nothing => self.load.begin(),
            Keeps::Total => return self.begin_below(u32::MAX).unwrap_or_else(|| InFlight::new(self, false)),
            Keeps::Least => return self.ledger.rankings().begin(self),
        };
        InFlight::new(self, false)
    }

    /// Begins an attempt if there are fewer than `most`, and counts it in the ledger's total.
    pub fn begin_below(self: &Arc<Self>, most: u32) -> Option<InFlight> {
        if !self.load.begin_below(most) {
            return None;
        }
        self.ledger.add();
        Some(InFlight::new(self, true))
    }

    /// Counts a failure and returns how many there were in a row.
    pub fn failed(&self) -> u32 {
        self.failures.failed()
    }

    /// Ends a row of failures.
    pub fn succeeded(&self) {
        self.failures.succeeded();
    }

    /// Goes on as if there had been so many failures in a row.
    pub fn presume(&self, failures: u32) {
        self.failures.presume(failures);
    }

    /// Counts an attempt that ended in an error.
    pub fn erred(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an attempt of which nothing can be said.
    pub fn unjudged(&self) {
        self.unjudged.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts how long an answer took to begin.
    pub fn answered_after(&self, took: Duration) {
        self.waited.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// What has been counted so far.
    pub fn counts(&self) -> Counts {
        Counts {
            ended: self.load.ended(),
            errors: self.errors.load(Ordering::Relaxed),
            unjudged: self.unjudged.load(Ordering::Relaxed),
            waited: self.waited.load(Ordering::Relaxed),
        }
    }

    /// A connection more, unless that were more than so many to this endpoint or to all of its cluster; 0 is no limit.
    pub fn connect_below(&self, most: u32, most_of_all: u32) -> Option<Connected> {
        Connected::new((&self.connections, most), (self.ledger.connections(), most_of_all))
    }

    /// Connections to it.
    pub fn connections(&self) -> u32 {
        self.connections.open()
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

    /// What probes say of it; none if it was not probed yet, or is not at all.
    pub fn finding(&self) -> Option<Finding> {
        self.finding.load()
    }

    /// Changes what probes say of it; only the cluster's book-keeping does.
    pub fn diagnose(&self, finding: Option<Finding>) {
        self.finding.store(finding);
    }
}

/// An attempt that runs; dropped when it ends.
#[derive(Debug)]
pub struct InFlight {
    endpoint: Arc<Endpoint>,
    /// Whether it is part of the ledger's total: what that began to keep while it ran is none of its business.
    counted: bool,
}

impl InFlight {
    fn new(endpoint: &Arc<Endpoint>, counted: bool) -> Self {
        InFlight { endpoint: Arc::clone(endpoint), counted }
    }

    /// The endpoint it runs at.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let endpoint = &*self.endpoint;
        endpoint.load.end();
        if self.counted {
            endpoint.ledger.subtract();
        }
        if endpoint.ledger.keeps() == Keeps::Least {
            endpoint.ledger.rankings().settle(endpoint);
        }
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
            Status::Suspect => "suspect",
        }
    }
}

#[cfg(test)]
mod tests;
