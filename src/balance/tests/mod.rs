//! What each policy promises, for fleets drawn at random.

mod hashing;

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::config::Environment;
use crate::endpoint::{Address, Ids};

/// Endpoints, and what a balancer leans on.
struct Fleet {
    candidates: Arc<[Candidate]>,
    settings: Arc<config::Cluster>,
    ledger: Arc<Ledger>,
    cursors: Arc<Cursors>,
    ring: Arc<Ring>,
}

impl Fleet {
    fn new(policy: Policy, weights: &[u32]) -> Self {
        let started: Vec<(u32, u32)> = weights.iter().map(|weight| (*weight, 100)).collect();
        Fleet::starting(policy, &started)
    }

    /// Of weights and hundredths of them.
    fn starting(policy: Policy, weights: &[(u32, u32)]) -> Self {
        let (ids, ledger) = (Ids::default(), Ledger::new(Instant::now()));
        let candidate = |(index, (weight, percent)): (usize, &(u32, u32))| Candidate {
            endpoint: Arc::new(Endpoint::new(Address::new("10.0.0.1", index as u16 + 1), &ids, &ledger)),
            weight: *weight,
            percent: *percent,
            place: index as u32,
        };
        let candidates: Arc<[Candidate]> = weights.iter().enumerate().map(candidate).collect();
        let settings = settings(policy, "");
        ledger.keep(keeps(&settings));
        Fleet { ring: ring(&candidates), candidates, settings, ledger, cursors: Arc::new(Cursors::new(2)) }
    }

    fn balancer(&self) -> Box<dyn Balancer> {
        self.balancer_of(&self.candidates)
    }

    fn balancer_of(&self, candidates: &Arc<[Candidate]>) -> Box<dyn Balancer> {
        let context = Context {
            settings: &self.settings,
            cursors: &self.cursors,
            ledger: &self.ledger,
            ring: Some(&self.ring),
            group: 0,
            stamp: 1,
        };
        balancer(candidates, &context).unwrap()
    }

    fn index(&self, picked: &InFlight) -> usize {
        self.candidates.iter().position(|candidate| candidate.endpoint.id() == picked.endpoint().id()).unwrap()
    }

    /// What each candidate got of so many picks that were over at once.
    fn counts(&self, picks: usize, seed: u64) -> Vec<usize> {
        let balancer = self.balancer();
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut counts = vec![0; self.candidates.len()];
        for _ in 0..picks {
            counts[self.index(&balancer.pick(&mut ask(&mut rng)))] += 1;
        }
        counts
    }

    fn owner(&self, balancer: &dyn Balancer, key: u64) -> u16 {
        let mut rng = fastrand::Rng::with_seed(0);
        port(&balancer.pick(&mut Ask { key: Some(key), ..ask(&mut rng) }))
    }
}

fn ring(candidates: &[Candidate]) -> Arc<Ring> {
    let name = |candidate: &Candidate| hash(candidate.endpoint.address().to_string().as_bytes());
    // The ring knows whole weights.
    Arc::new(Ring::new(candidates.iter().map(|one| (one.place as usize, name(one), one.weight * 100 / one.percent))))
}

fn settings(policy: Policy, more: &str) -> Arc<config::Cluster> {
    let name = policy.name();
    let text = format!(
        "[[listeners]]\nname='a'\nbind='127.0.0.1:0'\n[clusters.web]\nendpoints=['127.0.0.1:1']\npolicy='{name}'\n{more}"
    );
    Arc::clone(&config::parse(&text, &Environment::default()).unwrap().clusters[0])
}

fn ask(rng: &mut fastrand::Rng) -> Ask<'_> {
    Ask { worker: 0, rng, now: Tick(0), key: None, tried: &[] }
}

fn port(picked: &InFlight) -> u16 {
    match picked.endpoint().address() {
        Address::Ip(address) => address.port(),
        Address::Name(..) => unreachable!(),
    }
}

/// True if a count is within so much of what the share says, and what chance may add.
fn is_near(count: usize, picks: usize, share: f64, tolerance: f64, deviations: f64) -> bool {
    let expected = share * picks as f64;
    let chance = deviations * (expected * (1.0 - share)).sqrt() + 1.0;
    (count as f64 - expected).abs() <= tolerance * expected + chance
}

fn shares(weights: &[u32]) -> Vec<f64> {
    let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
    weights.iter().map(|weight| f64::from(*weight) / total).collect()
}

fn any_policy() -> impl Strategy<Value = Policy> {
    prop::sample::select(Policy::NAMES.map(|(_, policy)| policy).to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn turns_are_shared_to_a_hundredth_and_chance_to_five(
        weights in prop::collection::vec(1_u32..=100, 1..=40),
        seed in any::<u64>(),
    ) {
        for policy in [Policy::RoundRobin, Policy::Random, Policy::P2c, Policy::LeastConnections, Policy::Ewma] {
            let counts = Fleet::new(policy, &weights).counts(100_000, seed);
            let (tolerance, deviations) = if policy == Policy::RoundRobin { (0.01, 0.0) } else { (0.05, 4.0) };
            for (count, share) in counts.into_iter().zip(shares(&weights)) {
                let fits = is_near(count, 100_000, share, tolerance, deviations);
                prop_assert!(fits, "{}: {count} instead of {share} of {weights:?}", policy.name());
            }
        }
    }

    #[test]
    fn round_robin_is_exact_over_every_window_of_the_weights_sum(
        weights in prop::collection::vec(1_u32..=20, 1..=8),
        start in 0_usize..1000,
    ) {
        assert_exact(&weights, start);
    }

    #[test]
    fn round_robin_is_exact_even_where_the_turns_are_too_many_to_write_down(
        weights in prop::collection::vec(5_000_u32..=65_535, 1..=5),
        start in 0_usize..1000,
    ) {
        assert_exact(&weights, start);
    }

    #[test]
    fn round_robin_spreads_a_heavy_endpoint_between_the_others(
        heavy in 2_u32..=64,
        others in prop::collection::vec(1_u32..=3, 2..=20),
    ) {
        let weights: Vec<u32> = std::iter::once(heavy).chain(others.iter().copied()).collect();
        let fleet = Fleet::new(Policy::RoundRobin, &weights);
        let longest = longest_run(&fleet, weights.iter().sum::<u32>() as usize * 3);
        let fair = heavy.div_ceil(others.iter().sum());
        prop_assert!(longest <= fair as usize + 1, "{longest} in a row, {fair} would be fair: {weights:?}");
    }

    #[test]
    fn an_endpoint_that_was_tried_is_not_picked_while_there_is_another(
        policy in any_policy(),
        weights in prop::collection::vec(1_u32..=50, 2..=9),
        busy in prop::collection::vec(0_usize..9, 0..20),
        key in any::<u64>(),
    ) {
        let fleet = Fleet::new(policy, &weights);
        let _busy: Vec<_> = busy.iter().filter_map(|index| fleet.candidates.get(*index)).map(|one| one.endpoint.begin()).collect();
        let balancer = fleet.balancer();
        let mut rng = fastrand::Rng::with_seed(key);
        let mut tried = Vec::new();
        for _ in 0..weights.len() {
            let picked = balancer.pick(&mut Ask { key: Some(key), tried: &tried, ..ask(&mut rng) });
            prop_assert!(!tried.contains(&picked.endpoint().id()));
            tried.push(picked.endpoint().id());
        }
        balancer.pick(&mut Ask { key: Some(key), tried: &tried, ..ask(&mut rng) });
    }

    #[test]
    fn least_connections_always_picks_one_that_carries_least(
        weights in prop::collection::vec(1_u32..=100, 1..=40),
        steps in prop::collection::vec(any::<u32>(), 1..400),
    ) {
        let fleet = Fleet::new(Policy::LeastConnections, &weights);
        let balancer = fleet.balancer();
        let mut rng = fastrand::Rng::with_seed(1);
        let mut running: Vec<InFlight> = Vec::new();
        for step in steps {
            if step % 3 == 0 && !running.is_empty() {
                running.swap_remove(step as usize % running.len());
                continue;
            }
            let loads: Vec<(u32, u32)> = fleet.candidates.iter().map(|one| (one.endpoint.in_flight(), one.weight)).collect();
            let picked = balancer.pick(&mut ask(&mut rng));
            let (carried, weight) = loads[fleet.index(&picked)];
            for (other, its_weight) in loads {
                let (ours, theirs) = (u64::from(carried) * u64::from(its_weight), u64::from(other) * u64::from(weight));
                prop_assert!(ours <= theirs, "{carried}/{weight} is more than {other}/{its_weight}");
            }
            running.push(picked);
        }
    }

}

fn assert_exact(weights: &[u32], start: usize) {
    let fleet = Fleet::new(Policy::RoundRobin, weights);
    let balancer = fleet.balancer();
    let mut rng = fastrand::Rng::with_seed(0);
    let mut next = || fleet.index(&balancer.pick(&mut ask(&mut rng)));
    (0..start).for_each(|_| {
        next();
    });
    let mut counts = vec![0_u32; weights.len()];
    (0..weights.iter().sum()).for_each(|_: u32| counts[next()] += 1);
    assert_eq!(counts, weights);
}

fn longest_run(fleet: &Fleet, picks: usize) -> usize {
    let balancer = fleet.balancer();
    let mut rng = fastrand::Rng::with_seed(7);
    let picks: Vec<usize> = (0..picks).map(|_| fleet.index(&balancer.pick(&mut ask(&mut rng)))).collect();
    picks.chunk_by(|a, b| a == b).map(<[usize]>::len).max().unwrap()
}

#[test]
fn of_eight_to_one_nobody_has_eight_in_a_row_where_there_are_others() {
    for weights in [&[8, 1, 1][..], &[8, 1, 1, 1], &[8, 1, 8], &[8, 1, 4], &[1, 8, 2, 1]] {
        let longest = longest_run(&Fleet::new(Policy::RoundRobin, weights), 10_000);
        assert!(longest < 8, "{longest} in a row of {weights:?}");
    }
    assert_eq!(longest_run(&Fleet::new(Policy::RoundRobin, &[8, 1, 1]), 10_000), 4);
}

#[test]
fn every_worker_has_turns_of_its_own() {
    let fleet = Fleet::new(Policy::RoundRobin, &[1, 1, 1]);
    let balancer = fleet.balancer();
    let mut rng = fastrand::Rng::with_seed(0);
    let mut counts = [[0; 3]; 2];
    for turn in 0..300 {
        counts[turn % 2][fleet.index(&balancer.pick(&mut Ask { worker: turn % 2, ..ask(&mut rng) }))] += 1;
    }
    assert_eq!(counts, [[50; 3]; 2]);
}

#[test]
fn turns_begin_at_random() {
    let first = || {
        let fleet = Fleet::new(Policy::RoundRobin, &[1; 50]);
        fleet.index(&fleet.balancer().pick(&mut ask(&mut fastrand::Rng::with_seed(0))))
    };
    let firsts: std::collections::BTreeSet<usize> = (0..20).map(|_| first()).collect();
    assert!(firsts.len() > 5, "{firsts:?}");
}

#[test]
fn p2c_and_least_connections_avoid_the_endpoint_that_carries_more() {
    for policy in [Policy::P2c, Policy::LeastConnections] {
        let fleet = Fleet::new(policy, &[1, 1, 1]);
        let busy: Vec<_> = (0..10).map(|_| fleet.candidates[1].endpoint.begin()).collect();
        assert_eq!(fleet.counts(30_000, 3)[1], 0);
        drop(busy);
        assert!(fleet.counts(30_000, 3)[1] > 9_000);
    }
}

#[test]
fn load_is_relative_to_weight() {
    let fleet = Fleet::new(Policy::LeastConnections, &[4, 1]);
    let heavy = &fleet.candidates[0].endpoint;
    let _busy = [heavy.begin(), heavy.begin(), heavy.begin(), fleet.candidates[1].endpoint.begin()];
    assert_eq!(fleet.counts(1_000, 5)[0], 1_000, "3/4 is less than 1/1");
}

#[test]
fn two_workers_together_load_least_connections_exactly_evenly() {
    let fleet = Fleet::new(Policy::LeastConnections, &[1; 10]);
    let balancer = fleet.balancer();
    let begin = |worker: usize| {
        let mut rng = fastrand::Rng::with_seed(worker as u64);
        let mut begun = Vec::new();
        for turn in 0..1_500 {
            begun.push(balancer.pick(&mut Ask { worker, ..ask(&mut rng) }));
            // Some end meanwhile, so that loads fall as well as rise.
            if turn % 3 == 0 {
                begun.pop();
            }
        }
        begun
    };
    let begin = &begin;
    let running = std::thread::scope(|scope| {
        let workers = [0, 1].map(|worker| scope.spawn(move || begin(worker)));
        workers.map(|worker| worker.join().unwrap())
    });
    let loads: Vec<u32> = fleet.candidates.iter().map(|candidate| candidate.endpoint.in_flight()).collect();
    assert_eq!(loads.iter().sum::<u32>(), 2_000);
    // A pick that ended at once may have been the last word in a place.
    assert!(loads.iter().all(|load| (199..=201).contains(load)), "{loads:?}");
    drop(running);
    assert!(fleet.candidates.iter().all(|candidate| candidate.endpoint.in_flight() == 0));
}

#[test]
fn least_connections_under_an_older_list_still_picks_the_least() {
    let fleet = Fleet::new(Policy::LeastConnections, &[1, 1, 1]);
    let old = fleet.balancer();
    fleet.ledger.enter(2, 0, Vec::new());
    let _busy = [fleet.candidates[0].endpoint.begin(), fleet.candidates[2].endpoint.begin()];
    assert_eq!(fleet.index(&old.pick(&mut ask(&mut fastrand::Rng::new()))), 1);
}

const DECAY: f32 = 10_000.0;

#[test]
fn ewma_turns_away_from_whoever_answers_late_and_looks_again_when_the_memory_fades() {
    let fleet = Fleet::new(Policy::Ewma, &[1; 4]);
    for (index, candidate) in fleet.candidates.iter().enumerate() {
        candidate.endpoint.latency().observe(if index == 2 { 0.1 } else { 0.01 }, Tick(0), DECAY);
    }
    assert_eq!(fleet.counts(10_000, 1)[2], 0);
    let mut rng = fastrand::Rng::with_seed(1);
    for candidate in
        fleet.candidates.iter().filter(|candidate| candidate.endpoint.id() != fleet.candidates[2].endpoint.id())
    {
        candidate.endpoint.latency().observe(0.01, Tick(30_000_000_000), DECAY);
    }
    let balancer = fleet.balancer();
    let again =
        (0..1_000).any(|_| fleet.index(&balancer.pick(&mut Ask { now: Tick(30_000_000_000), ..ask(&mut rng) })) == 2);
    assert!(again);
}

#[test]
fn ewma_tries_whoever_has_not_answered_yet_once() {
    let fleet = Fleet::new(Policy::Ewma, &[1; 3]);
    fleet.candidates[..2].iter().for_each(|one| one.endpoint.latency().observe(0.01, Tick(0), DECAY));
    assert!(fleet.counts(3_000, 1)[2] > 1_500, "whenever it is drawn, as long as it carries nothing");
    let _trying = fleet.candidates[2].endpoint.begin();
    assert_eq!(fleet.counts(3_000, 1)[2], 0);
}

#[test]
fn ewma_weighs_what_is_in_flight_by_weight() {
    let fleet = Fleet::new(Policy::Ewma, &[9, 1]);
    fleet.candidates.iter().for_each(|one| one.endpoint.latency().observe(0.01, Tick(0), DECAY));
    let _busy: Vec<_> =
        (0..3).map(|_| fleet.candidates[0].endpoint.begin()).chain([fleet.candidates[1].endpoint.begin()]).collect();
    assert_eq!(fleet.counts(1_000, 1)[1], 0, "three of nine are less than one of one");
}

#[test]
fn whoever_starts_slowly_has_its_part_under_every_policy() {
    for (name, policy) in Policy::NAMES {
        // Nine whole ones and one that has a tenth of its share: 1/91 of the requests.
        let weights: Vec<(u32, u32)> = std::iter::once((10, 10)).chain([(100, 100); 9]).collect();
        let fleet = Fleet::starting(policy, &weights);
        let count = fleet.counts(91_000, 3)[0];
        let most = if policy == Policy::ConsistentHash { 2_500 } else { 1_300 };
        assert!((400..most).contains(&count), "{name}: {count}");
    }
}

#[test]
fn whoever_starts_with_the_least_share_there_is_is_not_hammered_either() {
    let fleet = Fleet::starting(Policy::LeastConnections, &[(1, 1), (100, 100), (100, 100)]);
    let _busy = [fleet.candidates[1].endpoint.begin(), fleet.candidates[2].endpoint.begin()];
    assert!(fleet.counts(10_000, 1)[0] < 200);
}

#[test]
fn whoever_starts_slowly_is_not_hammered_for_being_idle() {
    let weights: Vec<(u32, u32)> = std::iter::once((10, 10)).chain([(100, 100); 9]).collect();
    for policy in [Policy::LeastConnections, Policy::P2c, Policy::Ewma] {
        let fleet = Fleet::starting(policy, &weights);
        fleet.candidates.iter().for_each(|one| one.endpoint.latency().observe(0.01, Tick(0), DECAY));
        let _busy: Vec<_> =
            fleet.candidates[1..].iter().flat_map(|one| [one.endpoint.begin(), one.endpoint.begin()]).collect();
        let count = fleet.counts(91_000, 3)[0];
        assert!(count < 2_500, "{}: {count} of 91000", policy.name());
    }
}

#[test]
fn a_policy_that_changes_while_requests_run_counts_none_twice() {
    let fleet = Fleet::new(Policy::P2c, &[1, 1]);
    let before = fleet.candidates[0].endpoint.begin();
    fleet.ledger.keep(Keeps::Total);
    let after = fleet.candidates[0].endpoint.begin();
    drop(before);
    assert_eq!(fleet.ledger.total(), 1);
    fleet.ledger.keep(Keeps::Nothing);
    drop(after);
    assert_eq!((fleet.ledger.total(), fleet.candidates[0].endpoint.in_flight()), (0, 0));
}

#[test]
fn a_time_that_goes_back_is_no_time() {
    let ledger = Ledger::new(Instant::now());
    assert_eq!(ledger.tick(Instant::now() - Duration::from_secs(5)), Tick(0));
}
