//! Who is out there: joins the sources' lists with the configuration into tables. The only place that publishes.
//!
//! Sources send whole lists, never differences. Lists that come while a table is built are taken together into the next one,
//! so a storm of updates costs no more than the building does. What is known at all is in `memory`.

mod beside;
mod claims;
pub mod consul;
mod disk;
mod egress;
mod hand;
mod history;
mod keeper;
mod memory;
mod said;
mod suspects;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep_until;
use tracing::info;

use crate::config::{self, Config, Documents, OnStale, Part, Selection, Serves};
use crate::consul::Error;
use crate::endpoint::{List, What};
use crate::journal::{Cause, Journal};
use crate::lifecycle::Readiness;
use crate::metrics::Metrics;
use crate::table::{Builder, Deed, Demands, Order, Orders, Publisher, Table, Wanted};
use beside::Beside;
use claims::Claims;
use consul::{Update, Watches};
use egress::Egress;
use hand::Done;
use history::Causes;
use memory::Memory;
use suspects::Loss;
use told::{Teller, Told};

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
    egress: Egress,
    /// What services claim, if they may.
    claims: Option<Claims>,
    /// What stands under keys of route commands, for a file that asks for them again.
    heard: BTreeMap<String, Documents>,
    metrics: Arc<Metrics>,
    journal: Arc<Journal>,
    /// What the next table is made for.
    causes: Causes,
    updates: mpsc::Receiver<Update>,
    reloads: mpsc::Receiver<Reload>,
    demands: Demands,
    orders: Orders,
    /// What operators have done by hand.
    done: Done,
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
    /// Discovery for this configuration, until another comes through `reloads`, and for what is asked for besides.
    pub fn new(
        config: Arc<Config>,
        (builder, publisher): (Builder, Publisher),
        readiness: Readiness,
        metrics: &Arc<Metrics>,
        (reloads, demands, orders): (mpsc::Receiver<Reload>, Demands, Orders),
    ) -> Result<Self, Error> {
        let (sender, updates) = mpsc::channel(WAITING);
        let memory = Memory::new(&config.consul, (metrics, builder.journal()), consul::given(&config.place));
        let mut beside = Beside::new(&config, memory.documents());
        let config = beside.first();
        let (recalled, now) = (memory.recalled(), Instant::now());
        let mut egress = Egress::new(&config, metrics, now);
        egress.recall(recalled.keys(), now);
        Ok(Discovery {
            watches: Watches::new(&config, metrics, sender, recalled)?,
            memory,
            journal: Arc::clone(builder.journal()),
            causes: Causes::default(),
            builder,
            egress,
            claims: None,
            heard: BTreeMap::new(),
            metrics: Arc::clone(metrics),
            selections: BTreeSet::new(),
            beside,
            told: Told::new(config),
            publisher,
            readiness,
            updates,
            reloads,
            demands,
            orders,
            done: Done::default(),
        })
    }

    /// Runs until nobody can reload any more, which is when the process ends.
    pub async fn run(mut self) {
        if self.told.config().listeners.iter().any(|listener| listener.serves != Serves::Routes) {
            self.watches.attend();
        }
        self.let_claim();
        self.retell();
        self.causes.add(Cause::Start);
        self.publish();
        loop {
            let claims = self.claims.as_ref().and_then(Claims::next);
            let next = self.memory.next().into_iter().chain(self.egress.next());
            let next = next.chain(claims).chain(self.done.next()).min();
            let sweep = self.publisher.next();
            tokio::select! {
                Some(update) = self.updates.recv() => {
                    // The one before the other: whoever was heard again is not stale any more.
                    if self.note(update) | self.step(Instant::now()) {
                        self.publish();
                    }
                }
                reload = self.reloads.recv() => match reload {
                    Some(reload) => self.reload(reload),
                    None => return,
                },
                Some(wanted) = self.demands.next() => self.want(wanted),
                Some(order) = self.orders.next() => self.obey(order),
                () = at(next) => self.pass(Instant::now()),
                () = at(sweep) => self.publisher.sweep(Instant::now()),
            }
        }
    }

    /// Hears who asks for a name, and all who wait behind.
    fn want(&mut self, wanted: Wanted) {
        let (mut next, mut found, now) = (Some(wanted), false, Instant::now());
        let table = self.publisher.current();
        while let Some(wanted) = next {
            if let Some(name) = self.egress.want(wanted, &table, now) {
                if self.egress.is_at_hand(&name, self.memory.facts()) {
                    found |= self.egress.found(name, &table, now);
                } else {
                    self.watches.look(name, self.egress.patience());
                }
            }
            next = self.demands.try_next();
        }
        if found {
            self.retell();
            self.causes.add(Cause::Name);
            self.publish();
        }
    }

    /// Brings all in step with time.
    fn pass(&mut self, now: Instant) {
        let forgotten = self.egress.pass(&self.publisher.current(), now);
        if forgotten {
            self.retell();
        }
        let waited = self.claims.as_ref().and_then(Claims::next).is_some_and(|next| next <= now);
        let is_over = self.done.pass(now);
        if is_over {
            self.causes.add(Cause::ByHand);
        }
        if self.step(now) | forgotten | waited | is_over {
            self.publish();
        }
    }

    /// Does by hand what an operator wants done.
    fn obey(&mut self, order: Order) {
        let (table, now) = (self.publisher.current(), Instant::now());
        let obeyed = self.done.obey(&order, &table, now);
        if obeyed == Ok(true) {
            self.causes.add(Cause::ByHand);
            self.publish();
        }
        if obeyed.is_ok() && order.deed == Deed::TakeBack(What::Ejected) {
            let table = self.publisher.current();
            let cluster = table.find_cluster(&order.cluster);
            let member = cluster.and_then(|cluster| {
                cluster.members().iter().find(|member| *member.endpoint.address() == order.endpoint)
            });
            if let Some((cluster, member)) = cluster.zip(member) {
                cluster.pardon(&member.endpoint, now);
            }
        }
        // Whoever asked may be gone.
        let _ = order.done.send(obeyed.map(drop));
    }

    /// Brings all that is known in step with time; true if that changes it.
    fn step(&mut self, now: Instant) -> bool {
        let falls_back = self.memory.falls_back(now) && self.beside.fall_back();
        falls_back | self.memory.pass(now)
    }

    /// Remembers an update, and those that wait behind it; true if that changes what is known.
    fn note(&mut self, update: Update) -> bool {
        let (mut next, mut changed, mut retold) = (Some(update), false, false);
        let (mut found, now) = (Vec::new(), Instant::now());
        while let Some(update) = next {
            let is_elsewhere = matches!(
                update,
                Update::Confirmed(_) | Update::Unheard(_) | Update::About(..) | Update::Entries(..) | Update::Looked(_)
            );
            changed |= !is_elsewhere;
            retold |= matches!(update, Update::About(..) | Update::Entries(..));
            self.count_as_cause(&update);
            match update {
                Update::List { selection, list, loss } => self.memory.hear(selection, list, loss, now),
                Update::About(selection, about) => self.egress.hear(selection, about),
                Update::Entries(kind, entries) => self.egress.enter(kind, entries),
                Update::Looked(looked) => found.extend(self.egress.looked(looked, &self.publisher.current(), now)),
                Update::Confirmed(selection) => self.memory.confirm(&selection, now),
                Update::Unheard(selection) => {
                    if self.memory.miss(&selection) {
                        self.causes.add(Cause::FromDisk);
                        changed = true;
                    }
                }
                Update::Vantage(vantage) => self.memory.stand(vantage),
                Update::Announced(names) => self.claims.iter_mut().for_each(|claims| claims.announced(&names)),
                Update::Documents { prefix, documents } => self.read(&prefix, documents),
                Update::Unread { prefix, why } if self.is_beside(&prefix) => self.beside.miss(why),
                Update::Read(prefix) if self.is_beside(&prefix) => self.beside.confirm(),
                Update::Unread { .. } | Update::Read(_) => {}
            }
            next = self.updates.try_recv().ok();
        }
        if retold || !found.is_empty() {
            changed |= self.retell();
        }
        changed | self.take_over(found, now)
    }

    /// Notes what may be the cause of the next table.
    fn count_as_cause(&mut self, update: &Update) {
        let cause = match update {
            Update::List { selection, .. } => {
                let source = selection.to_string();
                Cause::List { index: self.metrics.watch(&source).accepted_index(), source }
            }
            Update::About(..) | Update::Entries(..) | Update::Announced(_) => Cause::Claims,
            Update::Looked(_) => Cause::Name,
            Update::Vantage(_) => Cause::Place,
            Update::Documents { .. } => Cause::Documents,
            Update::Confirmed(_) | Update::Unheard(_) | Update::Unread { .. } | Update::Read(_) => return,
        };
        self.causes.add(cause);
    }

    /// Serves by what a look has shown until there is something better; true if there is nothing yet.
    fn take_over(&mut self, found: Vec<(Selection, List)>, now: Instant) -> bool {
        let mut changed = false;
        for (selection, list) in found {
            if !self.memory.facts().lists.contains_key(&selection) {
                self.memory.hear(selection, list, Loss::Plain, now);
                changed = true;
            }
        }
        changed
    }

    fn reload(&mut self, reload: Reload) {
        let result = self.beside.rebase(&reload.config).map(|config| {
            self.causes.add(Cause::Reload);
            self.rebase(config);
        });
        // Whoever asked may be gone.
        let _ = reload.done.send(result);
    }

    /// Takes over what stands under a prefix, if it is good: documents beside the file, or route commands.
    fn read(&mut self, prefix: &str, documents: Documents) {
        if let Some(claims) = self.claims.as_mut().filter(|claims| claims.settings().kv.as_deref() == Some(prefix)) {
            claims.ordered(&documents);
        }
        if self.heard.contains_key(prefix) || !self.is_beside(prefix) {
            self.heard.insert(prefix.to_owned(), documents.clone());
        }
        if self.is_beside(prefix)
            && let Some(config) = self.beside.hear(documents)
        {
            self.told.rebase(config);
            self.let_claim();
            self.retell();
        }
    }

    /// True if documents beside the file stand under that prefix.
    fn is_beside(&self, prefix: &str) -> bool {
        self.told.base().kv.as_ref().is_some_and(|kv| kv.prefix == prefix)
    }

    /// Lets services claim what the file says they may, going on from what is known if it says what it did.
    fn let_claim(&mut self) {
        let settings = self.told.base().service_routes.as_ref();
        self.watches.announce(settings);
        match (settings, &mut self.claims) {
            (Some(settings), Some(claims)) if claims.settings() == settings => claims.rebase(),
            (Some(settings), claims) => {
                let (known, now) = (self.memory.known(), Instant::now());
                let mut next = Claims::new(settings, &self.metrics, known.iter(), now);
                if let Some(before) = self.memory.commands() {
                    next.recall(before, now);
                }
                let is_same = claims.as_mut().is_some_and(|claims| next.succeed(claims));
                // Nobody is told twice what stands under a key.
                let heard = settings.kv.as_ref().and_then(|key| self.heard.get(key));
                if let Some(heard) = heard.filter(|_| !is_same) {
                    next.ordered(heard);
                }
                *claims = Some(next);
            }
            (None, claims) => {
                *claims = None;
                self.told.hear(Teller::Services, Part::default());
            }
        }
    }

    /// Brings what services claim in step with what is known of them.
    fn claim(&mut self) {
        let Some(claims) = &mut self.claims else { return self.memory.await_routes(false) };
        let (lists, now) = (&self.memory.facts().lists, Instant::now());
        if !claims.is_due(lists, now) {
            return;
        }
        claims.follow(lists);
        let part = claims.part(self.told.base(), lists, now);
        let changed = part.is_some_and(|part| self.told.hear(Teller::Services, part));
        claims.rest(now.elapsed(), Instant::now());
        self.memory.await_routes(!claims.is_settled());
        if changed || self.wanted() != self.selections {
            self.ask();
        }
    }

    /// What the configuration needs, and what claims are read from.
    fn wanted(&self) -> BTreeSet<Selection> {
        let mut wanted = self.told.config().selections();
        wanted.extend(self.claims.iter().flat_map(Claims::selections).cloned());
        wanted
    }

    fn rebase(&mut self, config: Arc<Config>) {
        self.told.rebase(config);
        self.let_claim();
        self.retell();
        self.publish();
    }

    /// Puts together what everybody has told, and has sources find out what that needs; true if it is something else than before.
    fn retell(&mut self) -> bool {
        let part = self.egress.part(self.told.base());
        let changed = self.told.hear(Teller::Egress, part);
        self.ask();
        self.egress.keep(&self.selections);
        changed
    }

    /// Has sources find out what the configuration needs, and nothing else.
    fn ask(&mut self) {
        self.selections = self.wanted();
        self.memory.follow(&self.selections, Instant::now());
        self.watches.follow(&self.selections);
        self.watches.survey(self.told.config(), &self.memory.facts().vantage);
        if let Some(kv) = &self.told.config().kv {
            self.watches.read(&kv.prefix, self.beside.good());
        }
        if let Some(key) = self.claims.as_ref().and_then(|claims| claims.settings().kv.as_deref()) {
            self.watches.read(key, self.claims.as_ref().and_then(Claims::good));
        }
    }

    fn publish(&mut self) {
        self.claim();
        self.memory.stand_beside(self.beside.facts(), self.beside.good());
        self.memory.obey(self.claims.as_ref().and_then(Claims::good));
        self.memory.heed(self.done.measures());
        let config = self.told.config();
        let table = self.builder.build(config, self.memory.facts(), &self.publisher.current(), Instant::now());
        let causes = self.causes.take();
        let written = history::of(&self.publisher.current(), &table, causes);
        report(&self.publisher.current(), &table);
        if table.is_complete() {
            self.readiness.has_truth();
        }
        self.readiness.stale(config.consul.staleness.then == OnStale::Degrade && table.is_stale());
        self.publisher.publish(table);
        self.journal.note(written);
        self.egress.published(&self.publisher.current());
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
    let mut place = 0;
    for cluster in new.clusters() {
        let before = old.find_near(&mut place, cluster.name());
        place += usize::from(before.is_some());
        if before.is_none_or(|before| !Arc::ptr_eq(before, cluster)) {
            let usable = cluster.members().iter().filter(|member| member.is_usable()).count();
            info!(cluster = %cluster.name(), endpoints = cluster.members().len(), usable, table = new.version, "updated");
        }
    }
}
