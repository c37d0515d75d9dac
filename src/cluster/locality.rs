//! Who is near, and how much of the traffic stays there.
//!
//! Endpoints form tiers, nearest first. As long as a whole tier may serve, all requests stay in it; what of its weight may not
//! is the share that goes on to the next tier, and so on: what remains near carries no more than before (Envoy's priority levels,
//! with their factor for overprovisioning). Where no tier is whole, each serves in proportion to what is left of it.

use crate::config::{Level, Locality as Settings, Prefer};
use crate::endpoint::{Locality, Vantage};

/// How near something is: 0 is nearest.
pub(super) fn tier(settings: &Settings, vantage: &Vantage, there: &Locality) -> usize {
    match &settings.prefer {
        Prefer::Levels(levels) => {
            levels.iter().position(|level| shares(*level, &vantage.here, there)).unwrap_or(levels.len())
        }
        Prefer::RoundTrip(bounds) => {
            let near = |round_trip| bounds.iter().position(|bound| round_trip <= *bound);
            vantage.round_trip(there).and_then(near).unwrap_or(bounds.len())
        }
    }
}

fn shares(level: Level, here: &Locality, there: &Locality) -> bool {
    let same = |a: &Option<Box<str>>, b: &Option<Box<str>>| a.is_some() && a == b;
    let same_datacenter = same(&here.datacenter, &there.datacenter);
    // Names of nodes and zones may come again in another datacenter; a list that does not know any is of this one.
    let is_here = same_datacenter || there.datacenter.is_none() || here.datacenter.is_none();
    match level {
        Level::Node => is_here && same(&here.node, &there.node),
        Level::Zone => is_here && same(&here.zone, &there.zone),
        Level::Datacenter => same_datacenter,
    }
}

/// What of a tier's weight there is, and may serve.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Strength {
    pub(super) whole: f64,
    pub(super) serving: f64,
}

/// The share of requests that each tier takes; they add up to 1 unless nobody serves at all.
pub(super) fn spill(tiers: &[Strength], overprovisioning: f64) -> Vec<f64> {
    let ability = |tier: &Strength| match tier.serving > 0.0 {
        true => (overprovisioning * tier.serving / tier.whole).min(1.0),
        false => 0.0,
    };
    let together: f64 = tiers.iter().map(ability).sum::<f64>().min(1.0);
    let mut left = 1.0;
    let share = |tier: &Strength| {
        let share = (ability(tier) / together.max(f64::MIN_POSITIVE)).min(left);
        left -= share;
        share
    };
    tiers.iter().map(share).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn locality(node: &str, zone: &str, datacenter: &str) -> Locality {
        let filled = |text: &str| Some(text).filter(|text| !text.is_empty()).map(Box::from);
        Locality { node: filled(node), zone: filled(zone), datacenter: filled(datacenter) }
    }

    fn strengths(tiers: &[(u32, u32)]) -> Vec<Strength> {
        let strength = |(serving, whole): &(u32, u32)| Strength { whole: (*whole).into(), serving: (*serving).into() };
        tiers.iter().map(strength).collect()
    }

    fn settings(prefer: Prefer) -> Settings {
        Settings { prefer, overprovisioning: 1.0 }
    }

    #[test]
    fn tiers_go_by_the_first_level_that_is_the_same() {
        let here = locality("n1", "a", "dc1");
        let vantage = Vantage { here, ..Vantage::default() };
        let settings = settings(Prefer::Levels(vec![Level::Node, Level::Zone, Level::Datacenter]));
        let of = |node, zone, datacenter| tier(&settings, &vantage, &locality(node, zone, datacenter));
        assert_eq!(of("n1", "b", "dc1"), 0);
        assert_eq!(of("n2", "a", "dc1"), 1);
        assert_eq!(of("n2", "", "dc1"), 2);
        assert_eq!(of("n1", "a", "dc2"), 3, "another datacenter's node and zone only have the same names");
        assert_eq!(of("", "a", ""), 1, "written down without a datacenter");
        let unknown = Vantage::default();
        assert_eq!(tier(&settings, &unknown, &locality("n1", "a", "dc1")), 3, "what is not known is not the same");
    }

    #[test]
    fn tiers_go_by_round_trips_within_the_datacenter() {
        let round_trips = [("n2".into(), Duration::from_millis(1)), ("n3".into(), Duration::from_millis(5))];
        let vantage = Vantage { here: locality("n1", "", "dc1"), round_trips: round_trips.into() };
        let settings = settings(Prefer::RoundTrip(vec![Duration::from_millis(1), Duration::from_millis(10)]));
        let of = |node, datacenter| tier(&settings, &vantage, &locality(node, "", datacenter));
        assert_eq!((of("n2", "dc1"), of("n3", "dc1"), of("n4", "dc1"), of("n2", "dc2")), (0, 1, 2, 2));
    }

    #[test]
    fn what_cannot_serve_near_is_what_goes_further() {
        assert_eq!(spill(&strengths(&[(4, 4), (4, 4)]), 1.0), [1.0, 0.0]);
        assert_eq!(spill(&strengths(&[(3, 4), (4, 4)]), 1.0), [0.75, 0.25]);
        assert_eq!(spill(&strengths(&[(0, 4), (1, 2), (2, 2)]), 1.0), [0.0, 0.5, 0.5]);
        assert_eq!(spill(&strengths(&[(3, 4), (4, 4)]), 1.5), [1.0, 0.0]);
        assert_eq!(spill(&strengths(&[(1, 4), (1, 4)]), 1.0), [0.5, 0.5], "nobody is whole");
        assert_eq!(spill(&strengths(&[(0, 4), (0, 4)]), 1.0), [0.0, 0.0]);
        assert_eq!(spill(&strengths(&[(0, 0), (4, 4)]), 1.0), [0.0, 1.0]);
    }
}
