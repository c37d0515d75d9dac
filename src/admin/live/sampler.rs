//! Takes samples: reads every cluster, remembers what it has said of each, and says what is different. A cluster is told of whole or
//! not at all: that is a line of text to compare, whatever there is in it. Of endpoints, and of points of the past, there is a limit to how
//! many are told, which clusters share: those with few have all of theirs.

use std::collections::BTreeMap;
use std::fmt::Write;
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
    watches: BTreeMap<String, WatchView>,
    /// Most endpoints that are told of each cluster; none if all are.
    most: Option<usize>,
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
/// Endpoints that are told of, in all clusters together: as many as a page can have rows for. It makes a message of two megabytes at most,
/// where each is busy.
const ENDPOINTS: usize = 10_000;
/// Points of the past that are kept, of all clusters together, each with four figures.
const KEPT: usize = 50_000;

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
    /// Most endpoints that are told of each cluster; none if all are.
    most_endpoints: Option<usize>,
    /// Those of whom there is something new.
    watches: Vec<&'a WatchView>,
    /// Those who are not followed any more.
    unwatched: Vec<String>,
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
            watches: BTreeMap::new(),
            most: None,
            totals: Totals::default(),
            past: Past::default(),
            read: None,
            now: 0,
            told: 0,
        }
    }

    /// What was said is of no use to anybody any more. The past of all together, which is little, is there for whoever comes back.
    pub(super) fn forget_all(&mut self) {
        (self.clusters, self.watches) = (BTreeMap::new(), BTreeMap::new());
        (self.totals, self.told) = (Totals::default(), 0);
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
        self.most = most(table.clusters().iter().map(|cluster| cluster.members().len()), ENDPOINTS);
        let changed = self.say(&table, now);
        let (watched, unwatched) = self.follow();
        let clusters = changed.iter().filter_map(|name| self.clusters.get(name));
        let since = self.sight.journal.since(self.told);
        let (tables, events) = told(&since.entries);
        let watches = watched.iter().filter_map(|name| self.watches.get(name)).collect();
        let head = Head { watches, unwatched, gone, events, tables, ..self.head(scope, &table) };
        let message = message("change", &head, clusters, |said, known| said.push_str(&known.said));
        self.told = since.last;
        message
    }

    /// The number of the last event that was told.
    pub(super) fn told(&self) -> u64 {
        self.told
    }

    /// Everything as of the last sample.
    pub(super) fn whole(&self) -> Bytes {
        let table = self.sight.reader.load();
        // What came since the last sample is in the next.
        let mut entries = self.sight.journal.since(0).entries;
        entries.retain(|entry| entry.id <= self.told);
        let (mut tables, mut events) = told(&entries);
        tables.drain(..tables.len().saturating_sub(TABLES));
        events.drain(..events.len().saturating_sub(EVENTS));
        let (watches, past) = (self.watches.values().collect(), Some(&self.past));
        let head = Head { watches, past, events, tables, ..self.head(Scope::Standings, &table) };
        message("whole", &head, self.clusters.values(), |said, known| with(said, &known.said, "past", &known.past))
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
            most_endpoints: self.most,
            watches: Vec::new(),
            unwatched: Vec::new(),
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
        let points = (KEPT / table.clusters().len().max(1)).clamp(1, POINTS);
        for cluster in table.clusters() {
            let known = self.clusters.entry(Arc::clone(cluster.name())).or_default();
            known.window.read(cluster.series(), now);
            known.figures = known.window.figures(&mut sum);
            known.past.push(&known.figures, unknown, points);
        }
        self.totals.figures = sum.figures();
        self.past.push(&self.totals.figures, unknown, POINTS);
    }

    /// Puts every cluster into words; returns those that are not what they were.
    fn say(&mut self, table: &Table, now: Instant) -> Vec<Arc<str>> {
        let (mut in_flight, mut connections) = (0, 0);
        let mut changed = Vec::new();
        for cluster in table.clusters() {
            let known = self.clusters.entry(Arc::clone(cluster.name())).or_default();
            let view = view::cluster(cluster, known.figures, &self.sight.metrics, self.most, (now, &self.clock));
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

    /// Reads how those stand who are followed; returns those who are not what they were, and those who are not followed any more.
    fn follow(&mut self) -> (Vec<String>, Vec<String>) {
        let (mut before, mut changed) = (std::mem::take(&mut self.watches), Vec::new());
        for (name, series) in self.sight.metrics.watches() {
            let view = view::watch(name.clone(), &series, &self.clock);
            if before.remove(&name).is_none_or(|before| before != view) {
                changed.push(name.clone());
            }
            self.watches.insert(name, view);
        }
        (changed, before.into_keys().collect())
    }
}

/// How many are told of each of these, so that they are no more than `room` together: of those who have few, all. None if all are told.
fn most(sizes: impl Iterator<Item = usize>, room: usize) -> Option<usize> {
    let mut sizes: Vec<usize> = sizes.collect();
    sizes.sort_unstable();
    let (mut left, count) = (room, sizes.len());
    for (place, size) in sizes.into_iter().enumerate() {
        let share = left / (count - place);
        if size > share {
            // One at least: whoever is in trouble is the first.
            return Some(share.max(1));
        }
        left -= size;
    }
    None
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

/// An event with these clusters, each of them written as JSON.
fn message<T>(
    name: &str,
    head: &impl Serialize,
    clusters: impl Iterator<Item = T>,
    write: impl Fn(&mut String, T),
) -> Bytes {
    let head = serde_json::to_string(head).unwrap_or_default();
    let head = head.strip_suffix('}').unwrap_or_default();
    let mut said = format!("event: {name}\ndata: {head},\"clusters\":[");
    for (place, cluster) in clusters.enumerate() {
        if place > 0 {
            said.push(',');
        }
        write(&mut said, cluster);
    }
    said.push_str("]}\n\n");
    said.into()
}

/// Writes an object with one more field.
fn with(said: &mut String, object: &str, name: &str, value: &impl Serialize) {
    let value = serde_json::to_string(value).unwrap_or_default();
    // A string has room for whatever is written to it.
    let _ = write!(said, "{},\"{name}\":{value}}}", object.strip_suffix('}').unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::Value;

    use super::*;
    use crate::cluster::Own;
    use crate::config;
    use crate::endpoint::{Address, Measure, Status, What};
    use crate::journal::Journal;
    use crate::lifecycle::Readiness;
    use crate::metrics::Metrics;
    use crate::table::{self, Builder, ByCluster, Facts};

    /// A sampler that sees so many clusters of so many endpoints, of which the last one of the first cluster is ejected by hand.
    fn sampler(clusters: usize, endpoints: u16) -> (Sampler, Instant) {
        let listed: Vec<String> = (1..=endpoints).map(|port| format!("'127.0.0.1:{port}'")).collect();
        let listed = listed.join(",");
        let each = (0..clusters).map(|number| format!("[clusters.c{number:05}]\nendpoints=[{listed}]\n"));
        let text = format!("[[listeners]]\nname='a'\nbind='127.0.0.1:0'\n{}", each.collect::<String>());
        let config = config::parse(&text, &config::Environment::default()).unwrap();
        let held = Measure { what: What::Ejected, until: None, by: "ann".into(), note: None };
        let last = (Address::from(([127, 0, 0, 1], endpoints)), Arc::from([held]));
        let measures = Arc::new(ByCluster::from([("c00000".into(), Arc::new([last].into()))]));
        let (metrics, now) = (Arc::new(Metrics::new(1)), Instant::now());
        let (mut publisher, reader) = table::channel();
        let builder = Builder::new(1, Own { seed: 1, secret: [0; 32] }, &metrics);
        let facts = Facts { measures, ..Facts::default() };
        publisher.publish(builder.build(&config, &facts, &publisher.current(), now));
        let (readiness, journal) = (Readiness::default(), Arc::new(Journal::default()));
        (Sampler::new(Sight { reader, metrics, readiness, journal }, now), now)
    }

    fn read(message: &Bytes) -> Value {
        let data = std::str::from_utf8(message).unwrap().split_once("data: ").unwrap().1;
        serde_json::from_str(data).unwrap()
    }

    fn clusters(message: &Value) -> &Vec<Value> {
        message["clusters"].as_array().unwrap()
    }

    #[test]
    fn only_what_is_different_is_told_again() {
        let (mut sampler, now) = sampler(3, 2);
        assert_eq!(clusters(&read(&sampler.take(now, Scope::Figures))).len(), 3);
        sampler.take(now + INTERVAL, Scope::Figures);
        assert!(clusters(&read(&sampler.take(now + 2 * INTERVAL, Scope::Figures))).is_empty());
        let table = sampler.sight.reader.load();
        let begun = table.clusters()[1].members()[0].endpoint.begin();
        let change = read(&sampler.take(now + 3 * INTERVAL, Scope::Figures));
        assert_eq!(clusters(&change).len(), 1);
        assert_eq!((&clusters(&change)[0]["name"], &change["totals"]["in_flight"]), (&"c00001".into(), &1.into()));
        drop(begun);
    }

    #[test]
    fn of_sources_only_those_are_told_of_whom_there_is_something_new() {
        let (mut sampler, now) = sampler(1, 1);
        let metrics = Arc::clone(&sampler.sight.metrics);
        let (_first, second) = (metrics.watch("a"), metrics.watch("b"));
        let names = |told: &Value| -> Vec<String> {
            told.as_array().unwrap().iter().map(|watch| watch["name"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(names(&read(&sampler.take(now, Scope::Figures))["watches"]), ["a", "b"]);
        let change = read(&sampler.take(now, Scope::Figures));
        assert_eq!((&change["watches"], &change["unwatched"]), (&serde_json::json!([]), &serde_json::json!([])));
        drop(second);
        let change = read(&sampler.take(now, Scope::Figures));
        assert_eq!((names(&change["watches"]).len(), &change["unwatched"]), (0, &serde_json::json!(["b"])));
        assert_eq!(names(&read(&sampler.whole())["watches"]), ["a"]);
    }

    #[test]
    fn what_is_told_of_a_large_fleet_has_a_limit_and_who_is_out_is_within() {
        let (mut sampler, now) = sampler(1_100, 10);
        let change = read(&sampler.take(now, Scope::Figures));
        assert_eq!(change["most_endpoints"], 9);
        for cluster in clusters(&change) {
            assert_eq!((&cluster["endpoints_total"], cluster["endpoints"].as_array().unwrap().len()), (&10.into(), 9));
        }
        let first = &clusters(&change)[0];
        assert_eq!(first["states"], serde_json::json!({ "eligible": 9, "ejected": 1 }));
        assert_eq!(first["endpoints"][0]["address"], "127.0.0.1:10");
        let table = sampler.sight.reader.load();
        (1..60_u32).for_each(|second| sampler.read_figures(&table, now + second * INTERVAL));
        let whole = read(&sampler.whole());
        let points: usize =
            clusters(&whole).iter().map(|cluster| cluster["past"]["rate"].as_array().unwrap().len()).sum();
        assert_eq!(points, 1_100 * (KEPT / 1_100));
    }

    #[test]
    fn who_fails_is_told_before_whoever_somebody_took_out() {
        let (sampler, _) = sampler(1, 5);
        let mut members = sampler.sight.reader.load().clusters()[0].members().to_vec();
        let statuses = [Status::Maintenance, Status::Passing, Status::Critical, Status::Passing, Status::Passing];
        members.iter_mut().zip(statuses).for_each(|(member, status)| member.status = status);
        members[1].weight = 0;
        let told =
            |most| view::told(&members, most).map(|member| member.endpoint.address().to_string()).collect::<Vec<_>>();
        let addresses = |ports: &[u16]| ports.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>();
        assert_eq!((told(1), told(9)), (addresses(&[3]), addresses(&[3, 1, 2, 5, 4])), "5 is ejected by hand");
    }

    #[test]
    fn with_nobody_to_tell_nothing_is_kept() {
        let (mut sampler, now) = sampler(2, 2);
        sampler.sight.journal.note(crate::journal::Event::Draining);
        sampler.take(now, Scope::Figures);
        sampler.forget_all();
        assert!(sampler.clusters.is_empty() && sampler.watches.is_empty());
        let again = read(&sampler.take(now + Duration::from_secs(60), Scope::Figures));
        assert_eq!((clusters(&again).len(), again["events"].as_array().unwrap().len()), (2, 1));
    }

    #[test]
    fn those_with_few_have_all_of_theirs() {
        let share = |sizes: &[usize], room| most(sizes.iter().copied(), room);
        assert_eq!(share(&[5, 3, 2], 10), None);
        assert_eq!(share(&[500, 3, 2], 10), Some(5));
        assert_eq!(share(&[6, 6, 1], 10), Some(4));
        assert_eq!(share(&[1, 2, 2], 2), Some(1), "one is always told");
        assert_eq!(share(&[], 0), None);
    }
}
