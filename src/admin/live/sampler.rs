//! Takes samples: reads every cluster, remembers what it has said of each, and says what is different. A cluster is told of whole or
//! not at all: that is a line of text to compare, whatever there is in it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use serde::Serialize;

use super::view::{self, Clock, WatchView};
use super::window::{Figures, POINTS, Past, Sum, Window};
use super::{INTERVAL, Sight};
use crate::admin::events::EntryView;
use crate::journal::Entry;
use crate::table::Table;

/// What a sample reads anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Everything: a second is over.
    Figures,
    /// How everybody stands, with the figures of the second before.
    Standings,
}

/// What has been said so far.
pub(super) struct Sampler {
    sight: Sight,
    clock: Clock,
    clusters: BTreeMap<Arc<str>, Known>,
    watches: Vec<WatchView>,
    totals: Totals,
    past: Past,
    /// When the figures were read last.
    read: Option<Instant>,
    now: u64,
    /// The number of the last event that was told.
    told: u64,
}

/// Events and tables that somebody is told of who comes new.
const EVENTS: usize = 100;
const TABLES: usize = 30;

/// What is known of a cluster.
#[derive(Default)]
struct Known {
    window: Window,
    figures: Figures,
    past: Past,
    /// As it was said last.
    said: String,
}

#[derive(Default, Clone, Copy, Serialize)]
struct Totals {
    #[serde(flatten)]
    figures: Figures,
    in_flight: u32,
    connections: u32,
}

/// What stands before the clusters in each message.
#[derive(Serialize)]
struct Head<'a> {
    /// The time here.
    now: u64,
    /// Whether it is another second than that of the message before.
    tick: bool,
    lictor: Lictor,
    table: TableView,
    totals: Totals,
    #[serde(skip_serializing_if = "Option::is_none")]
    watches: Option<&'a [WatchView]>,
    /// Of all clusters together, for those who know nothing yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    past: Option<&'a Past>,
    /// Clusters that are not there any more.
    gone: Vec<String>,
    /// What has happened, the oldest first.
    events: Vec<EntryView<'a>>,
    /// What was published, the oldest first.
    tables: Vec<EntryView<'a>>,
}

#[derive(Serialize)]
struct Lictor {
    name: String,
    version: &'static str,
    ready: bool,
    /// What keeps it from being ready.
    blocker: Option<&'static str>,
}

#[derive(Serialize)]
struct TableView {
    version: u64,
    /// When it was published; none if that is forgotten.
    time: Option<u64>,
}

impl Sampler {
    pub(super) fn new(sight: Sight, now: Instant) -> Self {
        Sampler {
            sight,
            clock: Clock::new(now),
            clusters: BTreeMap::new(),
            watches: Vec::new(),
            totals: Totals::default(),
            past: Past::default(),
            read: None,
            now: 0,
            told: 0,
        }
    }

    /// Takes a sample, and says what is different from the one before.
    pub(super) fn take(&mut self, now: Instant, scope: Scope) -> Bytes {
        self.clock = self.clock.set(now);
        self.now = self.clock.millis(now);
        let table = self.sight.reader.load();
        let gone = self.forget(&table);
        if scope == Scope::Figures {
            self.read_figures(&table, now);
        }
        let changed = self.say(&table, now);
        let watches = self.follow();
        let said = changed.iter().filter_map(|name| self.clusters.get(name));
        let clusters: Vec<&str> = said.map(|known| known.said.as_str()).collect();
        let entries = self.sight.journal.since(self.told).entries;
        let (tables, events) = told(&entries);
        let watches = watches.then_some(&*self.watches);
        let head = Head { watches, gone, events, tables, ..self.head(scope, &table) };
        let message = message("change", &head, &clusters);
        self.told = entries.last().map_or(self.told, |last| last.id);
        message
    }

    /// The number of the last event that was told.
    pub(super) fn told(&self) -> u64 {
        self.told
    }

    /// Everything as of the last sample.
    pub(super) fn whole(&self) -> Bytes {
        let clusters: Vec<String> =
            self.clusters.values().map(|known| with(&known.said, "past", &known.past)).collect();
        let clusters: Vec<&str> = clusters.iter().map(String::as_str).collect();
        let table = self.sight.reader.load();
        // What came since the last sample is in the next.
        let mut entries = self.sight.journal.since(0).entries;
        entries.retain(|entry| entry.id <= self.told);
        let (mut tables, mut events) = told(&entries);
        tables.drain(..tables.len().saturating_sub(TABLES));
        events.drain(..events.len().saturating_sub(EVENTS));
        let (watches, past) = (Some(&*self.watches), Some(&self.past));
        let head = Head { watches, past, events, tables, ..self.head(Scope::Standings, &table) };
        message("whole", &head, &clusters)
    }

    fn head(&self, scope: Scope, table: &Table) -> Head<'_> {
        let blocker = self.sight.readiness.blocker();
        let lictor = Lictor { name: host(), version: env!("CARGO_PKG_VERSION"), ready: blocker.is_none(), blocker };
        let published = self.sight.journal.tables().last().map(|entry| view::millis(entry.at));
        Head {
            now: self.now,
            tick: scope == Scope::Figures,
            lictor,
            table: TableView { version: table.version, time: published },
            totals: self.totals,
            watches: None,
            past: None,
            gone: Vec::new(),
            events: Vec::new(),
            tables: Vec::new(),
        }
    }

    /// Drops those that are not in the table, and says which.
    fn forget(&mut self, table: &Table) -> Vec<String> {
        let stays = |name: &Arc<str>| table.find_cluster(name).is_some();
        let gone: Vec<String> = self.clusters.keys().filter(|name| !stays(name)).map(ToString::to_string).collect();
        if !gone.is_empty() {
            self.clusters.retain(|name, _| stays(name));
        }
        gone
    }

    fn read_figures(&mut self, table: &Table, now: Instant) {
        let elapsed = self.read.replace(now).map(|read| now.duration_since(read));
        // A little late is no gap.
        let missed = elapsed.map_or(0, |elapsed| (elapsed.as_secs_f64() / INTERVAL.as_secs_f64()).round() as usize);
        let unknown = missed.saturating_sub(1).min(POINTS);
        let mut sum = Sum::default();
        for cluster in table.clusters() {
            let known = self.clusters.entry(Arc::clone(cluster.name())).or_default();
            known.window.read(cluster.series(), now);
            known.figures = known.window.figures(&mut sum);
            known.past.push(&known.figures, unknown);
        }
        self.totals.figures = sum.figures();
        self.past.push(&self.totals.figures, unknown);
    }

    /// Puts every cluster into words; returns those that are not what they were.
    fn say(&mut self, table: &Table, now: Instant) -> Vec<Arc<str>> {
        let (mut in_flight, mut connections) = (0, 0);
        let mut changed = Vec::new();
        for cluster in table.clusters() {
            let known = self.clusters.entry(Arc::clone(cluster.name())).or_default();
            let view = view::cluster(cluster, known.figures, &self.sight.metrics, (now, &self.clock));
            in_flight += view.in_flight;
            connections += view.connections;
            let said = serde_json::to_string(&view).unwrap_or_default();
            if said != known.said {
                known.said = said;
                changed.push(Arc::clone(cluster.name()));
            }
        }
        (self.totals.in_flight, self.totals.connections) = (in_flight, connections);
        changed
    }

    /// True if something about those that are followed is new.
    fn follow(&mut self) -> bool {
        let all = self.sight.metrics.watches().into_iter();
        let watches: Vec<WatchView> = all.map(|(name, series)| view::watch(name, &series, &self.clock)).collect();
        let is_new = watches != self.watches;
        self.watches = watches;
        is_new
    }
}

/// Entries as they are told: tables, and all else.
fn told(entries: &[Arc<Entry>]) -> (Vec<EntryView<'_>>, Vec<EntryView<'_>>) {
    let (tables, events): (Vec<&Arc<Entry>>, Vec<&Arc<Entry>>) =
        entries.iter().partition(|entry| entry.event.is_table());
    (views(tables), views(events))
}

fn views<'a>(entries: Vec<&'a Arc<Entry>>) -> Vec<EntryView<'a>> {
    entries.into_iter().map(|entry| EntryView::from(&**entry)).collect()
}

/// The name of this machine, by which people know which proxy they look at.
fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// An event with these clusters, which are JSON already.
fn message(name: &str, head: &impl Serialize, clusters: &[&str]) -> Bytes {
    let head = serde_json::to_string(head).unwrap_or_default();
    let head = head.strip_suffix('}').unwrap_or_default();
    format!("event: {name}\ndata: {head},\"clusters\":[{}]}}\n\n", clusters.join(",")).into()
}

/// An object with one more field.
fn with(object: &str, name: &str, value: &impl Serialize) -> String {
    let value = serde_json::to_string(value).unwrap_or_default();
    format!("{},\"{name}\":{value}}}", object.strip_suffix('}').unwrap_or_default())
}
