//! What a connection to an endpoint begins with, where its cluster wants to be told of the client by the PROXY protocol.

use bytes::Bytes;

use crate::config::{Cluster, ProxyProtocol};
use crate::message::proxy_protocol::{Ends, write_v1, write_v2};

/// The header that speaks of this client's connection.
pub(super) fn of(settings: &Cluster, ends: Option<Ends>) -> Option<Bytes> {
    let header = match settings.proxy_protocol? {
        ProxyProtocol::V1 => write_v1(ends),
        ProxyProtocol::V2 => write_v2(ends),
    };
    Some(header.into())
}
