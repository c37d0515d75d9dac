//! Asks endpoints whether they are well, apart from requests: for lists that nobody checks, such as static ones, and to bring an
//! ejected endpoint back as soon as it is well.
//!
//! A task for each endpoint of a cluster that has probes, on the control runtime. What they find is the cluster's to act upon
//! (`Cluster::diagnose`); an endpoint keeps it, so that it outlives a table as everything that was learned of an endpoint.
//!
//! As in HAProxy and Envoy, the first result counts at once, and later ones in rows: `rise` and `fall`.

mod ask;
mod failure;
mod grpc;
mod http;
mod round;
mod streak;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};

use crate::cluster::{Cluster, Member};
use crate::endpoint::{Endpoint, Id, Status};
use crate::metrics::Metrics;
use crate::table::Reader;
use round::Round;

/// Probes that may be under way at once, each a descriptor; who comes next waits. Enough for 1,000 endpoints none of which
/// answers, by the usual interval and timeout.
const MOST_AT_ONCE: usize = 512;
/// The first ones of a cluster come within this time, and within an interval, not all in one moment.
const SPREAD: Duration = Duration::from_secs(1);

/// All probes there are.
pub struct Probes {
    reader: Reader,
    metrics: Arc<Metrics>,
    permits: Arc<Semaphore>,
    clusters: HashMap<Arc<str>, Rounds>,
    tasks: JoinSet<()>,
}

/// Those of one cluster.
struct Rounds {
    cluster: Arc<Cluster>,
    running: HashMap<Id, Running>,
}

struct Running {
    endpoint: Arc<Endpoint>,
    task: AbortHandle,
}

impl Probes {
    /// Of the tables that come by this reader.
    pub fn new(reader: Reader, metrics: Arc<Metrics>) -> Self {
        let permits = Arc::new(Semaphore::new(MOST_AT_ONCE));
        Probes { reader, metrics, permits, clusters: HashMap::new(), tasks: JoinSet::new() }
    }

    /// Probes until there will be no table any more.
    pub async fn run(mut self) {
        self.follow();
        loop {
            tokio::select! {
                is_another = self.reader.changed() => match is_another {
                    true => self.follow(),
                    false => return,
                },
                // Those that were given up.
                Some(_) = self.tasks.join_next() => {}
            }
        }
    }

    /// Has the endpoints of the table probed that are to be, and nobody else.
    fn follow(&mut self) {
        let table = self.reader.load();
        self.clusters.retain(|name, rounds| {
            let next = table.find_cluster(name);
            let goes_on = next.is_some_and(|next| next.settings().probe == rounds.cluster.settings().probe);
            if !goes_on {
                rounds.end(next);
            }
            goes_on
        });
        for cluster in table.clusters().iter().filter(|cluster| cluster.settings().probe.is_some()) {
            self.follow_cluster(cluster);
        }
    }

    fn follow_cluster(&mut self, cluster: &Arc<Cluster>) {
        let fresh = || Rounds { cluster: Arc::clone(cluster), running: HashMap::new() };
        let (is_fresh, rounds) = match self.clusters.get_mut(cluster.name()) {
            Some(rounds) => (false, rounds),
            None => (true, self.clusters.entry(Arc::clone(cluster.name())).or_insert_with(fresh)),
        };
        if !is_fresh && Arc::ptr_eq(&rounds.cluster, cluster) {
            return;
        }
        rounds.keep(cluster);
        let Some(settings) = cluster.settings().probe.clone().map(Arc::new) else { return };
        let series = self.metrics.cluster(cluster.name());
        for member in cluster.members().iter().filter(|member| is_probed(member)) {
            let endpoint = &member.endpoint;
            rounds.running.entry(endpoint.id()).or_insert_with(|| {
                let round = Round {
                    cluster: Arc::clone(cluster.name()),
                    endpoint: Arc::clone(endpoint),
                    settings: Arc::clone(&settings),
                    reader: self.reader.clone(),
                    series: Arc::clone(&series),
                    permits: Arc::clone(&self.permits),
                };
                let first = settings.interval.min(SPREAD).mul_f64(fastrand::f64());
                Running { endpoint: Arc::clone(endpoint), task: self.tasks.spawn_local(round.run(first)) }
            });
        }
    }
}

impl Rounds {
    /// Goes on with this cluster and who of it is probed.
    fn keep(&mut self, cluster: &Arc<Cluster>) {
        self.cluster = Arc::clone(cluster);
        let probed = cluster.members().iter().filter(|member| is_probed(member));
        let probed: HashSet<Id> = probed.map(|member| member.endpoint.id()).collect();
        self.running.retain(|id, running| {
            let stays = probed.contains(id);
            if !stays {
                running.task.abort();
                // It may only be in maintenance; what was found before that will not be true after it.
                cluster.diagnose(&running.endpoint, None, Instant::now());
            }
            stays
        });
    }

    /// Ends all of them. Where probes are turned off, what they found is forgotten.
    fn end(&mut self, next: Option<&Arc<Cluster>>) {
        let unprobed = next.filter(|next| next.settings().probe.is_none());
        for running in self.running.values() {
            running.task.abort();
            if let Some(cluster) = unprobed {
                cluster.diagnose(&running.endpoint, None, Instant::now());
            }
        }
    }
}

/// Who is in maintenance is known to be out, and is left alone.
fn is_probed(member: &Member) -> bool {
    member.status != Status::Maintenance
}
