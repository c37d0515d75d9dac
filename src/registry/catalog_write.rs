//! Writing to the catalog past the agent, which is how nodes that run no agent come in.
//!
//! Unlike in Consul, no agent puts back what was taken from its own node, or takes out what it does not know.

use super::answer::{Answer, Refusal};
use super::api::{Api, DATACENTER};
use super::blocking::check_datacenter;
use super::call::Call;
use super::definition::{is_any, read_service};
use super::fields::Fields;
use super::model::{Check, Node, Service, Status};
use super::store::Error;
use hyper::Method;
use serde_json::Value;

/// Answers `/v1/catalog/register`.
pub fn register(api: &Api, call: &Call) -> Result<Answer, Refusal> {
    call.only(&[Method::PUT])?;
    let failed = |error: String| Refusal::bad(&format!("Request decode failed: {error}"));
    let written = Written::read(call.json()?).map_err(failed)?;
    let Written { datacenter, node, service, checks, skip_node_update } = written;
    check_datacenter(&datacenter)?;
    if node.name.is_empty() {
        return Err(Refusal::failed("Must provide node"));
    }
    if node.address.is_empty() && !skip_node_update {
        return Err(Refusal::failed("Must provide address if SkipNodeUpdate is not set"));
    }
    if let Some(service) = &service {
        if service.name.is_empty() {
            return Err(Refusal::failed("Must provide service name with ID"));
        }
        if is_any(&service.address) {
            return Err(Refusal::failed("Invalid service address"));
        }
    }
    let name = node.name.clone();
    api.write(|store| store.write(node, service, checks)).map_err(|error| match error {
        Error::NoService(_) => {
            Refusal::failed(&format!("failed inserting check: Missing service registration on node {name:?}"))
        }
        Error::Full(_) => Refusal::failed(&error.to_string()),
    })?;
    Answer::json(&true)
}

/// Answers `/v1/catalog/deregister`.
pub fn deregister(api: &Api, call: &Call) -> Result<Answer, Refusal> {
    call.only(&[Method::PUT])?;
    let failed = |error: String| Refusal::bad(&format!("Request decode failed: {error}"));
    let mut fields = Fields::open(call.json()?, "DeregisterRequest").map_err(failed)?;
    let mut text = |name| fields.text(name).map_err(failed);
    let (node, service, check) = (text("Node")?, text("ServiceID")?, text("CheckID")?);
    check_datacenter(&text("Datacenter")?)?;
    let _ = (fields.value("Address"), fields.value("WriteRequest"));
    fields.end().map_err(failed)?;
    if node.is_empty() {
        return Err(Refusal::failed("Must provide node"));
    }
    api.write(|store| match (service.as_str(), check.as_str()) {
        ("", "") => store.remove_node(&node),
        ("", check) => store.remove_check(&node, check),
        (service, _) => store.remove_service(&node, service),
    });
    Answer::json(&true)
}

/// What `PUT /v1/catalog/register` takes.
struct Written {
    datacenter: String,
    node: Node,
    service: Option<Service>,
    checks: Vec<Check>,
    skip_node_update: bool,
}

impl Written {
    fn read(body: Value) -> Result<Self, String> {
        let mut fields = Fields::open(body, "RegisterRequest")?;
        let node = Node {
            id: fields.text("ID")?,
            name: fields.text("Node")?,
            address: fields.text("Address")?,
            datacenter: DATACENTER.to_owned(),
            tagged_addresses: fields.text_map("TaggedAddresses")?,
            meta: fields.text_map("NodeMeta")?,
            ..Node::default()
        };
        let service = fields.value("Service").map(read_instance).transpose()?;
        let single = fields.value("Check");
        let many = fields.list("Checks")?;
        let checks = single.into_iter().chain(many);
        let written = Self {
            datacenter: fields.text("Datacenter")?,
            checks: checks.map(|check| read_check(check, &node.name)).collect::<Result<_, _>>()?,
            service,
            node,
            skip_node_update: fields.flag("SkipNodeUpdate")?,
        };
        let _ = fields.value("WriteRequest");
        fields.end()?;
        Ok(written)
    }
}

fn read_instance(value: Value) -> Result<Service, String> {
    let mut fields = Fields::open(value, "NodeService")?;
    let mut service = read_service(&mut fields, "Service")?;
    if service.id.is_empty() {
        service.id.clone_from(&service.name);
    }
    // Known, and not held here.
    for name in ["Kind", "Proxy", "Connect", "CreateIndex", "ModifyIndex"] {
        let _ = fields.value(name);
    }
    fields.end()?;
    Ok(service)
}

fn read_check(value: Value, node: &str) -> Result<Check, String> {
    let mut fields = Fields::open(value, "HealthCheck")?;
    let mut id = fields.text("CheckID")?;
    let name = fields.text("Name")?;
    if id.is_empty() {
        id.clone_from(&name);
    }
    let mut check = Check::new(node, &id, &name);
    check.notes = fields.text("Notes")?;
    check.output = fields.text("Output")?;
    check.service_id = fields.text("ServiceID")?;
    check.r#type = fields.text("Type")?;
    let status = fields.text("Status")?;
    check.status = match status.as_str() {
        "" => Status::Critical,
        word => Status::parse(word).ok_or_else(|| format!("Invalid check status: {word:?}"))?,
    };
    // Its node is the request's, its names are the instance's, and nobody runs its definition, here as in Consul.
    for name in ["Node", "ServiceName", "ServiceTags", "Definition", "CreateIndex", "ModifyIndex"] {
        let _ = fields.value(name);
    }
    fields.end()?;
    Ok(check)
}
