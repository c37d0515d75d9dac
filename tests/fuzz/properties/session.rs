//! What clients bring along: only a token that was given out binds anybody, and a value is found whole or not at all.

use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, HeaderValue};
use lictor::cluster::{Cluster, New, Own};
use lictor::config::{self, Environment};
use lictor::endpoint::{Ids, List, Listed};
use lictor::message::{cookie, cookies, query_parameter, query_values};
use lictor::metrics::Metrics;

thread_local! {
    static CLUSTER: Cluster = cluster();
}

pub fn check(data: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(data) {
        let mut headers = HeaderMap::new();
        headers.insert("cookie", value);
        check_cookies(&headers);
    }
    if let Ok(query) = std::str::from_utf8(data) {
        check_query(query);
    }
}

fn check_cookies(headers: &HeaderMap) {
    assert_eq!(cookie(headers, "s"), cookies(headers, "s").next());
    for value in cookies(headers, "s") {
        assert!(!value.contains(&b';') && value.trim_ascii_end() == value);
        let Ok(token) = std::str::from_utf8(value) else { continue };
        CLUSTER.with(|cluster| {
            let mut known = cluster.members().iter().filter_map(|member| cluster.session(member.endpoint.id()));
            assert_eq!(cluster.keeps(token), known.any(|known| **known == *token), "{token:?}");
        });
    }
}

fn check_query(query: &str) {
    let raw = query_parameter(query, "s");
    assert!(raw.is_none_or(|value| !value.contains(&b'&')));
    let values: Vec<_> = query_values(query, "s").collect();
    assert!(raw.is_none() || !values.is_empty(), "{query:?}");
    assert!(values.iter().map(|value| value.len()).sum::<usize>() <= query.len());
}

fn cluster() -> Cluster {
    let text = "[[listeners]]\nname='a'\nbind='127.0.0.1:0'\n[clusters.web]\nendpoints=['127.0.0.1:1']\n\
        sticky={ cookie='s', secret='0123456789abcdef0123456789abcdef' }";
    let config = config::parse(text, &Environment::default()).unwrap();
    let listed = |port: u16| Listed::new(([127, 0, 0, 1], port).into());
    let list: List = (1..4).map(listed).collect();
    let new = New {
        workers: 1,
        now: Instant::now(),
        ids: &Ids::default(),
        vantage: &Arc::default(),
        own: &Own { seed: 1, secret: [0; 32] },
        metrics: &Metrics::new(1),
        journal: &Arc::default(),
        mesh: None,
        measures: None,
    };
    Cluster::build(&config.clusters[0], Some(list), None, &new)
}
