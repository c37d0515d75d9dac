//! What is foreseen is what comes, and nothing comes of foreseeing.

use super::*;

#[test]
fn shares_are_those_of_picks_for_every_policy_and_nothing_is_begun() {
    for (policy, _) in config::Policy::NAMES {
        let mut bench = Bench::with(&format!("policy='{policy}'"));
        let list = [1_u32, 2, 5].into_iter().zip(1_u16..).map(|(weight, port)| Listed { weight, ..listed(port) });
        let cluster = bench.cluster_of(list.collect(), None);
        let foresight = cluster.foresee(&request(bench.now));
        let before: Vec<u32> = cluster.members().iter().map(|member| member.endpoint.in_flight()).collect();
        assert_eq!(before, [0, 0, 0], "{policy}");
        let mut picked = BTreeMap::<Id, usize>::new();
        for _ in 0..4_000 {
            let attempt = bench.begin(&cluster).unwrap();
            *picked.entry(attempt.endpoint().id()).or_default() += 1;
        }
        assert!((foresight.shares.iter().map(|(_, share)| share).sum::<f64>() - 1.0).abs() < 1e-9);
        for (id, share) in &foresight.shares {
            let came = picked.get(id).copied().unwrap_or_default() as f64 / 4_000.0;
            assert!((came - share).abs() < 0.05, "{policy}: {share} foreseen, {came} came");
        }
        assert_eq!((foresight.candidates.len(), foresight.session, foresight.trial), (3, None, None));
    }
}

#[test]
fn a_key_is_foreseen_to_go_where_it_goes() {
    let mut bench = Bench::with("policy='consistent_hash'\nhash={keys=['path']}");
    let cluster = bench.cluster(&[1, 2, 3, 4, 5], None);
    bench.fail(&cluster, 3);
    for key in 0..200 {
        let asked = Request { key: Some(mix(key)), ..request(bench.now) };
        let foreseen = cluster.foresee(&asked).shares;
        let came = cluster.begin(&asked, &mut bench.rng).unwrap().endpoint().id();
        assert_eq!(foreseen, [(came, 1.0)]);
    }
}

#[test]
fn a_session_and_a_trial_are_foreseen_and_not_taken() {
    let mut bench = Bench::with("sticky={cookie='s'}");
    let cluster = bench.cluster(&[1, 2, 3], None);
    let length = bench.fail(&cluster, 2).unwrap();
    bench.now += length;
    let trial = cluster.members()[1].endpoint.id();
    let can_retry = Request { can_retry: true, ..request(bench.now) };
    assert_eq!(cluster.foresee(&can_retry).trial, Some(trial), "its time is over, and nobody has come yet");
    assert_eq!(cluster.members()[1].endpoint.standing(), Standing::Ejected);
    // Somebody comes, and leaves: it is on probation from now on.
    drop(bench.begin(&cluster));
    for _ in 0..2 {
        assert_eq!(cluster.foresee(&can_retry).trial, Some(trial));
    }
    let kept = cluster.members()[2].endpoint.id();
    let token = cluster.session(kept).unwrap().to_string();
    let foresight = cluster.foresee(&Request { session: Some(&token), ..request(bench.now) });
    assert_eq!(foresight.session, Some(kept));
}

#[test]
fn who_has_no_room_is_foreseen_to_be_passed_over() {
    let mut bench = Bench::with("policy='consistent_hash'\nhash={keys=['path']}\nlimits={endpoint_in_flight=1}");
    let cluster = bench.cluster(&[1, 2, 3], None);
    let asked = Request { key: Some(mix(7)), ..request(bench.now) };
    let mut held = Vec::new();
    for _ in 0..3 {
        let foreseen = cluster.foresee(&asked).shares;
        let came = cluster.begin(&asked, &mut bench.rng).unwrap();
        assert_eq!(foreseen, [(came.endpoint().id(), 1.0)]);
        held.push(came);
    }
    assert_eq!(cluster.foresee(&asked).shares, [], "there is room nowhere");
    assert!(cluster.begin(&asked, &mut bench.rng).is_none());
}
