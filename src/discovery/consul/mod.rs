//! Following services in Consul, each by one blocking query on `/v1/health/service/:name`. `follow` says what an answer is
//! worth, `rights` whether it is the whole of it, `model` reads; here they make a watch. And
//! finding out where we stand, where some cluster prefers who is near: `survey` asks for the `place` that the agent knows and
//! for `coordinate`s. Apart from all that, `certificates` follows a prefix of the KV store.

mod certificates;
mod coordinate;
mod follow;
mod model;
mod place;
mod rights;
mod survey;
mod watch;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{OnceCell, Semaphore, mpsc, watch as channel};
use tokio::task::JoinSet;
use tracing::warn;

use super::suspects::Loss;
use crate::config::{Config, Consistency, Consul, Place, Selection};
use crate::consul::{Agent, Error, Failure};
use crate::endpoint::{List, Vantage};
use crate::metrics::Metrics;

pub use certificates::Certificates;
#[doc(hidden)]
pub use model::parse as parse_health;
use place::Wanted;
pub use place::given;
use survey::Survey;

/// Services that are asked by turns, for want of a query of their own, share this many connections.
const SWEEPERS: usize = 4;

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
    /// A service's list still is what it was.
    Confirmed(Selection),
    /// A service could not be asked for, for the first time or after it could.
    Unheard(Selection),
    /// Where we stand, as of now; another one only if something would be chosen by it otherwise than before.
    Vantage(Arc<Vantage>),
}

/// Services that are followed.
#[derive(Debug)]
pub struct Watches {
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    /// Lists from before the start, for those who are yet to be followed.
    recalled: HashMap<Selection, List>,
    running: HashMap<Selection, Arc<AtomicBool>>,
    /// What the survey is to find out; none runs before something is.
    wanted: Option<channel::Sender<Wanted>>,
    tasks: JoinSet<()>,
    started: usize,
}

/// What all watches lean on.
#[derive(Debug)]
struct Shared {
    agent: Agent,
    settings: Consul,
    place: Place,
    queries: Semaphore,
    sweepers: Semaphore,
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
        Some(if *is_server { Consistency::Default } else { Consistency::Stale })
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
        let shared = Shared {
            agent: Agent::new(settings)?,
            settings: settings.clone(),
            place: config.place.clone(),
            queries: Semaphore::new(settings.max_queries),
            sweepers: Semaphore::new(SWEEPERS),
            is_server: OnceCell::new(),
            updates,
        };
        let (shared, metrics) = (Arc::new(shared), Arc::clone(metrics));
        let (running, tasks) = (HashMap::new(), JoinSet::new());
        Ok(Watches { shared, metrics, recalled, running, wanted: None, tasks, started: 0 })
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
                let who = (selection.clone(), self.started);
                let watch = watch::Watch::new(&self.shared, who, series, Arc::clone(&wanted), recalled);
                self.started += 1;
                self.tasks.spawn(watch.run());
                self.running.insert(selection.clone(), wanted);
            }
        }
        // Whoever comes later was not followed before the start, or so long ago that it says nothing.
        self.recalled.clear();
        let most = self.shared.settings.max_queries;
        if selections.len() > most {
            warn!(
                services = selections.len(),
                max_queries = most,
                "more services than queries may be held open: the rest are asked by turns every {:?}; raise \
                 consul.max_queries together with the agent's limits.http_max_conns_per_client, or use an https address, \
                 where one connection carries many",
                watch::SWEEP
            );
        }
    }
}
