//! What choosing an endpoint costs, with 5, 50 and 5,000 of them: the policy alone, the look at the table alone, and the whole
//! way that a request goes, from the table to an attempt that has been judged and is over; on one worker, and on two at once
//! which share the cluster.
//!
//! What each figure means is in `benches/README.md`.
#![expect(clippy::unwrap_used, reason = "a fixture that cannot be made is a bench that must not run")]

use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};

use lictor::balance::{Ask, Balancer, Candidate, Context, Cursors, Ring, balancer, hash, keeps};
use lictor::cluster::{Handle, Own, Purpose, Request};
use lictor::config::{self, Config, Environment, Policy, Selection};
use lictor::endpoint::{Address, Endpoint, Ids, Ledger, List, Listed, Tick};
use lictor::metrics::Metrics;
use lictor::table::{self, Builder, Facts, Lists, LocalReader, Publisher, Reader};

/// A handful, a large service, and more than anybody has: a pick must not notice.
const ENDPOINTS: [u16; 3] = [5, 50, 5_000];
/// Chance is seeded, so that two runs make the same picks.
const SEED: u64 = 7;
/// How far time goes on with each request. As far as an average of latencies can tell: were it to stand still, `ewma` would
/// be spared the arithmetic of forgetting.
const STEP: Duration = Duration::from_millis(1);

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    clock(&mut criterion);
    load(&mut criterion);
    choose(&mut criterion);
    one_worker(&mut criterion);
    two_workers(&mut criterion);
    kept_session(&mut criterion);
    criterion.final_summary();
}

/// Reading the clock, which only `ewma` and trials ask for between a request's start and its end.
fn clock(criterion: &mut Criterion) {
    criterion.bench_function("clock", |bencher| bencher.iter(Instant::now));
}

/// Asking the thread's reader for today's table.
fn load(criterion: &mut Criterion) {
    let (reader, _publisher) = published(&config(Policy::P2c, ""), 5);
    let mut reader = reader.local();
    criterion.bench_function("table_load", |bencher| bencher.iter(|| black_box(reader.load()).version));
}

/// The policy alone, on candidates that carry nothing and have answered before.
fn choose(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("choose");
    for (name, policy) in Policy::NAMES {
        for count in ENDPOINTS {
            let balancer = alone(policy, count);
            let mut rng = fastrand::Rng::with_seed(SEED);
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter(|| {
                    let key = Some(rng.u64(..));
                    balancer.pick(&mut Ask { worker: 0, rng: &mut rng, now: Tick(1), key, tried: &[] })
                });
            });
        }
    }
    group.finish();
}

/// All that choosing costs a request.
fn one_worker(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("load_and_pick");
    for (name, policy) in Policy::NAMES {
        for count in ENDPOINTS {
            let (reader, _publisher) = published(&config(policy, ""), count);
            let mut worker = Worker::new(&reader, 0);
            group.bench_function(BenchmarkId::new(name, count), |bencher| bencher.iter(|| worker.request(None)));
        }
    }
    group.finish();
}

/// The same for two workers at once, which share the cluster and its endpoints.
fn two_workers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("two_workers");
    for (name, policy) in Policy::NAMES {
        for count in [5, 5_000] {
            let (reader, _publisher) = published(&config(policy, ""), count);
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter_custom(|requests| both(&reader, requests));
            });
        }
    }
    group.finish();
}

/// How long the slower of two workers takes for so many requests each.
fn both(reader: &Reader, requests: u64) -> Duration {
    let barrier = Barrier::new(WORKERS);
    let work = |index| {
        let mut worker = Worker::new(reader, index);
        barrier.wait();
        let began = Instant::now();
        for _ in 0..requests {
            worker.request(None);
        }
        began.elapsed()
    };
    thread::scope(|scope| {
        let other = scope.spawn(|| work(1));
        work(0).max(other.join().unwrap())
    })
}

/// A client that comes back to its endpoint: instead of a pick, its token is looked up.
fn kept_session(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("kept_session");
    for count in ENDPOINTS {
        let (reader, _publisher) = published(&config(Policy::P2c, "sticky = {}"), count);
        let mut worker = Worker::new(&reader, 0);
        let cluster = Arc::clone(&worker.reader.load().clusters()[0]);
        let token = |member: &lictor::cluster::Member| Arc::clone(cluster.session(member.endpoint.id()).unwrap());
        let tokens: Vec<Arc<str>> = cluster.members().iter().map(token).collect();
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| {
                let token = &tokens[worker.rng.usize(..tokens.len())];
                worker.request(Some(token));
            });
        });
    }
    group.finish();
}

/// Workers that the table is made for.
const WORKERS: usize = 2;

/// What of a worker takes part in choosing.
struct Worker {
    index: usize,
    reader: LocalReader,
    cluster: Handle,
    rng: fastrand::Rng,
    now: Instant,
}

impl Worker {
    fn new(reader: &Reader, index: usize) -> Self {
        let rng = fastrand::Rng::with_seed(SEED + index as u64);
        let cluster = Handle::new(&reader.load().clusters()[0]);
        Worker { index, reader: reader.local(), cluster, rng, now: Instant::now() }
    }

    /// Look at the table, keep the cluster, begin an attempt, judge it as `proxy::forward` does where the answer is a good one,
    /// and let it go.
    fn request(&mut self, session: Option<&str>) {
        // At hand: the clock has a figure of its own.
        self.now += STEP;
        let now = self.now;
        let table = self.reader.load();
        if !self.cluster.holds(&table.clusters()[0]) {
            self.cluster = Handle::new(&table.clusters()[0]);
        }
        let cluster = self.cluster.clone();
        let key = Some(self.rng.u64(..));
        let request =
            Request { now, worker: self.index, tried: &[], purpose: Purpose::First, can_retry: true, key, session };
        let mut attempt = cluster.begin(&request, &mut self.rng).unwrap();
        if attempt.is_awaited() {
            attempt.answered(now + STEP);
        }
        attempt.succeeded();
    }
}

/// A policy's balancer, as a cluster makes it.
fn alone(policy: Policy, count: u16) -> Box<dyn Balancer> {
    let (ids, ledger) = (Ids::default(), Ledger::new(Instant::now()));
    let candidate = |number| {
        let endpoint = Arc::new(Endpoint::new(address(number), &ids, &ledger));
        endpoint.latency().observe(0.01, Tick(0), 10_000.0);
        Candidate { endpoint, weight: 1, percent: 100, place: number.into() }
    };
    let candidates: Arc<[Candidate]> = (0..count).map(candidate).collect();
    let settings = &config(policy, "").clusters[0];
    ledger.keep(keeps(settings));
    let places = (0..count).map(|number| (number.into(), hash(address(number).to_string().as_bytes()), 1));
    let ring = Arc::new(Ring::new(places));
    let cursors = Arc::new(Cursors::new(1));
    let context = Context { settings, cursors: &cursors, ledger: &ledger, ring: Some(&ring), group: 0, stamp: 1 };
    balancer(&candidates, &context).unwrap()
}

fn config(policy: Policy, more: &str) -> Config {
    let text = format!(
        "[[listeners]]\nname = 'a'\nbind = '127.0.0.1:0'\n[clusters.web]\nconsul = {{ service = 'web' }}\npolicy = '{}'\n{more}",
        policy.name()
    );
    config::parse(&text, &Environment::default()).unwrap()
}

/// A table whose one cluster has that many endpoints.
fn published(config: &Config, count: u16) -> (Reader, Publisher) {
    let selection = Selection::of("web");
    let list: List = (0..count).map(|number| Listed::new(address(number))).collect();
    let (mut publisher, reader) = table::channel();
    let facts = Facts { lists: Lists::from([(selection, list)]), ..Facts::default() };
    let builder = Builder::new(WORKERS, Own { seed: SEED, secret: [0; 32] }, &Arc::new(Metrics::new(WORKERS)));
    publisher.publish(builder.build(config, &facts, &publisher.current(), Instant::now()));
    (reader, publisher)
}

fn address(number: u16) -> Address {
    let [high, low] = number.to_be_bytes();
    Address::from(([10, 0, high, low], 80))
}
