//! A worker's hold on a cluster, and what it is for: beginning attempts. Every request and every attempt keeps its cluster; were
//! that a reference count which all workers share, they would wait for each other's caches several times with each request.

use std::cell::RefCell;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use arc_swap::cache::Cache;

use super::attempt::Trial;
use super::{Attempt, Candidates, Cluster, Purpose, Request};
use crate::balance::Ask;
use crate::endpoint::{Endpoint, Id, InFlight, Standing, Tick};

/// A cluster as one thread holds it; a clone is no business of other threads.
#[derive(Clone)]
pub struct Handle(Rc<Hold>);

struct Hold {
    cluster: Arc<Cluster>,
    /// At hand: whether they are still the ones is all that a pick asks.
    candidates: RefCell<Cache<Arc<ArcSwap<Candidates>>, Arc<Candidates>>>,
}

impl Handle {
    /// The first on this thread.
    pub fn new(cluster: &Arc<Cluster>) -> Self {
        let candidates = RefCell::new(Cache::new(Arc::clone(&cluster.candidates)));
        Handle(Rc::new(Hold { cluster: Arc::clone(cluster), candidates }))
    }

    /// True if it is a hold on this very cluster, not on one of the same name.
    pub fn holds(&self, cluster: &Arc<Cluster>) -> bool {
        Arc::ptr_eq(&self.0.cluster, cluster)
    }

    /// Picks an endpoint and begins an attempt; none if nobody may serve, or nobody has room.
    pub fn begin(&self, request: &Request<'_>, rng: &mut fastrand::Rng) -> Option<Attempt> {
        let mut cache = self.0.candidates.borrow_mut();
        if cache.load().is_stale(request.now) {
            self.refresh(request.now);
        }
        let candidates = cache.load();
        if request.purpose != Purpose::First && !candidates.has_untried(request.tried) {
            // Better somebody who is out than somebody who has just failed.
            let reserve = if request.purpose == Purpose::Retry { self.reserve(request) } else { return None };
            if let Some(endpoint) = reserve {
                return Some(self.attempt(endpoint.begin(), Trial::at(&endpoint), request));
            }
        }
        if let Some(endpoint) = self.kept(candidates, request) {
            // The trial last: whoever claims it has to give it back.
            return self.with_room(endpoint.begin()).map(|begun| self.attempt(begun, Trial::at(endpoint), request));
        }
        if let Some(endpoint) = self.trial(candidates, request) {
            return Some(self.attempt(endpoint.begin(), Trial::Claimed, request));
        }
        let now = self.tick(request).unwrap_or(Tick(0));
        let mut ask = Ask { worker: request.worker, rng, now, key: request.key, tried: request.tried };
        let mut picked = candidates.pick(&mut ask)?;
        // An attempt that began under another table may have ejected it since.
        if !candidates.panic && picked.endpoint().standing() != Standing::Eligible {
            drop(picked);
            self.sort(request.now);
            picked = cache.load().pick(&mut ask)?;
        }
        let begun = match self.with_room(picked) {
            Some(begun) => begun,
            None => self.elsewhere(cache.load(), request)?,
        };
        let trial = Trial::at(begun.endpoint());
        Some(self.attempt(begun, trial, request))
    }

    /// True if nobody may serve, however long one waits for room.
    pub fn is_hopeless(&self) -> bool {
        self.0.candidates.borrow_mut().load().count() == 0
    }

    /// True if there is somebody who may serve and was not tried.
    pub fn has_untried(&self, tried: &[Id]) -> bool {
        self.0.candidates.borrow_mut().load().has_untried(tried)
    }

    /// The attempt, unless its endpoint has as many as it may have.
    fn with_room(&self, begun: InFlight) -> Option<InFlight> {
        let most = self.settings().limits.endpoint_in_flight;
        (most == 0 || begun.endpoint().in_flight() <= most).then_some(begun)
    }

    /// Somebody with room, where whoever the policy chose has none: the gate lets in only as many as there is room for, but
    /// does not know where.
    fn elsewhere(&self, candidates: &Candidates, request: &Request<'_>) -> Option<InFlight> {
        let most = self.settings().limits.endpoint_in_flight;
        let may_repeat = request.purpose != Purpose::Hedge;
        let fits = |endpoint: &&Arc<Endpoint>| may_repeat || !request.tried.contains(&endpoint.id());
        let mut roomy: Vec<_> = candidates.all().filter(|endpoint| endpoint.in_flight() < most).filter(fits).collect();
        roomy.sort_by_key(|endpoint| (request.tried.contains(&endpoint.id()), endpoint.in_flight()));
        roomy.into_iter().find_map(|endpoint| self.with_room(endpoint.begin()))
    }

    fn attempt(&self, in_flight: InFlight, trial: Trial, request: &Request<'_>) -> Attempt {
        Attempt::new(self.clone(), in_flight, trial, self.tick(request))
    }

    /// The request's time by the ledger, where that matters to somebody.
    fn tick(&self, request: &Request<'_>) -> Option<Tick> {
        self.times.then(|| self.lasting.ledger.tick(request.now))
    }
}

impl Deref for Handle {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.0.cluster
    }
}
