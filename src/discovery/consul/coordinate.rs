//! How far away nodes are, by the network coordinates in Consul's answer to `/v1/coordinate/nodes`. Agents keep them by the round
//! trips of their gossip: Vivaldi (Dabek et al., SIGCOMM 2004) with heights, and adjustments for what space cannot express.
//! Seconds throughout. Estimates are never quite still; what nobody would choose otherwise by is damped here.

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

/// An estimate that has crossed a bound is believed if it moved by a tenth at least, so that one that lies on a bound does not
/// move endpoints to and fro.
const NOISE: u32 = 10;

/// Round trips by the name of the node.
pub(super) type RoundTrips = HashMap<Box<str>, Duration>;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    node: Box<str>,
    #[serde(default)]
    segment: String,
    coord: Coordinate,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Coordinate {
    vec: Vec<f64>,
    #[serde(default)]
    height: f64,
    #[serde(default)]
    adjustment: f64,
}

/// A node's coordinates, by network segment: most have one, servers have one of each segment.
type Node = Vec<(String, Coordinate)>;

/// The round trips from `own` to every node that has a usable coordinate; none if our own has not.
pub(super) fn estimates(document: Value, own: &str) -> Option<RoundTrips> {
    let Value::Array(entries) = document else { return None };
    let mut nodes: HashMap<Box<str>, Node> = HashMap::new();
    for entry in entries {
        // One that cannot be read is one node's loss.
        if let Ok(Entry { node, segment, coord }) = serde_json::from_value(entry) {
            nodes.entry(node).or_default().push((segment, coord));
        }
    }
    let here = nodes.get(own)?;
    let round_trip = |(name, there): (&str, &Node)| {
        // Not the network's estimate of a way that does not lead through it.
        let near = if name == own { Duration::ZERO } else { distance(here, there)? };
        Some((Box::from(name), near))
    };
    Some(nodes.iter().map(|(name, node)| (&**name, node)).filter_map(round_trip).collect())
}

/// Coordinates can be compared within a segment only. Whoever has one belongs to that; two servers meet in the one without a
/// name, as in Consul's own `CoordinateSet::Intersect`.
fn distance(here: &Node, there: &Node) -> Option<Duration> {
    let segment = match (&**here, &**there) {
        (_, [(segment, _)]) | ([(segment, _)], _) => segment,
        _ => "",
    };
    let within = |node: &'_ Node| node.iter().position(|(name, _)| name == segment);
    let (here, there) = (&here[within(here)?].1, &there[within(there)?].1);
    if here.vec.len() != there.vec.len() {
        return None;
    }
    let squares: f64 = here.vec.iter().zip(&there.vec).map(|(a, b)| (a - b) * (a - b)).sum();
    let raw = squares.sqrt() + here.height + there.height;
    let adjusted = raw + here.adjustment + there.adjustment;
    // Fails for what is negative, endless or no number.
    Duration::try_from_secs_f64(if adjusted > 0.0 { adjusted } else { raw }).ok()
}

/// The new round trips, with those left as they were that make no difference by any of these bounds.
pub(super) fn settle(known: &RoundTrips, new: RoundTrips, bounds: &[Duration]) -> RoundTrips {
    let tier = |round_trip: Duration| bounds.iter().filter(|bound| **bound < round_trip).count();
    let one = |(node, new): (Box<str>, Duration)| {
        let is_same =
            |known: &Duration| tier(*known) == tier(new) || known.abs_diff(new).saturating_mul(NOISE) < new.max(*known);
        let settled = known.get(&node).copied().filter(is_same).unwrap_or(new);
        (node, settled)
    };
    new.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(node: &str, segment: &str, x: f64, (height, adjustment): (f64, f64)) -> Value {
        let coord = json!({"Vec": [x, 0.0, 0.0], "Error": 1.5, "Height": height, "Adjustment": adjustment});
        json!({"Node": node, "Segment": segment, "Coord": coord})
    }

    fn micros(document: Vec<Value>, node: &str) -> Option<u128> {
        estimates(Value::Array(document), "own")?.get(node).map(|time| (time.as_secs_f64() * 1e6).round() as u128)
    }

    #[test]
    fn a_round_trip_is_the_distance_with_heights_and_adjustments() {
        let own = || entry("own", "", 0.001, (0.0001, 0.0));
        let to = |other: Value| micros(vec![own(), other], "n");
        assert_eq!(to(entry("n", "", 0.003, (0.0002, 0.0))), Some(2300));
        assert_eq!(to(entry("n", "", -0.003, (0.0002, 0.0005))), Some(4800));
        assert_eq!(to(entry("n", "", 0.003, (0.0, -0.001))), Some(1100));
        assert_eq!(to(entry("n", "", 0.003, (0.0, -1.0))), Some(2100), "an adjustment must not take it all");
        assert_eq!(micros(vec![own()], "own"), Some(0));
        let plane = |x: f64, y: f64| json!({"Vec": [x, y]});
        let far =
            vec![json!({"Node": "own", "Coord": plane(0.0, 0.0)}), json!({"Node": "n", "Coord": plane(0.03, 0.04)})];
        assert_eq!(micros(far, "n"), Some(50_000));
    }

    #[test]
    fn coordinates_are_compared_within_a_segment() {
        let at = |node: &str, segment: &str, x| entry(node, segment, x, (0.0, 0.0));
        let server = |x| [at("n", "alpha", x), at("n", "", 2.0 * x)].to_vec();
        let own = |segments: &[&str]| segments.iter().map(|segment| at("own", segment, 0.0)).collect::<Vec<_>>();
        assert_eq!(micros([own(&[""]), server(0.001)].concat(), "n"), Some(2000));
        assert_eq!(micros([own(&["alpha"]), server(0.001)].concat(), "n"), Some(1000));
        assert_eq!(micros([own(&["alpha", ""]), server(0.001)].concat(), "n"), Some(2000));
        assert_eq!(micros([own(&["beta"]), server(0.001)].concat(), "n"), None);
        assert_eq!(micros([own(&["beta"]), vec![at("n", "alpha", 0.001)]].concat(), "n"), None);
    }

    #[test]
    fn garbage_costs_its_own_node_and_nothing_else() {
        let coord = |coord: Value| json!({"Node": "bad", "Segment": "", "Coord": coord});
        let bad = [
            json!(null),
            json!(7),
            json!({"Node": null, "Coord": {"Vec": []}}),
            coord(json!(null)),
            coord(json!({"Vec": null})),
            coord(json!({"Vec": [null, 0, 0]})),
            coord(json!({"Vec": [0.001]})),
            coord(json!({"Vec": [0.0, 0.0, 1e300]})),
            coord(json!({"Vec": [0.0, 0.0, 0.0], "Height": -1.0})),
            coord(json!({"Vec": [0.0, 0.0, 0.0], "Height": 1e300})),
        ];
        for bad in bad {
            let all = vec![entry("own", "", 0.0, (0.0, 0.0)), bad.clone(), entry("n", "", 0.001, (0.0, 0.0))];
            assert_eq!((micros(all.clone(), "n"), micros(all, "bad")), (Some(1000), None), "{bad}");
        }
        let lost = vec![entry("own", "", f64::NAN, (0.0, 0.0)), entry("n", "", 0.001, (0.0, 0.0))];
        assert_eq!(micros(lost, "n"), None, "serde writes null for it");
    }

    #[test]
    fn without_our_own_coordinate_there_is_no_estimate() {
        assert_eq!(estimates(json!([entry("n", "", 0.0, (0.0, 0.0))]), "own"), None);
        for document in [json!(null), json!([]), json!({}), json!("")] {
            assert_eq!(estimates(document, "own"), None);
        }
    }

    #[test]
    fn distances_are_the_same_both_ways_and_never_shorter_than_the_detour_saves() {
        let mut chance = fastrand::Rng::with_seed(7);
        for _ in 0..200 {
            let mut node = |name| entry(name, "", chance.f64() * 0.1, (chance.f64() * 0.001, 0.0));
            let all = [node("a"), node("b"), node("c")];
            let way = |from: &str, to: &str| estimates(json!(all), from).unwrap()[to];
            assert_eq!(way("a", "b"), way("b", "a"));
            assert!(way("a", "b") <= way("a", "c") + way("c", "b") + Duration::from_nanos(2));
        }
    }

    #[test]
    fn an_estimate_stays_until_it_would_be_chosen_otherwise_by() {
        let at = |micros| RoundTrips::from([("n".into(), Duration::from_micros(micros))]);
        let bounds = [1000, 5000].map(Duration::from_micros);
        let settled = |known: u64, new: u64| settle(&at(known), at(new), &bounds);
        assert_eq!(settled(100, 900), at(100), "within a tier");
        assert_eq!(settled(6000, 90_000), at(6000), "beyond all");
        assert_eq!(settled(980, 1020), at(980), "across a bound by a hair");
        assert_eq!(settled(980, 1200), at(1200));
        assert_eq!(settled(1200, 980), at(980));
        assert_eq!(settle(&RoundTrips::new(), at(900), &bounds), at(900));
        assert_eq!(settle(&at(900), RoundTrips::new(), &bounds), RoundTrips::new(), "who is gone is gone");
    }
}
