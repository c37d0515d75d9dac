//! What the agent is told.

use super::*;
use crate::config::{self, Environment};

fn here() -> Here {
    let listeners = [("edge", "0.0.0.0:8080"), ("inner", "10.0.0.5:81"), ("six", "[::1]:82")];
    let listeners = listeners.map(|(name, bound)| (name.into(), bound.parse().unwrap())).to_vec();
    Here { host: "web-7".into(), listeners, window: Some("0.0.0.0:9990".parse().unwrap()) }
}

fn defined(lines: &str) -> Vec<Definition> {
    let listener = |name: &str| format!("[[listeners]]\nname = \"{name}\"\nbind = \"127.0.0.1:0\"\n");
    let listeners: String = ["edge", "inner", "six"].map(listener).concat();
    let listeners = listeners.replace("\"inner\"\n", "\"inner\"\nmesh = true\n");
    let text =
        format!("{listeners}[mesh]\nservice = \"edge\"\n[admin]\nbind = \"127.0.0.1:0\"\n[registration]\n{lines}");
    let config = config::parse(&text, &Environment::default()).unwrap_or_else(|error| panic!("{error}"));
    all(&config.registration.unwrap(), &here())
}

fn one(lines: &str) -> Definition {
    defined(lines).into_iter().next().unwrap()
}

#[test]
fn lictor_is_entered_with_its_listener_and_passes_from_the_start() {
    let own = one("name = \"edge\"\nlistener = \"edge\"\ntags = [\"a\"]\nmeta = { team = \"x\" }");
    let check = json!({ "CheckID": "service:edge-web-7-8080:ttl", "Name": "lictor is ready", "TTL": "15000ms",
        "Status": "passing", "DeregisterCriticalServiceAfter": "600000ms" });
    let meta = json!({ "team": "x", "version": env!("CARGO_PKG_VERSION"), "admin_port": "9990" });
    assert_eq!(
        own.body,
        json!({ "ID": "edge-web-7-8080", "Name": "edge", "Port": 8080, "Tags": ["a"], "Meta": meta,
            "Weights": { "Passing": 1, "Warning": 1 }, "EnableTagOverride": false, "Checks": [check] }),
        "and without an address of its own, as it listens on all"
    );
    assert_eq!(own.voices.len(), 1);
    assert!(own.is_own && own.voices[0].says == Says::Readiness);
}

#[test]
fn what_is_written_counts_before_what_is_bound() {
    let bound = one("name = \"edge\"\nlistener = \"inner\"").body;
    assert_eq!((&bound["Address"], &bound["Port"]), (&json!("10.0.0.5"), &json!(81)));
    let own = one(
        "name = \"edge\"\nid = \"one\"\nlistener = \"inner\"\naddress = \"192.0.2.1\"\nport = 443\nconnect_native = true\nmeta = { version = \"v2\" }",
    );
    let body = own.body;
    assert_eq!((&body["Address"], &body["Port"], &body["ID"]), (&json!("192.0.2.1"), &json!(443), &json!("one")));
    assert_eq!((&body["Connect"], &body["Meta"]["version"]), (&json!({ "Native": true }), &json!("v2")));
    let named = one("name = \"edge\"\nport = 443").body;
    assert_eq!((&named["ID"], named.get("Address")), (&json!("edge-web-7-443"), None));
}

#[test]
fn the_agent_asks_where_it_can_reach_and_checks_of_a_kind_have_names_of_their_own() {
    let own = one(
        "name = \"edge\"\nlistener = \"six\"\nchecks = [{ kind = \"http\" }, { kind = \"tcp\" }, { url = \"/a\" }, { url = \"https://x/b\", rise = 2, fall = 1 }]",
    );
    let checks = own.body["Checks"].as_array().unwrap();
    assert_eq!(checks[0]["HTTP"], "http://127.0.0.1:9990/readyz");
    assert_eq!(checks[1]["TCP"], "[::1]:82");
    assert_eq!((&checks[2]["HTTP"], &checks[2]["FailuresBeforeCritical"]), (&json!("http://[::1]:82/a"), &json!(2)));
    assert_eq!(checks[3]["HTTP"], "https://x/b");
    assert_eq!((&checks[3]["SuccessBeforePassing"], checks[3].get("FailuresBeforeCritical")), (&json!(2), None));
    let ids = ["http", "tcp", "http:2", "http:3"].map(|kind| format!("service:edge-web-7-82:{kind}"));
    assert_eq!(own.checks, ids);
    assert!(own.voices.is_empty(), "the agent asks them all");
}

#[test]
fn neighbours_are_critical_until_somebody_has_found_them_well() {
    let billing = one(
        "[[registration.services]]\nname = \"billing\"\nport = 9000\nkeep = true\nchecks = [{ kind = \"grpc\", service = \"shop.Cart\", tls = true }, { command = [\"/bin/x\"] }, { ttl = \"1m\" }]",
    );
    let checks = billing.body["Checks"].as_array().unwrap();
    assert!(checks.iter().all(|check| check.get("Status").is_none()));
    assert_eq!((&checks[0]["GRPC"], &checks[0]["GRPCUseTLS"]), (&json!("127.0.0.1:9000/shop.Cart"), &json!(true)));
    assert_eq!((&checks[1]["TTL"], checks[1].get("Interval")), (&json!("30000ms"), None));
    assert_eq!(checks[2]["TTL"], "60000ms");
    let voices: Vec<&str> = billing.voices.iter().map(|voice| voice.check.as_str()).collect();
    assert_eq!(voices, ["service:billing-web-7-9000:command"], "for the last one it speaks itself");
    assert!(billing.keep && !billing.is_own && billing.body["Meta"] == json!({}));
}

#[test]
fn who_would_take_anothers_place_is_left_out() {
    let all = defined("name = \"edge\"\nlistener = \"edge\"\n[[registration.services]]\nname = \"edge\"\nport = 8080");
    assert!(all.len() == 1 && all[0].is_own);
}
