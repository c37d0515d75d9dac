//! Figures of single endpoints, for those who ask for them: an endpoint is a label, and a fleet of thousands would be a burden for whoever
//! collects them. So there is a bound; whoever is beyond it is counted with the others of its cluster.
//!
//! Nothing is counted here that endpoints do not count anyway: their counts wrap, and are added up as differences from one scrape to the
//! next. What those had counted who have left stays in the sum of the others, as a counter must not go back.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use prometheus::proto::MetricFamily;

use super::figures;
use crate::cluster::{Cluster, Member};
use crate::endpoint::{Counts, Id};
use crate::metrics::{Labels, counter, gauge};
use crate::table::Table;

/// In place of an address.
const OTHERS: &str = "other";
const OUTCOMES: [&str; 3] = ["success", "failure", "abandoned"];

/// What has been shown of endpoints so far.
#[derive(Debug)]
pub(super) struct Shown {
    /// How many have figures of their own at most.
    most: usize,
    endpoints: HashMap<Id, Known>,
    /// Of clusters with more of them.
    others: HashMap<Arc<str>, Ended>,
}

#[derive(Debug)]
struct Known {
    is_own: bool,
    last: Counts,
    ended: Ended,
}

/// Attempts that have ended, in the order of [`OUTCOMES`].
#[derive(Debug, Clone, Copy, Default)]
struct Ended([u64; OUTCOMES.len()]);

/// What is shown under one label.
#[derive(Default)]
struct Sum {
    ended: Ended,
    in_flight: u32,
    connections: u32,
    weight: u64,
    expected: Option<f64>,
    states: BTreeMap<&'static str, u32>,
}

impl Shown {
    /// For so many endpoints at most.
    pub(super) fn new(most: usize) -> Self {
        Shown { most, endpoints: HashMap::new(), others: HashMap::new() }
    }

    /// Their figures now; none if none may be shown.
    pub(super) fn families(&mut self, table: &Table, now: Instant) -> Vec<MetricFamily> {
        if self.most == 0 {
            return Vec::new();
        }
        let folded = self.meet(table);
        let mut sums = BTreeMap::<(Arc<str>, String), Sum>::new();
        for cluster in table.clusters() {
            for member in cluster.members() {
                self.add(cluster, member, (&mut sums, now));
            }
        }
        for ((_, sum), ended) in sums.iter_mut().filter_map(|(key, sum)| {
            let ended = self.others.get(&key.0).filter(|_| key.1 == OTHERS)?;
            Some(((key, sum), *ended))
        }) {
            sum.ended = ended;
        }
        written(&sums, folded)
    }

    /// Takes up those who are new, as far as there is room, and forgets those who have left. Returns how many have no figures of their own.
    fn meet(&mut self, table: &Table) -> usize {
        let members = || table.clusters().iter().flat_map(|cluster| cluster.members());
        let here: HashSet<Id> = members().map(|member| member.endpoint.id()).collect();
        self.endpoints.retain(|id, _| here.contains(id));
        let names: HashSet<&Arc<str>> = table.clusters().iter().map(|cluster| cluster.name()).collect();
        self.others.retain(|name, _| names.contains(name));
        let mut room = self.most.saturating_sub(self.endpoints.values().filter(|known| known.is_own).count());
        for member in members() {
            let known = self.endpoints.entry(member.endpoint.id()).or_insert_with(Known::new);
            // In the order of the table, so that it is the same ones as long as nobody leaves.
            if !known.is_own && room > 0 {
                room -= 1;
                known.is_own = true;
            }
        }
        self.endpoints.values().filter(|known| !known.is_own).count()
    }

    fn add(
        &mut self,
        cluster: &Cluster,
        member: &Member,
        (sums, now): (&mut BTreeMap<(Arc<str>, String), Sum>, Instant),
    ) {
        let Some(known) = self.endpoints.get_mut(&member.endpoint.id()) else { return };
        let more = known.since(member.endpoint.counts());
        let label = if known.is_own { member.endpoint.address().to_string() } else { OTHERS.to_owned() };
        let sum = sums.entry((Arc::clone(cluster.name()), label)).or_default();
        if known.is_own {
            sum.ended.add(known.ended);
            sum.expected = cluster.expected_latency(&member.endpoint, now).map(|time| time.as_secs_f64());
        } else {
            self.others.entry(Arc::clone(cluster.name())).or_default().add(more);
        }
        sum.in_flight += member.endpoint.in_flight();
        sum.connections += member.endpoint.connections();
        // In hundredths, as a slow start has it.
        sum.weight += u64::from(member.weight) * u64::from(cluster.percent(member, now));
        *sum.states.entry(figures::state(member)).or_default() += 1;
    }
}

impl Known {
    fn new() -> Self {
        Known { is_own: false, last: Counts::default(), ended: Ended::default() }
    }

    /// Takes the counts of now, and returns what has come since the last.
    fn since(&mut self, now: Counts) -> Ended {
        let [ended, errors, unjudged] = [
            now.ended.wrapping_sub(self.last.ended),
            now.errors.wrapping_sub(self.last.errors),
            now.unjudged.wrapping_sub(self.last.unjudged),
        ];
        let Some(success) = ended.checked_sub(errors.saturating_add(unjudged)) else {
            // An attempt says how it ended a moment before it has: it is left for the next scrape.
            return Ended::default();
        };
        self.last = now;
        let more = Ended([success, errors, unjudged].map(u64::from));
        self.ended.add(more);
        more
    }
}

impl Ended {
    fn add(&mut self, more: Ended) {
        self.0.iter_mut().zip(more.0).for_each(|(sum, more)| *sum += more);
    }
}

fn written(sums: &BTreeMap<(Arc<str>, String), Sum>, folded: usize) -> Vec<MetricFamily> {
    let labels = |(cluster, endpoint): &(Arc<str>, String)| -> Labels {
        vec![("cluster", cluster.to_string()), ("endpoint", endpoint.clone())]
    };
    let with = |key, name, word: &str| {
        let mut labels = labels(key);
        labels.push((name, word.to_owned()));
        labels
    };
    let of = |read: fn(&Sum) -> Option<f64>| {
        sums.iter().filter_map(move |(key, sum)| Some((labels(key), read(sum)?))).collect::<Vec<_>>()
    };
    let ended = sums.iter().flat_map(|(key, sum)| {
        OUTCOMES.iter().zip(sum.ended.0).map(move |(word, count)| (with(key, "outcome", word), count as f64))
    });
    let states = sums.iter().flat_map(|(key, sum)| {
        sum.states.iter().map(move |(word, count)| (with(key, "state", word), f64::from(*count)))
    });
    vec![
        counter("lictor_endpoint_attempts_total", "Tries at an endpoint, by how they ended.", ended),
        gauge("lictor_endpoint_state", "1 for the state that an endpoint is in; of the others, how many are.", states),
        gauge("lictor_endpoint_in_flight", "Attempts begun and not ended.", of(|sum| Some(f64::from(sum.in_flight)))),
        gauge(
            "lictor_endpoint_connections",
            "Connections, idle ones included.",
            of(|sum| Some(f64::from(sum.connections))),
        ),
        gauge(
            "lictor_endpoint_weight",
            "Weight, as far as a slow start has come.",
            of(|sum| Some(sum.weight as f64 / 100.0)),
        ),
        gauge(
            "lictor_endpoint_expected_latency_seconds",
            "How soon it is expected to answer, where the policy goes by that.",
            of(|sum| sum.expected),
        ),
        gauge("lictor_endpoints_folded", "Endpoints without figures of their own.", [(vec![], folded as f64)]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(ended: u32, errors: u32, unjudged: u32) -> Counts {
        Counts { ended, errors, unjudged, waited: 0 }
    }

    #[test]
    fn counts_that_wrap_go_on() {
        let mut known = Known::new();
        known.since(counts(u32::MAX, 1, 0));
        known.since(counts(9, 2, 1));
        assert_eq!(known.ended.0, [u64::from(u32::MAX) - 1 + 8, 2, 1]);
    }

    #[test]
    fn no_counter_goes_back_because_an_attempt_was_judged_before_it_ended() {
        let mut known = Known::new();
        known.since(counts(10, 0, 0));
        known.since(counts(10, 1, 0));
        assert_eq!(known.ended.0, [10, 0, 0]);
        known.since(counts(11, 1, 0));
        assert_eq!(known.ended.0, [10, 1, 0]);
    }
}
