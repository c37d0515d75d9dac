//! What a worker's requests need of their route, resolved once instead of with each request: the cluster, and the series that
//! count. Requests share it within the worker, so that none touches a count that other workers touch as well.

use std::rc::Rc;
use std::sync::Arc;

use super::typical::Typical;
use crate::cluster::Handle;
use crate::metrics::{ClusterSeries, Metrics, RequestLabels, RequestSeries};
use crate::route::{Route, Routes};
use crate::table::Table;

/// What this worker has needed so far, by place of listener and route.
pub(super) struct Resolved {
    listeners: Vec<Arc<str>>,
    /// Of the table that entries are from.
    version: u64,
    routes: Arc<Routes>,
    requests: Vec<Vec<Option<Rc<Entry>>>>,
    nowhere: Vec<Option<Arc<RequestSeries>>>,
}

/// What the requests of a listener need that take one route.
pub(super) struct Entry {
    pub(super) cluster: Handle,
    pub(super) request: Arc<RequestSeries>,
    pub(super) attempts: Arc<ClusterSeries>,
    pub(super) typical: Rc<Typical>,
}

impl Resolved {
    pub(super) fn new(listeners: &[Arc<str>]) -> Self {
        Resolved {
            listeners: listeners.to_vec(),
            version: 0,
            routes: Arc::default(),
            requests: vec![Vec::new(); listeners.len()],
            nowhere: vec![None; listeners.len()],
        }
    }

    /// Brings entries in step with the table, and forgets what belongs to other routes than its own.
    pub(super) fn keep(&mut self, table: &Table) {
        if self.version == table.version {
            return;
        }
        self.version = table.version;
        if !Arc::ptr_eq(&self.routes, table.routes()) {
            self.routes = Arc::clone(table.routes());
            let count = self.routes.all().len();
            self.requests.iter_mut().for_each(|routes| *routes = vec![None; count]);
        }
        for entry in self.requests.iter_mut().flatten().filter(|entry| entry.is_some()) {
            *entry = entry.take().and_then(|entry| entry.in_step_with(table));
        }
    }

    /// What a listener's requests need that take this route.
    pub(super) fn of(&mut self, metrics: &Metrics, listener: usize, (table, route): (&Table, &Route)) -> Rc<Entry> {
        self.keep(table);
        let cluster = table.cluster(route);
        let entry = &mut self.requests[listener][route.index];
        // A reload may have put another cluster in the place of the route's.
        if entry.as_ref().is_some_and(|entry| !entry.cluster.holds(cluster)) {
            *entry = None;
        }
        let make = || Entry {
            cluster: Handle::new(cluster),
            request: metrics.request(RequestLabels {
                listener: Arc::clone(&self.listeners[listener]),
                route: Arc::clone(&route.settings.name),
                cluster: Arc::clone(cluster.name()),
            }),
            attempts: Arc::clone(cluster.series()),
            typical: Rc::default(),
        };
        Rc::clone(entry.get_or_insert_with(|| Rc::new(make())))
    }

    /// The series of a listener's requests that have no route.
    pub(super) fn nowhere(&mut self, metrics: &Metrics, listener: usize) -> Arc<RequestSeries> {
        let name = &self.listeners[listener];
        let labels = || RequestLabels { listener: Arc::clone(name), route: "".into(), cluster: "".into() };
        Arc::clone(self.nowhere[listener].get_or_insert_with(|| metrics.request(labels())))
    }
}

impl Entry {
    /// The same with the table's cluster of that name; none if there is none.
    fn in_step_with(self: Rc<Self>, table: &Table) -> Option<Rc<Self>> {
        let cluster = table.find_cluster(self.cluster.name())?;
        if self.cluster.holds(cluster) {
            return Some(self);
        }
        let (request, attempts) = (Arc::clone(&self.request), Arc::clone(cluster.series()));
        Some(Rc::new(Entry { cluster: Handle::new(cluster), request, attempts, typical: Rc::clone(&self.typical) }))
    }
}
