//! Consul's answer to `/v1/health/service/:name`, and what of it makes a list: addresses that can be dialled, the aggregated
//! status, the weight that goes with it, and where the instance stands. Fields that are not used are not read; whatever may be
//! null may be missing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::identity::Part;
use crate::config::{Lookup, MAX_WEIGHT, OWN_ROUTE, Selection};
use crate::consul::Failure;
use crate::endpoint::{Address, List, Listed, Locality, Status, Tags};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    node: Option<Node>,
    service: Option<Service>,
    checks: Option<Vec<Check>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    node: Option<String>,
    address: Option<String>,
    datacenter: Option<String>,
    meta: Metadata,
}

/// Texts in Consul; whatever else a gateway may make of them must not cost the list.
type Metadata = Option<HashMap<String, Value>>;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Service {
    #[serde(rename = "ID")]
    id: Option<String>,
    address: Option<String>,
    // A float takes every number that JSON can write; the range is checked afterwards.
    port: Option<f64>,
    weights: Option<Weights>,
    meta: Metadata,
    tags: Option<Vec<String>>,
    #[serde(flatten)]
    mesh: Part,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Weights {
    passing: Option<f64>,
    warning: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    #[serde(rename = "CheckID")]
    id: Option<String>,
    status: Option<String>,
}

/// What an answer's body says.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) list: List,
    pub(super) about: About,
    /// Entries that cannot be used.
    pub(super) skipped: usize,
}

/// What instances say of their service, in metadata whose keys begin with `lictor-`. Of several that say different things, the one whose
/// id comes first is right, so that it does not change with the order of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// By the rest of the key.
    pub words: BTreeMap<String, String>,
}

/// What keys of metadata begin with that are meant for us.
const OURS: &str = "lictor-";
/// As many as Consul lets one instance have; several that differ have no more between them.
const MOST_WORDS: usize = 64;

/// The list in an answer's body, and how many of its entries cannot be used. `null` is not an empty list but an error. Zones
/// are what the metadata has under `zone_key`.
pub fn parse(body: &[u8], selection: &Selection, zone_key: &str) -> Result<(List, usize), serde_json::Error> {
    let said = joined(serde_json::from_slice(body)?, selection, zone_key);
    Ok((said.list, said.skipped))
}

/// What the body of an answer about that says.
pub(super) fn read(body: &[u8], selection: &Selection, zone_key: &str) -> Result<Said, Failure> {
    if let Some(peer) = &selection.peer
        && !is_of_peer(body, peer)
    {
        let text =
            format!("the answer has instances that are not of the peer {peer:?}: the agent takes no notice of peers");
        return Err(Failure::Unsupported(text));
    }
    let entries = match selection.lookup {
        Lookup::Query => serde_json::from_slice(body).map(|executed: Executed| executed.nodes),
        Lookup::Service | Lookup::Connect => serde_json::from_slice(body),
    };
    entries.map(|entries| joined(entries, selection, zone_key)).map_err(|error| Failure::Garbled(error.to_string()))
}

/// What a prepared query came to.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Executed {
    nodes: Vec<Entry>,
}

fn joined(entries: Vec<Entry>, selection: &Selection, zone_key: &str) -> Said {
    let mut by_address: BTreeMap<Address, Listed> = BTreeMap::new();
    let mut skipped = 0;
    for entry in &entries {
        let Some(listed) = listed(entry, selection, zone_key) else {
            skipped += 1;
            continue;
        };
        by_address
            .entry(listed.address.clone())
            // Two instances at one address are one endpoint; it is as good as the better of them.
            .and_modify(|known| {
                if worth(&listed) > worth(known) {
                    *known = listed.clone();
                }
            })
            .or_insert(listed);
    }
    Said { list: by_address.into_values().collect(), about: about(&entries), skipped }
}

fn about(entries: &[Entry]) -> About {
    let ours = |entry: &Entry| {
        let service = entry.service.as_ref()?;
        let meta = service.meta.as_ref().filter(|meta| meta.keys().any(|key| key.starts_with(OURS)))?;
        Some((identify(entry.node.as_ref(), service), meta.clone()))
    };
    let by_id: BTreeMap<Arc<str>, HashMap<String, Value>> = entries.iter().filter_map(ours).collect();
    let mut words = BTreeMap::new();
    for (key, value) in by_id.into_values().flat_map(BTreeMap::from_iter) {
        if let (Some(word), Value::String(text)) = (key.strip_prefix(OURS), value)
            && words.len() < MOST_WORDS
        {
            words.entry(word.to_owned()).or_insert(text);
        }
    }
    About { words }
}

/// True if every instance in the body says that it is of this peer. What cannot be read says nothing.
fn is_of_peer(body: &[u8], peer: &str) -> bool {
    let Ok(entries) = serde_json::from_slice::<Vec<Value>>(body) else { return true };
    let says = |entry: &Value, part: &str| {
        entry[part]["PeerName"].as_str().is_some_and(|name| name.eq_ignore_ascii_case(peer))
    };
    entries.iter().all(|entry| says(entry, "Service") || says(entry, "Node"))
}

fn worth(listed: &Listed) -> (bool, u32) {
    (matches!(listed.status, Status::Passing | Status::Warning), listed.weight)
}

fn listed(entry: &Entry, selection: &Selection, zone_key: &str) -> Option<Listed> {
    let service = entry.service.as_ref()?;
    let datacenter = entry.node.as_ref().and_then(|node| node.datacenter.as_deref());
    let identity = match selection.lookup {
        // Nobody is dialled there who could be anybody.
        Lookup::Connect => Some(service.mesh.identity(datacenter, &selection.service)?),
        Lookup::Service | Lookup::Query => None,
    };
    let status = aggregate(entry.checks.as_deref().unwrap_or_default());
    Some(Listed {
        address: address(entry.node.as_ref(), service)?,
        id: identify(entry.node.as_ref(), service),
        status,
        weight: weight(service.weights.as_ref(), status),
        locality: locality(entry.node.as_ref(), service, zone_key),
        tags: tags(service),
        identity,
        level: 0,
    })
}

/// In order and each once, however the source orders them.
fn tags(service: &Service) -> Tags {
    let mut tags: BTreeSet<Box<str>> = service.tags.iter().flatten().map(|tag| Box::from(tag.as_str())).collect();
    // Routes that the metadata claims are told as tags are, so that there is one way to claim.
    let metadata = service.meta.iter().flatten().filter(|(key, _)| key.starts_with(OWN_ROUTE));
    tags.extend(metadata.filter_map(|(_, value)| Some(format!("{OWN_ROUTE}={}", value.as_str()?).into())));
    tags.into_iter().collect()
}

/// `node/service-id`: a service's id is unique on its node only.
fn identify(node: Option<&Node>, service: &Service) -> Arc<str> {
    let node = node.and_then(|node| node.node.as_deref()).unwrap_or_default();
    format!("{node}/{}", service.id.as_deref().unwrap_or_default()).into()
}

/// Where the instance stands. An empty name is Consul's way to say that there is none.
fn locality(node: Option<&Node>, service: &Service, zone_key: &str) -> Locality {
    let filled = |text: &str| Some(text).filter(|text| !text.is_empty()).map(Box::from);
    let of_node = |read: fn(&Node) -> &Option<String>| node.and_then(|node| filled(read(node).as_deref()?));
    let zone = |meta: &Metadata| filled(meta.as_ref()?.get(zone_key)?.as_str()?);
    Locality {
        node: of_node(|node| &node.node),
        zone: zone(&service.meta).or_else(|| zone(&node?.meta)),
        datacenter: of_node(|node| &node.datacenter),
    }
}

fn address(node: Option<&Node>, service: &Service) -> Option<Address> {
    let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let host = filled(&service.address).or_else(|| node.and_then(|node| filled(&node.address)))?;
    let port = service.port.filter(|port| (1.0..=65_535.0).contains(port) && port.fract() == 0.0)? as u16;
    let address = match host.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() => return None,
        Ok(_) => Address::new(&host, port),
        Err(_) => {
            // Names are looked up with each connection; anything else, such as a Unix socket, cannot be dialled.
            let (name, port) = crate::config::parse_address(&format!("{host}:{port}"))?;
            Address::new(&name, port)
        }
    };
    Some(address)
}

/// Consul's `AggregatedStatus`: maintenance over critical over warning over passing; no checks is passing.
fn aggregate(checks: &[Check]) -> Status {
    let one = |check: &Check| {
        let id = check.id.as_deref().unwrap_or_default();
        if id == "_node_maintenance" || id.starts_with("_service_maintenance:") {
            return Status::Maintenance;
        }
        match check.status.as_deref() {
            Some("passing") => Status::Passing,
            Some("warning") => Status::Warning,
            _ => Status::Critical,
        }
    };
    let severity = |status: &Status| {
        let order = [Status::Passing, Status::Warning, Status::Critical, Status::Maintenance];
        order.iter().position(|known| known == status)
    };
    checks.iter().map(one).max_by_key(severity).unwrap_or(Status::Passing)
}

/// The weight that goes with the status, within Consul's own bounds; old or hand-made entries may hold anything.
fn weight(weights: Option<&Weights>, status: Status) -> u32 {
    let clamp = |weight: Option<f64>, least: u32| match weight {
        None => 1,
        Some(weight) => weight.clamp(f64::from(least), f64::from(MAX_WEIGHT)) as u32,
    };
    match status {
        Status::Warning => clamp(weights.and_then(|weights| weights.warning), 0),
        _ => clamp(weights.and_then(|weights| weights.passing), 1),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(service: Value, checks: Value) -> Value {
        json!({"Node": {"ID": "", "Node": "n1", "Address": "10.0.0.9", "Meta": null}, "Service": service, "Checks": checks})
    }

    fn parse_all(entries: Vec<Value>) -> (List, usize) {
        parse(Value::Array(entries).to_string().as_bytes(), &Selection::of("a"), "zone").unwrap()
    }

    fn addresses(list: &[Listed]) -> Vec<String> {
        list.iter().map(|listed| listed.address.to_string()).collect()
    }

    #[test]
    fn the_address_falls_back_to_the_nodes() {
        let (list, _) = parse_all(vec![
            entry(json!({"ID": "a", "Address": "", "Port": 80}), json!([])),
            entry(json!({"ID": "b", "Address": "::1", "Port": 81}), Value::Null),
            entry(json!({"ID": "c", "Address": "db.Example.com", "Port": 82.0}), json!([])),
        ]);
        assert_eq!(addresses(&list), ["10.0.0.9:80", "[::1]:81", "db.example.com:82"]);
        assert_eq!(&*list[0].id, "n1/a");
    }

    #[test]
    fn entries_that_cannot_be_dialled_are_skipped_and_counted() {
        let bad = [
            json!({"Address": "10.0.0.1", "Port": 0}),
            json!({"Address": "10.0.0.1", "Port": -1}),
            json!({"Address": "10.0.0.1", "Port": 70000}),
            json!({"Address": "0.0.0.0", "Port": 80}),
            json!({"Address": "unix:///run/x.sock", "Port": 0}),
            json!({"Address": "two words", "Port": 80}),
            Value::Null,
        ];
        let mut entries: Vec<Value> = bad.into_iter().map(|service| entry(service, json!([]))).collect();
        entries.push(entry(json!({"Address": "10.0.0.1", "Port": 80}), json!([])));
        let (list, skipped) = parse_all(entries);
        assert_eq!((addresses(&list), skipped), (vec!["10.0.0.1:80".to_owned()], 7));
    }

    #[test]
    fn the_worst_check_decides_and_maintenance_is_worse_than_critical() {
        let status =
            |checks: Value| parse_all(vec![entry(json!({"Address": "10.0.0.1", "Port": 80}), checks)]).0[0].status;
        assert_eq!(status(json!([])), Status::Passing);
        assert_eq!(status(json!([{"Status": "passing"}, {"Status": "warning"}])), Status::Warning);
        assert_eq!(status(json!([{"Status": "warning"}, {"Status": "critical"}])), Status::Critical);
        assert_eq!(status(json!([{"Status": "surprise"}])), Status::Critical);
        assert_eq!(status(json!([{"CheckID": "_node_maintenance", "Status": "critical"}])), Status::Maintenance);
        assert_eq!(status(json!([{"CheckID": "_service_maintenance:a", "Status": "critical"}])), Status::Maintenance);
    }

    #[test]
    fn the_weight_is_the_one_of_the_status() {
        let weight = |weights: Value, status: &str| {
            let service = json!({"Address": "10.0.0.1", "Port": 80, "Weights": weights});
            parse_all(vec![entry(service, json!([{"Status": status}]))]).0[0].weight
        };
        assert_eq!(weight(Value::Null, "passing"), 1);
        assert_eq!(weight(json!({"Passing": 10, "Warning": 2}), "passing"), 10);
        assert_eq!(weight(json!({"Passing": 10, "Warning": 2}), "warning"), 2);
        assert_eq!(weight(json!({"Passing": 5, "Warning": 0}), "warning"), 0);
        assert_eq!(weight(json!({"Passing": 0, "Warning": 1}), "passing"), 1);
        assert_eq!(weight(json!({"Passing": 1e12}), "passing"), MAX_WEIGHT);
    }

    #[test]
    fn two_instances_at_one_address_are_one_endpoint_as_good_as_the_better() {
        let twin = |id: &str, weight: u32, status: &str| {
            let service = json!({"ID": id, "Address": "10.0.0.1", "Port": 80, "Weights": {"Passing": weight}});
            entry(service, json!([{"Status": status}]))
        };
        let (list, skipped) =
            parse_all(vec![twin("a", 2, "passing"), twin("b", 3, "passing"), twin("c", 9, "critical")]);
        assert_eq!((list.len(), list[0].weight, skipped), (1, 3, 0));
    }

    #[test]
    fn what_is_not_a_list_is_an_error_and_not_an_empty_list() {
        for body in ["null", "{}", "\"\"", "[", "[{\"Node\":", "<html>", ""] {
            assert!(parse(body.as_bytes(), &Selection::of("a"), "zone").is_err(), "{body}");
        }
        assert!(parse(b"[]", &Selection::of("a"), "zone").unwrap().0.is_empty());
    }

    #[test]
    fn the_zone_is_the_services_else_the_nodes() {
        let locality = |of_service: Value, of_node: Value| {
            let service = json!({"Address": "10.0.0.1", "Port": 80, "Meta": of_service});
            let node = json!({"Node": "n1", "Datacenter": "dc1", "Meta": of_node});
            parse_all(vec![json!({"Node": node, "Service": service})]).0[0].locality.clone()
        };
        let zone = |of_service, of_node| locality(of_service, of_node).zone.map(String::from);
        assert_eq!(zone(json!({"zone": "a"}), json!({"zone": "b"})).as_deref(), Some("a"));
        assert_eq!(zone(json!({"zone": ""}), json!({"zone": "b"})).as_deref(), Some("b"));
        assert_eq!(zone(json!({"rack": "7"}), json!({"zone": "ü \"\n"})).as_deref(), Some("ü \"\n"));
        for unknown in [Value::Null, json!({}), json!({"zone": ""}), json!({"Zone": "a"}), json!({"zone": 7})] {
            assert_eq!(zone(unknown.clone(), unknown), None);
        }
        let known = locality(Value::Null, Value::Null);
        assert_eq!((known.node.as_deref(), known.datacenter.as_deref()), (Some("n1"), Some("dc1")));
    }

    #[test]
    fn what_instances_say_of_their_service_is_what_the_first_of_them_says() {
        let instance = |id: &str, meta: Value| {
            entry(json!({"ID": id, "Address": "10.0.0.1", "Port": 80, "Meta": meta}), json!([]))
        };
        let entries = [
            instance("b", json!({"lictor-policy": "p2c", "lictor-protocol": "h2"})),
            instance("a", json!({"lictor-policy": "random", "zone": "x", "lictor-n": 7})),
            instance("c", Value::Null),
        ];
        let body = serde_json::to_vec(&entries).unwrap();
        let words = read(&body, &Selection::of("web"), "zone").unwrap().about.words;
        let words: Vec<(&str, &str)> = words.iter().map(|(word, text)| (word.as_str(), text.as_str())).collect();
        assert_eq!(words, [("policy", "random"), ("protocol", "h2")]);
    }

    #[test]
    fn a_list_without_a_word_of_where_is_a_list() {
        let bare = json!({"Service": {"Address": "10.0.0.1", "Port": 80}});
        let empty = json!({"Node": {"Node": "", "Datacenter": ""}, "Service": {"Address": "10.0.0.2", "Port": 80}});
        let (list, skipped) = parse_all(vec![bare, empty]);
        assert_eq!((list.len(), skipped), (2, 0));
        assert!(list.iter().all(|listed| listed.locality == Locality::default()));
    }

    #[test]
    fn what_a_query_came_to_is_a_list_as_well() {
        let query = Selection { lookup: Lookup::Query, ..Selection::of("web") };
        let executed = |body: &str| read(body.as_bytes(), &query, "zone");
        let nodes = json!([entry(json!({"Address": "10.0.0.1", "Port": 80}), json!([]))]);
        let body = json!({"Service": "web", "Nodes": nodes, "Datacenter": "dc2", "Failovers": 1}).to_string();
        assert_eq!(addresses(&executed(&body).unwrap().list), ["10.0.0.1:80"]);
        for body in ["null", "[]", "{}", r#"{"Nodes": null}"#] {
            assert!(executed(body).is_err(), "{body}");
        }
    }

    #[test]
    fn instances_of_a_peer_say_so() {
        let of = |service: Value, node: Value| json!([{"Service": {"PeerName": service}, "Node": {"PeerName": node}}]);
        let is = |body: Value| is_of_peer(body.to_string().as_bytes(), "East");
        assert!(is(json!([])) && is(of(json!("east"), Value::Null)) && is(of(Value::Null, json!("east"))));
        assert!(!is(of(Value::Null, Value::Null)) && !is(of(json!("west"), Value::Null)));
        assert!(!is(json!([of(json!("east"), Value::Null)[0], {"Service": {}}])));
    }
}
