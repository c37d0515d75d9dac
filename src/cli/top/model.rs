//! What the feed has told so far. What a newer lictor tells besides is passed over.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::VecDeque;

use serde::Deserialize;

use super::Order;

/// Events that are kept.
const EVENTS: usize = 200;

/// A message of the feed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Message {
    #[serde(skip)]
    pub(super) is_whole: bool,
    pub(super) now: u64,
    pub(super) lictor: Lictor,
    pub(super) table: TableView,
    pub(super) totals: Totals,
    pub(super) watches: Option<Vec<Watch>>,
    pub(super) gone: Vec<String>,
    pub(super) events: Vec<Event>,
    pub(super) clusters: Vec<Cluster>,
}

/// The proxy itself.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Lictor {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) blocker: Option<String>,
}

/// Its table.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TableView {
    pub(super) version: u64,
    pub(super) time: Option<u64>,
}

/// Rates per second, shares of 1, seconds.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub(super) struct Totals {
    pub(super) rate: Option<f64>,
    pub(super) errors: Option<f64>,
    pub(super) p50: Option<f64>,
    pub(super) p99: Option<f64>,
    pub(super) retries: Option<f64>,
    pub(super) in_flight: u64,
}

/// A source that is followed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Watch {
    pub(super) failing: bool,
    pub(super) denied: bool,
    pub(super) stale: bool,
}

/// Something that happened.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Event {
    /// RFC 3339.
    pub(super) time: String,
    pub(super) text: String,
    pub(super) kind: String,
}

/// A cluster.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub(super) struct Cluster {
    pub(super) name: String,
    pub(super) policy: String,
    pub(super) listed: bool,
    pub(super) stale: bool,
    pub(super) denied: bool,
    pub(super) panic: bool,
    #[serde(flatten)]
    pub(super) figures: Totals,
    pub(super) endpoints: Vec<Endpoint>,
}

/// One of its endpoints.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub(super) struct Endpoint {
    pub(super) address: String,
    pub(super) id: Option<String>,
    pub(super) state: String,
    pub(super) why: Option<String>,
    pub(super) until: Option<u64>,
    pub(super) weight: u64,
    pub(super) percent: u64,
    pub(super) in_flight: u64,
    pub(super) connections: u64,
    pub(super) latency: Option<f64>,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) now: u64,
    pub(super) lictor: Lictor,
    pub(super) table: TableView,
    pub(super) totals: Totals,
    pub(super) watches: Vec<Watch>,
    /// The newest last.
    pub(super) events: VecDeque<Event>,
    clusters: BTreeMap<String, Cluster>,
}

impl Message {
    /// What services call themselves is no command to a terminal.
    fn clean(&mut self) {
        let Lictor { name, version, blocker } = &mut self.lictor;
        [name, version].into_iter().chain(blocker).for_each(clean);
        for event in &mut self.events {
            [&mut event.time, &mut event.text, &mut event.kind].into_iter().for_each(clean);
        }
        for cluster in &mut self.clusters {
            [&mut cluster.name, &mut cluster.policy].into_iter().for_each(clean);
            for Endpoint { address, id, state, why, .. } in &mut cluster.endpoints {
                [address, state].into_iter().chain(id).chain(why).for_each(clean);
            }
        }
    }
}

fn clean(text: &mut String) {
    if text.contains(char::is_control) {
        *text = text.replace(char::is_control, "\u{fffd}");
    }
}

impl Model {
    pub(super) fn learn(&mut self, mut message: Message) {
        message.clean();
        if message.is_whole {
            self.clusters.clear();
            self.events.clear();
        }
        message.gone.iter().for_each(|name| drop(self.clusters.remove(name)));
        self.clusters.extend(message.clusters.into_iter().map(|cluster| (cluster.name.clone(), cluster)));
        self.events.extend(message.events);
        self.events.drain(..self.events.len().saturating_sub(EVENTS));
        self.watches = message.watches.unwrap_or(std::mem::take(&mut self.watches));
        (self.now, self.lictor, self.table) = (message.now, message.lictor, message.table);
        self.totals = message.totals;
    }

    /// True once a second was looked at.
    pub(super) fn has_figures(&self) -> bool {
        self.totals.rate.is_some() || self.clusters.is_empty()
    }

    /// Clusters whose name or an endpoint's address has this in it.
    pub(super) fn clusters(&self, order: Order, wanted: &str) -> Vec<&Cluster> {
        let fits = |cluster: &&Cluster| {
            let ends = || cluster.endpoints.iter().any(|end| end.address.contains(wanted) || end.state == wanted);
            cluster.name.contains(wanted) || ends()
        };
        let mut clusters: Vec<&Cluster> = self.clusters.values().filter(fits).collect();
        let digits = |figure: Option<f64>| (figure.unwrap_or_default() * 1e6) as u64;
        match order {
            Order::Name => {}
            Order::Trouble => clusters.sort_by_key(|cluster| Reverse(cluster.trouble())),
            Order::Rate => clusters.sort_by_key(|cluster| Reverse(digits(cluster.figures.rate))),
            Order::Errors => clusters.sort_by_key(|cluster| Reverse(digits(cluster.figures.errors))),
            Order::P99 => clusters.sort_by_key(|cluster| Reverse(digits(cluster.figures.p99))),
            Order::InFlight => clusters.sort_by_key(|cluster| Reverse(cluster.figures.in_flight)),
        }
        clusters
    }

    /// Those who are followed, in a few words; true if somebody should look.
    pub(super) fn sources(&self) -> (String, bool) {
        let count = |is: fn(&Watch) -> bool| self.watches.iter().filter(|watch| is(watch)).count();
        let (failing, denied, stale) =
            (count(|watch| watch.failing), count(|watch| watch.denied), count(|watch| watch.stale));
        match (self.watches.len(), failing, denied, stale) {
            (0, ..) => ("no list followed".to_owned(), false),
            (all, 0, 0, 0) => (format!("Consul: {all} followed"), false),
            (_, 0, 0, stale) => (format!("Consul: {stale} stale"), true),
            (_, 0, denied, _) => (format!("Consul: {denied} denied"), true),
            (all, failing, ..) => (format!("Consul: no answer for {failing} of {all}"), true),
        }
    }
}

impl Cluster {
    pub(super) fn eligible(&self) -> usize {
        self.endpoints.iter().filter(|endpoint| endpoint.state == "eligible").count()
    }

    /// What is wrong, in words; empty if nothing is.
    pub(super) fn wrong(&self) -> String {
        let mut counts = BTreeMap::<&str, usize>::new();
        for endpoint in self.endpoints.iter().filter(|endpoint| endpoint.state != "eligible") {
            *counts.entry(&endpoint.state).or_default() += 1;
        }
        let flags =
            [(self.panic, "panic"), (!self.listed, "no list yet"), (self.denied, "denied"), (self.stale, "stale")];
        let flags = flags.iter().filter(|(is, _)| *is).map(|(_, word)| (*word).to_owned());
        let counts = counts.iter().map(|(state, count)| format!("{count} {state}"));
        flags.chain(counts).collect::<Vec<_>>().join(", ")
    }

    /// The higher, the sooner somebody should look.
    pub(super) fn trouble(&self) -> u64 {
        let out = self.endpoints.iter().filter(|endpoint| endpoint.is_out()).count() as u64;
        let nobody = !self.endpoints.is_empty() && self.eligible() == 0;
        let errors = (self.figures.errors.unwrap_or_default() * 20.0).round() as u64;
        u64::from(self.panic) * 1_000_000
            + u64::from(nobody) * 500_000
            + u64::from(self.stale || self.denied) * 10_000
            + out * 100
            + errors * 50
    }
}

impl Endpoint {
    /// True if it is out although nobody wanted it.
    pub(super) fn is_out(&self) -> bool {
        !matches!(self.state.as_str(), "eligible" | "drained" | "maintenance")
    }

    /// Why it is out, and for how long.
    pub(super) fn because(&self, now: u64) -> String {
        let why = self.why.as_deref().unwrap_or_default().replace('_', " ");
        match self.until.and_then(|until| until.checked_sub(now)) {
            Some(left) => format!("{why}, for {} s more", left.div_ceil(1000)),
            None => why,
        }
    }
}

/// A rate as people read it.
pub(super) fn rate(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value < 10.0 => format!("{value:.1}"),
        Some(value) if value < 10_000.0 => format!("{value:.0}"),
        Some(value) => format!("{:.1}k", value / 1e3),
    }
}

/// A share of 1 as people read it.
pub(super) fn percent(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(0.0) => "0%".to_owned(),
        Some(value) if value < 0.001 => "<0.1%".to_owned(),
        Some(value) => format!("{:.1}%", value * 100.0),
    }
}

/// Seconds as people read them.
pub(super) fn time(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value < 0.01 => format!("{:.1}ms", value * 1e3),
        Some(value) if value < 1.0 => format!("{:.0}ms", value * 1e3),
        Some(value) => format!("{value:.2}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_command_the_terminal() {
        let clusters =
            serde_json::json!([{ "name": "a\u{1b}[2Jb", "endpoints": [{ "address": "x:1", "id": "c\nd" }] }]);
        let clusters = serde_json::from_value(clusters).unwrap();
        let mut model = Model::default();
        model.learn(Message { is_whole: true, clusters, ..Message::default() });
        let shown = model.clusters(Order::Name, "");
        assert_eq!(shown[0].name, "a\u{fffd}[2Jb");
        assert_eq!(shown[0].endpoints[0].id.as_deref(), Some("c\u{fffd}d"));
    }
}
