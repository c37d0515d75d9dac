//! A worker's hold on a cluster, and what it is for: beginning attempts. Every request and every attempt keeps its cluster; were
//! that a reference count which all workers share, they would wait for each other's caches several times with each request.

use std::cell::RefCell;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use arc_swap::cache::Cache;

use super::{Attempt, Candidates, Cluster, Request};
use crate::balance::Ask;
use crate::endpoint::{InFlight, Standing, Tick};

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

    /// Picks an endpoint and begins an attempt at it; none if nobody may serve.
    pub fn begin(&self, request: &Request<'_>, rng: &mut fastrand::Rng) -> Option<Attempt> {
        let mut cache = self.0.candidates.borrow_mut();
        if cache.load().is_stale(request.now) {
            self.refresh(request.now);
        }
        let candidates = cache.load();
        if let Some(endpoint) = self.kept(candidates, request) {
            let is_out = endpoint.standing() != Standing::Eligible;
            return Some(self.attempt(endpoint.begin(), is_out, request));
        }
        if let Some(endpoint) = self.trial(candidates, request) {
            return Some(self.attempt(endpoint.begin(), true, request));
        }
        let now = self.tick(request).unwrap_or(Tick(0));
        let mut ask = Ask { worker: request.worker, rng, now, key: request.key, tried: request.tried };
        let picked = candidates.pick(&mut ask)?;
        // An attempt that began under another table may have ejected it since.
        if candidates.panic || picked.endpoint().standing() == Standing::Eligible {
            let is_out = picked.endpoint().standing() != Standing::Eligible;
            return Some(self.attempt(picked, is_out, request));
        }
        drop(picked);
        self.sort(request.now);
        let picked = cache.load().pick(&mut ask)?;
        Some(self.attempt(picked, false, request))
    }

    fn attempt(&self, in_flight: InFlight, trial: bool, request: &Request<'_>) -> Attempt {
        Attempt::new(self.clone(), in_flight, trial, self.tick(request))
    }

    /// The request's time by the ledger, where the policy goes by time.
    fn tick(&self, request: &Request<'_>) -> Option<Tick> {
        self.decay.map(|_| self.lasting.ledger.tick(request.now))
    }
}

impl Deref for Handle {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.0.cluster
    }
}
