//! A worker's series, resolved once for each route and cluster instead of with each request.

use std::sync::Arc;

use crate::cluster::Cluster;
use crate::metrics::{ClusterSeries, Metrics, RequestLabels, RequestSeries};
use crate::route::{Route, Routes};
use crate::table::Table;

/// The series that this worker has needed so far, by place of listener and route.
pub(super) struct Resolved {
    listeners: Vec<Arc<str>>,
    routes: Arc<Routes>,
    requests: Vec<Vec<Option<Entry>>>,
    nowhere: Vec<Option<Arc<RequestSeries>>>,
}

#[derive(Clone)]
pub(super) struct Entry {
    cluster: Arc<str>,
    pub(super) request: Arc<RequestSeries>,
    pub(super) attempts: Arc<ClusterSeries>,
}

impl Resolved {
    pub(super) fn new(listeners: &[Arc<str>]) -> Self {
        Resolved {
            listeners: listeners.to_vec(),
            routes: Arc::default(),
            requests: vec![Vec::new(); listeners.len()],
            nowhere: vec![None; listeners.len()],
        }
    }

    /// Forgets what belongs to other routes than the table's.
    pub(super) fn keep(&mut self, table: &Table) {
        if !Arc::ptr_eq(&self.routes, table.routes()) {
            self.routes = Arc::clone(table.routes());
            let count = self.routes.all().len();
            self.requests.iter_mut().for_each(|routes| *routes = vec![None; count]);
        }
    }

    /// The series of a listener's requests that take this route.
    pub(super) fn of(
        &mut self,
        metrics: &Metrics,
        listener: usize,
        (table, route, cluster): (&Table, &Route, &Cluster),
    ) -> &Entry {
        self.keep(table);
        let entry = &mut self.requests[listener][route.index];
        // A reload may have put another cluster in the place of the route's.
        if entry.as_ref().is_none_or(|entry| entry.cluster != *cluster.name()) {
            *entry = None;
        }
        entry.get_or_insert_with(|| Entry {
            cluster: Arc::clone(cluster.name()),
            request: metrics.request(RequestLabels {
                listener: Arc::clone(&self.listeners[listener]),
                route: Arc::clone(&route.settings.name),
                cluster: Arc::clone(cluster.name()),
            }),
            attempts: metrics.cluster(cluster.name()),
        })
    }

    /// The series of a listener's requests that have no route.
    pub(super) fn nowhere(&mut self, metrics: &Metrics, listener: usize) -> Arc<RequestSeries> {
        let name = &self.listeners[listener];
        let labels = || RequestLabels { listener: Arc::clone(name), route: "".into(), cluster: "".into() };
        Arc::clone(self.nowhere[listener].get_or_insert_with(|| metrics.request(labels())))
    }
}
