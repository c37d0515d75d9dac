//! The map as code: which room may know which, and the rules of `ARCHITECTURE.md` and `CONTRIBUTING.md` that no type can hold.
//!
//! Read as text, so nothing here is exact about Rust; it is exact about what a reader sees. Parts for tests are left out.

pub mod source;

use std::collections::{BTreeMap, BTreeSet};

use lictor::table::Publisher;
use source::Source;

/// Each room and the rooms that it may lean on, all of them further up: so there is no cycle. A new line here is a decision
/// about the architecture, to be made in the same commit as `ARCHITECTURE.md`.
const MAP: &[(&str, &[&str])] = &[
    ("config", &[]),
    ("lifecycle", &[]),
    ("message", &[]),
    ("metrics", &[]),
    ("endpoint", &[]),
    ("journal", &[]),
    ("registry", &[]),
    ("account", &["endpoint"]),
    ("access", &["account", "config", "endpoint", "metrics"]),
    ("tls", &["config", "metrics"]),
    ("trace", &["account", "config", "metrics", "tls"]),
    ("consul", &["config", "tls"]),
    ("mesh", &["config", "consul", "metrics", "tls"]),
    ("balance", &["config", "endpoint"]),
    ("upstream", &["config", "endpoint", "message", "tls"]),
    ("health", &["config", "endpoint"]),
    ("cluster", &["balance", "config", "endpoint", "health", "journal", "metrics", "tls"]),
    ("route", &["balance", "config", "message"]),
    ("table", &["cluster", "config", "endpoint", "journal", "metrics", "route", "tls"]),
    ("discovery", &["cluster", "config", "consul", "endpoint", "journal", "lifecycle", "metrics", "table", "tls"]),
    ("probe", &["cluster", "config", "endpoint", "message", "metrics", "table", "tls", "upstream"]),
    ("listener", &["config", "lifecycle", "message", "metrics", "tls"]),
    (
        "proxy",
        &[
            "access",
            "account",
            "balance",
            "cluster",
            "config",
            "endpoint",
            "health",
            "lifecycle",
            "listener",
            "message",
            "metrics",
            "route",
            "table",
            "tls",
            "trace",
            "upstream",
        ],
    ),
    ("explanation", &["cluster", "config", "endpoint", "message", "route", "table"]),
    (
        "admin",
        &[
            "cluster",
            "config",
            "endpoint",
            "explanation",
            "journal",
            "lifecycle",
            "listener",
            "message",
            "metrics",
            "table",
            "tls",
        ],
    ),
    ("registration", &["config", "consul", "lifecycle", "metrics"]),
    (
        "app",
        &[
            "access",
            "admin",
            "config",
            "consul",
            "discovery",
            "journal",
            "lifecycle",
            "listener",
            "mesh",
            "metrics",
            "probe",
            "proxy",
            "registration",
            "table",
            "tls",
            "trace",
        ],
    ),
    (
        "cli",
        &[
            "app",
            "config",
            "consul",
            "discovery",
            "explanation",
            "lifecycle",
            "listener",
            "metrics",
            "registry",
            "table",
            "tls",
        ],
    ),
    ("main", &["cli"]),
];

/// Who may speak of Consul: all else works the same whatever the list comes from.
const KNOW_CONSUL: &[&str] = &[
    "src/admin/view.rs",
    "src/app.rs",
    "src/app/space.rs",
    "src/app/error.rs",
    "src/cli/",
    "src/config/",
    "src/consul/",
    "src/discovery/",
    "src/lib.rs",
    "src/mesh/",
    "src/registration/",
    "src/registry/",
];

const MAX_LINES: usize = 500;

#[test]
fn rooms_lean_only_on_the_rooms_that_the_map_allows() {
    let mut wrong = Vec::new();
    for source in source::under(&["src"]) {
        let Some(room) = source.room() else { continue };
        let allowed = row(room);
        for (other, line) in source.rooms_named() {
            if other != room && !allowed.contains(&other.as_str()) {
                wrong.push(format!("{}:{line}: {room} must not know {other}", source.path));
            }
        }
        for line in source.climbs_to_the_root() {
            wrong.push(format!("{}:{line}: say crate::, not super::, when leaving the room", source.path));
        }
    }
    assert_none("a room leans on another that MAP in tests/house.rs does not allow", &wrong);
}

#[test]
fn the_map_is_in_order_and_says_no_more_than_the_code() {
    let mut known = BTreeMap::<&str, BTreeSet<String>>::new();
    let sources = source::under(&["src"]);
    for source in &sources {
        if let Some(room) = source.room() {
            known.entry(room).or_default().extend(source.rooms_named().into_iter().map(|(other, _)| other));
        }
    }
    let mut wrong = Vec::new();
    for (place, (room, others)) in MAP.iter().enumerate() {
        let Some(known) = known.remove(room) else {
            wrong.push(format!("{room} is not a room"));
            continue;
        };
        for other in *others {
            if !MAP[..place].iter().any(|(above, _)| above == other) {
                wrong.push(format!("{room} leans on {other}, which is not above it"));
            }
            if !known.contains(*other) {
                wrong.push(format!("{room} does not lean on {other} any more"));
            }
        }
    }
    wrong.extend(known.keys().map(|room| format!("{room} is not on the map")));
    assert_none("MAP in tests/house.rs and the code do not agree", &wrong);
}

#[test]
fn the_map_is_drawn_in_the_architecture() {
    let rows = include_str!("../ARCHITECTURE.md").lines().filter(|line| line.starts_with("| `"));
    let drawn: Vec<(&str, &str)> = rows
        .map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            (cells[0].trim_matches('`'), cells[cells.len() - 1])
        })
        .collect();
    let line = |others: &[&str]| if others.is_empty() { "–".to_owned() } else { others.join(", ") };
    // The binary is no room, only a door.
    let map: Vec<(&str, String)> = MAP.iter().map(|(room, others)| (*room, line(others))).collect();
    let map: Vec<(&str, &str)> = map.iter().map(|(room, others)| (*room, others.as_str())).collect();
    assert_eq!(drawn, map[..map.len() - 1], "ARCHITECTURE.md, and MAP in tests/house.rs");
}

#[test]
fn only_those_whose_business_it_is_know_consul() {
    let mut wrong = Vec::new();
    for source in source::under(&["src"]) {
        let speaks = source.speech.to_lowercase().contains("consul");
        let may = KNOW_CONSUL.iter().any(|known| source.path.starts_with(known));
        if speaks && !may {
            wrong.push(format!("{}: knows Consul", source.path));
        }
    }
    assert_none("Consul is the business of config, discovery and registration", &wrong);
}

#[test]
fn only_discovery_publishes() {
    let mut wrong = Vec::new();
    for source in source::under(&["src"]) {
        let room = source.room().unwrap_or_default();
        for line in source.lines_with(".publish(").into_iter().filter(|_| room != "discovery") {
            wrong.push(format!("{}:{line}: publishes", source.path));
        }
        for line in source.lines_with("Publisher").into_iter().filter(|_| !["discovery", "table"].contains(&room)) {
            wrong.push(format!("{}:{line}: holds a Publisher", source.path));
        }
    }
    assert_none("tables are published by discovery and by nobody else", &wrong);
}

#[test]
fn a_publisher_cannot_be_cloned() {
    trait IsNotClone<Which> {
        fn holds() {}
    }
    struct Cloneable;
    impl<T> IsNotClone<()> for T {}
    impl<T: Clone> IsNotClone<Cloneable> for T {}
    // Does not compile once Publisher is Clone: both implementations would fit, and `_` could be either.
    <Publisher as IsNotClone<_>>::holds();
}

#[test]
fn nothing_is_unsafe_and_nothing_is_static() {
    let mut wrong = Vec::new();
    for source in source::under(&["src"]) {
        for line in source.words("unsafe").into_iter().chain(source.lines_with("thread_local!")) {
            wrong.push(format!("{}:{line}: unsafe or thread_local!", source.path));
        }
        // The allocator has to be one. The crypto provider and the log subscriber are installed by a call.
        for line in source.words("static").into_iter().filter(|line| !source.is_allocator(*line)) {
            wrong.push(format!("{}:{line}: a static", source.path));
        }
    }
    assert_none("state has an owner, and no code asks for trust", &wrong);
}

#[test]
fn every_task_has_an_owner() {
    let detached = ["tokio::spawn", "task::spawn", "spawn_blocking", "thread::spawn"];
    let mut wrong = Vec::new();
    // The demo's origins and registry end with the process, which is the demo.
    for source in source::under(&["src"]).iter().filter(|source| !source.path.starts_with("src/cli/demo/")) {
        for way in detached {
            wrong.extend(source.lines_with(way).iter().map(|line| format!("{}:{line}: {way}", source.path)));
        }
    }
    assert_none("a task is in the JoinSet of somebody who ends it", &wrong);
}

#[test]
fn nothing_outside_tests_may_panic_on_purpose() {
    let ways =
        [".unwrap()", ".unwrap_err()", ".expect(", ".expect_err(", "panic!", "unreachable!", "todo!", "unimplemented!"];
    let mut wrong = Vec::new();
    for source in source::under(&["src"]) {
        for way in ways {
            wrong.extend(source.lines_with(way).iter().map(|line| format!("{}:{line}: {way}", source.path)));
        }
    }
    assert_none("no panic from input, ever; say what happens instead", &wrong);
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    let opens = |source: &&Source| !source.text.starts_with("//! ");
    let wrong: Vec<String> = everything().iter().filter(opens).map(|source| source.path.clone()).collect();
    assert_none("the first line of a file is //! and says what the file is for", &wrong);
}

#[test]
fn no_file_is_longer_than_500_lines() {
    let length = |source: &Source| (source.text.lines().count(), source.path.clone());
    let long: Vec<String> = everything()
        .iter()
        .map(length)
        .filter(|(lines, _)| *lines > MAX_LINES)
        .map(|(lines, path)| format!("{path}: {lines} lines"))
        .collect();
    assert_none("a file that long is about more than one thing", &long);
}

#[test]
fn files_are_named_for_what_is_in_them() {
    let vague = ["util", "utils", "helper", "helpers", "common", "misc", "manager"];
    let named = |source: &&Source| vague.iter().any(|word| source.path.ends_with(&format!("/{word}.rs")));
    let wrong: Vec<String> = everything().iter().filter(named).map(|source| source.path.clone()).collect();
    assert_none("such a name says nothing", &wrong);
}

fn everything() -> Vec<Source> {
    source::under(&["src", "tests", "benches"])
}

fn row(room: &str) -> &'static [&'static str] {
    MAP.iter().find(|(known, _)| *known == room).map_or(&[], |(_, others)| others)
}

fn assert_none(rule: &str, wrong: &[String]) {
    assert!(wrong.is_empty(), "{rule}:\n  {}", wrong.join("\n  "));
}
