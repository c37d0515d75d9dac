//! Sockets that listen, all of which are there before anything else is begun: bound, or handed over by whoever started the process.

use std::net::{SocketAddr, TcpListener};

use super::Error;
use super::window::{NAME, Place};
use crate::admin::Door;
use crate::config::{AdminBind, Config};
use crate::lifecycle::Sockets;
use crate::listener;

/// The sockets, and where they are.
pub(super) struct Bound {
    /// Of each listener, one for each worker.
    pub(super) sockets: Vec<Vec<TcpListener>>,
    /// Of each listener.
    pub(super) addresses: Vec<SocketAddr>,
    /// The operator's window, if there is one.
    pub(super) window: Option<Place>,
    /// Its address, if it has one.
    pub(super) admin: Option<SocketAddr>,
}

impl Bound {
    /// Binds all that were not handed over already, or none.
    pub(super) fn to(config: &Config, mut handed: Sockets) -> Result<Bound, Error> {
        let mut open = |name: &str, bind: SocketAddr, workers: usize| -> Result<Vec<TcpListener>, Error> {
            let sockets = match handed.take(name, bind)? {
                Some(socket) => listener::adopt(socket, workers),
                None => listener::bind(bind, workers),
            };
            Ok(sockets?)
        };
        let sockets = config.listeners.iter().map(|listener| open(&listener.name, listener.bind, config.workers));
        let sockets = sockets.collect::<Result<Vec<_>, _>>()?;
        let addresses = sockets.iter().map(|sockets| sockets[0].local_addr()).collect::<Result<Vec<_>, _>>()?;
        let window = match config.admin.as_ref().map(|admin| &admin.bind) {
            Some(AdminBind::Address(bind)) => open(NAME, *bind, 1)?.pop().map(Place::Address),
            Some(AdminBind::Unix { path, mode }) => Some(Place::File(Door::open(path, *mode)?)),
            None => None,
        };
        handed.finish()?;
        let admin = window.as_ref().map(Place::address).transpose()?.flatten();
        Ok(Bound { sockets, addresses, window, admin })
    }
}
