//! Following services in Consul, each by one blocking query on `/v1/health/service/:name`. `follow` says what an answer is
//! worth, `rights` whether it is the whole of it, `model` reads; here they make a watch. What watches `share` keeps them from asking
//! too much together, and where they are too many, the `catalogue` says when to ask. And finding out where we stand, where some cluster
//! prefers who is near: `survey` asks for the `place` that the agent knows and for `coordinate`s. A `look` is for what somebody asks
//! for, and `entries` say how services are to be treated. Apart from all that, prefixes of the KV store are followed: for
//! `certificates`, and for `documents`, where `prefix` says what an answer is worth.

mod announced;
mod catalogue;
mod certificates;
mod coordinate;
mod documents;
mod entries;
mod follow;
mod identity;
mod look;
mod model;
mod place;
mod prefix;
mod rights;
mod share;
mod survey;
mod watch;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{OnceCell, Semaphore, mpsc, watch as channel};
use tokio::task::JoinSet;
use tracing::warn;

use super::suspects::Loss;
use crate::config::{Config, Consistency, Consul, Documents, Lookup, Name, Place, Selection, ServiceRoutes};
use crate::consul::{Agent, Error, Failure};
use crate::endpoint::{List, Vantage};
use crate::metrics::Metrics;

use announced::Announced;
use catalogue::Catalogue;
pub use certificates::Certificates;
pub use entries::{Entries, Kind};
pub use look::{Looked, list};
pub use model::About;
#[doc(hidden)]
pub use model::parse as parse_health;
use place::Wanted;
pub use place::given;
use share::{Everywhere, Lanes};
use survey::Survey;

/// What Consul has said, whole.
#[derive(Debug)]
pub enum Update {
    /// A service's list, as of now.
    List {
        /// Which service.
        selection: Selection,
        /// All of its instances that can be dialled.
        list: List,
        /// How those went who are missing on it.
        loss: Loss,
    },
    /// What a service's instances say of it, where that is something else than before; nothing if they never said anything.
    About(Selection, About),
    /// What configuration entries of a kind say, where that is something else than before.
    Entries(Kind, Entries),
    /// What a look has shown.
    Looked(Looked),
    /// A service's list still is what it was.
    Confirmed(Selection),
    /// A service could not be asked for, for the first time or after it could.
    Unheard(Selection),
    /// The services that announce routes, all of them.
    Announced(BTreeSet<Arc<str>>),
    /// Where we stand, as of now; another one only if something would be chosen by it otherwise than before.
    Vantage(Arc<Vantage>),
    /// What stands under a prefix, as of now.
    Documents {
        /// Which prefix.
        prefix: String,
        /// All of it.
        documents: Documents,
    },
    /// A prefix cannot be read.
    Unread {
        /// Which prefix.
        prefix: String,
        /// What is in the way, for people.
        why: String,
    },
    /// A prefix that could not be read can be again, and holds what it held.
    Read(String),
}

/// Services that are followed.
#[derive(Debug)]
pub struct Watches {
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    /// Lists from before the start, for those who are yet to be followed.
    recalled: HashMap<Selection, List>,
    running: HashMap<Selection, Arc<AtomicBool>>,
    /// What services claim routes by, if they may.
    claims: Option<(ServiceRoutes, Arc<AtomicBool>)>,
    /// What the survey is to find out; none runs before something is.
    wanted: Option<channel::Sender<Wanted>>,
    /// Datacenters whose catalogue is looked at, since there are more services than queries.
    catalogues: HashMap<Option<String>, Arc<AtomicBool>>,
    /// Prefixes that are followed.
    read: BTreeSet<String>,
    tasks: JoinSet<()>,
}

/// What all watches lean on.
#[derive(Debug)]
struct Shared {
    agent: Agent,
    settings: Consul,
    /// Whether we can be called, and call, in the mesh.
    in_mesh: bool,
    place: Place,
    queries: Semaphore,
    lanes: Arc<Lanes>,
    everywhere: Everywhere,
    is_server: OnceCell<bool>,
    updates: mpsc::Sender<Update>,
}

impl Shared {
    /// Stale reads only by way of a client agent: a server that was just restarted replays its log to them. None if the
    /// agent did not say what it is.
    async fn mode(&self) -> Option<Consistency> {
        if self.settings.consistency == Consistency::Default {
            return Some(Consistency::Default);
        }
        let ask = || async {
            match self.agent.is_server().await {
                // It may not be told: then the careful answer holds for good.
                Err(Failure::Denied { .. }) => Ok(true),
                told => told,
            }
        };
        let is_server = self.is_server.get_or_try_init(ask).await.ok()?;
        Some(if *is_server { Consistency::Default } else { self.settings.consistency })
    }
}

impl Watches {
    /// Follows nothing yet; lists will go to `updates`.
    /// The first answer of a service that is among the `recalled` is judged by what is there.
    pub fn new(
        config: &Config,
        metrics: &Arc<Metrics>,
        updates: mpsc::Sender<Update>,
        recalled: HashMap<Selection, List>,
    ) -> Result<Self, Error> {
        let settings = &config.consul;
        let agent = Agent::new(settings)?;
        let shared = Shared {
            lanes: Lanes::new(agent.lanes()),
            everywhere: Everywhere::default(),
            agent,
            settings: settings.clone(),
            in_mesh: config.mesh.is_some(),
            place: config.place.clone(),
            queries: Semaphore::new(settings.max_queries),
            is_server: OnceCell::new(),
            updates,
        };
        let (shared, metrics) = (Arc::new(shared), Arc::clone(metrics));
        let (running, catalogues, tasks) = (HashMap::new(), HashMap::new(), JoinSet::new());
        let (claims, wanted, read) = (None, None, BTreeSet::new());
        Ok(Watches { shared, metrics, recalled, running, claims, wanted, catalogues, read, tasks })
    }

    /// Finds out from now on what this configuration prefers somebody by, going on from what is known, and asks at once.
    pub fn survey(&mut self, config: &Config, known: &Arc<Vantage>) {
        let wanted = Wanted::of(config);
        if let Some(survey) = &self.wanted {
            survey.send_replace(wanted);
        } else if wanted.asks(&self.shared.place) {
            let (sender, receiver) = channel::channel(wanted);
            self.tasks.spawn(Survey::new(&self.shared, receiver, known).run());
            self.wanted = Some(sender);
        }
    }

    /// Follows what stands under a prefix from now on, going on from what is known of it.
    pub fn read(&mut self, prefix: &str, known: Option<&Arc<Documents>>) {
        if self.read.insert(prefix.to_owned()) {
            let series = self.metrics.watch(&format!("kv:{prefix}"));
            self.tasks.spawn(documents::Reading::new(&self.shared, prefix, series).run(known.cloned()));
        }
    }

    /// Follows what configuration entries say of services.
    pub fn attend(&mut self) {
        for kind in Kind::ALL {
            self.tasks.spawn(entries::follow(Arc::clone(&self.shared), kind));
        }
    }

    /// Looks who has a name, for so long at most; what it shows comes with the updates.
    pub fn look(&mut self, name: Name, within: Duration) {
        while self.tasks.try_join_next().is_some() {}
        let shared = Arc::clone(&self.shared);
        self.tasks.spawn(async move {
            let looked = look::look(Arc::clone(&shared), name, within).await;
            // Fails only when discovery has ended.
            let _ = shared.updates.send(Update::Looked(looked)).await;
        });
    }

    /// Finds out from now on which services announce routes in this way.
    pub fn announce(&mut self, settings: Option<&ServiceRoutes>) {
        if self.claims.as_ref().map(|(known, _)| known) == settings {
            return;
        }
        if let Some((_, wanted)) = self.claims.take() {
            wanted.store(false, Ordering::Release);
        }
        let Some(settings) = settings else { return };
        let wanted = Arc::new(AtomicBool::new(true));
        self.tasks.spawn(Announced::new(&self.shared, &wanted, settings).run());
        self.claims = Some((settings.clone(), wanted));
    }

    /// Follows these from now on, and no others. A query that waits is not broken off: the agent would keep its slot all
    /// the same; its watch ends when it returns.
    pub fn follow(&mut self, selections: &BTreeSet<Selection>) {
        while self.tasks.try_join_next().is_some() {}
        self.running.retain(|selection, wanted| {
            wanted.store(selections.contains(selection), Ordering::Release);
            selections.contains(selection)
        });
        for selection in selections {
            if !self.running.contains_key(selection) {
                let wanted = Arc::new(AtomicBool::new(true));
                let series = self.metrics.watch(&selection.to_string());
                let recalled = self.recalled.remove(selection);
                let watch = watch::Watch::new(&self.shared, selection.clone(), series, Arc::clone(&wanted), recalled);
                self.tasks.spawn(watch.run());
                self.running.insert(selection.clone(), wanted);
            }
        }
        // Whoever comes later was not followed before the start, or so long ago that it says nothing.
        self.recalled.clear();
        self.look_at_catalogues(selections);
    }

    /// Where there are more services than queries: so that those who have none are asked when something has happened.
    fn look_at_catalogues(&mut self, selections: &BTreeSet<Selection>) {
        let waits = |selection: &&Selection| selection.lookup != Lookup::Query;
        let (services, most) = (selections.iter().filter(waits).count(), self.shared.settings.max_queries);
        let is_ours = |selection: &&Selection| selection.peer.is_none() && services > most;
        let datacenters: BTreeSet<Option<&String>> =
            selections.iter().filter(waits).filter(is_ours).map(|selection| selection.datacenter.as_ref()).collect();
        if !datacenters.is_empty() && self.catalogues.is_empty() {
            warn!(
                services,
                max_queries = most,
                "more services than queries may be held open: the rest are asked by turns, every {:?}, and sooner when an instance \
                 comes or goes; raise consul.max_queries together with the agent's limits.http_max_conns_per_client, or use an \
                 https address, where one connection carries many",
                watch::SWEEP
            );
        }
        self.catalogues.retain(|datacenter, wanted| {
            wanted.store(datacenters.contains(&datacenter.as_ref()), Ordering::Release);
            datacenters.contains(&datacenter.as_ref())
        });
        for datacenter in datacenters {
            if !self.catalogues.contains_key(&datacenter.cloned()) {
                let wanted = Arc::new(AtomicBool::new(true));
                self.tasks.spawn(Catalogue::new(&self.shared, datacenter.cloned(), &wanted).run());
                self.catalogues.insert(datacenter.cloned(), wanted);
            }
        }
    }
}
