//! Ejection, return and retries as a cluster lives them, with time and chance passed in.

mod choosing;

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

    fn cluster(&self, ports: &[u16], previous: Option<&Cluster>) -> Handle {
        self.cluster_of(ports.iter().map(|port| listed(*port)).collect(), previous)
    }

    fn cluster_of(&self, list: Vec<Listed>, previous: Option<&Cluster>) -> Handle {
        let new = New {
            workers: 1,
            now: self.now,
            ids: &self.ids,
            vantage: &self.vantage,
            own: &Own { seed: 1, secret: [0; 32] },
        };
        Handle::new(&Arc::new(Cluster::build(&self.settings, Some(list.into()), previous, &new)))
    }

    fn begin(&mut self, cluster: &Handle) -> Option<Attempt> {
        self.begin_after(cluster, &[])
    }

    fn begin_after(&mut self, cluster: &Handle, tried: &[Id]) -> Option<Attempt> {
        cluster.begin(&Request { tried, ..request(self.now) }, &mut self.rng)
    }

    /// Which of the cluster's endpoints serve, out of many picks that all succeed.
    fn serving(&mut self, cluster: &Handle) -> Vec<u16> {
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
    fn counts(&mut self, cluster: &Handle, picks: usize) -> BTreeMap<u16, usize> {
        let mut counts = BTreeMap::new();
        for _ in 0..picks {
            *counts.entry(port(&self.begin(cluster).unwrap())).or_default() += 1;
        }
        counts
    }

    /// Lets attempts at one endpoint fail until the rules were asked.
    fn fail(&mut self, cluster: &Handle, failing: u16) -> Ejected {
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
