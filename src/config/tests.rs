//! What a person sees who writes a configuration, right or wrong.

use super::*;

mod balancing;
mod documents;
mod egress;
mod failover;
mod mesh;
mod probe;
mod registration;
mod tls;
mod route;
mod tcp;

fn parse_file(text: &str) -> Result<Config, Error> {
    parse(text, &Environment::default())
}

fn message(text: &str) -> String {
    parse_file(text).expect_err("should be refused").to_string()
}

const MINIMAL: &str = r#"
[[listeners]]
name = "edge"
bind = "127.0.0.1:0"

[[routes]]
cluster = "web"

[clusters.web]
consul = { service = "web" }
"#;

#[test]
fn a_minimal_file_has_every_default() {
    let config = parse_file(MINIMAL).unwrap();
    let web = &config.clusters[0];
    assert_eq!(web.policy, Policy::P2c);
    assert_eq!((web.ejection.consecutive_failures, web.ejection.max_percent), (3, 50));
    assert_eq!((web.retry.attempts, web.retry.budget), (2, 0.2));
    assert_eq!((web.timeouts.connect, web.timeouts.request), (Duration::from_millis(500), None));
    assert_eq!(config.consul.address, Agent::Url("http://127.0.0.1:8500".into()));
    assert!(config.workers >= 1);
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_key_that_was_meant() {
    let text = MINIMAL.replace("consul =", "polcy = \"p2c\"\nconsul =");
    assert_eq!(message(&text), "10: clusters.web.polcy: unknown key; did you mean \"policy\"?");
    let text = MINIMAL.replace("service = \"web\"", "service = \"web\", colour = 1");
    assert_eq!(
        message(&text),
        "10: clusters.web.consul.colour: unknown key; known here: service, query, filter, datacenter, peer, connect"
    );
}

#[test]
fn a_wrong_value_is_named_with_what_would_be_right() {
    let text = format!("{MINIMAL}timeouts = {{ connect = 5 }}");
    let message = message(&text);
    assert!(message.starts_with("11: clusters.web.timeouts.connect: "), "{message}");
    assert!(message.contains("a duration with a unit"), "{message}");
}

#[test]
fn every_problem_is_reported_at_once_in_the_order_of_the_file() {
    let text = MINIMAL.replace("cluster = \"web\"", "cluster = \"wbe\"").replace("127.0.0.1:0", "localhost")
        + "retry = { attempts = 99 }\npolicy = \"round-robin\"";
    let message = message(&text);
    let lines: Vec<&str> = message.lines().collect();
    assert_eq!(lines.len(), 4, "{message}");
    assert!(lines[0].starts_with("4: listeners[0].bind: \"localhost\" is not an address"), "{message}");
    assert_eq!(lines[1], "7: routes[0].cluster: no cluster \"wbe\"; did you mean \"web\"?");
    assert!(lines[2].starts_with("11: clusters.web.retry.attempts: 99 is too many"), "{message}");
    assert_eq!(lines[3], "12: clusters.web.policy: no policy \"round-robin\"; did you mean \"round_robin\"?");
}

#[test]
fn defaults_hold_for_every_cluster_key_by_key() {
    let text = format!(
        "{MINIMAL}retry = {{ budget = 0.5 }}\n[defaults]\npolicy = \"round_robin\"\nretry = {{ attempts = 1, budget = 0.1 }}"
    );
    let config = parse_file(&text).unwrap();
    let web = &config.clusters[0];
    assert_eq!((web.policy, web.retry.attempts, web.retry.budget), (Policy::RoundRobin, 1, 0.5));
}

#[test]
fn static_endpoints_are_an_address_or_a_table() {
    let text = MINIMAL.replace(
        "consul = { service = \"web\" }",
        "endpoints = [\"127.0.0.1:1\", { address = \"[::1]:2\", weight = 3 }]",
    );
    let Source::Static(endpoints) = parse_file(&text).unwrap().clusters[0].source.clone() else { panic!() };
    assert_eq!(endpoints[1], Endpoint { address: ("::1".into(), 2), weight: 3, zone: None });
    assert!(message(&text.replace("weight", "wieght")).contains("endpoints"));
}

#[test]
fn two_routes_for_the_same_requests_are_refused() {
    let text = format!("[[routes]]\ncluster = \"web\"\npath = \"/\"\n{MINIMAL}");
    assert!(message(&text).contains("takes the same requests as routes[0]"), "{}", message(&text));
}

#[test]
fn the_environment_means_what_it_means_to_the_consul_command() {
    let environment = Environment::from_iter([
        ("CONSUL_HTTP_ADDR", "http://consul.internal:9500/gateway/"),
        ("CONSUL_HTTP_SSL", "true"),
        ("CONSUL_HTTP_TOKEN", "s3cret"),
        ("CONSUL_TLS_SERVER_NAME", "server.dc1.consul"),
        ("CONSUL_NAMESPACE", ""),
    ]);
    let consul = parse(MINIMAL, &environment).unwrap().consul;
    assert_eq!(consul.address, Agent::Url("https://consul.internal:9500/gateway".into()));
    assert_eq!(consul.tls.server_name.as_deref(), Some("server.dc1.consul"));
    assert_eq!(consul.namespace, None);
    assert!(!format!("{consul:?}").contains("s3cret"), "a token must not be printed");
}

#[test]
fn a_clusters_key_is_checked_together_with_the_defaults() {
    let with = |defaults: &str, own: &str| {
        parse_file(&format!("{MINIMAL}ejection = {{ {own} }}\n[defaults]\nejection = {{ {defaults} }}"))
    };
    assert!(with("base = '1s', max = '2s'", "max = '5s'").is_ok());
    let error = with("base = '4m'", "max = '1m'").expect_err("shorter than the base of the defaults").to_string();
    assert!(error.contains("clusters.web.ejection.max: is shorter than base"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[test]
fn values_that_make_no_sense_are_refused_before_anything_starts() {
    for (text, key) in [
        (format!("{MINIMAL}timeouts = {{ idle = \"500000000000years\" }}"), "clusters.web.timeouts.idle"),
        (format!("{MINIMAL}[log]\nlevel = \"lictor=loud\""), "log.level"),
        (format!("{MINIMAL}[consul]\naddress = \"http://127.0.0.1:99999\""), "consul.address"),
        (MINIMAL.replace("service = \"web\"", "service = \"..\""), "clusters.web.consul.service"),
        (format!("{MINIMAL}[consul]\nsuspect_percent = 101"), "consul.suspect_percent"),
        (
            format!("{MINIMAL}[consul]\nmax_stale = \"109s\""),
            "consul.max_stale: good answers may be as far apart as wait; use 1m 50s",
        ),
        (
            format!("{MINIMAL}[consul]\nmax_stale = \"1h\"\non_stale = \"panic\""),
            "consul.on_stale: \"panic\" is not known",
        ),
        (format!("{MINIMAL}[consul]\non_stale = \"fail\""), "consul.on_stale: never happens without max_stale"),
    ] {
        assert!(message(&text).contains(key), "{key}: {}", message(&text));
    }
}
