//! What moves which index, row by row of what a Consul 1.8.7 was seen to do.

use super::*;

fn node(name: &str) -> Node {
    Node { name: name.into(), address: "10.0.0.1".into(), ..Node::default() }
}

fn service(id: &str, name: &str) -> Service {
    Service { id: id.into(), name: name.into(), ..Service::default() }
}

fn check(id: &str, service_id: &str) -> Check {
    Check { service_id: service_id.into(), ..Check::new("n", id, id) }
}

/// One node with one instance of `a`, all written at index 1.
fn tables() -> Tables {
    let mut tables = Tables::default();
    assert!(tables.put_node(1, node("n")));
    assert!(tables.put_service(1, "n", service("a1", "a")));
    tables
}

#[test]
fn a_watcher_of_a_stays_quiet_while_b_changes() {
    let mut tables = tables();
    assert!(tables.put_service(2, "n", service("b1", "b")));
    assert!(tables.put_check(3, check("c", "b1")));
    assert!(tables.set_status(4, "n", "c", (Status::Passing, "ok".into())));
    assert!(tables.remove_service(5, "n", "b1"));
    assert_eq!(tables.health_index("a"), 1);
    assert_eq!(tables.names_index(), 5);
}

#[test]
fn repeating_a_registration_moves_nothing() {
    let mut tables = tables();
    assert!(tables.put_check(2, check("c", "a1")));
    assert!(!tables.put_node(3, node("n")));
    assert!(!tables.put_service(3, "n", service("a1", "a")));
    assert!(!tables.put_check(3, check("c", "a1")));
    assert_eq!(tables.health_index("a"), 2);
    assert_eq!(tables.sizes(), (1, 1, 1));
}

#[test]
fn the_last_instance_leaves_behind_the_index_of_its_extinction() {
    let mut tables = tables();
    assert!(tables.remove_service(7, "n", "a1"));
    assert_eq!(tables.health_index("a"), 7);
    assert_eq!(tables.instances("a").count(), 0);
    // B comes while A is extinct: quiet. B's last instance goes: A's watchers wake, as in Consul.
    assert!(tables.put_service(8, "n", service("b1", "b")));
    assert_eq!(tables.health_index("a"), 7);
    assert!(tables.remove_service(9, "n", "b1"));
    assert_eq!(tables.health_index("a"), 9);
}

#[test]
fn a_name_that_never_was_wakes_with_everything_until_the_first_extinction() {
    let mut tables = tables();
    assert_eq!(tables.health_index("none"), 1);
    assert!(tables.put_service(2, "n", service("b1", "b")));
    assert_eq!(tables.health_index("none"), 2);
    assert!(tables.remove_service(3, "n", "b1"));
    assert!(tables.put_service(4, "n", service("b1", "b")));
    assert_eq!(tables.health_index("none"), 3);
}

#[test]
fn a_nodes_own_check_wakes_every_service_on_it() {
    let mut tables = tables();
    assert!(tables.put_node(2, node("m")));
    assert!(tables.put_service(2, "m", service("b1", "b")));
    assert!(tables.put_check(3, check("_node_maintenance", "")));
    assert_eq!(tables.health_index("a"), 3);
    assert_eq!(tables.health_index("b"), 2);
    assert_eq!(tables.names_index(), 2);
    assert!(tables.remove_check(4, "n", "_node_maintenance"));
    assert_eq!(tables.health_index("a"), 4);
    assert_eq!(tables.names_index(), 4);
}

#[test]
fn a_new_output_is_kept_and_wakes_nobody() {
    let mut tables = tables();
    assert!(tables.put_check(2, check("c", "a1")));
    assert!(!tables.set_status(3, "n", "c", (Status::Critical, "why".into())));
    assert_eq!(tables.find("n").unwrap().checks["c"].output, "why");
    assert_eq!(tables.health_index("a"), 2);
}

#[test]
fn names_are_found_in_any_case_and_ids_are_apart_on_each_node() {
    let mut tables = tables();
    assert!(tables.put_node(2, node("m")));
    assert!(tables.put_service(2, "m", service("a1", "A")));
    assert_eq!(tables.instances("a").count(), 2);
    assert_eq!(tables.instances("A").count(), 2);
}

#[test]
fn an_id_that_changes_its_service_leaves_the_old_name() {
    let mut tables = tables();
    assert!(tables.put_service(2, "n", service("a1", "b")));
    assert_eq!(tables.instances("a").count(), 0);
    assert_eq!(tables.instances("b").count(), 1);
    assert_eq!(tables.health_index("a"), 2);
    assert_eq!(tables.sizes(), (1, 1, 0));
}

#[test]
fn a_node_takes_all_that_is_on_it_along() {
    let mut tables = tables();
    assert!(tables.put_check(2, check("c", "a1")));
    assert!(tables.put_check(2, check("own", "")));
    assert!(tables.remove_node(3, "n"));
    assert_eq!(tables.sizes(), (0, 0, 0));
    assert_eq!(tables.health_index("a"), 3);
    assert!(!tables.remove_node(4, "n"));
}

#[test]
fn what_hangs_in_the_air_is_not_written() {
    let mut tables = tables();
    assert!(!tables.put_service(2, "nowhere", service("x", "x")));
    assert!(!tables.put_check(2, check("c", "nobody")));
    assert_eq!(tables.sizes(), (1, 1, 0));
}
