//! What a caller may register: services and checks as they are sent, read strictly and validated in Consul's words.
//!
//! Fields of Consul 1.8.7 that this registry cannot honour (scripts, gRPC, Docker, aliases, the mesh) are known, so that
//! they are refused by name instead of being taken and ignored.

mod check;

use super::fields::Fields;
use super::model::{Service, ServiceAddress, Weights};
pub use check::{CheckDefinition, Probe, Run, Target};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Consul's limit of metadata pairs on one service.
const MAX_META_PAIRS: usize = 64;
/// Consul's limits of one metadata key and value, in bytes.
const MAX_META_KEY: usize = 128;
const MAX_META_VALUE: usize = 512;
/// Checks of one service. Consul has no limit; a registration that needs more is a mistake.
const MAX_CHECKS: usize = 64;

/// A service with its checks, valid.
#[derive(Debug)]
pub struct ServiceDefinition {
    /// The instance, with the ID filled in.
    pub service: Service,
    /// Its checks, in order.
    pub checks: Vec<CheckDefinition>,
}

impl ServiceDefinition {
    /// Reads what `PUT /v1/agent/service/register` takes. The error is the whole text for the caller.
    pub fn read(body: Value) -> Result<Self, String> {
        let failed = |error: String| format!("Request decode failed: {error}");
        let mut fields = Fields::open(body, "").map_err(failed)?;
        let mut service = read_service(&mut fields, "Name").map_err(failed)?;
        let checks = check::read_all(&mut fields).map_err(failed)?;
        let unsupported = take_unsupported(&mut fields, &["Kind", "Proxy", "Connect"]);
        fields.text("Token").map_err(failed)?;
        fields.end().map_err(failed)?;
        if service.name.is_empty() {
            return Err("Missing service name".into());
        }
        if is_any(&service.address) {
            return Err("Invalid service address".into());
        }
        validate_weights(service.weights).map_err(|error| format!("Invalid Weights: {error}"))?;
        validate_meta(&service.meta).map_err(|error| format!("Invalid Service Meta: {error}"))?;
        if let Some(name) = unsupported {
            return Err(format!("Invalid service: {name} is not supported by this registry"));
        }
        if service.id.is_empty() {
            service.id.clone_from(&service.name);
        }
        if checks.len() > MAX_CHECKS {
            return Err(format!("Invalid check: more than {MAX_CHECKS} checks"));
        }
        let checks = checks.into_iter().map(check::Raw::validate).collect::<Result<_, _>>()?;
        Ok(Self { service, checks })
    }
}

/// Reads the fields that the agent's and the catalog's form of a service share. `name` is how this form calls the name.
pub fn read_service(fields: &mut Fields, name: &str) -> Result<Service, String> {
    let weights = match fields.value("Weights") {
        None => Weights::default(),
        // Half-given weights are not completed: the other half is 0, as in Consul.
        Some(value) => {
            let mut weights = Fields::open(value, "Weights")?;
            let read = Weights { passing: weights.number("Passing")?, warning: weights.number("Warning")? };
            weights.end()?;
            read
        }
    };
    Ok(Service {
        id: fields.text("ID")?,
        name: fields.text(name)?,
        tags: fields.texts("Tags")?,
        address: fields.text("Address")?,
        tagged_addresses: fields.map("TaggedAddresses", |value| {
            let mut fields = Fields::open(value, "ServiceAddress").ok()?;
            Some(ServiceAddress { address: fields.text("Address").ok()?, port: fields.number("Port").ok()? })
        })?,
        meta: fields.text_map("Meta")?,
        port: fields.number("Port")?,
        weights,
        enable_tag_override: fields.flag("EnableTagOverride")?,
        ..Service::default()
    })
}

/// Takes the named fields; the first that holds something is the one to complain of.
fn take_unsupported(fields: &mut Fields, names: &[&'static str]) -> Option<&'static str> {
    let mut found = None;
    for name in names {
        let says_something = fields.value(name).is_some_and(|value| match value {
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Object(object) => !object.is_empty(),
            Value::Bool(flag) => flag,
            _ => true,
        });
        if says_something && found.is_none() {
            found = Some(*name);
        }
    }
    found
}

/// Whether this is `0.0.0.0` or `::`, at which nobody can be reached.
pub fn is_any(address: &str) -> bool {
    address.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
}

fn validate_weights(weights: Weights) -> Result<(), &'static str> {
    if weights.passing < 1 {
        return Err("Passing must be greater than 0");
    }
    if weights.warning < 0 {
        return Err("Warning must be greater or equal than 0");
    }
    if weights.passing > 65_535 || weights.warning > 65_535 {
        return Err("DNS Weight must be between 0 and 65535");
    }
    Ok(())
}

fn validate_meta(meta: &BTreeMap<String, String>) -> Result<(), String> {
    if meta.len() > MAX_META_PAIRS {
        return Err(format!("Node metadata cannot contain more than {MAX_META_PAIRS} key/value pairs"));
    }
    for (key, value) in meta {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let why = if key.is_empty() {
            "Key cannot be blank".to_owned()
        } else if !key.bytes().all(plain) {
            "Key contains invalid characters".to_owned()
        } else if key.len() > MAX_META_KEY {
            format!("Key is too long (limit: {MAX_META_KEY} characters)")
        } else if key.starts_with("consul-") {
            "Key prefix 'consul-' is reserved for internal use".to_owned()
        } else if value.len() > MAX_META_VALUE {
            format!("Value is too long (limit: {MAX_META_VALUE} characters)")
        } else {
            continue;
        };
        return Err(format!("Couldn't load metadata pair ('{key}', '{value}'): {why}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refusal(body: Value) -> String {
        ServiceDefinition::read(body).unwrap_err()
    }

    #[test]
    fn a_service_gets_its_defaults() {
        let read = ServiceDefinition::read(json!({"Name": "web", "Port": 80})).unwrap();
        assert_eq!(read.service.id, "web");
        assert_eq!(read.service.weights, Weights::default());
        let read = ServiceDefinition::read(json!({"Name": "web", "Weights": {"Passing": 5}})).unwrap();
        assert_eq!(read.service.weights, Weights { passing: 5, warning: 0 });
    }

    #[test]
    fn bad_registrations_are_refused_in_consuls_words() {
        for (body, text) in [
            (json!({"Name": "a", "SocketPath": "/x"}), r#"Request decode failed: json: unknown field "SocketPath""#),
            (json!({"Port": 1}), "Missing service name"),
            (json!({"Name": "a", "Address": "0.0.0.0"}), "Invalid service address"),
            (json!({"Name": "a", "Weights": {"Passing": 0}}), "Invalid Weights: Passing must be greater than 0"),
            (
                json!({"Name": "a", "Check": {"TTL": "5s", "Interval": "5s"}}),
                "Invalid check: Interval and TTL cannot both be specified",
            ),
            (
                json!({"Name": "a", "Check": {"HTTP": "http://x/"}}),
                "Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks",
            ),
            (json!({"Name": "a", "Check": {"Name": "x"}}), "Invalid check: TTL must be > 0 for TTL checks"),
            (
                json!({"Name": "a", "Check": {"TTL": "5s", "Status": "fine"}}),
                "Status for checks must 'passing', 'warning', 'critical'",
            ),
            (
                json!({"Name": "a", "Check": {"TTL": "5"}}),
                r#"Request decode failed: time: missing unit in duration "5""#,
            ),
        ] {
            assert_eq!(refusal(body), text);
        }
        assert!(refusal(json!({"Name": "a", "Meta": {"k": "v".repeat(513)}})).contains("Value is too long"));
        assert!(
            refusal(json!({"Name": "a", "Check": {"GRPC": "x", "Interval": "1s"}})).contains("GRPC is not supported")
        );
    }
}
