//! `/v1/health/service/{name}`: the instances of a service with their nodes and checks. The read that lictor lives on.

use super::answer::{Answer, Refusal};
use super::api::Api;
use super::blocking::Reading;
use super::call::{Call, flag};
use super::filter::Filter;
use super::filter::fields::HEALTH;
use super::model::{Check, Node, Service, Status};
use super::store::tables::{Placed, Tables};
use hyper::Method;
use serde::Serialize;

/// An instance with all that bears on it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<'a> {
    node: &'a Node,
    service: &'a Service,
    checks: Vec<&'a Check>,
}

/// Which instances the caller wants.
struct Wanted<'a> {
    passing: bool,
    tags: Vec<&'a str>,
    node_meta: Vec<&'a str>,
    filter: Option<Filter>,
}

/// Answers `/v1/health/{rest}`.
pub async fn serve(api: &Api, call: &Call, rest: &str) -> Result<Answer, Refusal> {
    let Some(name) = rest.strip_prefix("service/") else {
        return Err(Refusal::unknown());
    };
    call.only(&[Method::GET])?;
    let reading = Reading::of(call)?;
    if name.is_empty() {
        return Err(Refusal::bad("Missing service name"));
    }
    let wanted = Wanted {
        passing: match call.find("passing") {
            None => false,
            Some("") => true,
            Some(word) => flag(word).ok_or_else(|| Refusal::bad("Invalid value for ?passing"))?,
        },
        tags: call.all("tag").collect(),
        node_meta: call.all("node-meta").collect(),
        filter: Filter::of(call, HEALTH)?,
    };
    reading.answer(api, |store| store.tables().health_index(name), |store| answer(store.tables(), name, &wanted)).await
}

fn answer(tables: &Tables, name: &str, wanted: &Wanted) -> Result<Answer, Refusal> {
    let entries = tables
        .instances(name)
        .filter(|(placed, service)| has_tags(service, &wanted.tags) && has_pairs(&placed.node, &wanted.node_meta))
        .map(|(placed, service)| entry(placed, service))
        .filter(|entry| !wanted.passing || passes(entry));
    match &wanted.filter {
        None => Answer::json(&entries.collect::<Vec<_>>()),
        Some(filter) => Answer::json(&filter.keep(entries)?),
    }
}

/// The checks of the node come first, then those of the instance.
fn entry<'a>(placed: &'a Placed, service: &'a Service) -> Entry<'a> {
    let of = |id: &'a str| placed.checks.values().filter(move |check| check.service_id == id);
    Entry { node: &placed.node, service, checks: of("").chain(of(&service.id)).collect() }
}

fn passes(entry: &Entry) -> bool {
    entry.checks.iter().all(|check| check.status == Status::Passing)
}

/// Whether the node has all of the pairs (`key:value`) that `node-meta` asks for.
pub fn has_pairs(node: &Node, wanted: &[&str]) -> bool {
    wanted.iter().all(|pair| {
        let (key, value) = pair.split_once(':').unwrap_or((pair, ""));
        node.meta.get(key).is_some_and(|known| known == value)
    })
}

/// Whether the instance has all of the tags, in any case.
pub fn has_tags(service: &Service, wanted: &[&str]) -> bool {
    let has = |wanted: &str| {
        let wanted = wanted.to_lowercase();
        service.tags.iter().any(|tag| tag.to_lowercase() == wanted)
    };
    wanted.iter().all(|tag| has(tag))
}
