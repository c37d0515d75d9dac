//! What each policy promises, for fleets drawn at random.

use proptest::prelude::*;

use super::*;
use crate::endpoint::{Address, Ids};

fn fleet(weights: &[u32]) -> Arc<[Candidate]> {
    let ids = Ids::default();
    let candidate = |(index, weight): (usize, &u32)| Candidate {
        endpoint: Arc::new(Endpoint::new(Address::new("127.0.0.1", index as u16 + 1), &ids)),
        weight: *weight,
    };
    weights.iter().enumerate().map(candidate).collect()
}

fn shares(policy: Policy, candidates: &Arc<[Candidate]>, picks: usize, seed: u64) -> Vec<f64> {
    let balancer = balancer(policy, candidates, &Arc::new(Cursors::new(1))).unwrap();
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut counts = vec![0_usize; candidates.len()];
    for _ in 0..picks {
        counts[balancer.pick(&mut Ask { worker: 0, rng: &mut rng })] += 1;
    }
    counts.into_iter().map(|count| count as f64 / picks as f64).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_policy_shares_by_weight_when_nothing_is_in_flight(
        weights in prop::collection::vec(1_u32..=20, 1..=12),
        seed in any::<u64>(),
    ) {
        let candidates = fleet(&weights);
        let total: u32 = weights.iter().sum();
        for (name, policy) in Policy::NAMES {
            for (share, weight) in shares(policy, &candidates, 40_000, seed).into_iter().zip(&weights) {
                let expected = f64::from(*weight) / f64::from(total);
                prop_assert!((share - expected).abs() < 0.02, "{name}: {share} instead of {expected} of {weights:?}");
            }
        }
    }

    #[test]
    fn round_robin_is_exact_over_every_window_of_the_weights_sum(
        weights in prop::collection::vec(1_u32..=20, 1..=8),
        start in 0_usize..1000,
    ) {
        let candidates = fleet(&weights);
        let balancer = balancer(Policy::RoundRobin, &candidates, &Arc::new(Cursors::new(1))).unwrap();
        let mut rng = fastrand::Rng::with_seed(0);
        let mut ask = Ask { worker: 0, rng: &mut rng };
        let divisor = weights.iter().copied().fold(0, |a, b| { let (mut a, mut b) = (a, b); while b != 0 { (a, b) = (b, a % b); } a });
        let window: u32 = weights.iter().sum::<u32>() / divisor;
        (0..start).for_each(|_| { balancer.pick(&mut ask); });
        let mut counts = vec![0_u32; weights.len()];
        (0..window).for_each(|_| counts[balancer.pick(&mut ask)] += 1);
        let expected: Vec<u32> = weights.iter().map(|weight| weight / divisor).collect();
        prop_assert_eq!(counts, expected);
    }
}

#[test]
fn round_robin_spreads_a_heavy_endpoint_between_the_others() {
    let candidates = fleet(&[3, 1, 1, 1]);
    let balancer = balancer(Policy::RoundRobin, &candidates, &Arc::new(Cursors::new(1))).unwrap();
    let mut rng = fastrand::Rng::with_seed(7);
    let mut ask = Ask { worker: 0, rng: &mut rng };
    let picks: Vec<usize> = (0..60).map(|_| balancer.pick(&mut ask)).collect();
    assert!(!picks.windows(2).any(|pair| pair == [0, 0]), "{picks:?}");
}

#[test]
fn weights_that_are_far_apart_keep_their_shares() {
    let candidates = fleet(&[65_535, 1, 32_768, 1]);
    let shares = shares(Policy::RoundRobin, &candidates, 200_000, 1);
    assert!((shares[0] - 0.6667).abs() < 0.001 && (shares[2] - 0.3333).abs() < 0.001, "{shares:?}");
    assert!(shares[1] > 0.0 && shares[3] > 0.0, "{shares:?}");
}

#[test]
fn p2c_and_least_connections_avoid_the_endpoint_that_carries_more() {
    let candidates = fleet(&[1, 1, 1]);
    let busy: Vec<_> = (0..10).map(|_| Arc::clone(&candidates[1].endpoint).begin()).collect();
    for policy in [Policy::P2c, Policy::LeastConnections] {
        assert_eq!(shares(policy, &candidates, 30_000, 3)[1], 0.0);
    }
    drop(busy);
    for policy in [Policy::P2c, Policy::LeastConnections] {
        assert!(shares(policy, &candidates, 30_000, 3)[1] > 0.3);
    }
}

#[test]
fn load_is_relative_to_weight() {
    let candidates = fleet(&[4, 1]);
    let _busy: Vec<_> = (0..3)
        .map(|_| Arc::clone(&candidates[0].endpoint).begin())
        .chain([Arc::clone(&candidates[1].endpoint).begin()])
        .collect();
    assert_eq!(shares(Policy::LeastConnections, &candidates, 1_000, 5)[0], 1.0, "3/4 is less than 1/1");
}

#[test]
fn every_worker_has_turns_of_its_own() {
    let candidates = fleet(&[1, 1, 1]);
    let balancer = balancer(Policy::RoundRobin, &candidates, &Arc::new(Cursors::new(2))).unwrap();
    let mut rng = fastrand::Rng::with_seed(0);
    let mut counts = [[0; 3]; 2];
    for turn in 0..300 {
        counts[turn % 2][balancer.pick(&mut Ask { worker: turn % 2, rng: &mut rng })] += 1;
    }
    assert_eq!(counts, [[50; 3]; 2]);
}
