//! What hashing promises: whose keys move, and how much anybody carries.

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whoever_leaves_moves_its_keys_and_no_others(
        weights in prop::collection::vec(1_u32..=200, 2..=60),
        leaving in any::<prop::sample::Index>(),
    ) {
        let fleet = Fleet::new(Policy::ConsistentHash, &weights);
        let leaving = leaving.index(weights.len());
        let rest: Arc<[Candidate]> =
            fleet.candidates.iter().enumerate().filter(|(index, _)| *index != leaving).map(|(_, one)| one.clone()).collect();
        let all = fleet.balancer();
        // Ejected: still in the ring. Deregistered: gone from it as well.
        let ejected = fleet.balancer_of(&rest);
        let departed = Fleet { ring: ring(&rest), ..Fleet::new(Policy::ConsistentHash, &weights) };
        let departed = departed.balancer_of(&rest);
        for key in 0..500_u64 {
            let (before, key) = (fleet.owner(&*all, mix(key)), mix(key));
            let after = fleet.owner(&*ejected, key);
            prop_assert_eq!(after, fleet.owner(&*departed, key), "out or gone comes to the same");
            prop_assert!(after == before || before == leaving as u16 + 1, "a key of another moved");
        }
    }

    #[test]
    fn a_weight_that_changes_moves_keys_of_its_own_endpoint_only(
        weights in prop::collection::vec(1_u32..=200, 2..=30),
        to in 1_u32..=200,
    ) {
        let mut changed = weights.clone();
        changed[0] = to;
        let (before, after) = (Fleet::new(Policy::ConsistentHash, &weights), Fleet::new(Policy::ConsistentHash, &changed));
        let (a, b) = (before.balancer(), after.balancer());
        for key in (0..500).map(mix) {
            let (old, new) = (before.owner(&*a, key), after.owner(&*b, key));
            let (gains, loses) = (to > weights[0] && new == 1, to < weights[0] && old == 1);
            prop_assert!(old == new || gains || loses, "{} became {}", old, new);
        }
    }

    #[test]
    fn nobody_carries_more_than_the_factor_of_its_share(
        weights in prop::collection::vec(1_u32..=10, 1..=12),
        steps in prop::collection::vec((0_u64..4, any::<u32>()), 1..600),
    ) {
        let fleet = Fleet::new(Policy::ConsistentHash, &weights);
        let balancer = fleet.balancer();
        let mut rng = fastrand::Rng::with_seed(1);
        let mut running: Vec<InFlight> = Vec::new();
        let total: u32 = weights.iter().sum();
        // A few hot keys, so that without a bound a few endpoints had it all.
        for (key, chance) in steps {
            if chance % 4 == 0 && !running.is_empty() {
                running.swap_remove(chance as usize % running.len());
                continue;
            }
            let picked = balancer.pick(&mut Ask { key: Some(mix(key)), ..ask(&mut rng) });
            let weight = fleet.candidates[fleet.index(&picked)].weight;
            running.push(picked);
            let bound = 1.25 * running.len() as f64 * f64::from(weight) / f64::from(total);
            let carried = running.last().unwrap().endpoint().in_flight();
            prop_assert!(f64::from(carried) <= bound.ceil(), "{carried} of {}, bound {bound}", running.len());
        }
    }
}

#[test]
fn hashing_is_even_and_goes_by_weight() {
    let even = Fleet::new(Policy::ConsistentHash, &[1; 50]);
    let counts = even.counts(200_000, 5);
    let mean = 200_000.0 / 50.0;
    let variance = counts.iter().map(|count| (*count as f64 - mean).powi(2)).sum::<f64>() / 50.0;
    assert!(variance.sqrt() / mean < 0.1, "{counts:?}");
    // Many of each weight, so that what one has too much another has too little.
    let weights: Vec<u32> = (0..60).map(|index| [1, 3, 20][index % 3]).collect();
    let counts = Fleet::new(Policy::ConsistentHash, &weights).counts(200_000, 6);
    for (place, weight) in [1.0, 3.0, 20.0].into_iter().enumerate() {
        let share = counts.iter().skip(place).step_by(3).sum::<usize>() as f64 / 200_000.0;
        assert!((share / (weight / 24.0) - 1.0).abs() < 0.15, "{share} for {weight} of 24");
    }
}

#[test]
fn hashes_and_homes_are_the_same_in_every_version() {
    assert_eq!(hash(b""), 0x2d06_8005_38d3_94c2);
    assert_eq!(hash(b"lictor"), 4_099_223_321_680_739_263);
    let fleet = Fleet::new(Policy::ConsistentHash, &[1, 2, 3, 4, 5]);
    let balancer = fleet.balancer();
    let homes: Vec<u16> = (0..12).map(|key| fleet.owner(&*balancer, mix(key))).collect();
    assert_eq!(homes, [2, 5, 5, 5, 5, 4, 2, 5, 5, 5, 1, 5]);
}

#[test]
fn a_request_without_a_key_goes_anywhere() {
    let fleet = Fleet::new(Policy::ConsistentHash, &[1; 5]);
    assert!(fleet.counts(1_000, 1).iter().all(|count| *count > 100));
}

#[test]
fn keys_of_a_slow_starter_come_to_it_one_after_the_other_and_stay() {
    let owned = |percent: u32| {
        let weights: Vec<(u32, u32)> = std::iter::once((percent, percent)).chain([(100, 100); 7]).collect();
        let fleet = Fleet::starting(Policy::ConsistentHash, &weights);
        let balancer = fleet.balancer();
        (0..4_000)
            .map(mix)
            .filter(|key| fleet.owner(&*balancer, *key) == 1)
            .collect::<std::collections::BTreeSet<u64>>()
    };
    let (early, late, whole) = (owned(10), owned(60), owned(100));
    assert!(early.is_subset(&late) && late.is_subset(&whole));
    let part = early.len() as f64 / whole.len() as f64;
    assert!((0.05..0.16).contains(&part), "{part}");
}

#[test]
fn a_bound_can_be_left_out() {
    let mut fleet = Fleet::new(Policy::ConsistentHash, &[1; 5]);
    fleet.settings = settings(Policy::ConsistentHash, "hash = { load_factor = 0 }");
    fleet.ledger.keep(keeps(&fleet.settings));
    let balancer = fleet.balancer();
    let mut rng = fastrand::Rng::with_seed(1);
    let running: Vec<InFlight> = (0..50).map(|_| balancer.pick(&mut Ask { key: Some(7), ..ask(&mut rng) })).collect();
    assert_eq!(running[0].endpoint().in_flight(), 50);
}
