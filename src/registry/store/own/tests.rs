//! The registry's rules as its callers meet them, without a socket.

use super::*;
use crate::registry::model::Node;
use crate::registry::store::{FIRST_INDEX, MAX_SERVICES};
use serde_json::json;
use std::time::Duration;

fn store() -> Store {
    Store::new(Node { name: "own".into(), address: "127.0.0.1".into(), ..Node::default() })
}

fn definition(body: serde_json::Value) -> ServiceDefinition {
    ServiceDefinition::read(body).unwrap()
}

fn web() -> ServiceDefinition {
    definition(json!({
        "Name": "web", "Port": 80, "Address": "10.0.0.1",
        "Checks": [{"TTL": "10s"}, {"CheckID": "mine", "TTL": "10s", "Status": "passing"}]
    }))
}

fn check<'a>(store: &'a Store, id: &str) -> &'a Check {
    &store.tables().find("own").unwrap().checks[id]
}

#[test]
fn a_registration_is_one_index_and_its_repetition_none() {
    let mut store = store();
    let now = Instant::now();
    assert_eq!(store.index(), FIRST_INDEX);
    store.register(web(), OldChecks::Keep, now).unwrap();
    assert_eq!(store.index(), FIRST_INDEX + 1);
    assert_eq!(check(&store, "service:web:1").status, Status::Critical);
    assert_eq!(check(&store, "mine").status, Status::Passing);
    store.register(web(), OldChecks::Keep, now).unwrap();
    store.register(web(), OldChecks::Remove, now).unwrap();
    assert_eq!(store.index(), FIRST_INDEX + 1);
}

#[test]
fn old_checks_stay_unless_they_are_to_be_replaced_and_keep_their_status() {
    let mut store = store();
    let now = Instant::now();
    store.register(web(), OldChecks::Keep, now).unwrap();
    assert!(store.beat("service:web:1", (Status::Warning, "so so".into()), now));
    let fewer = || definition(json!({"Name": "web", "Checks": [{"CheckID": "mine", "TTL": "10s"}]}));
    store.register(fewer(), OldChecks::Keep, now).unwrap();
    assert_eq!(check(&store, "service:web:1").status, Status::Warning);
    store.register(fewer(), OldChecks::Remove, now).unwrap();
    assert_eq!(check(&store, "mine").status, Status::Passing);
    assert_eq!(store.checks_of("web"), ["mine"]);
    assert!(!store.beat("service:web:1", (Status::Passing, String::new()), now));
}

#[test]
fn silence_turns_a_ttl_critical_and_says_what_was_heard_last() {
    let mut store = store();
    let now = Instant::now();
    store.register(web(), OldChecks::Keep, now).unwrap();
    assert!(store.beat("service:web:1", (Status::Passing, "well".into()), now));
    let later = now + Duration::from_secs(10);
    assert_eq!(store.settle(now), Some(later));
    assert_eq!(store.settle(later), None);
    assert_eq!(check(&store, "mine").output, "TTL expired");
    let heard = &check(&store, "service:web:1").output;
    assert_eq!(heard, "TTL expired (last output before timeout follows): well");
    assert_eq!(check(&store, "mine").status, Status::Critical);
}

#[test]
fn a_service_critical_for_too_long_goes() {
    let mut store = store();
    let now = Instant::now();
    let body = json!({"Name": "web", "Check": {"TTL": "10s", "DeregisterCriticalServiceAfter": "1s"}});
    store.register(definition(body), OldChecks::Keep, now).unwrap();
    store.settle(now + Duration::from_secs(59));
    assert_eq!(store.tables().instances("web").count(), 1);
    store.settle(now + Duration::from_secs(60));
    assert_eq!(store.tables().instances("web").count(), 0);
    assert_eq!(store.settle(now + Duration::from_secs(61)), None);
}

#[test]
fn maintenance_outlives_a_plain_registration_and_not_one_that_replaces_checks() {
    let mut store = store();
    let now = Instant::now();
    store.register(web(), OldChecks::Keep, now).unwrap();
    assert!(!store.maintain_service("nobody", Some("")));
    assert!(store.maintain_service("web", Some("why")));
    assert!(store.maintain_service("web", Some("another")));
    store.register(web(), OldChecks::Keep, now).unwrap();
    let held = check(&store, "_service_maintenance:web");
    assert_eq!((held.notes.as_str(), held.service_id.as_str()), ("why", "web"));
    store.register(web(), OldChecks::Remove, now).unwrap();
    assert!(store.own_check("_service_maintenance:web").is_none());
    store.maintain_node(Some(""));
    assert!(check(&store, NODE_MAINTENANCE).notes.contains("for this node"));
    store.maintain_node(None);
    assert!(store.own_check(NODE_MAINTENANCE).is_none());
}

#[test]
fn a_long_output_is_cut_as_consul_cuts_it() {
    let cut = clip("x".repeat(5000));
    assert_eq!(cut.len(), 4130);
    assert!(cut.ends_with(" ... (captured 4096 of 5000 bytes)"));
    assert_eq!(clip("short".into()), "short");
}

#[test]
fn what_others_wrote_is_kept_apart_and_orphans_are_refused() {
    let mut store = store();
    let node = || Node { name: "ext".into(), address: "10.0.0.9".into(), ..Node::default() };
    let mut orphan = Check::new("ext", "c", "c");
    orphan.service_id = "nobody".into();
    let refused = store.write(node(), None, vec![orphan]);
    assert_eq!(refused, Err(Error::NoService("nobody".into())));
    assert!(store.tables().find("ext").is_none());
    let service = Service { id: "db".into(), name: "db".into(), ..Service::default() };
    store.write(node(), Some(service), Vec::new()).unwrap();
    let index = store.index();
    store.write(node(), None, Vec::new()).unwrap();
    assert_eq!(store.index(), index);
    store.remove_node("ext");
    store.remove_node("own");
    assert!(store.tables().find("ext").is_none());
    assert!(store.tables().find("own").is_some());
}

#[test]
fn the_ten_thousand_and_first_service_is_refused() {
    let mut store = store();
    let now = Instant::now();
    let add = |store: &mut Store, id: usize| {
        let body = json!({"ID": id.to_string(), "Name": "web"});
        store.register(definition(body), OldChecks::Keep, now)
    };
    for id in 1..MAX_SERVICES {
        add(&mut store, id).unwrap();
    }
    assert_eq!(add(&mut store, MAX_SERVICES), Err(Error::Full("10000 services")));
    assert_eq!(add(&mut store, 7), Ok(()));
}
