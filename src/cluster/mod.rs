//! Interchangeable endpoints and the policy over them. [`Cluster::begin`] picks one and returns an [`Attempt`], which is in
//! flight until it is dropped and takes at most one verdict; verdicts eject and readmit.
//!
//! A cluster is part of a table and its list never changes. What outlives a table, the cluster's own (`Lasting`) and each
//! endpoint's, is shared by `Arc`, so an attempt that began under an old table still counts under the new one.

mod attempt;
mod budget;
mod candidates;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;

use crate::balance::{Ask, Candidate, Cursors};
use crate::config;
use crate::endpoint::{Address, Endpoint, Id, Ids, List, Standing, Status};
use crate::health;

pub use attempt::{Attempt, Ejected};
use budget::Budget;
use candidates::Candidates;

/// A named group of interchangeable endpoints.
pub struct Cluster {
    settings: Arc<config::Cluster>,
    list: Option<List>,
    members: Box<[Member]>,
    candidates: ArcSwap<Candidates>,
    lasting: Arc<Lasting>,
}

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
}

/// What a cluster keeps when its list or its settings change.
struct Lasting {
    budget: Budget,
    cursors: Arc<Cursors>,
    // Held while standings change and candidates are sorted, by control and by workers alike; never across an await.
    book: Mutex<()>,
}

/// What a request asks of a pick.
#[derive(Debug)]
pub struct Request<'a> {
    /// When it asks.
    pub now: Instant,
    /// Endpoints that it has tried.
    pub tried: &'a [Id],
    /// Whether it could go elsewhere if the attempt fails: such a request may be a trial.
    pub can_retry: bool,
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
        let lasting = match previous {
            Some(previous) => Arc::clone(&previous.lasting),
            None => Arc::new(Lasting {
                budget: Budget::new(new.now),
                cursors: Arc::new(Cursors::new(new.workers)),
                book: Mutex::default(),
            }),
        };
        let known = previous.map(|previous| previous.members.iter());
        let known: HashMap<&Address, &Arc<Endpoint>> =
            known.into_iter().flatten().map(|member| (member.endpoint.address(), &member.endpoint)).collect();
        let members = list.iter().flat_map(|list| list.iter()).map(|listed| Member {
            endpoint: match known.get(&listed.address) {
                Some(endpoint) => Arc::clone(endpoint),
                None => Arc::new(Endpoint::new(listed.address.clone(), new.ids)),
            },
            id: Arc::clone(&listed.id),
            status: listed.status,
            weight: listed.weight,
        });
        let members: Box<[Member]> = members.collect();
        let candidates = {
            let _book = lasting.book();
            ArcSwap::from_pointee(Candidates::sort(&members, settings.policy, &lasting.cursors, new.now))
        };
        Cluster { settings: Arc::clone(settings), list, members, candidates, lasting }
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

    /// Everyone on the list, in the order of addresses.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Counts a request towards the retry budget.
    pub fn request(&self, now: Instant) {
        self.lasting.budget.request(now);
    }

    /// Takes one retry from the budget, if there is one.
    pub fn may_retry(&self, now: Instant) -> bool {
        self.lasting.budget.withdraw(self.settings.retry.budget, now)
    }

    /// Picks an endpoint and begins an attempt at it; none if nobody may serve.
    pub fn begin(self: &Arc<Self>, request: &Request<'_>, ask: &mut Ask<'_>) -> Option<Attempt> {
        let mut candidates = self.candidates.load();
        if candidates.is_stale(request.now) {
            self.sort(request.now);
            candidates = self.candidates.load();
        }
        if let Some(endpoint) = self.trial(&candidates, request) {
            return Some(Attempt::new(Arc::clone(self), endpoint, true));
        }
        let picked = pick(&candidates, request.tried, ask)?;
        // An attempt that began under another table may have ejected it since.
        if candidates.desperate || picked.standing() == Standing::Eligible {
            return Some(Attempt::new(Arc::clone(self), picked, candidates.desperate));
        }
        self.sort(request.now);
        let picked = pick(&self.candidates.load(), request.tried, ask)?;
        Some(Attempt::new(Arc::clone(self), picked, false))
    }

    /// An endpoint on probation whose trial this request becomes, if there is one and the request is fit for it.
    fn trial(&self, candidates: &Candidates, request: &Request<'_>) -> Option<Arc<Endpoint>> {
        if candidates.probation.is_empty() || !request.tried.is_empty() {
            return None;
        }
        // A request that cannot go elsewhere is risked only where no other has come for a while.
        let patience = self.settings.ejection.base;
        let fit = |endpoint: &Endpoint| request.can_retry || health::is_overdue(endpoint, patience, request.now);
        candidates.probation.iter().find(|endpoint| fit(endpoint) && endpoint.claim_trial()).cloned()
    }

    /// Brings the candidates in step with everyone's standing.
    fn sort(&self, now: Instant) {
        let _book = self.lasting.book();
        self.sort_with_book(now);
    }

    fn sort_with_book(&self, now: Instant) {
        let policy = self.settings.policy;
        self.candidates.store(Arc::new(Candidates::sort(&self.members, policy, &self.lasting.cursors, now)));
    }

    /// Ejects an endpoint if the rules allow it.
    fn eject(&self, endpoint: &Endpoint, now: Instant) -> Result<std::time::Duration, &'static str> {
        let rules = &self.settings.ejection;
        let _book = self.lasting.book();
        let usable = self.members.iter().filter(|member| member.is_usable());
        let (mut count, mut out) = (0, 0);
        for member in usable {
            count += 1;
            out +=
                usize::from(member.endpoint.standing() != Standing::Eligible && member.endpoint.id() != endpoint.id());
        }
        match endpoint.standing() {
            Standing::Ejected => return Err("ejected"),
            // A trial that failed does not change how many are out.
            Standing::Probation | Standing::Trial => {}
            Standing::Eligible if out >= health::most_ejected(rules, count) => return Err("max_percent"),
            Standing::Eligible => {}
        }
        let length = health::eject(rules, endpoint, now, fastrand::f64());
        self.sort_with_book(now);
        Ok(length)
    }

    fn readmit(&self, endpoint: &Endpoint, now: Instant) {
        let _book = self.lasting.book();
        health::readmit(endpoint, now);
        self.sort_with_book(now);
    }
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
}

impl Member {
    /// True if the source lets it take requests.
    pub fn is_usable(&self) -> bool {
        self.weight > 0 && matches!(self.status, Status::Passing | Status::Warning)
    }

    fn candidate(&self) -> Candidate {
        Candidate { endpoint: Arc::clone(&self.endpoint), weight: self.weight }
    }
}

impl Lasting {
    fn book(&self) -> MutexGuard<'_, ()> {
        // Guards no data of its own, so a panic cannot have left any half changed.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The balancer's choice; for a retry, somebody who was not tried yet if there is one.
fn pick(candidates: &Candidates, tried: &[Id], ask: &mut Ask<'_>) -> Option<Arc<Endpoint>> {
    let balancer = candidates.balancer.as_ref()?;
    let untried = |candidate: &&Candidate| !tried.contains(&candidate.endpoint.id());
    let eligible = &candidates.eligible;
    let first = balancer.pick(ask);
    if tried.is_empty() {
        return Some(Arc::clone(&eligible[first].endpoint));
    }
    // The policy is asked again before the neighbours are, so that a retry goes by weight and load as well.
    let again = (0..tried.len()).map(|_| balancer.pick(ask)).collect::<Vec<_>>();
    let chosen = std::iter::once(first).chain(again).map(|index| &eligible[index]).find(untried);
    let chosen = chosen.or_else(|| eligible[first..].iter().chain(&eligible[..first]).find(untried));
    Some(Arc::clone(&chosen.unwrap_or(&eligible[first]).endpoint))
}

#[cfg(test)]
mod tests;
