//! Where we stand: what the configuration wants to know, what `[place]` gives of it, and what the agent says of its own node.
//! Pure; `survey` asks.

use std::time::Duration;

use serde_json::Value;

use crate::config::{Cluster, Config, Level, Place, Prefer, Source};
use crate::endpoint::{Locality, Vantage};

/// What some cluster of a configuration prefers endpoints by.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Wanted {
    levels: Vec<Level>,
    /// Every bound of round trips that tells tiers apart; empty if nobody goes by them.
    pub(super) bounds: Vec<Duration>,
}

impl Wanted {
    pub(super) fn of(config: &Config) -> Self {
        let mut wanted = Wanted::default();
        let clusters = config.clusters.iter().filter(|cluster| !cluster.balancing.locality.is_off());
        clusters.for_each(|cluster| wanted.add(cluster));
        wanted.bounds.sort_unstable();
        wanted.bounds.dedup();
        wanted
    }

    fn add(&mut self, cluster: &Cluster) {
        let prefer = &cluster.balancing.locality.prefer;
        match (&cluster.source, prefer) {
            // Of those that are written down nothing is known but the zone.
            (Source::Static(_), Prefer::Levels(levels)) => {
                self.levels.extend(levels.iter().filter(|level| **level == Level::Zone));
            }
            (Source::Static(_), Prefer::RoundTrip(_)) => {}
            (Source::Followed(_), Prefer::Levels(levels)) => {
                self.levels.extend(levels);
                self.levels.push(Level::Datacenter);
            }
            (Source::Followed(_), Prefer::RoundTrip(bounds)) => {
                self.levels.extend([Level::Node, Level::Datacenter]);
                self.bounds.extend(bounds);
            }
        }
    }

    /// True if `[place]` leaves something open.
    pub(super) fn asks_agent(&self, place: &Place) -> bool {
        !self.unknown(&given(place).here).is_empty()
    }

    /// True if there is anything to find out.
    pub(super) fn asks(&self, place: &Place) -> bool {
        self.asks_agent(place) || !self.bounds.is_empty()
    }

    /// The keys of `[place]` that are wanted and not known here.
    pub(super) fn unknown(&self, here: &Locality) -> Vec<&'static str> {
        let keys = [
            ("node", Level::Node, &here.node),
            ("zone", Level::Zone, &here.zone),
            ("datacenter", Level::Datacenter, &here.datacenter),
        ];
        let unknown = keys.into_iter().filter(|(_, level, name)| name.is_none() && self.levels.contains(level));
        unknown.map(|(key, ..)| key).collect()
    }
}

/// What is known before anybody is asked.
pub fn given(place: &Place) -> Vantage {
    let name = |name: &Option<String>| name.as_deref().map(Box::from);
    let here = Locality { node: name(&place.node), zone: name(&place.zone), datacenter: name(&place.datacenter) };
    Vantage { here, ..Vantage::default() }
}

/// What is given, and for the rest what the agent told.
pub(super) fn join(place: &Place, told: &Locality) -> Locality {
    let given = given(place).here;
    Locality {
        node: given.node.or_else(|| told.node.clone()),
        zone: given.zone.or_else(|| told.zone.clone()),
        datacenter: given.datacenter.or_else(|| told.datacenter.clone()),
    }
}

/// Where an agent's node stands by its answer to `/v1/agent/self`; none if that is not one.
pub(super) fn told(about: &Value, zone_key: &str) -> Option<Locality> {
    let filled = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(Box::from);
    let (node, datacenter) = (filled(&about["Config"]["NodeName"])?, filled(&about["Config"]["Datacenter"])?);
    // Beside "Config", where the keys of metadata keep their case.
    Some(Locality { node: Some(node), zone: filled(&about["Meta"][zone_key]), datacenter: Some(datacenter) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::{self, Environment};

    fn config(text: &str) -> Config {
        let text = format!("[[listeners]]\nname='a'\nbind='127.0.0.1:0'\n{text}");
        config::parse(&text, &Environment::default()).unwrap()
    }

    /// What is wanted and not given, and how many bounds there are.
    fn wanted(text: &str) -> (Vec<&'static str>, usize) {
        let config = config(text);
        let wanted = Wanted::of(&config);
        (wanted.unknown(&given(&config.place).here), wanted.bounds.len())
    }

    #[test]
    fn only_what_some_cluster_goes_by_is_wanted() {
        let followed = |locality: &str| format!("[clusters.a]\nconsul={{service='a'}}\nlocality={locality}\n");
        assert_eq!(wanted("[clusters.a]\nconsul={service='a'}"), (vec![], 0));
        assert_eq!(wanted(&followed("{prefer=['zone']}")), (vec!["zone", "datacenter"], 0));
        assert_eq!(wanted(&followed("{prefer=['node']}")), (vec!["node", "datacenter"], 0));
        assert_eq!(wanted(&followed("{prefer_rtt=['1ms','9ms']}")), (vec!["node", "datacenter"], 2));
        let given = "[place]\nzone='z'\ndatacenter='d'\n";
        assert_eq!(wanted(&format!("{given}{}", followed("{prefer=['zone']}"))), (vec![], 0));
    }

    #[test]
    fn endpoints_that_are_written_down_need_no_agent_but_for_our_zone() {
        let written = |locality: &str| format!("[clusters.a]\nendpoints=['127.0.0.1:1']\nlocality={locality}\n");
        assert_eq!(wanted(&written("{prefer=['node','zone','datacenter']}")), (vec!["zone"], 0));
        assert_eq!(wanted(&written("{prefer_rtt=['1ms']}")), (vec![], 0));
    }

    #[test]
    fn what_is_given_wins_over_what_the_agent_tells() {
        let about = json!({"Config": {"NodeName": "n1", "Datacenter": "dc1"}, "Meta": {"rack": "r1", "zone": ""}});
        let told = |key| told(&about, key).unwrap();
        let config = config("[place]\nnode='n7'\n[clusters.a]\nendpoints=['127.0.0.1:1']");
        let name = |name: &str| Some(Box::from(name));
        let here = |key| join(&config.place, &told(key));
        assert_eq!(here("rack"), Locality { node: name("n7"), zone: name("r1"), datacenter: name("dc1") });
        assert_eq!(here("zone").zone, None);
    }

    #[test]
    fn an_answer_without_a_node_tells_nothing() {
        for garbage in [json!(null), json!([]), json!({"Config": {"Server": true}}), json!({"Config": {"NodeName": 7}})]
        {
            assert_eq!(told(&garbage, "zone"), None);
        }
        let bare = json!({"Config": {"NodeName": "n1", "Datacenter": "dc1"}, "Meta": null});
        assert_eq!(told(&bare, "zone").unwrap().zone, None);
    }
}
