//! Who an instance has to prove to be in the mesh: the service that it speaks for, which for a sidecar is another than its own.
//!
//! Consul writes the name as Go writes a URL's path, and it is compared as it is written; so it is written the same way here.

use std::fmt::Write as _;
use std::sync::Arc;

use serde::Deserialize;

/// What an instance says of its part in the mesh.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Part {
    /// Empty for a service itself.
    kind: Option<String>,
    service: Option<String>,
    namespace: Option<String>,
    partition: Option<String>,
    peer_name: Option<String>,
    proxy: Option<Proxy>,
    connect: Option<Connect>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Proxy {
    destination_service_name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Connect {
    native: Option<bool>,
}

impl Part {
    /// The path of the name that it has to show as an instance, in that datacenter, of the service that was asked for. None for
    /// whoever cannot be dialled for it by its name: a gateway, which leads on by rules of its own; somebody of another mesh; or an
    /// instance without a part in one.
    pub(super) fn identity(&self, datacenter: Option<&str>, asked: &str) -> Option<Arc<str>> {
        let filled = |text: &'_ Option<String>| text.clone().filter(|text| !text.is_empty());
        if filled(&self.peer_name).is_some() {
            return None;
        }
        let service = match self.kind.as_deref() {
            Some("connect-proxy") => filled(&self.proxy.as_ref()?.destination_service_name)?,
            None | Some("") if self.connect.as_ref()?.native? => filled(&self.service)?,
            _ => return None,
        };
        // Lookups do not regard case; certificates do. What is dialled is the service as it is registered.
        if !service.eq_ignore_ascii_case(asked) {
            return None;
        }
        let mut path = String::new();
        if let Some(partition) = filled(&self.partition).filter(|partition| partition != "default") {
            push(&mut path, "ap", &partition)?;
        }
        push(&mut path, "ns", &filled(&self.namespace).unwrap_or_else(|| "default".to_owned()))?;
        push(&mut path, "dc", datacenter?)?;
        push(&mut path, "svc", &service)?;
        Some(path.into())
    }
}

/// Adds `/KIND/NAME`. None for a name that would be more than one segment, which no certificate can be for.
fn push(path: &mut String, kind: &str, name: &str) -> Option<()> {
    if ["", ".", ".."].contains(&name) || name.contains('/') {
        return None;
    }
    let _ = write!(path, "/{kind}/");
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+,:;=@".contains(&byte) {
            path.push(char::from(byte));
        } else {
            let _ = write!(path, "%{byte:02X}");
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn identity(part: Value, asked: &str) -> Option<String> {
        let part: Part = serde_json::from_value(part).unwrap();
        part.identity(Some("dc1"), asked).map(|path| path.to_string())
    }

    #[test]
    fn a_sidecar_proves_to_be_the_service_behind_it() {
        let sidecar = json!({
            "Kind": "connect-proxy", "Service": "Web-sidecar-proxy", "Proxy": {"DestinationServiceName": "Web"}, "Connect": {}
        });
        assert_eq!(identity(sidecar.clone(), "web").unwrap(), "/ns/default/dc/dc1/svc/Web");
        assert_eq!(identity(sidecar.clone(), "Web-sidecar-proxy"), None);
        assert_eq!(identity(sidecar, "api"), None);
    }

    #[test]
    fn a_native_instance_proves_to_be_itself() {
        let native = |more: Value| {
            let mut part = json!({"Kind": "", "Service": "web", "Connect": {"Native": true}, "Proxy": {}});
            part.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            identity(part, "web")
        };
        assert_eq!(native(json!({})).unwrap(), "/ns/default/dc/dc1/svc/web");
        let enterprise = json!({"Namespace": "team a", "Partition": "east"});
        assert_eq!(native(enterprise).unwrap(), "/ap/east/ns/team%20a/dc/dc1/svc/web");
        assert_eq!(native(json!({"Partition": "default"})).unwrap(), "/ns/default/dc/dc1/svc/web");
        assert_eq!(native(json!({"PeerName": "elsewhere"})), None);
        assert_eq!(native(json!({"Connect": {"Native": false}})), None);
        assert_eq!(native(json!({"Connect": null})), None);
    }

    #[test]
    fn gateways_and_names_without_a_certificate_are_left_out() {
        for kind in ["mesh-gateway", "terminating-gateway", "ingress-gateway", "api-gateway", "of-tomorrow"] {
            let gateway = json!({"Kind": kind, "Service": "web", "Connect": {"Native": true}});
            assert_eq!(identity(gateway, "web"), None, "{kind}");
        }
        let named = |name: &str| identity(json!({"Service": name, "Connect": {"Native": true}}), name);
        assert_eq!(named("a/b"), None);
        assert_eq!(named(".."), None);
        assert_eq!(named("ä:b!").unwrap(), "/ns/default/dc/dc1/svc/%C3%A4:b%21");
        let part = Part { service: Some("web".to_owned()), ..Part::default() };
        assert_eq!(part.identity(Some("dc1"), "web"), None, "no part in a mesh");
        let part = Part { connect: Some(Connect { native: Some(true) }), ..part };
        assert_eq!(part.identity(None, "web"), None, "nobody knows of which datacenter");
    }
}
