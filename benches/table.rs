//! What an update costs in a large installation, 10,000 endpoints in 1,000 clusters: the table from nothing, after one service
//! has changed and after all have, the swap that makes it the one that is read, and what of that falls on a worker.
//!
//! What each figure means is in `benches/README.md`.
#![expect(clippy::unwrap_used, reason = "a fixture that cannot be made is a bench that must not run")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkGroup, Criterion, measurement::WallTime};

use lictor::cluster::Own;
use lictor::config::{self, Config, Environment, Selection};
use lictor::endpoint::{Address, List, Listed};
use lictor::metrics::Metrics;
use lictor::table::{self, Builder, Facts, LocalReader, Publisher};

const CLUSTERS: u16 = 1_000;
const ENDPOINTS_EACH: u16 = 10;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("table");
    group.sample_size(20);
    build(&mut group);
    publish(&mut group);
    group.finish();
    criterion.final_summary();
}

fn build(group: &mut BenchmarkGroup<'_, WallTime>) {
    let (config, now, empty) = (config(), Instant::now(), table::channel().0.current());
    let facts = facts(1);
    // The first table costs most, and is built once in the life of a process: whose figures are new as well.
    group.bench_function("build_from_nothing", |bencher| {
        bencher.iter_batched(
            builder,
            |builder| (builder.build(&config, &facts, &empty, now), builder),
            BatchSize::PerIteration,
        );
    });
    let builder = builder();
    let before = builder.build(&config, &facts, &empty, now);
    let mut one = Facts { lists: facts.lists.clone(), ..Facts::default() };
    one.lists.insert(selection(500), list(500, ENDPOINTS_EACH + 1, 1));
    group.bench_function("build_after_one_change", |bencher| {
        bencher.iter_with_large_drop(|| builder.build(&config, &one, &before, now));
    });
    let all = self::facts(2);
    group.bench_function("build_after_all_change", |bencher| {
        bencher.iter_with_large_drop(|| builder.build(&config, &all, &before, now));
    });
}

/// A table in which all clusters are others than before, from being built to being read.
fn publish(group: &mut BenchmarkGroup<'_, WallTime>) {
    let (config, builder, lists) = (config(), builder(), [facts(1), facts(2)]);
    let (mut publisher, reader) = table::channel();
    let mut reading = reader.local();
    let mut turn = 0;
    // Publishes and reads so many times, and returns how long both took in all.
    let mut rounds = |count: u64| {
        let mut took = (Duration::ZERO, Duration::ZERO);
        for _ in 0..count {
            turn += 1;
            let one = round(&mut publisher, &mut reading, |current| {
                builder.build(&config, &lists[turn % 2], current, Instant::now())
            });
            took = (took.0 + one.0, took.1 + one.1);
        }
        took
    };
    group.bench_function("publish_after_all_change", |bencher| bencher.iter_custom(|count| rounds(count).0));
    group.bench_function("first_read", |bencher| bencher.iter_custom(|count| rounds(count).1));
}

fn round(
    publisher: &mut Publisher,
    reading: &mut LocalReader,
    next: impl FnOnce(&table::Table) -> table::Table,
) -> (Duration, Duration) {
    let table = next(&publisher.current());
    let began = Instant::now();
    publisher.publish(table);
    let published = Instant::now();
    reading.load();
    (published - began, published.elapsed())
}

fn builder() -> Builder {
    Builder::new(1, Own { seed: 7, secret: [0; 32] }, &Arc::new(Metrics::new(1)))
}

fn config() -> Config {
    let mut text = "[[listeners]]\nname = 'a'\nbind = '127.0.0.1:0'\n".to_owned();
    for number in 0..CLUSTERS {
        text += &format!("[clusters.web-{number}]\nconsul = {{ service = 'web-{number}' }}\n");
    }
    config::parse(&text, &Environment::default()).unwrap()
}

/// Everybody, with that weight.
fn facts(weight: u32) -> Facts {
    let lists = (0..CLUSTERS).map(|number| (selection(number), list(number, ENDPOINTS_EACH, weight))).collect();
    Facts { lists, ..Facts::default() }
}

fn selection(number: u16) -> Selection {
    Selection::of(&format!("web-{number}"))
}

fn list(cluster: u16, count: u16, weight: u32) -> List {
    let [high, low] = cluster.to_be_bytes();
    let listed = |port| Listed {
        id: format!("node-{port}/web-{cluster}").into(),
        weight,
        ..Listed::new(Address::from(([10, 0, high, low], 8000 + port)))
    };
    (0..count).map(listed).collect()
}
