//! What holds for every policy: weights that ramp, tiers, subsets, panic, sessions.

use super::*;

fn with_status(port: u16, status: Status) -> Listed {
    Listed { status, ..listed(port) }
}

fn in_zone(port: u16, zone: &str) -> Listed {
    Listed { locality: Locality { zone: Some(zone.into()), ..Locality::default() }, ..listed(port) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn weights_stay_right_whoever_is_out(
        weights in prop::collection::vec(1_u32..=50, 2..=20),
        out in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
        policy in prop::sample::select(vec!["round_robin", "random", "p2c", "least_connections", "ewma"]),
    ) {
        let mut bench = Bench::with(&format!("policy='{policy}'"));
        let weighted = |(place, weight): (usize, &u32)| Listed { weight: *weight, ..listed(place as u16) };
        let cluster = bench.cluster_of(weights.iter().enumerate().map(weighted).collect(), None);
        for index in out {
            let _ = cluster.try_eject(&cluster.members()[index.index(weights.len())].endpoint, Reason::Connect, bench.now);
        }
        let serving = cluster.members().iter().filter(|member| member.endpoint.standing() == Standing::Eligible);
        let serving: BTreeMap<u16, u32> = serving.map(|member| (endpoint_port(&member.endpoint), member.weight)).collect();
        let total: u32 = serving.values().sum();
        let picks = 100_000;
        let counts = bench.counts(&cluster, picks);
        prop_assert!(counts.keys().all(|port| serving.contains_key(port)), "somebody who is out was picked");
        for (port, weight) in serving {
            let share = f64::from(weight) / f64::from(total);
            let count = counts.get(&port).copied().unwrap_or_default() as f64;
            let (tolerance, chance) = if policy == "round_robin" { (0.01, 1.0) } else { (0.05, 4.0 * (share * picks as f64).sqrt()) };
            let expected = share * picks as f64;
            prop_assert!((count - expected).abs() <= tolerance * expected + chance + 1.0, "{policy}: {count} instead of {expected}");
        }
    }
}

#[test]
fn slow_start_ramps_who_comes_later_and_nobody_on_the_first_list() {
    let mut bench = Bench::with("slow_start={window='30s'}");
    let first = bench.cluster(&[1, 2, 3], None);
    assert_eq!(bench.counts(&first, 300), BTreeMap::from([(1, 100), (2, 100), (3, 100)]));
    let second = bench.cluster(&[1, 2, 3, 4], Some(&first));
    let share = |after: u64, bench: &mut Bench| {
        let now = bench.now;
        bench.now += Duration::from_secs(after);
        let count = bench.counts(&second, 31_000)[&4];
        bench.now = now;
        count
    };
    assert_eq!(share(0, &mut bench), 1_000, "a tenth of a share");
    let middle = share(15, &mut bench);
    assert!((4_700..4_900).contains(&middle), "55 hundredths: {middle}");
    assert_eq!(share(30, &mut bench), 7_750);
}

#[test]
fn slow_start_ramps_who_returns_from_ejection_or_from_its_source() {
    let mut bench = Bench::with("slow_start={window='30s'}");
    let first = bench.cluster(&[1, 2, 3], None);
    let length = bench.fail(&first, 2).unwrap();
    bench.now += length;
    bench.begin(&first).unwrap().judge(Outcome::Success, bench.now);
    assert_eq!(bench.counts(&first, 2_100)[&2], 100);
    let failing = vec![listed(1), with_status(2, Status::Critical), listed(3)];
    let second = bench.cluster_of(failing, Some(&first));
    bench.now += Duration::from_secs(60);
    let third = bench.cluster(&[1, 2, 3], Some(&second));
    assert_eq!(bench.counts(&third, 2_100)[&2], 100);
    let fourth = bench.cluster(&[1, 2, 3], Some(&third));
    bench.now += Duration::from_secs(30);
    assert_eq!(bench.counts(&fourth, 300)[&2], 100, "another list does not begin anew");
}

#[test]
fn where_all_are_new_none_starts_slowly() {
    let mut bench = Bench::with("slow_start={window='30s'}");
    let first = bench.cluster(&[1], None);
    let second = bench.cluster(&[2, 3], Some(&first));
    assert_eq!(bench.counts(&second, 200), BTreeMap::from([(2, 100), (3, 100)]));
}

#[test]
fn near_endpoints_serve_and_others_take_what_these_cannot() {
    let mut bench = Bench::with("locality={prefer=['zone']}");
    let here = Locality { zone: Some("a".into()), ..Locality::default() };
    bench.vantage = Arc::new(Vantage { here, ..Vantage::default() });
    let list = |status| vec![in_zone(1, "a"), Listed { status, ..in_zone(2, "a") }, in_zone(3, "b"), listed(4)];
    let all = bench.cluster_of(list(Status::Passing), None);
    assert_eq!(bench.counts(&all, 200), BTreeMap::from([(1, 100), (2, 100)]));
    let half = bench.cluster_of(list(Status::Critical), Some(&all));
    let counts = bench.counts(&half, 10_000);
    assert!((4_800..5_200).contains(&counts[&1]), "{counts:?}");
    assert!((2_300..2_700).contains(&counts[&3]) && (2_300..2_700).contains(&counts[&4]), "{counts:?}");
    let none = bench.cluster_of(vec![in_zone(3, "b"), listed(4)], Some(&half));
    assert_eq!(bench.counts(&none, 200), BTreeMap::from([(3, 100), (4, 100)]));
}

#[test]
fn a_retry_leaves_the_zone_where_there_is_nobody_else_in_it() {
    let mut bench = Bench::with("locality={prefer=['zone']}");
    let here = Locality { zone: Some("a".into()), ..Locality::default() };
    bench.vantage = Arc::new(Vantage { here, ..Vantage::default() });
    let cluster = bench.cluster_of(vec![in_zone(1, "a"), in_zone(2, "b")], None);
    let first = bench.begin(&cluster).unwrap();
    assert_eq!(port(&first), 1);
    let second = bench.begin_after(&cluster, &[first.endpoint().id()]).unwrap();
    assert_eq!(port(&second), 2);
}

#[test]
fn when_nobody_is_left_whom_the_source_calls_well_all_serve_but_those_in_maintenance() {
    let mut bench = Bench::new();
    let list =
        |status| vec![with_status(1, status), with_status(2, Status::Critical), with_status(3, Status::Maintenance)];
    let bad = bench.cluster_of(list(Status::Critical), None);
    assert!(bad.is_panicking());
    assert_eq!(bench.serving(&bad), [1, 2]);
    let better = bench.cluster_of(list(Status::Passing), Some(&bad));
    assert!(!better.is_panicking(), "one that recovers ends it");
    assert_eq!(bench.serving(&better), [1]);
}

#[test]
fn panic_begins_below_the_share_that_was_set() {
    let mut bench = Bench::with("panic_percent=50");
    let list = |well: usize| {
        let status = |place: usize| if place < well { Status::Passing } else { Status::Critical };
        (0..4).map(|place| with_status(place as u16, status(place))).collect()
    };
    let half = bench.cluster_of(list(2), None);
    assert_eq!((half.is_panicking(), bench.serving(&half)), (false, vec![0, 1]));
    let fewer = bench.cluster_of(list(1), Some(&half));
    assert_eq!((fewer.is_panicking(), bench.serving(&fewer)), (true, vec![0, 1, 2, 3]));
    bench = Bench::with("panic_percent=0");
    let off = bench.cluster_of(list(0), None);
    assert!(bench.begin(&off).is_none(), "0 never disbelieves the source");
}

#[test]
fn a_subset_is_stable_even_and_full() {
    let mut bench = Bench::with("subset_size=5");
    let ports: Vec<u16> = (0..50).collect();
    let cluster = bench.cluster(&ports, None);
    let chosen = bench.serving(&cluster);
    assert_eq!(chosen.len(), 5);
    let same = bench.cluster(&ports, Some(&cluster));
    assert_eq!(bench.serving(&same), chosen);
    let rest: Vec<u16> = ports.iter().copied().filter(|port| *port != chosen[2]).collect();
    let without = bench.cluster(&rest, Some(&cluster));
    let after = bench.serving(&without);
    assert_eq!((after.len(), after.iter().filter(|port| chosen.contains(port)).count()), (5, 4));
    let fail = chosen[0];
    bench.fail(&same, fail);
    assert_eq!(bench.serving(&same).len(), 5, "another one stands in for one that is out");
}

#[test]
fn subsets_of_many_processes_spread_evenly() {
    let bench = Bench::with("subset_size=5");
    let mut chosen = BTreeMap::new();
    for seed in 0..400 {
        let own = Own { seed, secret: [0; 32] };
        let new = New {
            workers: 1,
            now: bench.now,
            ids: &bench.ids,
            vantage: &bench.vantage,
            own: &own,
            metrics: &bench.metrics,
            journal: &Arc::default(),
            mesh: None,
            measures: None,
        };
        let list: List = (0..50).map(listed).collect();
        let cluster = Handle::new(&Arc::new(Cluster::build(&bench.settings, Some(list), None, &new)));
        for _ in 0..5 {
            let begun = cluster.begin(&request(bench.now), &mut fastrand::Rng::with_seed(seed)).unwrap();
            *chosen.entry(port(&begun)).or_insert(0) += 1;
        }
    }
    // 2,000 choices among 50: 40 each, with a deviation of 6.
    assert!(chosen.len() == 50 && chosen.values().all(|count| (15..=65).contains(count)), "{chosen:?}");
}

#[test]
fn a_session_stays_with_its_endpoint_while_that_may_serve_or_drains() {
    let mut bench = Bench::with("sticky={}");
    let cluster = bench.cluster(&[1, 2, 3], None);
    let second = cluster.members()[1].endpoint.id();
    let token = Arc::clone(cluster.session(second).unwrap());
    assert!(!token.contains("127") && token.len() == 32, "{token}");
    let kept = |cluster: &Handle, bench: &mut Bench| {
        let request = Request { session: Some(&token), ..request(bench.now) };
        (0..20).all(|_| port(&cluster.begin(&request, &mut bench.rng).unwrap()) == 2)
    };
    assert!(kept(&cluster, &mut bench));
    for (status, weight, expected) in [
        (Status::Maintenance, 1, true),
        (Status::Warning, 0, true),
        (Status::Critical, 1, false),
        (Status::Passing, 1, true),
    ] {
        let list = vec![listed(1), Listed { status, weight, ..listed(2) }, listed(3)];
        let next = bench.cluster_of(list, Some(&cluster));
        assert_eq!(kept(&next, &mut bench), expected, "{status:?}");
    }
    let gone = bench.cluster(&[1, 3], Some(&cluster));
    let request = Request { session: Some(&token), ..request(bench.now) };
    assert!(gone.begin(&request, &mut bench.rng).is_some(), "somebody else takes over");
    bench.fail(&cluster, 2);
    assert!(!kept(&cluster, &mut bench), "not while it is ejected");
}

#[test]
fn tokens_depend_on_the_secret_and_the_cluster_and_on_nothing_else() {
    let token = |more: &str| {
        let bench = Bench::with(more);
        let cluster = bench.cluster(&[1, 2], None);
        cluster.session(cluster.members()[1].endpoint.id()).unwrap().to_string()
    };
    let one = token("sticky={secret='0123456789abcdef'}");
    assert_eq!(one, token("sticky={secret='0123456789abcdef',cookie='x'}"));
    assert_ne!(one, token("sticky={secret='0123456789abcdeg'}"));
}

#[test]
fn a_fast_failure_makes_nobody_look_fast() {
    let mut bench = Bench::with("policy='ewma'\nejection={consecutive_failures=0}");
    let cluster = bench.cluster(&[1, 2, 3, 4], None);
    let mut counts = BTreeMap::new();
    for _ in 0..2_000 {
        let mut attempt = bench.begin(&cluster).unwrap();
        *counts.entry(port(&attempt)).or_insert(0) += 1;
        let (took, outcome) = if port(&attempt) == 3 { (1, FAILURE) } else { (20, Outcome::Success) };
        bench.now += Duration::from_millis(took);
        if outcome == Outcome::Success {
            attempt.answered(bench.now);
        }
        attempt.judge(outcome, bench.now);
    }
    assert!(counts[&3] < 20, "{counts:?}");
}

#[test]
fn an_endpoint_that_refuses_fast_does_not_look_fast() {
    let mut bench = Bench::with("policy='ewma'");
    let cluster = bench.cluster(&[1, 2, 3, 4], None);
    let mut counts = BTreeMap::new();
    for _ in 0..2_000 {
        let mut attempt = bench.begin(&cluster).unwrap();
        *counts.entry(port(&attempt)).or_insert(0) += 1;
        let refuses = port(&attempt) == 3;
        bench.now += Duration::from_millis(if refuses { 1 } else { 20 });
        if refuses {
            attempt.refused(bench.now)
        } else {
            attempt.answered(bench.now)
        }
        attempt.judge(Outcome::Success, bench.now);
    }
    assert!(counts[&3] < 20, "{counts:?}");
}

#[test]
fn an_endpoint_that_is_back_is_not_expected_to_be_late_for_having_been_out() {
    let mut bench = Bench::with("policy='ewma'\nejection={consecutive_failures=1}");
    let cluster = bench.cluster(&[1, 2], None);
    let length = bench.fail(&cluster, 2).unwrap();
    bench.now += length;
    let mut trial = bench.begin(&cluster).unwrap();
    bench.now += Duration::from_millis(10);
    trial.answered(bench.now);
    let expected = cluster.expected_latency(trial.endpoint(), bench.now).unwrap();
    assert!(expected < Duration::from_millis(11), "{expected:?}");
}

#[test]
fn a_panic_does_not_call_requests_back_to_where_nobody_is_well() {
    let mut bench = Bench::with("locality={prefer=['zone']}\npanic_percent=50");
    let here = Locality { zone: Some("a".into()), ..Locality::default() };
    bench.vantage = Arc::new(Vantage { here, ..Vantage::default() });
    let near = (0..10).map(|port| Listed { status: Status::Critical, ..in_zone(port, "a") });
    let far = (10..20).map(|port| in_zone(port, "b"));
    let mut list: Vec<Listed> = near.chain(far).collect();
    list[19].status = Status::Critical;
    let cluster = bench.cluster_of(list, None);
    assert!(cluster.is_panicking());
    assert!(bench.serving(&cluster).iter().all(|port| *port >= 10));
}

#[test]
fn a_cold_zone_gets_no_more_than_it_may_have_yet() {
    let mut bench = Bench::with("locality={prefer=['zone']}\nslow_start={window='60s'}");
    let here = Locality { zone: Some("a".into()), ..Locality::default() };
    bench.vantage = Arc::new(Vantage { here, ..Vantage::default() });
    let first = bench.cluster_of(vec![in_zone(2, "b")], None);
    let second = bench.cluster_of(vec![in_zone(1, "a"), in_zone(2, "b")], Some(&first));
    let count = bench.counts(&second, 10_000)[&1];
    assert!((800..1_200).contains(&count), "a tenth: {count}");
}

#[test]
fn keys_leave_a_zone_only_with_their_own_endpoint() {
    let mut bench = Bench::with("policy='consistent_hash'\nlocality={prefer=['zone']}");
    let here = Locality { zone: Some("a".into()), ..Locality::default() };
    bench.vantage = Arc::new(Vantage { here, ..Vantage::default() });
    let list = |status| {
        let zone = |port: u16| in_zone(port, if port < 4 { "a" } else { "b" });
        (0..8).map(|port| Listed { status: if port == 2 { status } else { Status::Passing }, ..zone(port) }).collect()
    };
    let whole = bench.cluster_of(list(Status::Passing), None);
    let broken = bench.cluster_of(list(Status::Critical), Some(&whole));
    let mut owner = |cluster: &Handle, key: u64| {
        port(&cluster.begin(&Request { key: Some(mix(key)), ..request(bench.now) }, &mut bench.rng).unwrap())
    };
    for key in 0..2_000 {
        let (before, after) = (owner(&whole, key), owner(&broken, key));
        assert!(before < 4);
        assert!(if before == 2 { after >= 4 } else { after == before }, "{before} {after}");
    }
}

#[test]
fn an_endpoint_that_only_keeps_its_sessions_can_be_ejected_whatever_share_may_be_out() {
    let mut bench = Bench::with("sticky={}");
    let list = vec![listed(1), with_status(2, Status::Maintenance)];
    let cluster = bench.cluster_of(list, None);
    let token = Arc::clone(cluster.session(cluster.members()[1].endpoint.id()).unwrap());
    let mut served = Vec::new();
    for _ in 0..5 {
        let asked = Request { session: Some(&token), ..request(bench.now) };
        let mut attempt = cluster.begin(&asked, &mut bench.rng).unwrap();
        served.push(port(&attempt));
        let outcome = if port(&attempt) == 2 { FAILURE } else { Outcome::Success };
        attempt.judge(outcome, bench.now);
    }
    assert_eq!(served, [2, 2, 2, 1, 1]);
}

#[test]
fn one_late_failure_does_not_undo_a_return_in_a_panic() {
    let mut bench = Bench::with("panic_percent=60");
    let cluster = bench.cluster(&[1, 2], None);
    bench.fail(&cluster, 2);
    assert!(cluster.is_panicking());
    let mut to_second = Vec::new();
    while to_second.len() < 3 {
        to_second.extend(bench.begin(&cluster).filter(|attempt| port(attempt) == 2));
    }
    to_second[0].judge(Outcome::Success, bench.now);
    assert!(!cluster.is_panicking());
    to_second[1].judge(FAILURE, bench.now);
    assert_eq!(to_second[1].endpoint().standing(), Standing::Eligible, "one failure, not a failed trial");
}

#[test]
fn what_ran_before_there_was_a_bound_does_not_take_all_room() {
    let mut bench = Bench::new();
    let first = bench.cluster(&[1, 2, 3], None);
    let old: Vec<Attempt> = (0..30).map(|_| bench.begin(&first).unwrap()).collect();
    bench.settings = Bench::with("policy='consistent_hash'").settings;
    let second = bench.cluster(&[1, 2, 3], Some(&first));
    let key = |bench: &mut Bench| {
        port(&second.begin(&Request { key: Some(mix(7)), ..request(bench.now) }, &mut bench.rng).unwrap())
    };
    let home = key(&mut bench);
    assert!((0..5).all(|_| key(&mut bench) == home), "the key is at home");
    drop(old);
}

#[test]
fn suspects_serve_only_while_nobody_on_the_list_is_eligible() {
    let mut bench = Bench::new();
    let suspect = |port| with_status(port, Status::Suspect);
    let cluster = bench.cluster_of(vec![listed(1), suspect(2), suspect(3)], None);
    assert_eq!(bench.serving(&cluster), [1]);
    let failing = with_status(1, Status::Critical);
    let cluster = bench.cluster_of(vec![failing, suspect(2), suspect(3)], Some(&cluster));
    assert_eq!(bench.serving(&cluster), [2, 3]);
    assert!(!cluster.is_panicking(), "better they than whoever is critical");
    for port in [2, 3] {
        assert!(bench.fail(&cluster, port).is_some(), "no share of them has to stay");
    }
    assert_eq!(bench.serving(&cluster), [1], "and who fails is gone");
    assert!(cluster.is_panicking());
}

#[test]
fn a_suspect_that_fails_leaves_nobody_where_there_is_nobody() {
    let mut bench = Bench::new();
    let cluster = bench.cluster_of(vec![with_status(1, Status::Suspect)], None);
    bench.fail(&cluster, 1);
    assert!(bench.begin(&cluster).is_none());
}

#[test]
fn suspects_keep_their_sessions_and_come_back_warm() {
    let mut bench = Bench::with("sticky={}\nslow_start={window='30s'}");
    let first = bench.cluster(&[1, 2], None);
    let token = Arc::clone(first.session(first.members()[1].endpoint.id()).unwrap());
    let second = bench.cluster_of(vec![listed(1), with_status(2, Status::Suspect)], Some(&first));
    assert!(second.keeps(&token));
    bench.now += Duration::from_secs(5);
    let third = bench.cluster(&[1, 2], Some(&second));
    assert_eq!(third.percent(&third.members()[1], bench.now), 100);
}

#[test]
fn suspects_count_as_possible_where_a_share_is_asked_for() {
    let mut bench = Bench::with("panic_percent=50");
    let suspects = (2..=4).map(|port| with_status(port, Status::Suspect));
    let cluster = bench.cluster_of([listed(1)].into_iter().chain(suspects).collect(), None);
    assert!(cluster.is_panicking());
    assert_eq!(bench.serving(&cluster), [1, 2, 3, 4]);
}

#[test]
fn clients_stay_with_somebody_in_maintenance_for_their_time_and_not_longer() {
    let mut bench = Bench::with("sticky={maintenance='10m'}");
    let first = bench.cluster(&[1, 2], None);
    let token = Arc::clone(first.session(first.members()[1].endpoint.id()).unwrap());
    let resting = || vec![listed(1), with_status(2, Status::Maintenance)];
    let second = bench.cluster_of(resting(), Some(&first));
    bench.now += Duration::from_secs(300);
    // Another list does not begin anew.
    let third = bench.cluster_of(resting(), Some(&second));
    let served = |after: u64, bench: &mut Bench| {
        bench.now += Duration::from_secs(after);
        port(&third.begin(&Request { session: Some(&token), ..request(bench.now) }, &mut bench.rng).unwrap())
    };
    assert_eq!(served(299, &mut bench), 2);
    assert_eq!(served(1, &mut bench), 1);
    assert!(!third.keeps(&token));
    // Back, and in maintenance once more: that is another one.
    let fourth = bench.cluster(&[1, 2], Some(&third));
    let fifth = bench.cluster_of(resting(), Some(&fourth));
    assert!(fifth.keeps(&token));
}

#[test]
fn a_critical_endpoint_takes_nobody_not_even_who_came_with_it_and_what_runs_there_ends() {
    let mut bench = Bench::with("sticky={}");
    let first = bench.cluster(&[1, 2], None);
    let token = Arc::clone(first.session(first.members()[1].endpoint.id()).unwrap());
    let asked = |now| Request { session: Some(&token), ..request(now) };
    let mut running = first.begin(&asked(bench.now), &mut bench.rng).unwrap();
    let second = bench.cluster_of(vec![listed(1), with_status(2, Status::Critical)], Some(&first));
    assert_eq!(bench.serving(&second), [1]);
    assert_eq!(port(&second.begin(&asked(bench.now), &mut bench.rng).unwrap()), 1);
    assert_eq!((port(&running), running.endpoint().in_flight()), (2, 1));
    running.judge(Outcome::Success, bench.now);
}
