//! What finding a request's route costs with 10 and with 1,000 routes, for each way in which a route can fit.
//!
//! What each figure means is in `benches/README.md`.
#![expect(clippy::unwrap_used, reason = "a fixture that cannot be made is a bench that must not run")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion};

use http::Request;
use lictor::config::{self, Environment};
use lictor::message::Downstream;
use lictor::route::{Question, Routes};

const ROUTES: [usize; 2] = [10, 1_000];

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let exact = |number| format!("host = 'shop-{number}.example.com'");
    let wildcard = |number| format!("host = '*.team-{number}.example.com'");
    let prefix = |number| format!("path = '/api/v1/service-{number}/'");
    let deep = "/api/v1/service-7/customers/4711/orders/2024/07/items/12";
    find(&mut criterion, "exact_host", exact, ("shop-7.example.com", "/"));
    find(&mut criterion, "exact_host_with_port_and_capitals", exact, ("Shop-7.Example.com:8080", "/"));
    find(&mut criterion, "wildcard_host", wildcard, ("pay.eu.team-7.example.com", "/"));
    find(&mut criterion, "path_as_written", prefix, ("shop.example.com", "/api/v1/service-7"));
    find(&mut criterion, "path_seven_segments_below", prefix, ("shop.example.com", deep));
    criterion.final_summary();
}

/// Finds one request's route among `write(0)`, `write(1)`, ….
fn find(criterion: &mut Criterion, name: &str, write: impl Fn(usize) -> String, (host, path): (&str, &str)) {
    let mut group = criterion.benchmark_group("find");
    for count in ROUTES {
        let routes = routes(count, &write);
        let (head, ()) = Request::get(path).body(()).unwrap().into_parts();
        let client = Downstream::plain([127, 0, 0, 1].into());
        let asked = Question { head: &head, sender: (&client).into() };
        assert_eq!(routes.find(host, path, &asked).map(|route| route.index), Some(7), "the bench must measure a hit");
        group.bench_function(BenchmarkId::new(name, count), |bencher| {
            bencher.iter(|| routes.find(black_box(host), black_box(path), black_box(&asked)).map(|route| route.index));
        });
    }
    group.finish();
}

fn routes(count: usize, write: impl Fn(usize) -> String) -> Routes {
    let mut text =
        "[[listeners]]\nname = 'a'\nbind = '127.0.0.1:0'\n[clusters.web]\nendpoints = ['127.0.0.1:1']\n".to_owned();
    for number in 0..count {
        text += &format!("[[routes]]\n{}\ncluster = 'web'\n", write(number));
    }
    Routes::new(&config::parse(&text, &Environment::default()).unwrap())
}
