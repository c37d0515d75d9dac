//! What ties a request to an endpoint: the key that a cluster hashes by, and the cookie of a session.

use std::sync::Arc;

use http::header::{HeaderValue, SET_COOKIE};
use http::request;

use crate::cluster::Cluster;
use crate::config::Policy;
use crate::endpoint::Endpoint;
use crate::message::{Fields, Sender};
use crate::metrics::Session;
use crate::route;

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
        let session =
            sticky.and_then(|sticky| route::session(&head.headers, &sticky.cookie, |session| cluster.keeps(session)));
        Affinity { key: route::key(keys, head, sender), session: session.map(Box::from) }
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
