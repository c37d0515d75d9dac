//! Connections to endpoints for whatever their clients speak: opened for one client, and never used for another.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::{Error, Kind, Progress, Tls, Upstream};
use crate::endpoint::{Connected, Endpoint};
use crate::tls::{Alpn, Stream};

/// Such a connection, counted as long as it is held.
#[derive(Debug)]
pub struct Raw {
    /// Its stream.
    pub stream: Stream,
    _connected: Connected,
}

impl Upstream {
    /// Opens one that begins with the preface and is secured with what is given, if anything is, within that time and if there are not as many as there may be: to the endpoint, and to
    /// all of its cluster.
    pub async fn open_raw(
        &self,
        endpoint: &Arc<Endpoint>,
        (tls, preface): (Tls<'_>, Option<&Bytes>),
        (within, connections): (Duration, (u32, u32)),
    ) -> Result<Raw, Error> {
        let Some(connected) = endpoint.connect_below(connections.0, connections.1) else {
            return Err(Error::new(Kind::Limit, Progress::NothingSent, false));
        };
        let dialled = timeout(within, self.dial_secured(endpoint, (tls, Alpn::Nothing), preface)).await;
        let stream = dialled.map_err(|elapsed| Error::connect(Kind::ConnectTimeout, elapsed))??;
        Ok(Raw { stream, _connected: connected })
    }
}
