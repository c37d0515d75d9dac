//! Listeners for any protocol, and the PROXY protocol of both sides.

use super::*;

const TCP: &str = "
[[listeners]]
name = 'db'
bind = '127.0.0.1:0'
protocol = 'tcp'
cluster = 'db'
[clusters.db]
endpoints = ['127.0.0.1:1']
";

fn with(listener: &str) -> String {
    TCP.replace("protocol = 'tcp'\ncluster = 'db'", listener)
}

#[test]
fn a_tcp_listener_has_clusters_by_name_and_one_for_the_rest() {
    let more =
        "protocol = 'tcp'\ncluster = 'db'\nsni = [{ names = ['A.example.com', '*.B.example.com'], cluster = 'db' }]";
    let config = parse_file(&with(more)).unwrap();
    let db: Arc<str> = "db".into();
    let names = vec![
        (Host::Exact("a.example.com".into()), Arc::clone(&db)),
        (Host::Below("b.example.com".into()), Arc::clone(&db)),
    ];
    assert_eq!(config.listeners[0].accepts, Accepts::Tcp(Forwarding { names, claimed: None, cluster: Some(db) }));
    assert_eq!(parse_file(MINIMAL).unwrap().listeners[0].accepts, Accepts::Http);
}

#[test]
fn what_belongs_to_the_other_protocol_is_refused() {
    for (listener, expected) in [
        ("protocol = 'udp'", ".protocol: no protocol \"udp\"; use \"http\" or \"tcp\""),
        ("cluster = 'db'", ".cluster: is for protocol = \"tcp\"; HTTP goes where its routes say"),
        ("sni = [{ names = ['a.b'], cluster = 'db' }]", ".sni: is for protocol = \"tcp\""),
        (
            "protocol = 'tcp'",
            ": leads nowhere; add cluster = \"…\", service = \"…\", service_routes = \"port\" or [[listeners.sni]]",
        ),
        ("protocol = 'tcp'\ncluster = 'bd'", ".cluster: no cluster \"bd\"; did you mean \"db\"?"),
        (
            "protocol = 'tcp'\ncluster = 'db'\ntimeouts = { idle = '1s' }",
            ".timeouts.idle: is for HTTP; how long both sides may be silent is the cluster's timeouts.idle",
        ),
        ("protocol = 'tcp'\ncluster = 'db'\nhttp2 = true", ".http2: is for HTTP"),
        (
            "protocol = 'tcp'\ncluster = 'db'\ntimeouts = { connection_age = '1s' }",
            ".timeouts.connection_age: is for HTTP: ",
        ),
    ] {
        let message = message(&with(listener));
        assert!(message.contains(&format!("listeners[0]{expected}")), "{message}\n{expected}");
    }
}

#[test]
fn names_of_servers_are_names() {
    for (sni, expected) in [
        ("{ names = [], cluster = 'db' }", "sni[0].names: is empty"),
        ("{ names = ['10.0.0.1'], cluster = 'db' }", "sni[0].names: \"10.0.0.1\" is an address"),
        ("{ names = ['a b'], cluster = 'db' }", "sni[0].names: \"a b\" is not a host"),
        ("{ names = ['a.b', 'A.B'], cluster = 'db' }", "sni[0].names: \"A.B\" stands here twice"),
        ("{ names = ['a.b'], cluster = 'x' }", "sni[0].cluster: no cluster \"x\""),
    ] {
        let message = message(&with(&format!("protocol = 'tcp'\nsni = [{sni}]")));
        assert!(message.contains(&format!("listeners[0].{expected}")), "{message}");
    }
}

#[test]
fn a_cluster_that_hashes_by_requests_has_no_place_for_connections() {
    let hashing = |keys: &str| format!("{TCP}policy = 'consistent_hash'\nhash = {{ keys = [{keys}] }}");
    assert!(parse_file(&hashing("'header:x', 'client_address'")).is_ok());
    assert!(message(&hashing("'path'")).contains("its cluster \"db\" hashes by what only requests have"));
}

#[test]
fn trusted_networks_are_networks_or_addresses() {
    let listener = |networks: &str| MINIMAL.replace("bind =", &format!("trusted_networks = [{networks}]\nbind ="));
    let config = parse_file(&listener("'10.0.0.0/8', 'fd00::/8', '192.0.2.1'")).unwrap();
    let networks: Vec<String> = config.listeners[0].trusted_networks.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/8", "fd00::/8", "192.0.2.1/32"]);
    for wrong in ["10.1.2.3/8", "10.0.0.0/33", "10.0.0", "localhost", ""] {
        let message = message(&listener(&format!("'{wrong}'")));
        assert!(
            message.contains(&format!("listeners[0].trusted_networks[0]: \"{wrong}\" is not a network")),
            "{message}"
        );
    }
}

#[test]
fn a_header_needs_somebody_who_is_trusted_and_a_version() {
    let text = MINIMAL.replace("bind =", "proxy_protocol = true\nbind =");
    assert!(message(&text).contains("listeners[0].proxy_protocol: needs trusted_networks"));
    let text = format!("{MINIMAL}proxy_protocol = 'v3'");
    assert_eq!(message(&text), "11: clusters.web.proxy_protocol: no version \"v3\"; use \"v1\" or \"v2\"");
    let text = format!("{MINIMAL}proxy_protocol = 'v1'\nprotocol = 'h2'");
    assert!(message(&text).contains("11: clusters.web.proxy_protocol: says who the client is, and clients share"));
    let text = format!("{MINIMAL}probe = {{ path = '/' }}\n[defaults]\nproxy_protocol = 'v2'");
    let web = Arc::clone(&parse_file(&text).unwrap().clusters[0]);
    assert_eq!((web.proxy_protocol, web.protocol), (Some(ProxyProtocol::V2), Protocol::Http1));
    assert_eq!(web.probe.as_ref().and_then(|probe| probe.proxy_protocol), Some(ProxyProtocol::V2));
    let web = Arc::clone(&parse_file(&text.replace("path = '/'", "port = 9")).unwrap().clusters[0]);
    assert_eq!(web.probe.as_ref().and_then(|probe| probe.proxy_protocol), None, "somebody else listens there");
}
