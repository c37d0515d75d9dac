//! What choosing an endpoint costs, with 5, 50 and 5,000 of them: the policy alone, the look at the table alone, and the whole
//! way that a request goes, from the table to an attempt that has been judged and is over.
//!
//! What each figure means is in `benches/README.md`.
#![expect(clippy::unwrap_used, reason = "a fixture that cannot be made is a bench that must not run")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion};

use lictor::balance::{Ask, Balancer, Candidate, Context, Cursors, Ring, balancer, hash, keeps};
use lictor::cluster::{Own, Request};
use lictor::config::{self, Config, Environment, Policy, Selection};
use lictor::endpoint::{Address, Endpoint, Ids, Ledger, List, Listed, Tick};
use lictor::health::Outcome;
use lictor::table::{self, Builder, Facts, Lists, LocalReader, Publisher};

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
            let balancer = alone(policy, count);
            let mut rng = fastrand::Rng::with_seed(SEED);
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter(|| {
                    let key = Some(rng.u64(..));
                    balancer.pick(&mut Ask { worker: 0, rng: &mut rng, now: Tick(0), key, tried: &[] })
                });
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
                    let key = Some(rng.u64(..));
                    let request = Request { now, worker: 0, tried: &[], can_retry: true, key, session: None };
                    let mut attempt = cluster.begin(&request, &mut rng).unwrap();
                    attempt.judge(Outcome::Success, now)
                });
            });
        }
    }
    group.finish();
}

/// A policy's balancer, as a cluster makes it.
fn alone(policy: Policy, count: u16) -> Box<dyn Balancer> {
    let (ids, ledger) = (Ids::default(), Ledger::new(Instant::now()));
    let candidate = |number| Candidate {
        endpoint: Arc::new(Endpoint::new(address(number), &ids, &ledger)),
        weight: 1,
        percent: 100,
        place: number.into(),
    };
    let candidates: Arc<[Candidate]> = (0..count).map(candidate).collect();
    let settings = &config(policy).clusters[0];
    ledger.keep(keeps(settings));
    let places = (0..count).map(|number| (number.into(), hash(address(number).to_string().as_bytes()), 1));
    let ring = Arc::new(Ring::new(places));
    let cursors = Arc::new(Cursors::new(1));
    let context = Context { settings, cursors: &cursors, ledger: &ledger, ring: Some(&ring), group: 0, stamp: 1 };
    balancer(&candidates, &context).unwrap()
}

fn config(policy: Policy) -> Config {
    let text = format!(
        "[[listeners]]\nname = 'a'\nbind = '127.0.0.1:0'\n[clusters.web]\nconsul = {{ service = 'web' }}\npolicy = '{}'",
        policy.name()
    );
    config::parse(&text, &Environment::default()).unwrap()
}

/// A reader of a table with one cluster of that many endpoints.
fn published(policy: Policy, count: u16) -> (LocalReader, Publisher) {
    let selection = Selection { service: "web".into(), filter: None, datacenter: None };
    let list: List = (0..count).map(|number| Listed::new(address(number))).collect();
    let (publisher, reader) = table::channel();
    let facts = Facts { lists: Lists::from([(selection, list)]), ..Facts::default() };
    let builder = Builder::new(1, Own { seed: SEED, secret: [0; 32] });
    publisher.publish(builder.build(&config(policy), &facts, &publisher.current(), Instant::now()));
    (reader.local(), publisher)
}

fn address(number: u16) -> Address {
    let [high, low] = number.to_be_bytes();
    Address::from(([10, 0, high, low], 80))
}
