//! What the catalog holds, in the shapes and with the field names in which Consul 1.8.7 shows it.
//!
//! Plain data: what may be registered is decided in `definition`, what moves which index in `store`.

use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// A condition as a check reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The instance serves.
    Passing,
    /// It serves, with reservations.
    Warning,
    /// It does not serve.
    Critical,
}

impl Status {
    /// Reads the word that the API uses; none for any other word.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "passing" => Some(Self::Passing),
            "warning" => Some(Self::Warning),
            "critical" => Some(Self::Critical),
            _ => None,
        }
    }
}

/// Writes pairs as the catalog does: null where there are none.
pub fn null_if_empty<S: Serializer>(pairs: &BTreeMap<String, String>, to: S) -> Result<S::Ok, S::Error> {
    if pairs.is_empty() { to.serialize_none() } else { pairs.serialize(to) }
}

/// A machine that holds instances.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Node {
    /// A UUID; empty for nodes that were written through the catalog without one.
    #[serde(rename = "ID")]
    pub id: String,
    /// Its name, the key of the catalog.
    #[serde(rename = "Node")]
    pub name: String,
    /// What an instance without an address of its own answers at.
    pub address: String,
    /// Always the registry's only datacenter.
    pub datacenter: String,
    /// Further addresses by purpose (`lan`, `wan`).
    #[serde(serialize_with = "null_if_empty")]
    pub tagged_addresses: BTreeMap<String, String>,
    /// Free pairs.
    #[serde(serialize_with = "null_if_empty")]
    pub meta: BTreeMap<String, String>,
    /// The index at which it appeared.
    pub create_index: u64,
    /// The index at which it last changed.
    pub modify_index: u64,
}

/// How much of the load an instance should take, by its condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Weights {
    /// While its checks pass.
    pub passing: i64,
    /// While one of them warns.
    pub warning: i64,
}

impl Default for Weights {
    fn default() -> Self {
        Self { passing: 1, warning: 1 }
    }
}

/// An address with a port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ServiceAddress {
    /// Host or address, as registered.
    pub address: String,
    /// Port, as registered: Consul does not check its range.
    pub port: i64,
}

/// An object that is always empty here; Consul prints it, so we do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Nothing {}

/// The mesh settings of an instance, which this registry does not hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Proxy {
    /// Never set.
    pub mesh_gateway: Nothing,
    /// Never set.
    pub expose: Nothing,
}

/// One instance of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Service {
    /// Unique on its node.
    #[serde(rename = "ID")]
    pub id: String,
    /// The service it is an instance of.
    #[serde(rename = "Service")]
    pub name: String,
    /// Free labels.
    pub tags: Vec<String>,
    /// Where it answers; empty means at its node's address.
    pub address: String,
    /// Further addresses by purpose.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tagged_addresses: BTreeMap<String, ServiceAddress>,
    /// Free pairs.
    #[serde(serialize_with = "null_if_empty")]
    pub meta: BTreeMap<String, String>,
    /// Port, unchecked as in Consul.
    pub port: i64,
    /// Its share of the load.
    pub weights: Weights,
    /// Whether others may change its tags through the catalog.
    pub enable_tag_override: bool,
    /// Empty.
    pub proxy: Proxy,
    /// Empty.
    pub connect: Nothing,
    /// The index at which it appeared.
    pub create_index: u64,
    /// The index at which it last changed.
    pub modify_index: u64,
}

/// What is known of the health of an instance or, with an empty `service_id`, of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Check {
    /// The node it belongs to.
    pub node: String,
    /// Unique on its node.
    #[serde(rename = "CheckID")]
    pub id: String,
    /// For people.
    pub name: String,
    /// The condition it reports.
    pub status: Status,
    /// For people; the reason of a maintenance.
    pub notes: String,
    /// What the last run said.
    pub output: String,
    /// The instance it speaks for; empty for all of its node.
    #[serde(rename = "ServiceID")]
    pub service_id: String,
    /// That instance's service.
    pub service_name: String,
    /// That instance's tags.
    pub service_tags: Vec<String>,
    /// `ttl`, `http`, `tcp`, `maintenance` or empty.
    pub r#type: String,
    /// Empty.
    pub definition: Nothing,
    /// The index at which it appeared.
    pub create_index: u64,
    /// The index at which it last changed.
    pub modify_index: u64,
}

impl Check {
    /// A critical check without output, to be filled in: critical is what Consul starts with.
    pub fn new(node: &str, id: &str, name: &str) -> Self {
        Self {
            node: node.to_owned(),
            id: id.to_owned(),
            name: name.to_owned(),
            status: Status::Critical,
            notes: String::new(),
            output: String::new(),
            service_id: String::new(),
            service_name: String::new(),
            service_tags: Vec::new(),
            r#type: String::new(),
            definition: Nothing {},
            create_index: 0,
            modify_index: 0,
        }
    }
}
