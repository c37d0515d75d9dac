//! `/v1/catalog`: names and instances without their health. Writing past the agent is in `catalog_write`.

use super::answer::{Answer, Refusal};
use super::api::{Api, DATACENTER};
use super::blocking::Reading;
use super::call::Call;
use super::catalog_write;
use super::filter::Filter;
use super::filter::fields::CATALOG;
use super::health::{has_pairs, has_tags};
use super::model::{Node, Nothing, Proxy, Service, ServiceAddress, Weights, null_if_empty};
use super::store::tables::Tables;
use hyper::Method;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// An instance as the catalog shows it: flat.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    node: &'a str,
    address: &'a str,
    datacenter: &'a str,
    #[serde(serialize_with = "null_if_empty")]
    tagged_addresses: &'a BTreeMap<String, String>,
    #[serde(serialize_with = "null_if_empty")]
    node_meta: &'a BTreeMap<String, String>,
    service_kind: &'static str,
    #[serde(rename = "ServiceID")]
    service_id: &'a str,
    service_name: &'a str,
    service_tags: &'a [String],
    service_address: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    service_tagged_addresses: &'a BTreeMap<String, ServiceAddress>,
    service_weights: Weights,
    service_meta: &'a BTreeMap<String, String>,
    service_port: i64,
    service_enable_tag_override: bool,
    service_proxy: Proxy,
    service_connect: Nothing,
    create_index: u64,
    modify_index: u64,
}

/// Answers `/v1/catalog/{rest}`.
pub async fn serve(api: &Api, call: &Call, rest: &str) -> Result<Answer, Refusal> {
    if let Some(name) = rest.strip_prefix("service/") {
        return instances(api, call, name).await.map_err(Refusal::of_a_read);
    }
    match rest {
        "services" => names(api, call).await.map_err(Refusal::of_a_read),
        "register" => catalog_write::register(api, call),
        "deregister" => catalog_write::deregister(api, call),
        "datacenters" => {
            call.only(&[Method::GET])?;
            Answer::json(&[DATACENTER])
        }
        _ => Err(Refusal::unknown()),
    }
}

async fn names(api: &Api, call: &Call) -> Result<Answer, Refusal> {
    call.only(&[Method::GET])?;
    Reading::of(call)?
        .answer(
            api,
            |store| store.tables().names_index(),
            |store| {
                let mut names: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
                for service in store.tables().all() {
                    let tags = names.entry(&service.name).or_default();
                    tags.extend(service.tags.iter().map(String::as_str));
                }
                Answer::json(&names)
            },
        )
        .await
}

async fn instances(api: &Api, call: &Call, name: &str) -> Result<Answer, Refusal> {
    call.only(&[Method::GET])?;
    let reading = Reading::of(call)?;
    if name.is_empty() {
        return Err(Refusal::bad("Missing service name"));
    }
    let tags: Vec<&str> = call.all("tag").collect();
    let pairs: Vec<&str> = call.all("node-meta").collect();
    let filter = Filter::of(call, CATALOG)?;
    let look = |tables: &Tables| {
        let wanted = tables
            .instances(name)
            .filter(|(placed, service)| has_tags(service, &tags) && has_pairs(&placed.node, &pairs))
            .map(|(placed, service)| entry(&placed.node, service));
        match &filter {
            None => Answer::json(&wanted.collect::<Vec<_>>()),
            Some(filter) => Answer::json(&filter.keep(wanted)?),
        }
    };
    reading.answer(api, |store| store.tables().instances_index(name), |store| look(store.tables())).await
}

fn entry<'a>(node: &'a Node, service: &'a Service) -> Entry<'a> {
    Entry {
        id: &node.id,
        node: &node.name,
        address: &node.address,
        datacenter: &node.datacenter,
        tagged_addresses: &node.tagged_addresses,
        node_meta: &node.meta,
        service_kind: "",
        service_id: &service.id,
        service_name: &service.name,
        service_tags: &service.tags,
        service_address: &service.address,
        service_tagged_addresses: &service.tagged_addresses,
        service_weights: service.weights,
        service_meta: &service.meta,
        service_port: service.port,
        service_enable_tag_override: service.enable_tag_override,
        service_proxy: service.proxy,
        service_connect: service.connect,
        create_index: service.create_index,
        modify_index: service.modify_index,
    }
}
