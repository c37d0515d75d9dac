//! Who is out there: joins the sources' lists with the configuration into tables. The only place that publishes.
//!
//! Sources send whole lists, never differences. Lists that come while a table is built are taken together into the next one,
//! so a storm of updates costs no more than the building does. What time alone changes (`said`, `suspects`) has one timer.

pub mod consul;
mod said;
mod suspects;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep_until;
use tracing::{info, warn};

use crate::config::{Config, OnStale, Selection};
use crate::endpoint::{Age, List};
use crate::lifecycle::Readiness;
use crate::metrics::Metrics;
use crate::table::{Builder, Facts, Publisher, Table};
use consul::{Update, Watches};
use said::Said;
use suspects::Loss;

/// Updates that may wait; more make their senders wait, who then have one list each at hand and no more.
const WAITING: usize = 1024;

/// Joins sources and configuration.
pub struct Discovery {
    config: Arc<Config>,
    selections: BTreeSet<Selection>,
    builder: Builder,
    publisher: Publisher,
    readiness: Readiness,
    facts: Facts,
    said: HashMap<Selection, Said>,
    watches: Watches,
    metrics: Arc<Metrics>,
    updates: mpsc::Receiver<Update>,
    reloads: mpsc::Receiver<Reload>,
}

/// A configuration to go on with, and whom to tell when its table is published.
#[derive(Debug)]
pub struct Reload {
    /// Already checked.
    pub config: Arc<Config>,
    /// Told once it is in force.
    pub done: oneshot::Sender<()>,
}

impl Discovery {
    /// Discovery for this configuration, until another comes through `reloads`.
    pub fn new(
        config: Arc<Config>,
        (builder, publisher): (Builder, Publisher),
        readiness: Readiness,
        metrics: &Arc<Metrics>,
        reloads: mpsc::Receiver<Reload>,
    ) -> Result<Self, consul::Error> {
        let (sender, updates) = mpsc::channel(WAITING);
        Ok(Discovery {
            watches: Watches::new(&config, metrics, sender)?,
            facts: Facts { vantage: Arc::new(consul::given(&config.place)), ..Facts::default() },
            said: HashMap::new(),
            metrics: Arc::clone(metrics),
            builder,
            selections: config.selections(),
            config,
            publisher,
            readiness,
            updates,
            reloads,
        })
    }

    /// Runs until nobody can reload any more, which is when the process ends.
    pub async fn run(mut self) {
        self.ask();
        self.publish();
        loop {
            let next = self.next();
            tokio::select! {
                Some(update) = self.updates.recv() => {
                    // The one before the other: whoever was heard again is not stale any more.
                    if self.note(update) | self.pass(Instant::now()) {
                        self.publish();
                    }
                }
                reload = self.reloads.recv() => match reload {
                    Some(reload) => self.reload(reload),
                    None => return,
                },
                () = at(next) => if self.pass(Instant::now()) { self.publish() },
            }
        }
    }

    /// When time will next change anything.
    fn next(&self) -> Option<Instant> {
        self.said.values().filter_map(Said::next).min()
    }

    /// Brings what is known in step with time; true if that changes anything.
    fn pass(&mut self, now: Instant) -> bool {
        let mut changed = false;
        for (selection, said) in &mut self.said {
            let passed = said.pass(now);
            if passed.list
                && let Some(list) = said.served()
            {
                self.facts.lists.insert(selection.clone(), list);
            }
            if passed.freshness {
                self.facts.freshness.insert(selection.clone(), said.freshness());
                let is_stale = said.freshness().age != Age::Fresh;
                self.metrics.watch(&selection.to_string()).stale(is_stale);
                say(selection, is_stale);
            }
            changed |= passed.list || passed.freshness;
        }
        changed
    }

    /// Takes a source's list over.
    fn hear(&mut self, selection: Selection, list: List, loss: Loss) {
        let Some(said) = self.said.get_mut(&selection) else { return };
        said.hear(list, loss, Instant::now());
        let suspects = said.suspects();
        if loss == Loss::Mass && suspects > 0 {
            warn!(service = %selection, suspects, "most of the list went at once: who served is kept for a while, as the last to be asked");
        }
        if let Some(list) = said.served() {
            self.facts.lists.insert(selection, list);
        }
    }

    /// Remembers an update, and those that wait behind it; true if that changes what is known.
    fn note(&mut self, update: Update) -> bool {
        let (mut next, mut changed) = (Some(update), false);
        while let Some(update) = next {
            changed |= !matches!(update, Update::Confirmed(_));
            match update {
                Update::List { selection, list, loss } => self.hear(selection, list, loss),
                Update::Confirmed(selection) => {
                    // A watch that has just been given up may have been on its way.
                    self.said.get_mut(&selection).into_iter().for_each(|said| said.confirm(Instant::now()));
                }
                Update::Vantage(vantage) => self.facts.vantage = vantage,
            }
            next = self.updates.try_recv().ok();
        }
        changed
    }

    fn reload(&mut self, reload: Reload) {
        self.config = reload.config;
        self.selections = self.config.selections();
        self.said.retain(|selection, _| self.selections.contains(selection));
        self.facts.lists.retain(|selection, _| self.selections.contains(selection));
        self.facts.freshness.retain(|selection, _| self.selections.contains(selection));
        self.ask();
        self.publish();
        // Whoever asked may be gone.
        let _ = reload.done.send(());
    }

    /// Has sources find out what the configuration needs, and nothing else.
    fn ask(&mut self) {
        let now = Instant::now();
        for selection in &self.selections {
            self.said.entry(selection.clone()).or_insert_with(|| Said::new(&self.config.consul, now));
        }
        self.watches.follow(&self.selections);
        self.watches.survey(&self.config, &self.facts.vantage);
    }

    fn publish(&self) {
        let table = self.builder.build(&self.config, &self.facts, &self.publisher.current(), Instant::now());
        report(&self.publisher.current(), &table);
        if table.is_complete() {
            self.readiness.has_truth();
        }
        self.readiness.stale(self.config.consul.staleness.then == OnStale::Degrade && table.is_stale());
        self.publisher.publish(table);
    }
}

fn say(selection: &Selection, is_stale: bool) {
    if is_stale {
        warn!(service = %selection, "stale: nothing good was heard of it for longer than consul.max_stale");
    } else {
        info!(service = %selection, "not stale any more");
    }
}

/// Returns then, or never.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

fn report(old: &Table, new: &Table) {
    for cluster in new.clusters() {
        let before = old.find_cluster(cluster.name());
        if before.is_none_or(|before| !Arc::ptr_eq(before, cluster)) {
            let usable = cluster.members().iter().filter(|member| member.is_usable()).count();
            info!(cluster = %cluster.name(), endpoints = cluster.members().len(), usable, table = new.version, "updated");
        }
    }
}
