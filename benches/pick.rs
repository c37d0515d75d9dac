//! What choosing an endpoint costs, with 5, 50 and 5,000 of them: the policy alone, the look at the table alone, and the whole
//! way that a request goes, from the table to an attempt that has been judged and is over.
//!
//! What each figure means is in `benches/README.md`.
#![expect(clippy::unwrap_used, reason = "a fixture that cannot be made is a bench that must not run")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion};

use lictor::balance::{Ask, Candidate, Cursors, balancer};
use lictor::cluster::Request;
use lictor::config::{self, Environment, Policy, Selection};
use lictor::endpoint::{Address, Endpoint, Ids, List, Listed, Status};
use lictor::health::Outcome;
use lictor::table::{self, Builder, Lists, LocalReader, Publisher};

/// A handful, a large service, and more than anybody has: a pick must not notice.
const ENDPOINTS: [u16; 3] = [5, 50, 5_000];
/// Chance is seeded, so that two runs make the same picks.
const SEED: u64 = 7;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    load(&mut criterion);
    choose(&mut criterion);
    attempt(&mut criterion);
    criterion.final_summary();
}

/// Asking the thread's reader for today's table.
fn load(criterion: &mut Criterion) {
    let (mut reader, _publisher) = published(Policy::P2c, 5);
    criterion.bench_function("table_load", |bencher| bencher.iter(|| black_box(reader.load()).version));
}

/// The policy alone, on candidates that carry nothing.
fn choose(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("choose");
    for (name, policy) in Policy::NAMES {
        for count in ENDPOINTS {
            let ids = Ids::default();
            let candidate = |number| Candidate { endpoint: Arc::new(Endpoint::new(address(number), &ids)), weight: 1 };
            let candidates: Arc<[Candidate]> = (0..count).map(candidate).collect();
            let balancer = balancer(policy, &candidates, &Arc::new(Cursors::new(1))).unwrap();
            let mut rng = fastrand::Rng::with_seed(SEED);
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter(|| balancer.pick(&mut Ask { worker: 0, rng: &mut rng }));
            });
        }
    }
    group.finish();
}

/// What a worker does: look at the table, keep the cluster, begin an attempt, judge it, and let it go.
fn attempt(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("load_and_pick");
    for (name, policy) in Policy::NAMES {
        for count in ENDPOINTS {
            let (mut reader, _publisher) = published(policy, count);
            let mut rng = fastrand::Rng::with_seed(SEED);
            // Taken once: a worker has the time at hand, from the request's start.
            let now = Instant::now();
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter(|| {
                    let cluster = Arc::clone(&reader.load().clusters()[0]);
                    let request = Request { now, tried: &[], can_retry: true };
                    let mut attempt = cluster.begin(&request, &mut Ask { worker: 0, rng: &mut rng }).unwrap();
                    attempt.judge(Outcome::Success, now)
                });
            });
        }
    }
    group.finish();
}

/// A reader of a table with one cluster of that many endpoints.
fn published(policy: Policy, count: u16) -> (LocalReader, Publisher) {
    let text = format!(
        "[[listeners]]\nname = 'a'\nbind = '127.0.0.1:0'\n[clusters.web]\nconsul = {{ service = 'web' }}\npolicy = '{}'",
        policy.name()
    );
    let config = config::parse(&text, &Environment::default()).unwrap();
    let selection = Selection { service: "web".into(), filter: None, datacenter: None };
    let listed = |number| Listed { address: address(number), id: "".into(), status: Status::Passing, weight: 1 };
    let list: List = (0..count).map(listed).collect();
    let (publisher, reader) = table::channel();
    let lists = Lists::from([(selection, list)]);
    publisher.publish(Builder::new(1).build(&config, &lists, &publisher.current(), Instant::now()));
    (reader.local(), publisher)
}

fn address(number: u16) -> Address {
    let [high, low] = number.to_be_bytes();
    Address::from(([10, 0, high, low], 80))
}
