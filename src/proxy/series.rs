//! What a worker's requests need of their route, resolved once instead of with each request: the cluster, and the series that
//! count. Requests share it within the worker, so that none touches a count that other workers touch as well.

use std::cell::{Cell, OnceCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::typical::Typical;
use crate::cluster::{Cluster, Handle};
use crate::config::{self, NewHost, Retry, Target, Timeouts};
use crate::metrics::{ClusterSeries, Metrics, RequestLabels, RequestSeries, TcpSeries};
use crate::route::{Route, Routes};
use crate::table::Table;

/// What this worker has needed so far, by place of the listener.
pub(super) struct Resolved {
    listeners: Vec<Arc<str>>,
    /// Of the table that entries are from.
    version: u64,
    routes: Arc<Routes>,
    /// By place of a route's target.
    requests: Vec<Vec<Option<Rc<Entry>>>>,
    /// By place of a route that answers by itself.
    own: Vec<Vec<Option<Arc<RequestSeries>>>>,
    nowhere: Vec<Option<Arc<RequestSeries>>>,
}

/// What the requests of a listener need that take one route to one cluster.
pub(super) struct Entry {
    pub(super) route: Arc<Route>,
    /// Of its target.
    place: usize,
    /// The cluster's, or the route's own.
    pub(super) timeouts: Timeouts,
    pub(super) retry: Retry,
    pub(super) cluster: Handle,
    /// Where the cluster was in the last table.
    at: Cell<usize>,
    pub(super) request: Arc<RequestSeries>,
    pub(super) attempts: Arc<ClusterSeries>,
    pub(super) typical: Rc<Typical>,
    /// Of its tunnels, once there was one.
    pub(super) tunnels: OnceCell<Arc<TcpSeries>>,
}

impl Resolved {
    pub(super) fn new(listeners: &[Arc<str>]) -> Self {
        Resolved {
            listeners: listeners.to_vec(),
            version: 0,
            routes: Arc::default(),
            requests: vec![Vec::new(); listeners.len()],
            own: vec![Vec::new(); listeners.len()],
            nowhere: vec![None; listeners.len()],
        }
    }

    /// The name of the listener of that place.
    pub(super) fn listener(&self, place: usize) -> Arc<str> {
        Arc::clone(&self.listeners[place])
    }

    /// Brings entries in step with the table, and forgets what belongs to routes that are not its own.
    pub(super) fn keep(&mut self, table: &Table) {
        if self.version == table.version {
            return;
        }
        self.version = table.version;
        if !Arc::ptr_eq(&self.routes, table.routes()) {
            let before = std::mem::replace(&mut self.routes, Arc::clone(table.routes()));
            self.move_on(&before);
        }
        for entry in self.requests.iter_mut().flatten().filter(|entry| entry.is_some()) {
            *entry = entry.take().and_then(|entry| entry.in_step_with(table));
        }
    }

    /// Gives everything its place among the routes of now. Names come and go, while what is known of all else stays.
    fn move_on(&mut self, before: &Routes) {
        let (routes, targets) = (self.routes.all().len(), self.routes.targets());
        let places: HashMap<*const config::Route, &Arc<Route>> =
            self.routes.all().iter().map(|route| (Arc::as_ptr(&route.settings), route)).collect();
        let now = |route: &Route| places.get(&Arc::as_ptr(&route.settings));
        for requests in &mut self.requests {
            let entries = std::mem::replace(requests, vec![None; targets]);
            for entry in entries.into_iter().flatten() {
                if let Some(route) = now(&entry.route) {
                    let place = route.first_target + entry.place;
                    requests[place] = Some(entry);
                }
            }
        }
        for own in &mut self.own {
            let series = std::mem::replace(own, vec![None; routes]);
            for (route, series) in before.all().iter().zip(series) {
                if let Some(route) = now(route) {
                    own[route.index] = series;
                }
            }
        }
    }

    /// What a listener's requests need that take this route to its target of that place; none if it has no such one.
    pub(super) fn of(
        &mut self,
        metrics: &Metrics,
        listener: usize,
        (table, route): (&Table, &Arc<Route>),
        place: usize,
    ) -> Option<Rc<Entry>> {
        self.keep(table);
        let entry = &mut self.requests[listener][route.first_target + place];
        // In step with this table, so that its cluster need not be looked for.
        if let Some(entry) = entry {
            return Some(Rc::clone(entry));
        }
        let target = route.target(place)?;
        let cluster = table.cluster(target)?;
        let labels = RequestLabels {
            listener: Arc::clone(&self.listeners[listener]),
            route: Arc::clone(&route.settings.name),
            cluster: Arc::clone(cluster.name()),
        };
        let made = Entry::new((route, place, target), cluster, metrics.request(labels), Rc::default());
        Some(Rc::clone(entry.insert(Rc::new(made))))
    }

    /// The series of a listener's requests that take a route which answers by itself.
    pub(super) fn own(
        &mut self,
        metrics: &Metrics,
        listener: usize,
        (table, route): (&Table, &Route),
    ) -> Arc<RequestSeries> {
        self.keep(table);
        let (listener_name, name) = (&self.listeners[listener], &route.settings.name);
        let labels =
            || RequestLabels { listener: Arc::clone(listener_name), route: Arc::clone(name), cluster: "".into() };
        Arc::clone(self.own[listener][route.index].get_or_insert_with(|| metrics.request(labels())))
    }

    /// The series of a listener's requests that have no route.
    pub(super) fn nowhere(&mut self, metrics: &Metrics, listener: usize) -> Arc<RequestSeries> {
        let name = &self.listeners[listener];
        let labels = || RequestLabels { listener: Arc::clone(name), route: "".into(), cluster: "".into() };
        Arc::clone(self.nowhere[listener].get_or_insert_with(|| metrics.request(labels())))
    }
}

impl Entry {
    fn new(
        (route, place, target): (&Arc<Route>, usize, &Target),
        cluster: &Arc<Cluster>,
        request: Arc<RequestSeries>,
        typical: Rc<Typical>,
    ) -> Self {
        let (settings, terms) = (cluster.settings(), target.terms.as_deref());
        Entry {
            route: Arc::clone(route),
            place,
            timeouts: terms.map_or(&settings.timeouts, |terms| &terms.timeouts).clone(),
            retry: terms.map_or(&settings.retry, |terms| &terms.retry).clone(),
            cluster: Handle::new(cluster),
            at: Cell::default(),
            request,
            attempts: Arc::clone(cluster.series()),
            typical,
            tunnels: OnceCell::new(),
        }
    }

    /// The one of its route's that it is about.
    pub(super) fn target(&self) -> Option<&Target> {
        self.route.target(self.place)
    }

    /// True if endpoints see their own address as `Host`.
    pub(super) fn names_endpoint(&self) -> bool {
        let rewrite = self.target().and_then(|target| target.rewrite.as_ref());
        rewrite.is_some_and(|rewrite| rewrite.host == NewHost::Endpoint)
    }

    /// The same with the table's cluster, if it is of the same name.
    fn in_step_with(self: Rc<Self>, table: &Table) -> Option<Rc<Self>> {
        let target = self.target()?;
        // With each update this is done for all routes in use, between two requests: their clusters are mostly where they were.
        let mut at = self.at.get();
        let cluster = table.find_near(&mut at, &target.cluster)?;
        self.at.set(at);
        if self.cluster.holds(cluster) {
            return Some(self);
        }
        let (request, typical) = (Arc::clone(&self.request), Rc::clone(&self.typical));
        let next = || {
            let next = Entry::new((&self.route, self.place, target), cluster, request, typical);
            Rc::new(Entry { at: self.at.clone(), tunnels: self.tunnels.clone(), ..next })
        };
        (cluster.name() == self.cluster.name()).then(next)
    }
}
