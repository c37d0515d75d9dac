//! One probe from the connection on, which is its own and ends with it.

use tokio::time::timeout;

use super::failure::Failure;
use super::{grpc, http};
use crate::config::{Probe, ProbeKind};
use crate::endpoint::Address;
use crate::upstream::{Kind, dial};

/// How we call ourselves.
pub(super) const USER_AGENT: &str = concat!("lictor/", env!("CARGO_PKG_VERSION"));

/// Asks whoever is at that address, within the probe's time.
pub(super) async fn ask(address: &Address, settings: &Probe) -> Result<(), Failure> {
    let asking = async {
        let stream = dial(address).await.map_err(|error| match error.kind {
            Kind::Local => Failure::Local(error.to_string()),
            _ => Failure::Connect(error.to_string()),
        })?;
        let authority = |host: &Option<String>| host.clone().unwrap_or_else(|| address.to_string());
        match &settings.kind {
            ProbeKind::Tcp => Ok(()),
            ProbeKind::Http(probe) => http::ask(stream, &authority(&probe.host), probe).await,
            ProbeKind::Grpc(probe) => grpc::ask(stream, &authority(&probe.host), probe).await,
        }
    };
    timeout(settings.timeout, asking).await.unwrap_or(Err(Failure::Timeout))
}
