//! A cluster's list out of those that it draws on.
//!
//! Lists that serve in turn do not wait for each other: a datacenter that cannot be reached must not take along those that can.
//! Only before anything is known, a later one waits until the earlier ones are known or were asked for in vain.

use std::collections::BTreeMap;

use super::Facts;
use crate::cluster::Drawn;
use crate::config::{self, Draw};
use crate::endpoint::{Address, Age, Freshness, List, Listed};

/// What the cluster draws on: for each draw its list, if that is known and to be used; empty if nothing is, or none is yet.
pub(super) fn of(settings: &config::Cluster, facts: &Facts) -> Drawn {
    let draws = settings.source.draws();
    let has_expired = |draw: &Draw| age(draw, facts) == Age::Expired;
    // What must not be served any more is left out only where there is something else.
    let leave_out = settings.in_turn && !draws.iter().filter(|draw| is_known(draw, facts)).all(has_expired);
    let mut is_known_to = false;
    let mut drawn = Vec::new();
    for draw in draws {
        let list = facts.lists.get(&draw.selection);
        is_known_to |= list.is_some();
        if settings.in_turn && !is_known_to && !facts.silent.contains(&draw.selection) {
            return Drawn::default();
        }
        drawn.push(list.filter(|_| !(leave_out && has_expired(draw))).cloned());
    }
    if is_known_to { drawn.into() } else { Drawn::default() }
}

/// How far all of it can be relied on: as far as the first; what is left may serve in place of one that must not.
pub(super) fn freshness(settings: &config::Cluster, facts: &Facts) -> Freshness {
    let draws = settings.source.draws();
    let Some(first) = draws.first() else { return Freshness::default() };
    let mut freshness = facts.freshness.get(&first.selection).copied().unwrap_or_default();
    let serves = |draw: &Draw| is_known(draw, facts) && age(draw, facts) != Age::Expired;
    if settings.in_turn && freshness.age == Age::Expired && draws.iter().any(serves) {
        freshness.age = Age::Stale;
    }
    freshness
}

/// One list; none if none is known.
pub(super) fn join(draws: &[Draw], drawn: &Drawn) -> Option<List> {
    if let ([Draw { tag: None, only: None, .. }], [list]) = (draws, &**drawn) {
        return list.clone();
    }
    let mut joined = BTreeMap::new();
    for (level, (draw, list)) in draws.iter().zip(drawn).enumerate() {
        let fits = |listed: &&Listed| takes(draw, listed);
        let level = u8::try_from(level).unwrap_or(u8::MAX);
        for listed in list.iter().flat_map(|list| list.iter()).filter(fits) {
            // Who is on several lists is of the first.
            joined.entry(&listed.address).or_insert_with(|| Listed { level, ..listed.clone() });
        }
    }
    (!drawn.is_empty()).then(|| joined.into_values().collect())
}

/// True if the draw is on this one of its list's.
pub fn takes(draw: &Draw, listed: &Listed) -> bool {
    let is_tagged = draw.tag.as_ref().is_none_or(|tag| listed.carries(tag));
    let is_at = |(host, port): &(String, u16)| listed.address == Address::new(host, *port);
    is_tagged && draw.only.as_ref().is_none_or(|only| only.fits(&listed.tags) && !only.except.iter().any(is_at))
}

fn is_known(draw: &Draw, facts: &Facts) -> bool {
    facts.lists.contains_key(&draw.selection)
}

fn age(draw: &Draw, facts: &Facts) -> Age {
    facts.freshness.get(&draw.selection).copied().unwrap_or_default().age
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Selection, parse};

    fn settings(failover: &str) -> config::Cluster {
        let text = format!(
            "[[listeners]]\nname='a'\nbind='127.0.0.1:0'\n[clusters.web]\nconsul={{service='web'}}\n{failover}"
        );
        config::Cluster::clone(&parse(&text, &Environment::default()).unwrap().clusters[0])
    }

    fn list(ports: &[u16]) -> List {
        ports.iter().map(|port| Listed::new(Address::from(([127, 0, 0, 1], *port)))).collect()
    }

    fn ports(settings: &config::Cluster, facts: &Facts) -> Option<Vec<(String, u8)>> {
        let list = join(settings.source.draws(), &of(settings, facts))?;
        Some(list.iter().map(|listed| (listed.address.to_string().split_off(10), listed.level)).collect())
    }

    fn far() -> Selection {
        Selection { datacenter: Some("dc2".into()), ..Selection::of("web") }
    }

    #[test]
    fn who_is_on_several_lists_is_of_the_first() {
        let settings = settings("failover=[{datacenter='dc2'}]");
        let mut facts = Facts::default();
        facts.lists.insert(far(), list(&[2, 3]));
        facts.lists.insert(Selection::of("web"), list(&[1, 2]));
        let expected = [("1", 0), ("2", 0), ("3", 1)].map(|(port, level)| (port.to_owned(), level));
        assert_eq!(ports(&settings, &facts).unwrap(), expected);
    }

    #[test]
    fn a_later_list_waits_for_an_earlier_one_until_that_was_asked_for_in_vain() {
        let settings = settings("failover=[{datacenter='dc2'}]");
        let mut facts = Facts::default();
        facts.lists.insert(far(), list(&[2]));
        assert_eq!(ports(&settings, &facts), None, "the first may still come");
        facts.silent.insert(Selection::of("web"));
        assert_eq!(ports(&settings, &facts).unwrap().len(), 1);
        let mut facts = Facts::default();
        facts.lists.insert(Selection::of("web"), list(&[1]));
        assert_eq!(ports(&settings, &facts).unwrap().len(), 1, "nobody waits for a later one");
        assert_eq!(ports(&settings, &Facts { silent: [far()].into(), ..Facts::default() }), None);
    }

    #[test]
    fn a_list_that_must_not_be_served_is_left_out_while_there_is_another() {
        let settings = settings("failover=[{datacenter='dc2'}]");
        let mut facts = Facts::default();
        facts.lists.insert(Selection::of("web"), list(&[1]));
        facts.lists.insert(far(), list(&[2]));
        let expired = Freshness { age: Age::Expired, from_disk: false };
        facts.freshness.insert(Selection::of("web"), expired);
        assert_eq!(ports(&settings, &facts).unwrap(), [("2".to_owned(), 1)]);
        assert_eq!(freshness(&settings, &facts).age, Age::Stale);
        facts.freshness.insert(far(), expired);
        assert_eq!(ports(&settings, &facts).unwrap().len(), 2);
        assert_eq!(freshness(&settings, &facts).age, Age::Expired);
    }
}
