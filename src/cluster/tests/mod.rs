//! Ejection, return and retries as a cluster lives them, with time and chance passed in.

mod choosing;
mod diagnosis;
mod failover;
mod foresight;
mod hand;

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::verdict::Spared;
use super::*;
use crate::balance::mix;
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
    metrics: Metrics,
    measures: Option<Arc<Measures>>,
}

impl Bench {
    fn new() -> Self {
        Bench::with("")
    }

    /// One whose cluster has these keys as well.
    fn with(more: &str) -> Self {
        let policy = if more.contains("policy") { "" } else { "policy='round_robin'" };
        let source = if more.contains("failover") { "consul={service='web'}" } else { "endpoints=['127.0.0.1:1']" };
        let text = format!("[[listeners]]\nname='a'\nbind='127.0.0.1:0'\n[clusters.web]\n{source}\n{policy}\n{more}");
        let config = config::parse(&text, &Environment::default()).unwrap();
        let settings = Arc::clone(&config.clusters[0]);
        let (ids, vantage) = (Ids::default(), Arc::default());
        Bench {
            ids,
            now: Instant::now(),
            settings,
            rng: fastrand::Rng::with_seed(1),
            vantage,
            metrics: Metrics::new(1),
            measures: None,
        }
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
            metrics: &self.metrics,
            journal: &Arc::default(),
            mesh: None,
            measures: self.measures.as_ref(),
        };
        Handle::new(&Arc::new(Cluster::build(&self.settings, Some(list.into()), previous, &new)))
    }

    fn begin(&mut self, cluster: &Handle) -> Option<Attempt> {
        self.begin_after(cluster, &[])
    }

    fn begin_after(&mut self, cluster: &Handle, tried: &[Id]) -> Option<Attempt> {
        let purpose = if tried.is_empty() { Purpose::First } else { Purpose::Retry };
        cluster.begin(&Request { tried, purpose, ..request(self.now) }, &mut self.rng)
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

    /// Lets attempts at one endpoint fail until it is out, or should be; returns for how long it is.
    fn fail(&mut self, cluster: &Handle, failing: u16) -> Option<Duration> {
        let mut left = self.settings.ejection.consecutive_failures;
        while left > 0 {
            let mut attempt = self.begin(cluster).unwrap();
            if port(&attempt) == failing {
                attempt.judge(FAILURE, self.now);
                left -= 1;
                if attempt.endpoint().standing() == Standing::Ejected {
                    break;
                }
            } else {
                attempt.judge(Outcome::Success, self.now);
            }
        }
        let member = cluster.members().iter().find(|member| endpoint_port(&member.endpoint) == failing).unwrap();
        member.endpoint.ejections().until.map(|until| until - self.now)
    }
}

fn listed(port: u16) -> Listed {
    Listed::new(Address::from(([127, 0, 0, 1], port)))
}

fn request<'a>(now: Instant) -> Request<'a> {
    Request { now, worker: 0, tried: &[], purpose: Purpose::First, can_retry: true, key: None, session: None }
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
    let length = bench.fail(&cluster, 2).unwrap();
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
    let first = bench.fail(&cluster, 2).unwrap();
    bench.now += first;
    let mut trial = bench.begin(&cluster).unwrap();
    trial.judge(FAILURE, bench.now);
    let second = trial.endpoint().ejections().until.unwrap() - bench.now;
    assert!(second >= bench.settings.ejection.base * 2);
    assert_eq!(bench.serving(&cluster), [1, 3]);
}

#[test]
fn never_more_than_the_allowed_share_is_out() {
    let mut bench = Bench::new();
    let cluster = bench.cluster(&[1, 2, 3], None);
    assert!(bench.fail(&cluster, 1).is_some());
    assert!(bench.fail(&cluster, 2).is_some(), "half of three, rounded up");
    assert_eq!(bench.fail(&cluster, 3), None);
    let third = &cluster.members()[2].endpoint;
    assert_eq!(cluster.try_eject(third, Reason::Connect, bench.now), Err(Spared::By("max_percent")));
    assert_eq!(bench.serving(&cluster), [3]);
    let lonely = bench.cluster(&[7], None);
    assert_eq!(bench.fail(&lonely, 7), None);
    assert_eq!(
        lonely.try_eject(&lonely.members()[0].endpoint, Reason::Connect, bench.now),
        Err(Spared::By("min_available"))
    );
}

#[test]
fn a_dry_run_takes_nobody_out() {
    let mut bench = Bench::with("ejection={dry_run=true}");
    let cluster = bench.cluster(&[1, 2, 3], None);
    assert_eq!(bench.fail(&cluster, 1), None);
    assert_eq!(
        cluster.try_eject(&cluster.members()[0].endpoint, Reason::Connect, bench.now),
        Err(Spared::By("dry_run"))
    );
    assert_eq!(bench.serving(&cluster), [1, 2, 3]);
}

#[test]
fn who_came_back_by_a_trial_has_one_failure_and_not_three() {
    let mut bench = Bench::new();
    let cluster = bench.cluster(&[1, 2, 3], None);
    let length = bench.fail(&cluster, 2).unwrap();
    bench.now += length;
    let mut trial = bench.begin(&cluster).unwrap();
    trial.answered(bench.now);
    trial.judge(FAILURE, bench.now);
    assert_eq!(trial.endpoint().standing(), Standing::Ejected, "it began to answer, and then broke off");
}

#[test]
fn who_errs_more_often_than_the_others_is_taken_out_by_looking_at_all_of_them() {
    let mut bench = Bench::new();
    let cluster = bench.cluster(&[1, 2, 3], None);
    for second in 0..4 {
        cluster.examine(bench.now + Duration::from_secs(second));
        for turn in 0..60 {
            let mut attempt = bench.begin(&cluster).unwrap();
            let errs = port(&attempt) == 2 && turn / 3 % 3 == 0;
            attempt.judge(if errs { Outcome::Failure(Reason::Server) } else { Outcome::Success }, bench.now);
        }
    }
    let out = |cluster: &Cluster| cluster.members()[1].endpoint.standing() == Standing::Ejected;
    assert!(out(&cluster), "a third of its answers are errors, though never two in a row");
    assert_eq!(bench.serving(&cluster), [1, 3]);
}

#[test]
fn a_request_that_failed_everywhere_else_goes_to_whoever_is_out() {
    let mut bench = Bench::new();
    let cluster = bench.cluster(&[1, 2], None);
    bench.fail(&cluster, 2);
    let mut first = bench.begin(&cluster).unwrap();
    assert_eq!(port(&first), 1);
    first.judge(FAILURE, bench.now);
    let tried = [first.endpoint().id()];
    let hedge = Request { tried: &tried, purpose: Purpose::Hedge, ..request(bench.now) };
    assert!(cluster.begin(&hedge, &mut bench.rng).is_none(), "for a hedge there is no need");
    let mut second = bench.begin_after(&cluster, &tried).unwrap();
    assert_eq!(port(&second), 2);
    second.judge(Outcome::Success, bench.now);
    assert_eq!(bench.serving(&cluster), [1, 2], "it serves, so it is back");
}

#[test]
fn an_endpoint_that_has_as_many_as_it_may_have_gets_no_more() {
    let mut bench = Bench::with("limits={endpoint_in_flight=2}");
    let cluster = bench.cluster(&[1, 2], None);
    let running: Vec<Attempt> = (0..4).map(|_| bench.begin(&cluster).unwrap()).collect();
    assert!(cluster.members().iter().all(|member| member.endpoint.in_flight() == 2));
    assert!(bench.begin(&cluster).is_none());
    drop(running);
    assert!(bench.begin(&cluster).is_some());
}

#[test]
fn a_success_between_failures_ends_the_row() {
    let mut bench = Bench::new();
    let cluster = bench.cluster(&[1], None);
    for turn in 0..30 {
        let outcome = if turn % 3 == 2 { Outcome::Success } else { FAILURE };
        bench.begin(&cluster).unwrap().judge(outcome, bench.now);
        assert_eq!(cluster.members()[0].endpoint.standing(), Standing::Eligible);
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
    assert!(bench.fail(&old, 2).is_some());
    assert_eq!(bench.serving(&new), [1, 3, 4]);
    bench.now += Duration::from_secs(60);
    assert_eq!(bench.serving(&old), [1, 2, 3], "and so does the return");
    assert_eq!(bench.serving(&new), [1, 2, 3, 4]);
}

#[test]
fn when_the_list_leaves_only_ejected_endpoints_they_serve() {
    let mut bench = Bench::new();
    let old = bench.cluster(&[1, 2], None);
    assert!(bench.fail(&old, 2).is_some());
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
    off.ejection.outlier_percent = 0;
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

#[test]
fn a_session_that_finds_no_room_does_not_take_a_trial_along() {
    let mut bench = Bench::with("sticky={}\npanic_percent=60\nlimits={endpoint_in_flight=1}");
    let cluster = bench.cluster(&[1, 2], None);
    let length = bench.fail(&cluster, 2).unwrap();
    bench.now += length;
    let endpoint = Arc::clone(&cluster.members()[1].endpoint);
    let session = cluster.session(endpoint.id()).cloned();
    let running = endpoint.begin();
    let bound = Request { session: session.as_deref(), ..request(bench.now) };
    assert!(cluster.begin(&bound, &mut bench.rng).is_none());
    assert!(cluster.is_panicking() && endpoint.standing() == Standing::Probation, "{:?}", endpoint.standing());
    drop(running);
}

#[test]
fn an_endpoint_on_trial_returns_when_ejections_are_only_counted() {
    let mut bench = Bench::new();
    let first = bench.cluster(&[1, 2], None);
    let length = bench.fail(&first, 1).unwrap();
    let mut dry = (*bench.settings).clone();
    dry.ejection.dry_run = true;
    bench.settings = Arc::new(dry);
    let second = bench.cluster(&[1, 2], Some(&first));
    bench.now += length;
    let mut attempt = bench.begin(&second).unwrap();
    assert_eq!(port(&attempt), 1);
    attempt.judge(FAILURE, bench.now);
    drop(attempt);
    assert_eq!(bench.serving(&second), [1, 2]);
}

#[test]
fn a_hedge_finds_room_only_where_its_request_is_not_yet() {
    let mut bench = Bench::with("limits={endpoint_in_flight=2}");
    let cluster = bench.cluster(&[1, 2], None);
    let full = [(); 2].map(|()| cluster.members()[1].endpoint.begin());
    let first = bench.begin(&cluster).unwrap();
    assert_eq!(port(&first), 1);
    let tried = [first.endpoint().id()];
    let hedge = Request { tried: &tried, purpose: Purpose::Hedge, ..request(bench.now) };
    assert!(cluster.begin(&hedge, &mut bench.rng).is_none());
    drop(full);
}
