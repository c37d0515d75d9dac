//! What ties a request to an endpoint: the key that a cluster hashes by, and the cookie of a session.

use std::sync::Arc;

use http::header::{HeaderValue, SET_COOKIE};
use http::{HeaderMap, request};

use crate::balance::hash;
use crate::cluster::Cluster;
use crate::config::{HashKey, Policy};
use crate::endpoint::Endpoint;
use crate::message::{self, Fields, Sender};
use crate::metrics::Session;

/// What a request brings along for its cluster.
#[derive(Debug, Default)]
pub(super) struct Affinity {
    /// The hash of the first key that it has.
    pub(super) key: Option<u64>,
    /// The value of the session's cookie.
    pub(super) session: Option<Box<str>>,
}

impl Affinity {
    /// Of a request as it came in.
    pub(super) fn of(head: &request::Parts, sender: Sender<'_>, cluster: &Cluster) -> Self {
        let settings = cluster.settings();
        let hashes = settings.policy == Policy::ConsistentHash;
        let keys = if hashes { &settings.balancing.hash.keys[..] } else { &[] };
        let sticky = settings.balancing.sticky.as_ref();
        let session = sticky.and_then(|sticky| session(&head.headers, &sticky.cookie, cluster));
        Affinity { key: keys.iter().find_map(|key| value(key, head, sender)), session: session.map(Box::from) }
    }

    /// Sees to it that the client comes back to the endpoint that has answered, and says what that came to; none where
    /// clients are not bound.
    pub(super) fn bind(&self, fields: &mut Fields, endpoint: &Arc<Endpoint>, cluster: &Cluster) -> Option<Session> {
        let sticky = cluster.settings().balancing.sticky.as_ref()?;
        let token = cluster.session(endpoint.id())?;
        if self.session.as_deref() == Some(token) {
            return Some(Session::Kept);
        }
        // Made of characters that were checked with the configuration.
        let cookie = HeaderValue::from_str(&format!("{}={token}{}", sticky.cookie, sticky.attributes)).ok()?;
        fields.map().append(SET_COOKIE, cookie);
        Some(if self.session.is_some() { Session::Moved } else { Session::New })
    }
}

/// The cookie that can be followed, or else the first. One that was set for another path or domain may stand before it, and
/// would not go away by being replaced.
fn session<'a>(headers: &'a HeaderMap, name: &str, cluster: &Cluster) -> Option<&'a str> {
    let values = || message::cookies(headers, name).filter_map(|value| std::str::from_utf8(value).ok());
    values().find(|value| cluster.keeps(value)).or_else(|| values().next())
}

/// The hash of what a request has for this key, the same in every process.
pub(super) fn value(key: &HashKey, head: &request::Parts, sender: Sender<'_>) -> Option<u64> {
    let value = match key {
        HashKey::Header(name) => head.headers.get(name)?.as_bytes(),
        HashKey::Cookie(name) => message::cookie(&head.headers, name)?,
        HashKey::Query(name) => message::query_parameter(head.uri.query()?, name)?,
        HashKey::Path => head.uri.path().as_bytes(),
        HashKey::ClientAddress if sender.is_trusted() => {
            return Some(hash(sender.client(&head.headers).to_string().as_bytes()));
        }
        HashKey::ClientAddress => sender.downstream().address().as_bytes(),
        HashKey::Identity => sender.downstream().identities().next()?.as_bytes(),
    };
    (!value.is_empty()).then(|| hash(value))
}
