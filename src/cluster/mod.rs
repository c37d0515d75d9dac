//! Interchangeable endpoints and the policy over them. [`Handle::begin`] picks one and returns an [`Attempt`], which is in
//! flight until it is dropped and takes at most one verdict; verdicts eject and readmit.
//!
//! A cluster is part of a table and its list never changes. What outlives a table, the cluster's own (`Lasting`) and each
//! endpoint's, is shared by `Arc`, so an attempt that began under an old table still counts under the new one.

mod attempt;
mod book;
mod budget;
mod candidates;
mod diagnosis;
mod failover;
mod foresight;
mod gate;
mod gradient;
mod hand;
mod handle;
mod levels;
mod locality;
mod member;
mod own;
mod secured;
mod session;
mod slow_start;
mod verdict;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tracing::{info, warn};

use crate::balance::{Cursors, Ring, keeps};
use crate::config::{self, Policy, Prefer};
use crate::endpoint::{Address, Age, Endpoint, Freshness, Id, Ids, Ledger, List, Listed, Measures, Standing, Vantage};
use crate::health;
use crate::journal::{Event, Journal};
use crate::metrics::{ClusterSeries, Metrics};
use crate::tls;

pub use crate::health::SLOT;
pub use attempt::Attempt;
use book::Book;
use budget::Budget;
use candidates::Candidates;
pub use failover::{Drawn, LevelShare};
pub use foresight::Foresight;
use gate::Gate;
pub use gate::{Overload, Permit};
pub use handle::Handle;
use levels::Levels;
pub use member::Member;
pub use own::Own;
pub use secured::Secured;
use session::Sessions;
use verdict::Windows;

/// A named group of interchangeable endpoints.
pub struct Cluster {
    settings: Arc<config::Cluster>,
    list: Option<List>,
    drawn: Drawn,
    freshness: Freshness,
    vantage: Arc<Vantage>,
    measures: Option<Arc<Measures>>,
    members: Box<[Member]>,
    /// For those who hash: a ring for each group.
    rings: Box<[Arc<Ring>]>,
    /// For those whose clients stay where they are.
    sessions: Option<Sessions>,
    candidates: Arc<ArcSwap<Candidates>>,
    tls: Option<Secured>,
    lasting: Arc<Lasting>,
    generation: u64,
    /// What the policy's memory of an answer falls to 1/e in, in milliseconds, if it has one.
    decay: Option<f32>,
    /// Whether it matters how long answers take.
    times: bool,
}

/// What a cluster keeps when its list or its settings change.
struct Lasting {
    budget: Budget,
    cursors: Arc<Cursors>,
    ledger: Arc<Ledger>,
    /// Open while standings change and candidates are sorted.
    book: Book,
    gate: Arc<Gate>,
    /// Changed with the book open only.
    levels: Mutex<Levels>,
    windows: Windows,
    series: Arc<ClusterSeries>,
    journal: Arc<Journal>,
    /// Those who left the list with attempts under way, for as long as these run: to be known again should they come back.
    departed: Mutex<HashMap<Address, Weak<Endpoint>>>,
}

/// What a request asks of a pick.
#[derive(Debug)]
pub struct Request<'a> {
    /// When it asks.
    pub now: Instant,
    /// The worker that it is on.
    pub worker: usize,
    /// Endpoints that it has tried.
    pub tried: &'a [Id],
    /// What the attempt is for.
    pub purpose: Purpose,
    /// Whether it could go elsewhere if the attempt fails: such a request may be a trial.
    pub can_retry: bool,
    /// What it is known by, where a policy goes by that.
    pub key: Option<u64>,
    /// The endpoint that its client is to stay with, by its token.
    pub session: Option<&'a str>,
}

/// What an attempt is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The request's first.
    First,
    /// After one that failed: rather at somebody who is out than at nobody, or at the same again.
    Retry,
    /// Beside one that takes long: only at somebody else.
    Hedge,
}

/// What new clusters and endpoints are made with.
#[derive(Debug)]
pub struct New<'a> {
    /// Workers that will pick.
    pub workers: usize,
    /// The time.
    pub now: Instant,
    /// Names for endpoints.
    pub ids: &'a Ids,
    /// Where we stand.
    pub vantage: &'a Arc<Vantage>,
    /// This process's own preferences, and its own secret.
    pub own: &'a Own,
    /// Where it counts.
    pub metrics: &'a Metrics,
    /// Where it is written down what happens.
    pub journal: &'a Arc<Journal>,
    /// Our part in the mesh, if we have one.
    pub mesh: Option<&'a Arc<tls::Mesh>>,
    /// What an operator has done about endpoints of the cluster.
    pub measures: Option<&'a Arc<Measures>>,
}

impl Lasting {
    fn new(name: &Arc<str>, new: &New<'_>) -> Self {
        Lasting {
            budget: Budget::new(new.workers, new.now),
            cursors: Arc::new(Cursors::new(new.workers)),
            ledger: Ledger::new(new.now),
            book: Book::default(),
            gate: Gate::new(),
            levels: Mutex::default(),
            windows: Windows::default(),
            series: new.metrics.cluster(name),
            journal: Arc::clone(new.journal),
            departed: Mutex::default(),
        }
    }

    /// The endpoint that is listed, if it left and still has something under way.
    fn return_of(&self, listed: &Listed) -> Option<Arc<Endpoint>> {
        let mut departed = self.departed.lock().unwrap_or_else(PoisonError::into_inner);
        let endpoint = departed.remove(&listed.address)?.upgrade()?;
        if endpoint.identity() != listed.identity.as_ref() {
            return None;
        }
        endpoint.arrive();
        Some(endpoint)
    }
}

impl Cluster {
    /// A cluster as of `list` (none before the source's first answer), which inherits from its predecessor all that
    /// outlives a list.
    pub fn build(
        settings: &Arc<config::Cluster>,
        list: Option<List>,
        previous: Option<&Cluster>,
        new: &New<'_>,
    ) -> Self {
        let fresh = || Arc::new(Lasting::new(&settings.name, new));
        let lasting = previous.map_or_else(fresh, |previous| Arc::clone(&previous.lasting));
        let members = member::all(settings, list.as_ref(), previous, (&lasting, new));
        let sessions = settings.balancing.sticky.as_ref().map(|sticky| {
            let secret = sticky.secret.as_ref().map_or(&new.own.secret[..], |secret| secret.reveal().as_bytes());
            Sessions::new(secret, &settings.name, &members)
        });
        let cluster = Cluster {
            settings: Arc::clone(settings),
            list,
            drawn: Drawn::default(),
            freshness: Freshness::default(),
            vantage: Arc::clone(new.vantage),
            measures: new.measures.cloned(),
            rings: rings(settings, &members),
            members,
            sessions,
            candidates: Arc::default(),
            tls: secured::with(settings, previous, new.mesh),
            generation: lasting.book.generation(),
            lasting,
            decay: (settings.policy == Policy::Ewma).then(|| settings.balancing.ewma.decay_milliseconds()),
            times: settings.policy == Policy::Ewma || settings.ejection.latency_factor > 0.0,
        };
        cluster.lasting.ledger.keep(keeps(settings));
        let candidates = {
            let _book = cluster.lasting.book.open();
            cluster.rehabilitate(previous, new.now);
            cluster.keep_levels(previous);
            Candidates::sort(&cluster, cluster.stamp(), new.now)
        };
        cluster.report(previous.is_some_and(Cluster::is_panicking), &candidates);
        cluster.report_level(previous.filter(|previous| previous.list.is_some()).map(Cluster::level), &candidates);
        cluster.install(candidates, new.now);
        cluster
    }

    /// The same, with a list that can be relied on so far.
    pub fn with_freshness(self, freshness: Freshness) -> Self {
        Cluster { freshness, ..self }
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.settings.name
    }

    /// Its settings.
    pub fn settings(&self) -> &Arc<config::Cluster> {
        &self.settings
    }

    /// The list it was built from; none before the source's first answer.
    pub fn list(&self) -> Option<&List> {
        self.list.as_ref()
    }

    /// How far that list can be relied on.
    pub fn freshness(&self) -> Freshness {
        self.freshness
    }

    /// True if its list is so old that it is not to be served any more.
    pub fn is_expired(&self) -> bool {
        self.freshness.age == Age::Expired
    }

    /// True if it would be another one with this vantage.
    pub fn depends_on(&self, vantage: &Arc<Vantage>) -> bool {
        match &self.settings.balancing.locality.prefer {
            Prefer::Levels(levels) => !levels.is_empty() && self.vantage.here != vantage.here,
            Prefer::RoundTrip(_) => !Arc::ptr_eq(&self.vantage, vantage),
        }
    }

    /// True if so few are eligible that everybody serves; as of the last time that anything happened.
    pub fn is_panicking(&self) -> bool {
        self.candidates.load().panic
    }

    /// True if those serve who are off the list, for want of anybody who is on it.
    pub fn is_doubtful(&self) -> bool {
        self.candidates.load().doubtful
    }

    /// A member's share in hundredths of its whole one, less than 100 while it starts slowly.
    pub fn percent(&self, member: &Member, now: Instant) -> u32 {
        slow_start::percent(&self.settings.balancing.slow_start, member, now)
    }

    /// How soon an endpoint is expected to answer, where that is looked at.
    pub fn expected_latency(&self, endpoint: &Endpoint, now: Instant) -> Option<Duration> {
        let seconds = endpoint.latency().read(self.lasting.ledger.tick(now), self.decay?)?;
        Duration::try_from_secs_f32(seconds).ok()
    }

    /// The name by which a client's cookie may ask for this endpoint, where clients stay with theirs.
    pub fn session(&self, endpoint: Id) -> Option<&Arc<str>> {
        self.sessions.as_ref()?.token(endpoint)
    }

    /// True if a client with that name for its endpoint stays there, as things are.
    pub fn keeps(&self, session: &str) -> bool {
        self.home(&self.candidates.load(), session).is_some()
    }

    /// Everyone on the list, in the order of addresses.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Marks those who are not in `next`, which has this cluster's place from now on, as departed.
    pub fn depart(&self, next: Option<&Cluster>, now: Instant) {
        let mut staying: Vec<Id> =
            next.into_iter().flat_map(|next| next.members.iter()).map(|member| member.endpoint.id()).collect();
        staying.sort_unstable();
        let mut departed = self.lasting.departed.lock().unwrap_or_else(PoisonError::into_inner);
        departed.retain(|_, endpoint| endpoint.strong_count() > 0);
        for endpoint in self.members.iter().map(|member| &member.endpoint) {
            if staying.binary_search(&endpoint.id()).is_err() {
                endpoint.depart(now);
                departed.insert(endpoint.address().clone(), Arc::downgrade(endpoint));
            }
        }
    }

    /// Counts a request of a worker's towards the retry budget.
    pub fn request(&self, worker: usize, now: Instant) {
        self.lasting.budget.request(worker, now);
    }

    /// Takes one retry from the budget, if there is one.
    pub fn may_retry(&self, now: Instant) -> bool {
        self.lasting.budget.withdraw(self.settings.retry.budget, now)
    }

    /// Retries that the budget still has.
    pub fn retries_left(&self, now: Instant) -> u64 {
        self.lasting.budget.left(self.settings.retry.budget, now)
    }

    /// Connections to its endpoints so far, those that could not be made included.
    pub fn begun_connections(&self) -> u64 {
        self.lasting.ledger.begun_connections()
    }

    /// Connections to its endpoints.
    pub fn connections(&self) -> u32 {
        self.lasting.ledger.open_connections()
    }

    /// Lets a request in, where there is a limit to how many may be in. It waits until then at most, and not for ever.
    pub async fn enter(&self, now: Instant, deadline: Option<Instant>) -> Result<Option<Permit>, Overload> {
        let limits = &self.settings.limits;
        if !limits.has_gate() {
            return Ok(None);
        }
        let patience = now + limits.queue_timeout;
        let until = deadline.map_or(patience, |deadline| deadline.min(patience));
        self.lasting.gate.enter(limits.queue, until).await.map(Some)
    }

    /// Requests that are in, and those that wait to be.
    pub fn admitted(&self) -> (u32, u32) {
        self.lasting.gate.counts()
    }

    /// How many may be in; none if there is no limit.
    pub fn most_admitted(&self) -> Option<u32> {
        self.lasting.gate.most()
    }

    /// What it counts.
    pub fn series(&self) -> &Arc<ClusterSeries> {
        &self.lasting.series
    }

    /// The endpoint that the request's client is to stay with, if it still may.
    fn kept(&self, candidates: &Candidates, request: &Request<'_>) -> Option<&Arc<Endpoint>> {
        let endpoint = self.home(candidates, request.session?)?;
        (!request.tried.contains(&endpoint.id())).then_some(endpoint)
    }

    /// The endpoint of that name, if its clients may stay.
    fn home(&self, candidates: &Candidates, session: &str) -> Option<&Arc<Endpoint>> {
        let member = &self.members[self.sessions.as_ref()?.find(session)?];
        let patience = self.settings.balancing.sticky.as_ref()?.maintenance;
        // In a panic it serves others as well; its clients would only go from one bad endpoint to the next.
        let disbelieves = self.settings.balancing.panic_percent > 0;
        let serves_in_panic = member.is_usable() || disbelieves && member.is_possible() && !member.is_suspect();
        let serves = member.keeps_sessions(patience, candidates.sorted) || candidates.panic && serves_in_panic;
        serves.then_some(&member.endpoint)
    }

    /// An endpoint on probation whose trial this request becomes, if there is one and the request is fit for it.
    fn trial(&self, candidates: &Candidates, request: &Request<'_>) -> Option<Arc<Endpoint>> {
        if candidates.probation.is_empty() || !request.tried.is_empty() {
            return None;
        }
        self.awaiting(candidates, request).find(|endpoint| endpoint.claim_trial()).cloned()
    }

    /// Those on probation whose trial this request is fit for, had nobody else it.
    fn awaiting<'a>(
        &self,
        candidates: &'a Candidates,
        request: &Request<'_>,
    ) -> impl Iterator<Item = &'a Arc<Endpoint>> {
        // A request that cannot go elsewhere is risked only where no other has come for a while.
        let (patience, can_retry, now) = (self.settings.ejection.base, request.can_retry, request.now);
        let fit = move |endpoint: &&Arc<Endpoint>| can_retry || health::is_overdue(endpoint, patience, now);
        candidates.probation.iter().filter(fit)
    }

    /// True if a request that has tried these could go to somebody else.
    pub fn has_reserve(&self, tried: &[Id]) -> bool {
        self.out_of(tried).next().is_some()
    }

    /// Those who were not tried and are out, but not on purpose.
    fn out_of(&self, tried: &[Id]) -> impl Iterator<Item = &Member> {
        let fit = |member: &&Member| member.is_usable() || member.is_suspect() && member.is_possible();
        // Whoever is on its trial has as much as it can bear.
        let idle = |member: &&Member| member.endpoint.standing() != Standing::Trial;
        let untried = |member: &&Member| !tried.contains(&member.endpoint.id());
        self.members.iter().filter(fit).filter(idle).filter(untried)
    }

    /// Somebody who was not tried and is out: for a request that has failed everywhere else. Whoever has been out longest
    /// first; if it serves, it is back.
    fn reserve(&self, request: &Request<'_>) -> Option<Arc<Endpoint>> {
        // Somebody of a level that does not serve is well as far as anybody knows.
        let order = |member: &&Member| (member.endpoint.ejections().until, member.level);
        let soonest = self.out_of(request.tried).min_by_key(order)?;
        Some(Arc::clone(&soonest.endpoint))
    }

    /// Brings the candidates in step with time, unless somebody else is about to.
    fn refresh(&self, now: Instant) {
        if let Some(_book) = self.lasting.book.try_open() {
            self.sort_with_book(now);
        }
    }

    /// Brings the candidates in step with everyone's standing.
    fn sort(&self, now: Instant) {
        let _book = self.lasting.book.open();
        self.sort_with_book(now);
    }

    fn sort_with_book(&self, now: Instant) {
        let candidates = Candidates::sort(self, self.stamp(), now);
        if self.is_newest() {
            self.report(self.is_panicking(), &candidates);
            self.report_level(self.list.as_ref().map(|_| self.level()), &candidates);
        }
        self.install(candidates, now);
    }

    fn install(&self, candidates: Candidates, now: Instant) {
        if self.is_newest() {
            self.lasting.gate.set(&self.settings.limits, candidates.count(), now);
        }
        self.candidates.store(Arc::new(candidates));
    }

    fn is_newest(&self) -> bool {
        self.lasting.book.is_newest(self.generation)
    }

    /// Of the next list of candidates; 0 if there is a newer cluster of this name.
    fn stamp(&self) -> u64 {
        self.lasting.book.stamp(self.generation)
    }

    /// Says when a panic begins and ends.
    fn report(&self, before: bool, candidates: &Candidates) {
        let cluster = &self.settings.name;
        match (before, candidates.panic) {
            (false, true) => {
                warn!(%cluster, "panic: too few endpoints are eligible, so all of them serve");
                self.note(Event::PanicBegan { cluster: cluster.to_string() });
            }
            (true, false) => {
                info!(%cluster, "no panic any more: only eligible endpoints serve");
                self.note(Event::PanicEnded { cluster: cluster.to_string() });
            }
            _ => {}
        }
    }

    /// Writes down what has happened here.
    fn note(&self, event: Event) {
        self.lasting.journal.note(event);
    }
}

fn rings(settings: &config::Cluster, members: &[Member]) -> Box<[Arc<Ring>]> {
    if settings.policy != Policy::ConsistentHash {
        return Box::default();
    }
    let ring = |group: usize| {
        let members = members.iter().enumerate().filter(|(_, member)| member.group == group);
        let possible = members.filter(|(_, member)| member.is_possible());
        Arc::new(Ring::new(possible.map(|(place, member)| (place, member.name, member.weight))))
    };
    (0..member::groups(members)).map(ring).collect()
}

#[cfg(test)]
mod tests;
