//! lictor's own entry in Consul's catalogue, and those of applications beside it that make none themselves: put in when they can be
//! used, put in again when the agent has lost them, and taken out before the end.
//!
//! The agent is the one to tell, not the catalogue: it keeps what it was told in step with the servers, and asks for health where
//! it can. `definition` says what it is told, pure; an `entry` is one instance's life; `command` runs checks that are programs. Here
//! is who has an entry at all. Nothing of this is on the way of a request, and none of it ends the process: an agent that refuses is
//! reported, counted, and asked again.

mod command;
mod definition;
mod entry;
mod tell;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::config;
use crate::consul::{Agent, Error};
use crate::lifecycle::Readiness;
use crate::metrics::Metrics;

use definition::Definition;
pub use definition::Here;
use entry::{Entry, Order};

/// How long whoever is not wanted any more stays for those who come in its place.
const OVERLAP: Duration = Duration::from_secs(5);

/// Says who is to be entered, and when it is over. For the app, which lives on other threads.
#[derive(Debug, Clone)]
pub struct Presence {
    told: watch::Sender<Told>,
    left: watch::Receiver<bool>,
}

/// What the registrar was told last.
#[derive(Debug, Clone, Default)]
struct Told {
    wanted: Option<config::Registration>,
    /// Whether lictor itself is not to be found for now.
    is_withdrawn: bool,
    is_over: bool,
}

/// Keeps entries.
#[derive(Debug)]
pub struct Registrar {
    agent: Arc<Agent>,
    readiness: Readiness,
    metrics: Arc<Metrics>,
    here: Here,
    told: watch::Receiver<Told>,
    left: watch::Sender<bool>,
    held: HashMap<Arc<str>, Held>,
    lives: JoinSet<()>,
}

/// An entry from outside.
#[derive(Debug)]
struct Held {
    orders: watch::Sender<Order>,
    entered: watch::Receiver<bool>,
}

impl Presence {
    /// Others are wanted from now on.
    pub fn change(&self, wanted: Option<config::Registration>) {
        self.told.send_if_modified(|told| {
            let is_other = told.wanted != wanted;
            told.wanted = wanted;
            is_other
        });
    }

    /// Takes lictor itself out for as long as that is so; those beside it stay.
    pub fn withdraw(&self, is_withdrawn: bool) {
        self.told.send_if_modified(|told| std::mem::replace(&mut told.is_withdrawn, is_withdrawn) != is_withdrawn);
    }

    /// Takes everybody out, and returns once the agent has said so to all of it, or after that time. It goes on being tried then,
    /// for as long as the registrar runs.
    pub async fn leave(&self, most: Duration) {
        self.told.send_modify(|told| told.is_over = true);
        let mut left = self.left.clone();
        // An error means that the registrar is gone, and nothing more can be done.
        let _ = timeout(most, left.wait_for(|left| *left)).await;
    }
}

impl Registrar {
    /// One that enters these, as soon as it runs, and what to tell it later.
    pub fn new(
        config: &config::Config,
        here: Here,
        readiness: Readiness,
        metrics: &Arc<Metrics>,
    ) -> Result<(Registrar, Presence), Error> {
        let (teller, told) = watch::channel(Told { wanted: config.registration.clone(), ..Told::default() });
        let (left, has_left) = watch::channel(false);
        let registrar = Registrar {
            agent: Arc::new(Agent::new(&config.consul)?),
            readiness,
            metrics: Arc::clone(metrics),
            here,
            told,
            left,
            held: HashMap::new(),
            lives: JoinSet::new(),
        };
        Ok((registrar, Presence { told: teller, left: has_left }))
    }

    /// Runs until everybody has been taken out because it was told so.
    pub async fn run(mut self) {
        loop {
            let Told { wanted, is_withdrawn, is_over } = self.told.borrow_and_update().clone();
            if is_over {
                break;
            }
            let mut wanted = wanted.unwrap_or_default();
            wanted.own.take_if(|_| is_withdrawn);
            self.follow(&wanted).await;
            if self.told.changed().await.is_err() {
                break;
            }
        }
        for held in self.held.values() {
            held.orders.send_modify(Order::end);
        }
        while self.lives.join_next().await.is_some() {}
        self.left.send_replace(true);
    }

    /// Has these entered, and nobody else. Who comes in somebody's place comes before that one leaves.
    async fn follow(&mut self, wanted: &config::Registration) {
        while self.lives.try_join_next().is_some() {}
        let definitions = definition::all(wanted, &self.here);
        let mut unwanted: Vec<Arc<str>> = self.held.keys().cloned().collect();
        for definition in definitions {
            unwanted.retain(|id| *id != definition.id);
            self.hold(definition);
        }
        if !unwanted.is_empty() {
            let all_entered = async {
                for (id, held) in &self.held {
                    if !unwanted.contains(id) {
                        let _ = held.entered.clone().wait_for(|entered| *entered).await;
                    }
                }
            };
            tokio::select! {
                _ = timeout(OVERLAP, all_entered) => {}
                _ = self.told.changed() => self.told.mark_changed(),
            }
        }
        for id in unwanted {
            if let Some(held) = self.held.get(&id) {
                held.orders.send_replace(Order::Leave);
            }
        }
        self.held.retain(|_, held| !held.orders.is_closed());
    }

    /// Has this one entered, or what is there of it changed.
    fn hold(&mut self, definition: Definition) {
        let id = Arc::clone(&definition.id);
        let order = Order::Stay(Arc::new(definition));
        if let Some(held) = self.held.get(&id).filter(|held| !held.orders.is_closed()) {
            held.orders.send_if_modified(|now| std::mem::replace(now, order.clone()) != order);
            return;
        }
        let (orders, ordered) = watch::channel(order);
        let (entering, entered) = watch::channel(false);
        let series = self.metrics.registration(&id);
        let entry = Entry::new(Arc::clone(&self.agent), self.readiness.clone(), series, ordered, entering);
        self.lives.spawn_local(entry.run());
        self.held.insert(id, Held { orders, entered });
    }
}
