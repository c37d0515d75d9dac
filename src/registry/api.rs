//! The API as a whole: the store behind its lock, who is told when it changes, and which path means what.

use super::answer::{Answer, Refusal};
use super::call::Call;
use super::model::Node;
use super::store::Store;
use super::{agent, catalog, health, kv, status};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Request, Response, StatusCode};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use tokio::sync::watch;

/// The only datacenter there is.
pub const DATACENTER: &str = "dc1";
/// The node on which the agent's own services are.
const NODE: &str = "registry";
const NODE_ADDRESS: &str = "127.0.0.1";
/// Paths that go on behind a slash.
const BARE: [&str; 3] = ["/v1/kv", "/v1/health/service", "/v1/catalog/service"];

/// One running registry.
pub struct Api {
    store: Mutex<Store>,
    changes: watch::Sender<u64>,
    checks: watch::Sender<u64>,
}

impl Api {
    /// A registry that has just started.
    pub fn new() -> Self {
        let store = Store::new(own_node());
        Self {
            changes: watch::Sender::new(store.index()),
            checks: watch::Sender::new(store.local().revision()),
            store: Mutex::new(store),
        }
    }

    /// Looks at the store. `look` must be short: everyone else waits.
    pub fn read<T>(&self, look: impl FnOnce(&Store) -> T) -> T {
        look(&self.store.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the store, and tells those who wait for changes.
    pub fn write<T>(&self, change: impl FnOnce(&mut Store) -> T) -> T {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let done = change(&mut store);
        let (index, revision) = (store.index(), store.local().revision());
        // Under the lock, so that no one is told of an older index after a newer one.
        tell(&self.changes, index);
        tell(&self.checks, revision);
        done
    }

    /// Wakes at every change of the store's index.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Wakes when the agent's own checks come or go.
    pub fn checks(&self) -> watch::Receiver<u64> {
        self.checks.subscribe()
    }

    /// Answers one request.
    pub async fn serve(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let redirect = redirect(request.uri());
        let answer = match redirect {
            Some(to) => Ok(Answer::moved(to)),
            None => match Call::read(request).await {
                Ok(call) => self.route(&call).await,
                Err(refusal) => Err(refusal),
            },
        };
        answer.map_or_else(Refusal::into_response, Answer::into_response)
    }

    async fn route(&self, call: &Call) -> Result<Answer, Refusal> {
        if call.has("ns") {
            return Err(Refusal::bad(
                "Bad request: Invalid query parameter: \"ns\" - Namespaces are a Consul Enterprise feature",
            ));
        }
        let Some(path) = call.path.strip_prefix("/v1/") else {
            return Err(Refusal::unknown());
        };
        let (family, rest) = path.split_once('/').unwrap_or((path, ""));
        match family {
            "agent" => agent::serve(self, call, rest),
            "catalog" => catalog::serve(self, call, rest).await,
            "health" => health::serve(self, call, rest).await.map_err(Refusal::of_a_read),
            "kv" => kv::serve(self, call, rest).await,
            "status" => status::serve(call, rest),
            // What a Consul without ACLs says, which tells callers not to look for permissions.
            "acl" => Err(no_acl()),
            "internal" if rest == "acl/authorize" => Err(no_acl()),
            _ => Err(Refusal::unknown()),
        }
    }
}

fn no_acl() -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, "ACL support disabled")
}

fn tell(who: &watch::Sender<u64>, what: u64) {
    who.send_if_modified(|known| std::mem::replace(known, what) != what);
}

/// Where Go's router sends a path with an empty segment (`/v1/kv//lead`), or a family without its last slash.
fn redirect(uri: &hyper::Uri) -> Option<HeaderValue> {
    let path = uri.path();
    let bare = BARE.contains(&path);
    if !bare && !path.contains("//") {
        return None;
    }
    let mut clean = String::with_capacity(path.len() + 1);
    for letter in path.chars() {
        if letter != '/' || !clean.ends_with('/') {
            clean.push(letter);
        }
    }
    if bare {
        clean.push('/');
    }
    if let Some(query) = uri.query() {
        clean.push('?');
        clean.push_str(query);
    }
    HeaderValue::try_from(clean).ok()
}

fn own_node() -> Node {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let tags = ["lan", "lan_ipv4", "wan", "wan_ipv4"];
    Node {
        id: node_id(),
        name: NODE.into(),
        address: NODE_ADDRESS.into(),
        datacenter: DATACENTER.into(),
        tagged_addresses: tags.map(|tag| pair(tag, NODE_ADDRESS)).into(),
        meta: BTreeMap::from([pair("consul-network-segment", "")]),
        ..Node::default()
    }
}

/// A random UUID (version 4): another one at each start, as of another cluster, because nothing is kept.
fn node_id() -> String {
    let bits = fastrand::u128(..);
    let bits = bits & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_segment_is_redirected_away() {
        let to = |path: &str| redirect(&path.parse().unwrap()).map(|to| to.to_str().unwrap().to_owned());
        assert_eq!(to("/v1/kv//lead?raw").unwrap(), "/v1/kv/lead?raw");
        assert_eq!(to("/v1/kv/lead/"), None);
        assert_eq!(to("/v1/kv?keys").unwrap(), "/v1/kv/?keys");
        assert_eq!(to("//evil.example/").unwrap(), "/evil.example/");
    }

    #[test]
    fn a_node_id_is_a_uuid() {
        let id = node_id();
        assert_eq!(id.len(), 36);
        assert_eq!(&id[14..15], "4");
        assert!("89ab".contains(&id[19..20]));
    }
}
