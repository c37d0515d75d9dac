//! What is in force, and which program it is: the configuration as it was written, and the version.

use std::time::{Instant, SystemTime};

use http::StatusCode;
use serde::Serialize;

use super::Admin;
use super::answer::{Problem, Reply, json, whole};
use super::ask::{Ask, one};
use super::dispatch::Page;
use super::events::written;

/// Pages of this file.
pub(super) const PAGES: &[Page] = &[
    Page::get("/v1/config", config).with(&[one("format")]),
    Page::get("/v1/version", |admin, _| json(&version(admin))),
    Page::get("/v1/openapi.json", |_, _| Ok(whole(StatusCode::OK, "application/json", OPENAPI))),
];

/// The description of all pages; tests hold it to them.
const OPENAPI: &str = include_str!("openapi.json");

#[derive(Serialize)]
struct VersionView {
    version: &'static str,
    /// What was built in that can be left out.
    features: Vec<&'static str>,
    /// RFC 3339, UTC.
    started: String,
    uptime_seconds: f64,
    pid: u32,
}

/// When this process began to look at itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    at: SystemTime,
    clock: Instant,
}

impl Begun {
    pub(super) fn now() -> Self {
        Begun { at: SystemTime::now(), clock: Instant::now() }
    }
}

/// File and documents as one, without secrets. What is not in it has the default of the reference.
fn config(admin: &Admin, ask: &Ask) -> Reply {
    let table = admin.reader.load();
    match ask.query("format") {
        None | Some("json") => json(table.configuration().table()),
        Some("toml") => Ok(whole(StatusCode::OK, "application/toml", table.configuration().text())),
        Some(other) => Err(Problem::bad(format!("format: \"{other}\" is not known; use json or toml"))),
    }
}

fn version(admin: &Admin) -> VersionView {
    let features = [("otlp", cfg!(feature = "otlp")), ("top", cfg!(feature = "top"))];
    VersionView {
        version: env!("CARGO_PKG_VERSION"),
        features: features.into_iter().filter(|(_, is_in)| *is_in).map(|(name, _)| name).collect(),
        started: written(admin.begun.at),
        uptime_seconds: admin.begun.clock.elapsed().as_secs_f64(),
        pid: std::process::id(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::OPENAPI;
    use crate::admin::dispatch::{Opens, Verb, pages};

    /// What there is, and what is said of it: method, path, and query keys.
    #[test]
    fn every_page_is_described_and_nothing_else() {
        let described: Value = serde_json::from_str(OPENAPI).unwrap();
        let mut said = BTreeSet::new();
        for (path, operations) in described["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap().iter().filter(|(key, _)| *key != "parameters") {
                let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
                let query = parameters.iter().filter(|parameter| parameter["in"] == "query");
                let keys: BTreeSet<String> =
                    query.map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect();
                let is_open =
                    operation["security"].as_array().is_some_and(|security| security.contains(&serde_json::json!({})));
                said.insert((method.to_uppercase(), path.clone(), keys, is_open));
            }
        }
        let there: BTreeSet<_> = pages()
            .map(|page| {
                let keys = page.keys.iter().map(|key| key.name.to_owned()).collect();
                (page.verb.name().to_owned(), page.path.to_owned(), keys, page.opens != Opens::ToKnown)
            })
            .collect();
        assert_eq!(there.difference(&said).collect::<Vec<_>>(), Vec::<&_>::new(), "there, and not described");
        assert_eq!(said.difference(&there).collect::<Vec<_>>(), Vec::<&_>::new(), "described, and not there");
        assert!(pages().any(|page| page.verb == Verb::Put));
    }
}
