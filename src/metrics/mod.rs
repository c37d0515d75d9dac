//! Every figure that lictor keeps, in one struct that is built once and passed by reference.
//!
//! Whoever counts holds an `Arc` of its own series, resolved once; the scrape reads them all. A series lives as long as
//! somebody holds it, so those of departed routes, clusters and services disappear by themselves. What workers count per
//! request is sharded by worker: each shard has one writer, and no cache line is contended.

mod access;
mod claims;
mod cluster;
mod egress;
mod exposition;
mod family;
mod latencies;
mod mesh;
mod process;
mod registration;
mod request;
mod tcp;
mod threads;
mod times;
mod tls;
mod traces;
mod watch;

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::SystemTime;

use prometheus::proto::MetricFamily;

use exposition::Exemplars;

pub use access::AccessSeries;
pub use claims::ClaimSeries;
pub use cluster::{ClusterSeries, End, Session};
pub use egress::{Demanded, EgressSeries};
pub use exposition::{Format, Scrape};
pub use family::{Labels, counter, gauge};
pub use latencies::Latencies;
pub use mesh::{Authorization, MeshPart, MeshRefusal, MeshSeries, MeshUpdate};
pub use registration::{Fare, RegistrationSeries};
pub use request::{Answered, RequestLabels, RequestSeries};
pub use tcp::{TcpEnd, TcpLabels, TcpSeries};
pub use threads::ThreadSeries;
pub use tls::{Handshake, TlsSeries};
pub use traces::TraceSeries;
pub use watch::{Doubt, Update, WatchSeries};

/// Every figure.
#[derive(Debug)]
pub struct Metrics {
    workers: usize,
    requests: Held<RequestLabels, RequestSeries>,
    clusters: Held<Arc<str>, ClusterSeries>,
    watches: Held<String, WatchSeries>,
    egress: Held<(), EgressSeries>,
    listeners: Held<Arc<str>, ListenerSeries>,
    tcp: Held<TcpLabels, TcpSeries>,
    tls: Held<Arc<str>, TlsSeries>,
    registrations: Held<Arc<str>, RegistrationSeries>,
    claims: Held<(), ClaimSeries>,
    access: Held<(), AccessSeries>,
    traces: Held<(), TraceSeries>,
    mesh: Held<Arc<str>, MeshSeries>,
    threads: Held<Arc<str>, ThreadSeries>,
    began: SystemTime,
    reloads: [AtomicU64; 2],
    last_reload_failed: AtomicU64,
    saves: [AtomicU64; 2],
    may_be_open: AtomicU64,
}

/// What a listener counts.
#[derive(Debug, Default)]
pub struct ListenerSeries {
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Connections open.
    pub open: AtomicI64,
    /// Times that no connection could be accepted.
    pub failed: AtomicU64,
    /// Connections that had to wait for room.
    pub held_back: AtomicU64,
    /// Idle connections closed because others waited.
    pub gave_way: AtomicU64,
    /// Requests that could not be read, or not in one way only.
    pub refused: AtomicU64,
    /// Connections closed for want of a PROXY header, in the order of [`Unannounced`].
    pub unannounced: [AtomicU64; UNANNOUNCED.len()],
}

/// Why a connection has no PROXY header where it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Unannounced {
    /// Not from somebody whose word counts.
    Untrusted,
    /// Something else came.
    Malformed,
    /// Not in time.
    Late,
    /// The connection ended before.
    Closed,
}

const UNANNOUNCED: [&str; 4] = ["untrusted", "malformed", "timeout", "closed"];

/// Series by their labels, each for as long as somebody else holds it.
#[derive(Debug)]
struct Held<L, S>(Mutex<HashMap<L, Weak<S>>>);

impl Metrics {
    /// No figures yet, with a shard for each of `workers`.
    pub fn new(workers: usize) -> Self {
        Metrics {
            workers,
            requests: Held::default(),
            clusters: Held::default(),
            watches: Held::default(),
            egress: Held::default(),
            listeners: Held::default(),
            tcp: Held::default(),
            tls: Held::default(),
            registrations: Held::default(),
            claims: Held::default(),
            access: Held::default(),
            traces: Held::default(),
            mesh: Held::default(),
            threads: Held::default(),
            began: SystemTime::now(),
            reloads: Default::default(),
            last_reload_failed: AtomicU64::default(),
            saves: Default::default(),
            may_be_open: AtomicU64::default(),
        }
    }

    /// The series of requests of a listener, route and cluster.
    pub fn request(&self, labels: RequestLabels) -> Arc<RequestSeries> {
        // What it counts is the cluster's as well, so that nobody can count for one and not for the other.
        let cluster = (!labels.cluster.is_empty()).then(|| self.cluster(&labels.cluster));
        self.requests.get(labels, || RequestSeries::new(self.workers, cluster))
    }

    /// The series of a cluster.
    pub fn cluster(&self, name: &Arc<str>) -> Arc<ClusterSeries> {
        self.clusters.get(Arc::clone(name), || ClusterSeries::new(self.workers))
    }

    /// The series of a followed service.
    pub fn watch(&self, service: &str) -> Arc<WatchSeries> {
        self.watches.get(service.to_owned(), WatchSeries::default)
    }

    /// How long ago a followed service had its last good answer, in seconds; none before the first, or if nobody follows it.
    pub fn age(&self, service: &str) -> Option<f64> {
        self.watches.find(service)?.age()
    }

    /// True if a followed service, or some of it, is kept from us for want of rights.
    pub fn is_denied(&self, service: &str) -> bool {
        self.watches.find(service).is_some_and(|series| series.is_denied())
    }

    /// Every followed service, by its name.
    pub fn watches(&self) -> Vec<(String, Arc<WatchSeries>)> {
        self.watches.all()
    }

    /// The series of names that are asked for; there is none while nobody holds it.
    pub fn egress(&self) -> Arc<EgressSeries> {
        self.egress.get((), EgressSeries::default)
    }

    /// The series of a listener.
    pub fn listener(&self, name: &Arc<str>) -> Arc<ListenerSeries> {
        self.listeners.get(Arc::clone(name), ListenerSeries::default)
    }

    /// The series of a TCP listener's connections to a cluster.
    pub fn tcp(&self, labels: TcpLabels) -> Arc<TcpSeries> {
        self.tcp.get(labels, || TcpSeries::new(self.workers))
    }

    /// The series of a listener's TLS.
    pub fn tls(&self, listener: &Arc<str>) -> Arc<TlsSeries> {
        self.tls.get(Arc::clone(listener), TlsSeries::default)
    }

    /// The series of an instance that is entered in the catalogue, by its id.
    pub fn registration(&self, id: &Arc<str>) -> Arc<RegistrationSeries> {
        self.registrations.get(Arc::clone(id), RegistrationSeries::default)
    }

    /// Every instance that is to be in the catalogue, by its id.
    pub fn entered(&self) -> BTreeMap<Arc<str>, Fare> {
        self.registrations.all().into_iter().map(|(id, series)| (id, series.tell())).collect()
    }

    /// The series of routes that services claim.
    pub fn claims(&self) -> Arc<ClaimSeries> {
        self.claims.get((), ClaimSeries::default)
    }

    /// The series of the access log; there is none while nobody holds it.
    pub fn access(&self) -> Arc<AccessSeries> {
        self.access.get((), AccessSeries::default)
    }

    /// The series of spans; there is none while nobody holds it.
    pub fn traces(&self) -> Arc<TraceSeries> {
        self.traces.get((), TraceSeries::default)
    }

    /// The series of our part in the mesh as that service.
    pub fn mesh(&self, service: &str) -> Arc<MeshSeries> {
        self.mesh.get(service.into(), MeshSeries::default)
    }

    /// The series of this thread by its name; called within its event loop.
    pub fn thread(&self, name: &str) -> Arc<ThreadSeries> {
        self.threads.get(name.into(), || ThreadSeries::new(tokio::runtime::Handle::current().metrics()))
    }

    /// Every thread that has an event loop and goes on, by its name.
    pub fn threads(&self) -> Vec<(Arc<str>, Arc<ThreadSeries>)> {
        self.threads.all()
    }

    /// Counts a reload.
    pub fn reloaded(&self, succeeded: bool) {
        self.reloads[usize::from(succeeded)].fetch_add(1, Ordering::Relaxed);
        self.last_reload_failed.store(u64::from(!succeeded), Ordering::Relaxed);
    }

    /// Counts a file of last lists.
    pub fn saved(&self, succeeded: bool) {
        self.saves[usize::from(succeeded)].fetch_add(1, Ordering::Relaxed);
    }

    /// Notes how many downstream connections there may be.
    pub fn may_be_open(&self, most: usize) {
        self.may_be_open.store(most as u64, Ordering::Relaxed);
    }

    /// All that is counted.
    pub fn gather(&self) -> Scrape {
        let mut exemplars = Exemplars::default();
        let mut families = request::families(&self.requests.all(), &mut exemplars);
        families.extend(cluster::families(&self.clusters.all()));
        families.extend(watch::families(&self.watches.all()));
        families.extend(egress::families(&self.egress.all()));
        families.extend(tcp::families(&self.tcp.all()));
        families.extend(tls::families(&self.tls.all()));
        families.extend(registration::families(&self.registrations.all()));
        families.extend(claims::families(&self.claims.all()));
        families.extend(access::families(&self.access.all()));
        families.extend(traces::families(&self.traces.all()));
        families.extend(mesh::families(&self.mesh.all()));
        families.extend(self.listener_families());
        families.extend(threads::families(&self.threads.all()));
        families.extend(process::families(self.began));
        families.extend(self.own_families());
        Scrape::new(families, exemplars)
    }

    fn listener_families(&self) -> Vec<MetricFamily> {
        let all = self.listeners.all();
        let of = |read: fn(&ListenerSeries) -> f64| {
            all.iter().map(move |(name, series)| (vec![("listener", name.to_string())], read(series)))
        };
        let mut unannounced = Vec::new();
        for (name, series) in &all {
            for (reason, count) in UNANNOUNCED.iter().zip(&series.unannounced) {
                let labels = vec![("listener", name.to_string()), ("reason", (*reason).to_owned())];
                unannounced.push((labels, count.load(Ordering::Relaxed) as f64));
            }
        }
        // Only where headers are expected at all.
        unannounced.retain(|(_, count)| *count > 0.0);
        vec![
            counter(
                "lictor_proxy_protocol_refused_total",
                "Connections closed for want of a PROXY header, by why.",
                unannounced,
            ),
            counter(
                "lictor_connections_accepted_total",
                "Connections accepted.",
                of(|series| series.accepted.load(Ordering::Relaxed) as f64),
            ),
            counter(
                "lictor_accept_failures_total",
                "Times that accept failed, for example for want of file descriptors.",
                of(|series| series.failed.load(Ordering::Relaxed) as f64),
            ),
            counter(
                "lictor_connections_held_back_total",
                "Connections that waited because max_connections were open.",
                of(|series| series.held_back.load(Ordering::Relaxed) as f64),
            ),
            counter(
                "lictor_requests_malformed_total",
                "Requests that could not be read, or not in one way only.",
                of(|series| series.refused.load(Ordering::Relaxed) as f64),
            ),
            counter(
                "lictor_connections_gave_way_total",
                "Idle connections closed because others waited.",
                of(|series| series.gave_way.load(Ordering::Relaxed) as f64),
            ),
            gauge(
                "lictor_connections_open",
                "Downstream connections open.",
                of(|series| series.open.load(Ordering::Relaxed) as f64),
            ),
        ]
    }

    fn own_families(&self) -> Vec<MetricFamily> {
        let by_result = |counts| {
            let counts = ["failure", "success"].into_iter().zip(counts);
            counts.map(|(result, count): (_, &AtomicU64)| {
                (vec![("result", result.to_owned())], count.load(Ordering::Relaxed) as f64)
            })
        };
        let good = 1 - self.last_reload_failed.load(Ordering::Relaxed);
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        vec![
            counter("lictor_config_reloads_total", "Reloads of the configuration.", by_result(&self.reloads)),
            counter(
                "lictor_discovery_saves_total",
                "Times that the last lists were written down.",
                by_result(&self.saves),
            ),
            gauge(
                "lictor_config_last_reload_successful",
                "1 unless the last reload was refused.",
                [(vec![], good as f64)],
            ),
            gauge(
                "lictor_connections_limit",
                "Downstream connections that there may be at once.",
                [(vec![], self.may_be_open.load(Ordering::Relaxed) as f64)],
            ),
            gauge("lictor_build_info", "Always 1; the labels say what runs.", [(version, 1.0)]),
        ]
    }
}

impl<L, S> Default for Held<L, S> {
    fn default() -> Self {
        Held(Mutex::default())
    }
}

impl<L: Hash + Eq + Ord + Clone, S> Held<L, S> {
    fn get(&self, labels: L, make: impl FnOnce() -> S) -> Arc<S> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = all.get(&labels).and_then(Weak::upgrade) {
            return series;
        }
        // Whoever would make it grow sweeps first, so the map is bounded by what is held, and a thousand clusters are not looked at a
        // thousand times.
        if all.len() == all.capacity() {
            all.retain(|_, series| series.strong_count() > 0);
        }
        let series = Arc::new(make());
        all.insert(labels, Arc::downgrade(&series));
        series
    }

    fn find<Q: Hash + Eq + ?Sized>(&self, labels: &Q) -> Option<Arc<S>>
    where
        L: std::borrow::Borrow<Q>,
    {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(labels)?.upgrade()
    }

    /// Everything that is held, in the order of labels.
    fn all(&self) -> Vec<(L, Arc<S>)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held = all.iter().filter_map(|(labels, series)| Some((labels.clone(), series.upgrade()?)));
        let mut held: Vec<(L, Arc<S>)> = held.collect();
        held.sort_by(|a, b| a.0.cmp(&b.0));
        held
    }
}

/// Adds to a figure that only this thread writes: no locked instruction.
fn add(figure: &AtomicU64, amount: u64) {
    figure.store(figure.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}

#[cfg(test)]
mod tests;
