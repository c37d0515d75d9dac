//! `probe`: what a person sees who writes one.

use super::super::*;
use super::{MINIMAL, message, parse_file};

fn probe(keys: &str) -> Probe {
    let config = parse_file(&format!("{MINIMAL}probe = {{ {keys} }}")).unwrap();
    config.clusters[0].probe.clone().unwrap()
}

fn refusal(keys: &str) -> String {
    message(&format!("{MINIMAL}probe = {{ {keys} }}"))
}

#[test]
fn there_is_no_probe_without_its_table_and_a_whole_one_with_it() {
    assert_eq!(parse_file(MINIMAL).unwrap().clusters[0].probe, None);
    assert_eq!(parse_file(&format!("{MINIMAL}probe = {{ enabled = false }}")).unwrap().clusters[0].probe, None);
    let http =
        HttpProbe { method: "GET".to_owned(), path: "/".to_owned(), host: None, statuses: vec![200..=399], body: None };
    let expected = Probe {
        kind: ProbeKind::Http(http),
        interval: Duration::from_secs(5),
        jitter: 0.2,
        timeout: Duration::from_secs(2),
        rise: 2,
        fall: 3,
        port: None,
        proxy_protocol: None,
        return_ejected: true,
    };
    assert_eq!(probe(""), expected);
}

#[test]
fn the_reference_shows_the_defaults() {
    let (before, probes) = include_str!("../../../config/reference.toml").split_once("[defaults.probe]").unwrap();
    let probes = probes.replacen("enabled = false", "enabled = true", 1);
    let config = parse_file(&format!("{before}[defaults.probe]{probes}")).unwrap();
    let files = config.clusters.iter().find(|cluster| &*cluster.name == "static-files").unwrap();
    assert_eq!(files.probe, Some(probe("")));
}

#[test]
fn statuses_are_codes_and_ranges() {
    let ProbeKind::Http(http) = probe("statuses = [204, \"301\", \"400-404\"]").kind else { panic!() };
    assert_eq!(http.statuses, [204..=204, 301..=301, 400..=404]);
    let problem = refusal("statuses = [200, \"399-200\"]");
    assert!(problem.contains("clusters.web.probe.statuses[1]: \"399-200\" is not a status; use 204"), "{problem}");
    assert!(refusal("statuses = [100]").contains("within 200 to 599"));
    assert!(refusal("statuses = [true]").contains("a status such as 204"));
}

#[test]
fn a_cluster_inherits_what_it_does_not_say_unless_it_asks_something_else() {
    let with = |own: &str| {
        let defaults = "[defaults]\nprobe = { enabled = false, path = \"/up\", rise = 7, port = 9000 }";
        parse_file(&format!("{MINIMAL}{own}\n{defaults}")).unwrap().clusters[0].probe.clone()
    };
    assert_eq!(with(""), None, "a table to be inherited from");
    let same = with("probe = { fall = 5 }").unwrap();
    assert_eq!((same.rise, same.fall, same.port), (7, 5, Some(9000)));
    assert!(matches!(same.kind, ProbeKind::Http(http) if http.path == "/up"));
    let other = with("probe = { kind = \"tcp\" }").unwrap();
    assert_eq!((other.kind, other.rise, other.port), (ProbeKind::Tcp, 7, None), "a path and a port are not its own");
}

#[test]
fn a_wrong_probe_is_named_with_what_would_be_right() {
    for (keys, problem) in [
        ("kind = \"htpt\"", "probe.kind: no kind of probe \"htpt\"; did you mean \"http\"?"),
        ("kind = \"icmp\"", "probe.kind: no kind of probe \"icmp\"; there are http, tcp, grpc"),
        ("path = \"up\"", "probe.path: \"up\" is not a path"),
        ("method = \"get\"", "probe.method: \"get\" is not a method"),
        ("host = \"a b\"", "probe.host: \"a b\" is not a host"),
        ("body = \"\"", "probe.body: is empty"),
        ("body = \"a\", method = \"HEAD\"", "probe.body: an answer to HEAD has no body"),
        ("service = \"a\"", "probe.service: is for kind = \"grpc\", and this is \"http\""),
        ("kind = \"tcp\", host = \"a\"", "probe.host: is for kind = \"http\" or \"grpc\", and this is \"tcp\""),
        ("port = 0", "probe.port: 0 is not a port"),
        ("interval = \"1ms\"", "probe.interval: is shorter than 10ms"),
        ("timeout = \"0s\"", "probe.timeout: 0 would time out at once"),
        ("jitter = 1.5", "probe.jitter: 1.5 is not a share"),
        ("rise = 0", "probe.rise: 0 is not a number of probes in a row"),
        ("fall = 1001", "probe.fall: 1001 is not a number of probes in a row"),
        ("statuses = []", "probe.statuses: is empty"),
    ] {
        let refusal = refusal(keys);
        assert!(refusal.contains(problem), "{keys}: {refusal}");
        assert_eq!(refusal.lines().count(), 1, "{refusal}");
    }
}
