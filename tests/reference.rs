//! What operators read, held to the code: `config/reference.toml` and the files beside it, the README's examples, and the metrics
//! in `deploy/README.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use lictor::config::{self, Config, Environment};
use toml::{Table, Value};

use crate::house::source;

const REFERENCE: &str = include_str!("../config/reference.toml");
const README: &str = include_str!("../README.md");
const DEPLOY: &str = include_str!("../deploy/README.md");
/// No key, and so far from all of them that none is suggested instead.
const NO_KEY: &str = "qqqqqqqqqqqqqqqq";

/// What has no default, for the rest to be compared with.
const MINIMAL: &str = "[[listeners]]\nname = 'a'\nbind = '127.0.0.1:0'\n[clusters.a]\nendpoints = ['127.0.0.1:1']";

fn parse(text: &str) -> Config {
    config::parse(text, &Environment::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// The reference with its examples as if they were meant: `#key = value` without the `#`.
fn with_examples() -> String {
    let line = |line: &str| {
        let key = line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
        format!("{}\n", key.unwrap_or(line))
    };
    REFERENCE.lines().map(line).collect()
}

#[test]
fn the_reference_is_accepted_with_and_without_its_examples() {
    parse(REFERENCE);
    let config = parse(&with_examples());
    assert_eq!(config.workers, 4, "examples are not read");
}

#[test]
fn every_default_in_the_reference_is_the_built_in_one() {
    let (shown, built_in) = (parse(REFERENCE), parse(MINIMAL));
    assert_eq!(shown.workers, built_in.workers);
    assert_eq!(shown.max_connections, built_in.max_connections);
    assert_eq!(shown.consul, built_in.consul);
    assert_eq!(shown.mesh, parse(&format!("{MINIMAL}\n[mesh]\nservice = 'edge'")).mesh);
    assert_eq!(shown.admin, Some(config::Admin::at(([127, 0, 0, 1], 9990).into())));
    assert_eq!(shown.place, built_in.place);
    assert_eq!(shown.egress, built_in.egress);
    assert_eq!((&shown.service_routes, &built_in.service_routes), (&None, &None));
    assert_eq!(shown.drain, built_in.drain);
    assert_eq!(shown.log, built_in.log);
    assert_eq!((shown.endpoint_figures, built_in.endpoint_figures), (0, 0));
    assert_eq!((&shown.access_log, &built_in.access_log), (&None, &None));
    let listener = &built_in.listeners[0];
    for shown in &shown.listeners {
        assert_eq!((&shown.tls, shown.handshake), (&listener.tls, listener.handshake));
        assert_eq!((shown.connection_age, shown.mesh), (listener.connection_age, listener.mesh));
        assert_eq!(shown.trusted_networks, listener.trusted_networks);
        assert_eq!(shown.proxy_protocol, listener.proxy_protocol);
        let shown = (shown.request_header, shown.idle, shown.trust_deadline);
        assert_eq!(shown, (listener.request_header, listener.idle, listener.trust_deadline));
    }
}

#[test]
fn every_default_of_a_cluster_is_the_built_in_one() {
    let (shown, built_in) = (parse(REFERENCE), parse(MINIMAL));
    let cluster = &built_in.clusters[0];
    for shown in &shown.clusters {
        assert_eq!(shown.policy, cluster.policy, "{}", shown.name);
        assert_eq!(shown.balancing, cluster.balancing, "{}", shown.name);
        assert_eq!(shown.ejection, cluster.ejection, "{}", shown.name);
        assert_eq!(shown.probe, cluster.probe, "{}", shown.name);
        assert_eq!(shown.retry, cluster.retry, "{}", shown.name);
        assert_eq!(shown.hedge, cluster.hedge, "{}", shown.name);
        assert_eq!(shown.limits, cluster.limits, "{}", shown.name);
        assert_eq!(shown.timeouts, cluster.timeouts, "{}", shown.name);
        assert_eq!(shown.protocol, cluster.protocol, "{}", shown.name);
        assert_eq!(shown.tls, cluster.tls, "{}", shown.name);
    }
}

#[test]
fn every_default_of_what_services_may_claim_is_the_built_in_one() {
    // Off, so that there is something to see only once it is on.
    let on = |text: &str| parse(text).service_routes.unwrap();
    let (head, rest) = REFERENCE.split_once("\n[service_routes]\n").unwrap();
    let shown = format!("{head}\n[service_routes]\n{}", rest.replacen("enabled = false", "enabled = true", 1));
    assert_eq!(on(&shown), on(&format!("{MINIMAL}\n[service_routes]\nenabled = true")));
}

#[test]
fn the_default_for_series_of_endpoints_is_the_built_in_one() {
    let shown = parse(&REFERENCE.replacen("endpoints = false\n", "endpoints = true\n", 1));
    let built_in = parse(&format!("{MINIMAL}\n[metrics]\nendpoints = true"));
    assert_ne!(built_in.endpoint_figures, 0);
    assert_eq!(shown.endpoint_figures, built_in.endpoint_figures);
}

#[test]
fn every_default_of_the_access_log_is_the_built_in_one() {
    // Off, so that there is something to see only once it is on.
    let on = |text: &str| parse(text).access_log.unwrap();
    let (head, rest) = REFERENCE.split_once("\n[access_log]\n").unwrap();
    let shown = format!("{head}\n[access_log]\n{}", rest.replacen("format = \"off\"", "format = \"json\"", 1));
    assert_eq!(on(&shown), on(&format!("{MINIMAL}\n[access_log]\nformat = 'json'")));
}

#[cfg(feature = "otlp")]
#[test]
fn every_default_of_tracing_is_the_built_in_one() {
    let built_in = parse(&format!("{MINIMAL}\n[tracing]\nendpoint = 'http://127.0.0.1:4318/v1/traces'"));
    assert_eq!(parse(REFERENCE).tracing, built_in.tracing);
}

#[test]
fn every_default_of_what_is_entered_is_the_built_in_one() {
    let text =
        format!("{MINIMAL}\n[registration]\nname = 'edge'\n[[registration.services]]\nname = 'billing'\nport = 9000\n");
    let (shown, built_in) = (parse(REFERENCE).registration.unwrap(), parse(&text).registration.unwrap());
    assert_eq!(shown.own.unwrap().service, built_in.own.unwrap().service);
    let (shown, built_in) = (&shown.services[0], &built_in.services[0]);
    let pace = |check: &config::Check| (check.interval, check.timeout, check.rise, check.fall);
    assert!(shown.checks.iter().all(|check| pace(check) == pace(&built_in.checks[0])));
    assert_eq!(
        config::Service { checks: Vec::new(), ..shown.clone() },
        config::Service { checks: Vec::new(), ..built_in.clone() }
    );
}

#[test]
fn every_key_that_is_read_is_in_the_reference() {
    let text = with_examples();
    let document: Table = text.parse().unwrap();
    assert!(
        !text.lines().any(|line| !line.starts_with('#') && line.contains("= {")),
        "inline tables are not looked into"
    );
    // Tables of the same kind know the same keys; together they have to show them all.
    let mut shown: BTreeMap<BTreeSet<String>, BTreeSet<String>> = BTreeMap::new();
    let headers = text.lines().enumerate().filter(|(_, line)| line.starts_with('['));
    let tables = headers.map(|(place, line)| (place + 1, line.trim_matches(['[', ']'])));
    for (place, path) in std::iter::once((0, "")).chain(tables) {
        let keys = shown.entry(known(&text, place)).or_default();
        keys.extend(keys_at(&Value::Table(document.clone()), path));
    }
    for (known, shown) in shown {
        assert_eq!(known, shown, "read, and shown in the reference");
    }
}

#[test]
fn every_file_beside_the_reference_is_accepted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        assert!(config::load(&path, &Environment::default()).map_err(|error| panic!("{error}")).is_ok());
    }
}

#[test]
fn every_configuration_in_the_readme_is_accepted() {
    let examples: Vec<&str> = README.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!examples.is_empty());
    examples.into_iter().for_each(|example| drop(parse(example)));
}

#[test]
fn every_metric_is_in_the_operators_manual_and_no_other() {
    let words = |text: &str| -> BTreeSet<String> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').map(str::to_owned);
        words.filter(|word| word.starts_with("lictor_") || word.starts_with("process_")).collect()
    };
    let sources = source::under(&["src/metrics", "src/admin"]);
    let counted: BTreeSet<String> = sources.iter().flat_map(|source| words(&source.speech)).collect();
    assert_eq!(counted, words(DEPLOY), "counted, and explained in deploy/README.md");
}

/// The keys that may stand where a line is inserted, in the words of the refusal of one that may not.
fn known(text: &str, place: usize) -> BTreeSet<String> {
    let mut lines: Vec<&str> = text.lines().collect();
    let wrong = format!("{NO_KEY} = 1");
    lines.insert(place, &wrong);
    let error = config::parse(&lines.join("\n"), &Environment::default()).unwrap_err().to_string();
    let (_, known) = error.split_once("known here: ").unwrap_or_else(|| panic!("{error}"));
    known.split(", ").map(str::to_owned).collect()
}

/// The keys of the table of this path, of all of them where it is an array.
fn keys_at(value: &Value, path: &str) -> BTreeSet<String> {
    match value {
        Value::Array(values) => values.iter().flat_map(|value| keys_at(value, path)).collect(),
        Value::Table(table) if path.is_empty() => table.keys().cloned().collect(),
        Value::Table(table) => {
            let (key, rest) = path.split_once('.').unwrap_or((path, ""));
            table.get(key).map(|value| keys_at(value, rest)).unwrap_or_default()
        }
        _ => BTreeSet::new(),
    }
}
