//! What is explained of a small world, request by request.

use std::sync::Arc;

use serde_json::Value;

use super::*;
use crate::cluster::Own;
use crate::config::{self, Config, Environment};
use crate::metrics::Metrics;
use crate::table::{Builder, Facts, channel};

const WORLD: &str = r#"
[[listeners]]
name = "edge"
bind = "127.0.0.1:0"
trusted_networks = ["10.0.0.0/8"]
[[listeners]]
name = "names"
bind = "127.0.0.1:0"
egress = true
[[routes]]
name = "team"
host = "shop.test"
path = "/api"
headers = [{ name = "x-token", value = "hunter2" }]
cluster = "web"
[[routes]]
name = "api"
host = "shop.test"
path = "/api"
replace_prefix = "/v2"
host_header = "inner.test"
request_headers = { set = { authorization = "Basic hunter2" }, remove = ["x-old"] }
cluster = "web"
[[routes]]
name = "moved"
host = "old.test"
redirect = { host = "shop.test" }
[[routes]]
name = "canary"
host = "split.test"
split = [{ cluster = "web", weight = 3 }, { cluster = "files", weight = 1 }]
[[routes]]
name = "near"
host = "near.test"
client_networks = ["192.0.2.0/24"]
cluster = "web"
[clusters.web]
endpoints = ["127.0.0.1:1", "127.0.0.1:2"]
policy = "round_robin"
[clusters.files]
endpoints = ["127.0.0.1:3"]
"#;

fn config(text: &str) -> Config {
    config::parse(text, &Environment::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn explain(description: &Description) -> Result<Value, String> {
    let config = config(WORLD);
    let builder = Builder::new(1, Own { seed: 1, secret: [0; 32] }, &Arc::new(Metrics::new(1)));
    let table = builder.build(&config, &Facts::default(), &channel().0.current(), Instant::now());
    let ground = Ground { listeners: &config.listeners, egress: &config.egress, now: Instant::now() };
    let explained = super::explain(&table, ground, description).map_err(|wrong| wrong.to_string())?;
    Ok(serde_json::to_value(explained).unwrap())
}

fn ask(host: &str, path: &str) -> Description {
    Description { host: host.to_owned(), path: Some(path.to_owned()), ..Description::default() }
}

#[test]
fn a_request_is_followed_from_its_route_to_its_endpoints() {
    let said = explain(&ask("shop.test:8080", "/api/cart?x=1")).unwrap();
    assert_eq!(said["route"]["name"], "api");
    assert_eq!(said["others"][0]["why"], "host and path fit; header x-token is not there");
    let sent = &said["sent"];
    assert_eq!((&sent["target"], &sent["host"]), (&"/v2/cart?x=1".into(), &"inner.test".into()));
    assert_eq!((&sent["set"][0], &sent["removed"][0]), (&"authorization".into(), &"x-old".into()));
    let web = &said["clusters"][0];
    assert_eq!((&web["name"], &web["policy"], &web["age"]), (&"web".into(), &"round_robin".into(), &"fresh".into()));
    for endpoint in web["endpoints"].as_array().unwrap() {
        assert_eq!((&endpoint["state"], &endpoint["why"][0]), (&"eligible".into(), &"may be picked".into()));
        assert!((endpoint["share"].as_f64().unwrap() - 0.5).abs() < 0.05);
    }
    let summary = said["summary"].as_str().unwrap();
    assert!(summary.starts_with("route api → cluster web → one of 2 by round_robin, 127.0.0.1:"), "{summary}");
}

#[test]
fn no_value_of_a_header_is_said() {
    for headers in [vec![], vec!["x-token: hunter2".to_owned()], vec!["x-token: hunter3".to_owned()]] {
        let said = explain(&Description { headers, ..ask("shop.test", "/api") }).unwrap().to_string();
        assert!(!said.contains("hunter"), "{said}");
    }
    let wrong = explain(&Description { headers: vec!["x-token: hunter2\u{7}".to_owned()], ..ask("shop.test", "/") });
    assert!(!wrong.unwrap_err().contains("hunter"));
}

#[test]
fn what_lictor_answers_itself_is_said_with_its_status() {
    let moved = explain(&ask("old.test", "/a?b")).unwrap();
    assert_eq!((&moved["status"], &moved["location"]), (&308.into(), &"http://shop.test/a?b".into()));
    let nowhere = explain(&ask("other.test", "/")).unwrap();
    assert_eq!(
        (&nowhere["status"], &nowhere["refused"], &nowhere["route"]),
        (&404.into(), &"no route takes it".into(), &Value::Null)
    );
    assert_eq!(nowhere["others"].as_array().unwrap().len(), 5, "and why none of them does");
    let odd = explain(&ask("shop.test", "//api/x")).unwrap();
    assert_eq!(odd["status"], 400);
    assert_eq!(explain(&ask("shop.test", "/api/../x")).unwrap()["status"], 400);
}

#[test]
fn the_parts_of_a_split_are_shown_with_their_shares() {
    let said = explain(&ask("split.test", "/")).unwrap();
    let share = |place: usize| said["targets"][place]["share"].as_f64().unwrap();
    assert!((share(0) - 0.75).abs() < 0.03 && (share(0) + share(1) - 1.0).abs() < 1e-9);
    assert_eq!((&said["clusters"][0]["name"], &said["clusters"][1]["name"]), (&"web".into(), &"files".into()));
    assert_eq!(said["tied"], false);
}

#[test]
fn a_client_is_who_trusted_peers_say() {
    let from = |client: &str, headers: &[&str]| {
        let headers = headers.iter().map(|line| (*line).to_owned()).collect();
        explain(&Description { client: Some(client.to_owned()), headers, ..ask("near.test", "/") }).unwrap()
    };
    assert_eq!(from("192.0.2.7", &[])["route"]["name"], "near");
    let far = from("198.51.100.1", &["X-Forwarded-For: 192.0.2.7"]);
    assert_eq!(far["status"], 404);
    assert_eq!(far["others"][0]["why"], "host and path fit; the client's address does not");
    let behind = from("10.1.1.1", &["X-Forwarded-For: 192.0.2.7"]);
    assert_eq!((&behind["route"]["name"], &behind["request"]["client"]), (&"near".into(), &"192.0.2.7".into()));
}

#[test]
fn a_listener_that_goes_by_names_explains_those() {
    let by_name = |host: &str| explain(&Description { listener: Some("names".to_owned()), ..ask(host, "/") }).unwrap();
    assert_eq!(by_name("example.com")["refused"], "the host is not the name of a service");
    let unknown = by_name("billing.service.consul");
    assert_eq!(unknown["status"], 503);
    assert!(unknown["refused"].as_str().unwrap().starts_with("billing is not followed"), "{unknown}");
}

#[test]
fn a_description_that_means_nothing_is_refused_with_what_would_be_right() {
    let with = |change: fn(&mut Description)| {
        let mut description = ask("shop.test", "/");
        change(&mut description);
        explain(&description).unwrap_err()
    };
    assert!(with(|d| d.host = "a b".to_owned()).contains("host: \"a b\" is no host"));
    assert!(with(|d| d.host = String::new()).contains("is no host"));
    assert!(with(|d| d.path = Some("api".to_owned())).contains("begin with a slash"));
    assert!(with(|d| d.path = Some("/a#b".to_owned())).contains("is no path"));
    assert!(with(|d| d.method = Some("G T".to_owned())).contains("is no method"));
    assert!(with(|d| d.client = Some("home".to_owned())).contains("is no IP address"));
    assert!(with(|d| d.scheme = Some("ftp".to_owned())).contains("is neither"));
    assert!(with(|d| d.headers = vec!["nothing".to_owned()]).contains("use \"Name: value\""));
    assert!(with(|d| d.headers = vec!["Host: x".to_owned()]).contains("is said by the host"));
    assert!(with(|d| d.listener = Some("egde".to_owned())).contains("there is edge, names"));
    let insecure = |d: &mut Description| {
        (d.scheme, d.identities) = (Some("http".to_owned()), vec!["spiffe://x".to_owned()]);
    };
    assert!(with(insecure).contains("goes with https"));
}
