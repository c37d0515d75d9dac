//! Sockets that listen, all of which are there before anything else is begun.

use std::net::{SocketAddr, TcpListener};

use super::Error;
use crate::config::Config;
use crate::listener;

/// The sockets, and where they are.
pub(super) struct Bound {
    /// Of each listener, one for each worker.
    pub(super) sockets: Vec<Vec<TcpListener>>,
    /// Of each listener.
    pub(super) addresses: Vec<SocketAddr>,
    /// The operator's window, if there is one.
    pub(super) window: Option<TcpListener>,
    /// Where that is.
    pub(super) admin: Option<SocketAddr>,
}

impl Bound {
    /// Binds all of them, or none.
    pub(super) fn to(config: &Config) -> Result<Bound, Error> {
        let sockets = config.listeners.iter().map(|listener| listener::bind(listener.bind, config.workers));
        let sockets = sockets.collect::<Result<Vec<_>, _>>()?;
        let addresses = sockets.iter().map(|sockets| sockets[0].local_addr()).collect::<Result<Vec<_>, _>>()?;
        let window = config.admin.map(|bind| listener::bind(bind, 1)).transpose()?.and_then(|mut one| one.pop());
        let admin = window.as_ref().map(TcpListener::local_addr).transpose()?;
        Ok(Bound { sockets, addresses, window, admin })
    }
}
