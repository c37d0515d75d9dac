//! Who is out there: joins the sources' lists with the configuration into tables. The only place that publishes.
//!
//! Sources send whole lists, never differences. Lists that come while a table is built are taken together into the next one,
//! so a storm of updates costs no more than the building does. What is known at all is in `memory`.

mod beside;
pub mod consul;
mod disk;
mod keeper;
mod memory;
mod said;
mod suspects;
mod told;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep_until;
use tracing::info;

use crate::config::{self, Config, Documents, OnStale, Selection};
use crate::consul::Error;
use crate::lifecycle::Readiness;
use crate::metrics::Metrics;
use crate::table::{Builder, Publisher, Table};
use beside::Beside;
use consul::{Update, Watches};
use memory::Memory;
use told::Told;

/// Updates that may wait; more make their senders wait, who then have one list each at hand and no more.
const WAITING: usize = 1024;

/// Joins sources and configuration.
pub struct Discovery {
    beside: Beside,
    told: Told,
    selections: BTreeSet<Selection>,
    builder: Builder,
    publisher: Publisher,
    readiness: Readiness,
    memory: Memory,
    watches: Watches,
    updates: mpsc::Receiver<Update>,
    reloads: mpsc::Receiver<Reload>,
}

/// A configuration to go on with, and whom to tell when its table is published.
#[derive(Debug)]
pub struct Reload {
    /// Already checked.
    pub config: Arc<Config>,
    /// Told once it is in force, or why it cannot be.
    pub done: oneshot::Sender<Result<(), config::Error>>,
}

impl Discovery {
    /// Discovery for this configuration, until another comes through `reloads`.
    pub fn new(
        config: Arc<Config>,
        (builder, publisher): (Builder, Publisher),
        readiness: Readiness,
        metrics: &Arc<Metrics>,
        reloads: mpsc::Receiver<Reload>,
    ) -> Result<Self, Error> {
        let (sender, updates) = mpsc::channel(WAITING);
        let memory = Memory::new(&config.consul, metrics, consul::given(&config.place));
        Ok(Discovery {
            watches: Watches::new(&config, metrics, sender, memory.recalled())?,
            memory,
            builder,
            selections: config.selections(),
            beside: Beside::new(&config),
            told: Told::new(config),
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
            let next = self.memory.next();
            tokio::select! {
                Some(update) = self.updates.recv() => {
                    // The one before the other: whoever was heard again is not stale any more.
                    if self.note(update) | self.memory.pass(Instant::now()) {
                        self.publish();
                    }
                }
                reload = self.reloads.recv() => match reload {
                    Some(reload) => self.reload(reload),
                    None => return,
                },
                () = at(next) => if self.memory.pass(Instant::now()) { self.publish() },
            }
        }
    }

    /// Remembers an update, and those that wait behind it; true if that changes what is known.
    fn note(&mut self, update: Update) -> bool {
        let (mut next, mut changed) = (Some(update), false);
        while let Some(update) = next {
            let is_elsewhere = matches!(update, Update::Confirmed(_) | Update::Unheard(_));
            changed |= !is_elsewhere;
            let now = Instant::now();
            match update {
                Update::List { selection, list, loss } => self.memory.hear(selection, list, loss, now),
                Update::About(..) => {}
                Update::Confirmed(selection) => self.memory.confirm(&selection, now),
                Update::Unheard(selection) => changed |= self.memory.miss(&selection),
                Update::Vantage(vantage) => self.memory.stand(vantage),
                Update::Documents { documents, .. } => self.read(documents),
                Update::Unread { why, .. } => self.beside.miss(why),
                Update::Read(_) => self.beside.confirm(),
            }
            next = self.updates.try_recv().ok();
        }
        changed
    }

    fn reload(&mut self, reload: Reload) {
        let joined = self.beside.rebase(&reload.config);
        let result = joined.map(|config| self.rebase(config));
        // Whoever asked may be gone.
        let _ = reload.done.send(result);
    }

    /// Takes over what stands beside the file, if it is good.
    fn read(&mut self, documents: Documents) {
        if let Some(config) = self.beside.hear(documents) {
            self.told.rebase(config);
            self.ask();
        }
    }

    fn rebase(&mut self, config: Arc<Config>) {
        self.told.rebase(config);
        self.ask();
        self.publish();
    }

    /// Has sources find out what the configuration needs, and nothing else.
    fn ask(&mut self) {
        self.selections = self.told.config().selections();
        self.memory.follow(&self.selections, Instant::now());
        self.watches.follow(&self.selections);
        self.watches.survey(self.told.config(), &self.memory.facts().vantage);
        if let Some(kv) = &self.told.config().kv {
            self.watches.read(&kv.prefix, self.beside.good().cloned());
        }
    }

    fn publish(&mut self) {
        self.memory.stand_beside(self.beside.facts());
        let config = self.told.config();
        let table = self.builder.build(config, self.memory.facts(), &self.publisher.current(), Instant::now());
        report(&self.publisher.current(), &table);
        if table.is_complete() {
            self.readiness.has_truth();
        }
        self.readiness.stale(config.consul.staleness.then == OnStale::Degrade && table.is_stale());
        self.publisher.publish(table);
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
