//! `/v1/agent`: the agent's own services and checks.

use super::answer::{Answer, Refusal};
use super::api::{Api, DATACENTER};
use super::call::{Call, flag};
use super::definition::{CheckDefinition, ServiceDefinition};
use super::fields::Fields;
use super::filter::Filter;
use super::filter::fields::{CHECK, SERVICE};
use super::model::{Check, Service, Status};
use super::store::tables::Placed;
use super::store::{OldChecks, Store};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::time::Instant;

/// The Consul that this registry does as.
const VERSION: &str = "1.8.7";
/// Consul's own service, which the agent does not list among its services.
const CONSUL: &str = "consul";
const SERF_CHECK: &str = "serfHealth";

/// Answers `/v1/agent/{rest}`.
pub fn serve(api: &Api, call: &Call, rest: &str) -> Result<Answer, Refusal> {
    let (verb, id) = split(rest);
    let put = || call.only(&[Method::PUT]);
    let get = || call.only(&[Method::GET]);
    match verb {
        "self" => get().and_then(|()| api.read(about)),
        "services" => get().and_then(|()| services(api, call)),
        "checks" => get().and_then(|()| checks(api, call)),
        "maintenance" => put().and_then(|()| maintain_node(api, call)),
        "service/register" => put().and_then(|()| register(api, call)),
        "service/deregister/" if id.is_empty() => put().and(Err(Refusal::failed("ServiceID missing"))),
        "service/deregister/" => put().map(|()| {
            api.write(|store| store.deregister(id));
            Answer::done()
        }),
        "service/maintenance/" => put().and_then(|()| maintain_service(api, call, id)),
        "check/register" => put().and_then(|()| register_check(api, call)),
        "check/deregister/" => put().map(|()| {
            api.write(|store| store.deregister_check(id));
            Answer::done()
        }),
        "check/pass/" => put().and_then(|()| note(api, call, id, Status::Passing)),
        "check/warn/" => put().and_then(|()| note(api, call, id, Status::Warning)),
        "check/fail/" => put().and_then(|()| note(api, call, id, Status::Critical)),
        "check/update/" => put().and_then(|()| update(api, call, id)),
        _ => Err(Refusal::unknown()),
    }
}

/// Splits `service/deregister/x/y` into `service/deregister/` and `x/y`: an ID may hold slashes.
fn split(rest: &str) -> (&str, &str) {
    let second = rest.match_indices('/').nth(1).map_or(rest.len(), |(at, _)| at + 1);
    rest.split_at(second)
}

fn register(api: &Api, call: &Call) -> Result<Answer, Refusal> {
    let definition = ServiceDefinition::read(call.json()?).map_err(|text| Refusal::bad(&text))?;
    let old = match call.find("replace-existing-checks") {
        Some("" | "true") => OldChecks::Remove,
        // Any other word does nothing, not even `1`, here as in Consul.
        _ => OldChecks::Keep,
    };
    api.write(|store| store.register(definition, old, Instant::now()))
        .map_err(|error| Refusal::failed(&error.to_string()))?;
    Ok(Answer::done())
}

fn register_check(api: &Api, call: &Call) -> Result<Answer, Refusal> {
    let check = CheckDefinition::read(call.json()?).map_err(|text| Refusal::bad(&text))?;
    api.write(|store| store.register_check(check, Instant::now()))
        .map_err(|error| Refusal::failed(&error.to_string()))?;
    Ok(Answer::done())
}

fn maintain_node(api: &Api, call: &Call) -> Result<Answer, Refusal> {
    let reason = reason(call)?;
    api.write(|store| store.maintain_node(reason));
    Ok(Answer::done())
}

fn maintain_service(api: &Api, call: &Call, id: &str) -> Result<Answer, Refusal> {
    if id.is_empty() {
        return Err(Refusal::bad("Missing service ID"));
    }
    let reason = reason(call)?;
    if api.write(|store| store.maintain_service(id, reason)) {
        return Ok(Answer::done());
    }
    let text = format!("No service registered with ID {id:?}");
    Err(Refusal::new(StatusCode::NOT_FOUND, &text))
}

/// Why maintenance is to begin; none if it is to end.
fn reason(call: &Call) -> Result<Option<&str>, Refusal> {
    let Some(word) = call.find("enable") else {
        return Err(Refusal::bad("Missing value for enable"));
    };
    let enable = flag(word).ok_or_else(|| Refusal::bad(&format!("Invalid value for enable: {word:?}")))?;
    Ok(enable.then(|| call.find("reason").unwrap_or("")))
}

fn note(api: &Api, call: &Call, id: &str, status: Status) -> Result<Answer, Refusal> {
    let note = call.find("note").unwrap_or("");
    beat(api, id, (status, note.to_owned()))
}

fn update(api: &Api, call: &Call, id: &str) -> Result<Answer, Refusal> {
    let failed = |error: String| Refusal::bad(&format!("Request decode failed: {error}"));
    let mut fields = Fields::open(call.json()?, "checkUpdate").map_err(failed)?;
    let word = fields.text("Status").map_err(failed)?;
    let output = fields.text("Output").map_err(failed)?;
    fields.end().map_err(failed)?;
    let status = Status::parse(&word).ok_or_else(|| Refusal::bad(&format!("Invalid check status: '{word}'")))?;
    beat(api, id, (status, output))
}

fn beat(api: &Api, id: &str, said: (Status, String)) -> Result<Answer, Refusal> {
    if api.write(|store| store.beat(id, said, Instant::now())) {
        return Ok(Answer::done());
    }
    Err(Refusal::failed(&format!("CheckID {id:?} does not have associated TTL")))
}

fn services(api: &Api, call: &Call) -> Result<Answer, Refusal> {
    let listed = |placed: &Placed| {
        let own = placed.services.values();
        let own = own.filter(|service| service.id != CONSUL);
        let shown = own.map(|service| (service.id.clone(), show(service)));
        shown.collect()
    };
    list(api, Filter::of(call, SERVICE)?, listed)
}

fn checks(api: &Api, call: &Call) -> Result<Answer, Refusal> {
    let listed = |placed: &Placed| {
        let own = placed.checks.values().filter(|check| check.id != SERF_CHECK);
        let shown = own.map(|check: &Check| (check.id.clone(), json!(check)));
        shown.collect()
    };
    list(api, Filter::of(call, CHECK)?, listed)
}

fn list(
    api: &Api,
    filter: Option<Filter>,
    listed: impl FnOnce(&Placed) -> BTreeMap<String, Value>,
) -> Result<Answer, Refusal> {
    let placed = |store: &Store| store.tables().find(store.own()).map(listed);
    let mut found = api.read(placed).unwrap_or_default();
    if let Some(filter) = filter {
        found.retain(|_, value| filter.matches(value));
    }
    Answer::json(&found)
}

/// An instance as the agent shows it: without what only the catalog knows.
fn show(service: &Service) -> Value {
    let mut shown = json!(service);
    if let Some(fields) = shown.as_object_mut() {
        for name in ["Proxy", "Connect", "CreateIndex", "ModifyIndex"] {
            fields.remove(name);
        }
        // The catalog shows no pairs as null, the agent as none.
        fields.insert("Meta".to_owned(), json!(service.meta));
    }
    shown
}

fn about(store: &Store) -> Result<Answer, Refusal> {
    let placed = store.tables().find(store.own());
    let node = placed.map(|placed| &placed.node);
    let id = node.map_or("", |node| node.id.as_str());
    let address = node.map_or("", |node| node.address.as_str());
    Answer::json(&json!({
        "Config": {
            "Datacenter": DATACENTER,
            "NodeName": store.own(),
            "NodeID": id,
            "Revision": "",
            "Server": true,
            "Version": VERSION,
        },
        "Member": {
            "Name": store.own(),
            "Addr": address,
            "Port": 8301,
            "Tags": {"build": format!("{VERSION}:"), "dc": DATACENTER, "id": id, "role": CONSUL},
            "Status": 1,
        },
        "Meta": {"consul-network-segment": ""},
    }))
}
