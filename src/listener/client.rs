//! Who is at the other end of a connection.

use crate::message::proxy_protocol::Ends;
use crate::message::{Downstream, Security};
use crate::tls::{Admission, Handshake};

/// Who sent a request.
#[derive(Debug, Clone)]
pub struct Client {
    /// What its connection says of it.
    pub downstream: Downstream,
    /// Its right to be here, where that can be revoked.
    pub(super) admission: Option<Admission>,
}

impl Client {
    /// Somebody of whom nothing is known but where the connection comes from.
    pub(super) fn new(ends: Ends) -> Self {
        Client { downstream: Downstream::plain(ends.client.ip()).between(ends), admission: None }
    }

    /// The same with what was said while the connection was secured.
    pub(super) fn secured(&self, told: &Handshake) -> Self {
        let identity = told.identity.as_deref();
        let names = identity.into_iter().flat_map(|identity| identity.uris.iter().chain(&identity.dns));
        let names = names.map(|name| name.as_str().into()).collect();
        let common_name = identity.and_then(|identity| identity.common_name.as_deref()).map(Box::from);
        let version = if told.is_tls13 { "TLSv1.3" } else { "TLSv1.2" };
        let downstream = self.downstream.clone().encrypted(told.server_name.clone(), names);
        let downstream = downstream.by(Security { version, cipher: told.cipher }, common_name);
        Client { downstream, admission: told.admission.clone() }
    }

    /// True once it may not be here any more: what it has is broken off.
    pub fn is_revoked(&self) -> bool {
        self.admission.as_ref().is_some_and(Admission::is_revoked)
    }
}
