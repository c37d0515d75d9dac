//! What the feed has told so far. What a newer lictor tells besides is passed over.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::VecDeque;

use serde::Deserialize;

use super::Order;

/// Events that are kept.
const EVENTS: usize = 200;
/// Seconds of the past that are kept.
const PAST: usize = 40;
/// What figures are of, in seconds: for so long one that was heard holds, if the next is late.
const HOLD: usize = 5;
/// How those stand whom an operator ejected: out because somebody wanted it.
const BY_HAND: &str = "by hand";

/// A message of the feed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Message {
    #[serde(skip)]
    pub(super) is_whole: bool,
    pub(super) now: u64,
    /// Whether it is of another second than the one before.
    pub(super) tick: bool,
    pub(super) lictor: Lictor,
    pub(super) table: TableView,
    pub(super) totals: Totals,
    /// Those of whom there is something new, and those who are not followed any more.
    pub(super) watches: Vec<Watch>,
    pub(super) unwatched: Vec<String>,
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
    pub(super) name: String,
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
    /// How many stand how, those counted as well that are not told one by one; empty until they are counted here.
    states: BTreeMap<String, usize>,
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
    by_hand: Vec<Measure>,
}

/// What an operator has done about it.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
struct Measure {
    what: String,
    weight: Option<u64>,
    by: String,
    note: Option<String>,
    /// When it ends by itself.
    until: Option<u64>,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) now: u64,
    pub(super) lictor: Lictor,
    pub(super) table: TableView,
    pub(super) totals: Totals,
    pub(super) watches: BTreeMap<String, Watch>,
    /// The newest last.
    pub(super) events: VecDeque<Event>,
    /// Requests per second in the last seconds, one after the other; none where nothing is known.
    pub(super) past: VecDeque<Option<f64>>,
    /// When the last of them was.
    ticked: Option<u64>,
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
            for Endpoint { address, id, state, why, by_hand, .. } in &mut cluster.endpoints {
                [address, state].into_iter().chain(id).chain(why).for_each(clean);
                for Measure { what, by, note, .. } in by_hand {
                    [what, by].into_iter().chain(note).for_each(clean);
                }
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
        message.clusters.iter_mut().for_each(Cluster::count);
        self.remember(&message);
        if message.is_whole {
            self.clusters.clear();
            self.events.clear();
            self.watches.clear();
        }
        message.gone.iter().for_each(|name| drop(self.clusters.remove(name)));
        self.clusters.extend(message.clusters.into_iter().map(|cluster| (cluster.name.clone(), cluster)));
        self.events.extend(message.events);
        self.events.drain(..self.events.len().saturating_sub(EVENTS));
        message.unwatched.iter().for_each(|name| drop(self.watches.remove(name)));
        self.watches.extend(message.watches.into_iter().map(|watch| (watch.name.clone(), watch)));
        (self.now, self.lictor, self.table) = (message.now, message.lictor, message.table);
        self.totals = message.totals;
    }

    /// Keeps what the last seconds were like: samples may be further apart, or be of the same second.
    fn remember(&mut self, message: &Message) {
        if !message.tick {
            return;
        }
        let before = self.ticked.replace(message.now).unwrap_or(message.now);
        let seconds = (message.now.saturating_sub(before) as usize).saturating_add(500) / 1000;
        let rate = message.totals.rate;
        let late = rate.filter(|_| seconds <= HOLD);
        self.past.extend(std::iter::repeat_n(late, seconds.saturating_sub(1).min(PAST)));
        self.past.push_back(rate);
        self.past.drain(..self.past.len().saturating_sub(PAST));
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
        let count = |is: fn(&Watch) -> bool| self.watches.values().filter(|watch| is(watch)).count();
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
    /// Says of those whom an operator ejected that it was by hand, and counts how many stand how.
    fn count(&mut self) {
        let is_told = !self.states.is_empty();
        for endpoint in &mut self.endpoints {
            let is_by_hand =
                endpoint.state == "ejected" && endpoint.by_hand.iter().any(|measure| measure.what == "ejected");
            let state = if is_by_hand { BY_HAND.to_owned() } else { endpoint.state.clone() };
            let before = std::mem::replace(&mut endpoint.state, state.clone());
            if is_told
                && is_by_hand
                && let Some(count) = self.states.get_mut(&before)
            {
                *count = count.saturating_sub(1);
            }
            if !is_told || is_by_hand {
                *self.states.entry(state).or_default() += 1;
            }
        }
        self.states.retain(|_, count| *count > 0);
    }

    /// How many it has.
    pub(super) fn all(&self) -> usize {
        self.states.values().sum()
    }

    /// How many of them are not told one by one.
    pub(super) fn untold(&self) -> usize {
        self.all().saturating_sub(self.endpoints.len())
    }

    /// How many of those are not eligible.
    pub(super) fn untold_out(&self) -> usize {
        let told = self.endpoints.iter().filter(|endpoint| endpoint.state != "eligible").count();
        self.all().saturating_sub(self.eligible() + told)
    }

    pub(super) fn eligible(&self) -> usize {
        self.states.get("eligible").copied().unwrap_or_default()
    }

    /// What is wrong, in words; empty if nothing is.
    pub(super) fn wrong(&self) -> String {
        let flags =
            [(self.panic, "panic"), (!self.listed, "no list yet"), (self.denied, "denied"), (self.stale, "stale")];
        let flags = flags.iter().filter(|(is, _)| *is).map(|(_, word)| (*word).to_owned());
        let others = self.states.iter().filter(|(state, _)| *state != "eligible");
        let counts = others.map(|(state, count)| format!("{count} {state}"));
        flags.chain(counts).collect::<Vec<_>>().join(", ")
    }

    /// The higher, the sooner somebody should look.
    pub(super) fn trouble(&self) -> u64 {
        let out = self.states.iter().filter(|(state, _)| is_out(state)).map(|(_, count)| *count as u64).sum::<u64>();
        let nobody = self.all() > 0 && self.eligible() == 0;
        let errors = (self.figures.errors.unwrap_or_default() * 20.0).round() as u64;
        u64::from(self.panic) * 1_000_000
            + u64::from(nobody) * 500_000
            + u64::from(self.stale || self.denied) * 10_000
            + out * 100
            + errors * 50
    }
}

/// True if who stands so is out although nobody wanted it.
fn is_out(state: &str) -> bool {
    !matches!(state, "eligible" | "drained" | "maintenance" | BY_HAND)
}

impl Endpoint {
    /// Why it is out, and for how long.
    pub(super) fn because(&self, now: u64) -> String {
        let by_hand = self.by_hand.iter().map(|measure| measure.words(now));
        let why = self.why.as_deref().filter(|_| self.state != BY_HAND).map(|why| why.replace('_', " "));
        let own = why.map(|why| why + &left(self.until, now));
        own.into_iter().chain(by_hand).collect::<Vec<_>>().join("; ")
    }
}

impl Measure {
    fn words(&self, now: u64) -> String {
        let note = self.note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default();
        let left = left(self.until, now);
        let end = if left.is_empty() { ", until it is taken back" } else { &left };
        let weight = self.weight.map(|weight| format!(" {weight}")).unwrap_or_default();
        format!("{}{weight} by {}{note}{end}", self.what, self.by)
    }
}

/// For how long it is so, if that is known.
fn left(until: Option<u64>, now: u64) -> String {
    let left = until.and_then(|until| until.checked_sub(now));
    left.map(|left| format!(", for {} s more", left.div_ceil(1000))).unwrap_or_default()
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

    fn cluster(value: serde_json::Value) -> Cluster {
        let mut cluster: Cluster = serde_json::from_value(value).unwrap();
        cluster.count();
        cluster
    }

    #[test]
    fn who_was_ejected_by_hand_is_no_trouble() {
        let by_hand = serde_json::json!([{ "what": "ejected", "by": "anna", "note": "new disk", "until": 70_000 }]);
        let out = |by_hand: serde_json::Value| {
            cluster(serde_json::json!({ "listed": true, "endpoints": [
                { "address": "a:1", "state": "eligible" }, { "address": "b:1", "state": "ejected", "why": "connect", "by_hand": by_hand },
            ] }))
        };
        let (meant, failed) = (out(by_hand), out(serde_json::json!([])));
        assert_eq!((meant.trouble(), meant.wrong().as_str()), (0, "1 by hand"));
        assert_eq!(meant.endpoints[1].because(10_000), "ejected by anna (new disk), for 60 s more");
        assert_eq!((failed.trouble(), failed.wrong().as_str()), (100, "1 ejected"));
        let weighed = out(serde_json::json!([{ "what": "weight", "weight": 3, "by": "anna", "until": null }]));
        assert_eq!(weighed.endpoints[1].because(0), "connect; weight 3 by anna, until it is taken back");
    }

    #[test]
    fn those_who_are_not_told_one_by_one_are_counted() {
        let large = cluster(serde_json::json!({
            "listed": true, "states": { "eligible": 900, "ejected": 100 },
            "endpoints": [{ "address": "a:1", "state": "ejected", "by_hand": [{ "what": "ejected" }] }, { "address": "b:1", "state": "ejected" }],
        }));
        assert_eq!((large.all(), large.eligible(), large.untold()), (1000, 900, 998));
        assert_eq!(large.untold_out(), 98);
        assert_eq!((large.wrong().as_str(), large.trouble()), ("1 by hand, 99 ejected", 9900));
    }

    #[test]
    fn the_past_goes_by_seconds_however_samples_come() {
        let mut model = Model::default();
        let mut hear = |now: u64, tick: bool, rate: f64| {
            let totals = Totals { rate: Some(rate), ..Totals::default() };
            model.learn(Message { now, tick, totals, ..Message::default() });
            model.past.iter().copied().collect::<Vec<_>>()
        };
        assert_eq!(hear(1_000, true, 1.0), [Some(1.0)]);
        assert_eq!(hear(1_300, false, 9.0), [Some(1.0)], "of the same second");
        assert_eq!(hear(4_100, true, 2.0), [Some(1.0), Some(2.0), Some(2.0), Some(2.0)], "late");
        assert_eq!(hear(11_100, true, 3.0)[4..], [None, None, None, None, None, None, Some(3.0)], "nobody looked");
        assert_eq!(hear(9_000_000, true, 4.0).len(), PAST);
    }
}
