//! One probe from the connection on, which is its own and ends with it.

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::failure::Failure;
use super::{grpc, http};
use crate::config::{Probe, ProbeKind, ProxyProtocol};
use crate::endpoint::Address;
use crate::message::proxy_protocol::{write_v1, write_v2};
use crate::upstream::{Kind, dial};

/// How we call ourselves.
pub(super) const USER_AGENT: &str = concat!("lictor/", env!("CARGO_PKG_VERSION"));

/// Asks whoever is at that address, within the probe's time.
pub(super) async fn ask(address: &Address, settings: &Probe) -> Result<(), Failure> {
    let asking = async {
        let mut stream = dial(address).await.map_err(|error| match error.kind {
            Kind::Local => Failure::Local(error.to_string()),
            _ => Failure::Connect(error.to_string()),
        })?;
        if let Some(version) = settings.proxy_protocol {
            // For nobody but ourselves.
            let header = match version {
                ProxyProtocol::V1 => write_v1(None),
                ProxyProtocol::V2 => write_v2(None),
            };
            stream.write_all(&header).await.map_err(|error| Failure::Reset(error.to_string()))?;
        }
        let authority = |host: &Option<String>| host.clone().unwrap_or_else(|| address.to_string());
        match &settings.kind {
            ProbeKind::Tcp => Ok(()),
            ProbeKind::Http(probe) => http::ask(stream, &authority(&probe.host), probe).await,
            ProbeKind::Grpc(probe) => grpc::ask(stream, &authority(&probe.host), probe).await,
        }
    };
    timeout(settings.timeout, asking).await.unwrap_or(Err(Failure::Timeout))
}
