//! Ejection, return and retries as a cluster lives them, with time and chance passed in.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::Environment;
use crate::endpoint::{Listed, Locality, Status};
use crate::health::{Outcome, Reason};

const FAILURE: Outcome = Outcome::Failure(Reason::Connect);

struct Bench {
    ids: Ids,
    now: Instant,
    settings: Arc<config::Cluster>,
    rng: fastrand::Rng,
    vantage: Arc<Vantage>,
}

impl Bench {
    fn new() -> Self {
        Bench::with("")
    }

    /// One whose cluster has these keys as well.
    fn with(more: &str) -> Self {
        let policy = if more.contains("policy") { "" } else { "policy='round_robin'" };
        let text = format!(
            "[[listeners]]\nname='a'\nbind='127.0.0.1:0'\n[clusters.web]\nendpoints=['127.0.0.1:1']\n{policy}\n{more}"
        );
        let config = config::parse(&text, &Environment::default()).unwrap();
        let settings = Arc::clone(&config.clusters[0]);
        let (ids, vantage) = (Ids::default(), Arc::default());
        Bench { ids, now: Instant::now(), settings, rng: fastrand::Rng::with_seed(1), vantage }
    }

    fn cluster(&self, ports: &[u16], previous: Option<&Cluster>) -> Arc<Cluster> {
        self.cluster_of(ports.iter().map(|port| listed(*port)).collect(), previous)
    }

    fn cluster_of(&self, list: Vec<Listed>, previous: Option<&Cluster>) -> Arc<Cluster> {
        let new = New {
            workers: 1,
            now: self.now,
            ids: &self.ids,
            vantage: &self.vantage,
            own: &Own { seed: 1, secret: [0; 32] },
        };
        Arc::new(Cluster::build(&self.settings, Some(list.into()), previous, &new))
    }

    fn begin(&mut self, cluster: &Arc<Cluster>) -> Option<Attempt> {
        self.begin_after(cluster, &[])
    }

    fn begin_after(&mut self, cluster: &Arc<Cluster>, tried: &[Id]) -> Option<Attempt> {
        cluster.begin(&Request { tried, ..request(self.now) }, &mut self.rng)
    }

    /// Which of the cluster's endpoints serve, out of many picks that all succeed.
    fn serving(&mut self, cluster: &Arc<Cluster>) -> Vec<u16> {
        let mut ports = Vec::new();
        for _ in 0..50 {
            let mut attempt = self.begin(cluster).unwrap();
            ports.push(port(&attempt));
            attempt.judge(Outcome::Success, self.now);
        }
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// How often each endpoint is picked, of so many times.
    fn counts(&mut self, cluster: &Arc<Cluster>, picks: usize) -> BTreeMap<u16, usize> {
        let mut counts = BTreeMap::new();
        for _ in 0..picks {
            *counts.entry(port(&self.begin(cluster).unwrap())).or_default() += 1;
        }
        counts
    }

    /// Lets attempts at one endpoint fail until the rules were asked.
    fn fail(&mut self, cluster: &Arc<Cluster>, failing: u16) -> Ejected {
        loop {
            let mut attempt = self.begin(cluster).unwrap();
            let outcome = if port(&attempt) == failing { FAILURE } else { Outcome::Success };
            if let Some((_, ejected)) = attempt.judge(outcome, self.now) {
                return ejected;
            }
        }
    }
}

fn listed(port: u16) -> Listed {
    Listed::new(Address::from(([127, 0, 0, 1], port)))
}

fn request<'a>(now: Instant) -> Request<'a> {
    Request { now, worker: 0, tried: &[], can_retry: true, key: None, session: None }
}

fn port(attempt: &Attempt) -> u16 {
    endpoint_port(attempt.endpoint())
}

fn endpoint_port(endpoint: &Endpoint) -> u16 {
    match endpoint.address() {
        Address::Ip(address) => address.port(),
        Address::Name(..) => unreachable!(),
    }
}

#[test]
fn three_failures_in_a_row_eject_and_one_good_trial_readmits() {
    let mut bench = Bench::new();
    let cluster = bench.cluster(&[1, 2, 3], None);
    let Ejected::For(length) = bench.fail(&cluster, 2) else { panic!("should be ejected") };
    assert_eq!(bench.serving(&cluster), [1, 3]);
    bench.now += length;
    let trial = bench.begin(&cluster).unwrap();
    assert_eq!(port(&trial), 2, "the first request after the time is the trial");
    assert_eq!(bench.serving(&cluster), [1, 3], "one trial at a time");
    drop(trial);
    assert_eq!(
        bench.serving(&cluster),
        [1, 2, 3],
        "a trial whose client left is given to another request, which succeeds"
    );
}

#[test]
fn a_failed_trial_ejects_at_once_and_for_longer() {
    let mut bench = Bench::new();
    let cluster = bench.cluster(&[1, 2, 3], None);
    let Ejected::For(first) = bench.fail(&cluster, 2) else { panic!() };
    bench.now += first;
    let mut trial = bench.begin(&cluster).unwrap();
    let Some((_, Ejected::For(second))) = trial.judge(FAILURE, bench.now) else { panic!("should be ejected again") };
    assert!(second >= bench.settings.ejection.base * 2);
    assert_eq!(bench.serving(&cluster), [1, 3]);
}

#[test]
fn never_more_than_the_allowed_share_is_out() {
    let mut bench = Bench::new();
    let cluster = bench.cluster(&[1, 2, 3], None);
    assert!(matches!(bench.fail(&cluster, 1), Ejected::For(_)));
    assert_eq!(bench.fail(&cluster, 2), Ejected::Not("max_percent"));
    assert_eq!(bench.serving(&cluster), [2, 3]);
    let lonely = bench.cluster(&[7], None);
    assert_eq!(bench.fail(&lonely, 7), Ejected::Not("max_percent"));
}

#[test]
fn a_success_between_failures_ends_the_row() {
    let mut bench = Bench::new();
    let cluster = bench.cluster(&[1], None);
    for turn in 0..30 {
        let outcome = if turn % 3 == 2 { Outcome::Success } else { FAILURE };
        assert_eq!(bench.begin(&cluster).unwrap().judge(outcome, bench.now), None);
    }
}

#[test]
fn a_client_that_leaves_blames_nobody() {
    let mut bench = Bench::new();
    let cluster = bench.cluster(&[1, 2], None);
    for _ in 0..30 {
        drop(bench.begin(&cluster));
    }
    assert_eq!(bench.serving(&cluster), [1, 2]);
    assert!(cluster.members().iter().all(|member| member.endpoint.in_flight() == 0));
}

#[test]
fn an_ejection_under_an_old_list_holds_under_the_new_one() {
    let mut bench = Bench::new();
    let old = bench.cluster(&[1, 2, 3], None);
    let new = bench.cluster(&[1, 2, 3, 4], Some(&old));
    assert!(matches!(bench.fail(&old, 2), Ejected::For(_)));
    assert_eq!(bench.serving(&new), [1, 3, 4]);
    bench.now += Duration::from_secs(60);
    assert_eq!(bench.serving(&old), [1, 2, 3], "and so does the return");
    assert_eq!(bench.serving(&new), [1, 2, 3, 4]);
}

#[test]
fn when_the_list_leaves_only_ejected_endpoints_they_serve() {
    let mut bench = Bench::new();
    let old = bench.cluster(&[1, 2], None);
    assert!(matches!(bench.fail(&old, 2), Ejected::For(_)));
    let new = bench.cluster(&[2], Some(&old));
    assert_eq!(bench.serving(&new), [2]);
}

#[test]
fn a_retry_goes_where_the_request_was_not_yet_while_there_is_somebody() {
    let mut bench = Bench::new();
    let cluster = bench.cluster(&[1, 2, 3], None);
    for _ in 0..100 {
        let mut tried = Vec::new();
        for _ in 0..3 {
            let attempt = bench.begin_after(&cluster, &tried).unwrap();
            assert!(!tried.contains(&attempt.endpoint().id()));
            tried.push(attempt.endpoint().id());
        }
        assert!(bench.begin_after(&cluster, &tried).is_some(), "better the same one than none");
    }
}

#[test]
fn endpoints_in_maintenance_and_those_of_weight_zero_take_no_requests() {
    let mut bench = Bench::new();
    let mut listed = bench.cluster(&[1, 2], None).list().unwrap().to_vec();
    listed[0].status = Status::Maintenance;
    listed[1].weight = 0;
    let cluster = bench.cluster_of(listed, None);
    assert!(bench.begin(&cluster).is_none());
}

#[test]
fn an_endpoint_on_trial_returns_when_ejection_is_turned_off() {
    let mut bench = Bench::new();
    let first = bench.cluster(&[1, 2], None);
    bench.fail(&first, 1);
    let mut off = (*bench.settings).clone();
    off.ejection.consecutive_failures = 0;
    bench.settings = Arc::new(off);
    let second = bench.cluster(&[1, 2], Some(&first));
    bench.now += Duration::from_secs(20);
    let mut attempt = bench.begin(&second).unwrap();
    assert_eq!(port(&attempt), 1);
    attempt.judge(FAILURE, bench.now);
    drop(attempt);
    bench.now += Duration::from_secs(36000);
    assert_eq!(bench.serving(&second), [1, 2]);
}

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
            let _ = cluster.eject(&cluster.members()[index.index(weights.len())].endpoint, bench.now);
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
    let Ejected::For(length) = bench.fail(&first, 2) else { panic!() };
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
        let new = New { workers: 1, now: bench.now, ids: &bench.ids, vantage: &bench.vantage, own: &own };
        let list: List = (0..50).map(listed).collect();
        let cluster = Arc::new(Cluster::build(&bench.settings, Some(list), None, &new));
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
    let kept = |cluster: &Arc<Cluster>, bench: &mut Bench| {
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
    let Ejected::For(length) = bench.fail(&cluster, 2) else { panic!() };
    bench.now += length;
    let mut trial = bench.begin(&cluster).unwrap();
    bench.now += Duration::from_millis(10);
    trial.answered(bench.now);
    let expected = cluster.expected_latency(trial.endpoint(), bench.now).unwrap();
    assert!(expected < Duration::from_millis(11), "{expected:?}");
}
