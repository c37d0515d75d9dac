//! One probe from the connection on, which is its own and ends with it, and which is secured as those of requests are.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::failure::Failure;
use super::{grpc, http};
use crate::cluster::Secured;
use crate::config::{Probe, ProbeKind, ProxyProtocol};
use crate::endpoint::Address;
use crate::message::proxy_protocol::{write_v1, write_v2};
use crate::tls::{self, Alpn, Peer, Stream};
use crate::upstream::{Kind, dial};

/// How we call ourselves.
pub(super) const USER_AGENT: &str = concat!("lictor/", env!("CARGO_PKG_VERSION"));

/// Asks whoever is at that address, within the probe's time.
pub(super) async fn ask(
    (address, identity): (&Address, Option<&Arc<str>>),
    settings: &Probe,
    secured: Option<&Secured>,
) -> Result<(), Failure> {
    let peer = (address, identity);
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
            ProbeKind::Http(probe) => {
                let stream = secure(stream, peer, (secured, Alpn::Http1)).await?;
                http::ask(stream, &authority(&probe.host), probe).await
            }
            ProbeKind::Grpc(probe) => {
                let stream = secure(stream, peer, (secured, Alpn::Http2)).await?;
                let scheme = if secured.is_some() { "https" } else { "http" };
                grpc::ask(stream, (scheme, &authority(&probe.host)), probe).await
            }
        }
    };
    timeout(settings.timeout, asking).await.unwrap_or(Err(Failure::Timeout))
}

/// Speaks TLS where there is something to speak it with.
async fn secure(
    stream: TcpStream,
    (address, identity): (&Address, Option<&Arc<str>>),
    (secured, alpn): (Option<&Secured>, Alpn),
) -> Result<Stream, Failure> {
    match secured.map(|secured| &**secured) {
        None => Ok(stream.into()),
        Some(Ok(client)) => {
            client.ready().map_err(|unready| Failure::Local(unready.to_string()))?;
            let secured = client.connect(stream, Peer { host: &address.host(), identity }, alpn).await;
            secured.map_err(|error| Failure::Connect(tls::explain(&error).to_string()))
        }
        Some(Err(error)) => Err(Failure::Local(error.to_string())),
    }
}
