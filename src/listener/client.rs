//! Who is at the other end of a connection.

use crate::message::proxy_protocol::Ends;
use crate::message::{Downstream, Security};
use crate::tls::Handshake;

/// Who sent a request.
#[derive(Debug, Clone)]
pub struct Client {
    /// What its connection says of it.
    pub downstream: Downstream,
}

impl Client {
    /// Somebody of whom nothing is known but where the connection comes from.
    pub(super) fn new(ends: Ends) -> Self {
        Client { downstream: Downstream::plain(ends.client.ip()).between(ends) }
    }

    /// The same with what was said while the connection was secured.
    pub(super) fn secured(&self, told: &Handshake) -> Self {
        let identity = told.identity.as_deref();
        let names = identity.into_iter().flat_map(|identity| identity.uris.iter().chain(&identity.dns));
        let names = names.map(|name| name.as_str().into()).collect();
        let common_name = identity.and_then(|identity| identity.common_name.as_deref()).map(Box::from);
        let version = if told.is_tls13 { "TLSv1.3" } else { "TLSv1.2" };
        let downstream = self.downstream.clone().encrypted(told.server_name.clone(), names);
        Client { downstream: downstream.by(Security { version, cipher: told.cipher }, common_name) }
    }
}
