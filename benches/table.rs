//! What an update costs in a large installation, 10,000 endpoints in 1,000 clusters: the table from nothing, the table after
//! one service has changed, and the swap that makes it the one that is read.
//!
//! What each figure means is in `benches/README.md`.
#![expect(clippy::unwrap_used, reason = "a fixture that cannot be made is a bench that must not run")]

use std::sync::Arc;
use std::time::Instant;

use criterion::{BatchSize, Criterion};

use lictor::cluster::Own;
use lictor::config::{self, Config, Environment, Selection};
use lictor::endpoint::{Address, List, Listed};
use lictor::metrics::Metrics;
use lictor::table::{self, Builder, Facts, Lists};

const CLUSTERS: u16 = 1_000;
const ENDPOINTS_EACH: u16 = 10;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    table(&mut criterion);
    criterion.final_summary();
}

fn table(criterion: &mut Criterion) {
    let (config, builder) = (config(), Builder::new(1, Own { seed: 7, secret: [0; 32] }, &Arc::new(Metrics::new(1))));
    let lists: Lists = (0..CLUSTERS).map(|number| (selection(number), list(number, ENDPOINTS_EACH))).collect();
    let mut changed = lists.clone();
    let facts = Facts { lists, ..Facts::default() };
    changed.insert(selection(500), list(500, ENDPOINTS_EACH + 1));
    let changed = Facts { lists: changed, ..Facts::default() };
    let now = Instant::now();
    let (publisher, reader) = table::channel();
    let mut group = criterion.benchmark_group("table");
    // The first table costs most, and is built once in the life of a process.
    group.sample_size(20);
    let empty = publisher.current();
    group.bench_function("build_from_nothing", |bencher| {
        bencher.iter_with_large_drop(|| builder.build(&config, &facts, &empty, now));
    });
    let before = builder.build(&config, &facts, &empty, now);
    group.bench_function("build_after_one_change", |bencher| {
        bencher.iter_with_large_drop(|| builder.build(&config, &changed, &before, now));
    });
    publisher.publish(before);
    let mut reading = reader.local();
    group.bench_function("publish_and_read", |bencher| {
        bencher.iter_batched(
            || builder.build(&config, &changed, &publisher.current(), now),
            |table| {
                publisher.publish(table);
                reading.load().version
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn config() -> Config {
    let mut text = "[[listeners]]\nname = 'a'\nbind = '127.0.0.1:0'\n".to_owned();
    for number in 0..CLUSTERS {
        text += &format!("[clusters.web-{number}]\nconsul = {{ service = 'web-{number}' }}\n");
    }
    config::parse(&text, &Environment::default()).unwrap()
}

fn selection(number: u16) -> Selection {
    Selection::of(&format!("web-{number}"))
}

fn list(cluster: u16, count: u16) -> List {
    let [high, low] = cluster.to_be_bytes();
    let listed = |port| Listed {
        id: format!("node-{port}/web-{cluster}").into(),
        ..Listed::new(Address::from(([10, 0, high, low], 8000 + port)))
    };
    (0..count).map(listed).collect()
}
