//! The operator's window: where it is, and what it is served with.

use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;

use super::{App, Error};
use crate::admin::{self, Admin, Door};
use crate::config::{self, AdminBind, Config, Http};
use crate::lifecycle::{Draining, LogLevel, Withdrawal};
use crate::listener::{self, Room, Terms};
use crate::metrics::Metrics;
use crate::table::{Hand, Reader};
use crate::tls::{self, Entrance};

/// What it is called in figures, and by those who hand sockets over.
pub(super) const NAME: &str = "admin";

/// Where the window is.
pub(super) enum Place {
    /// On an address.
    Address(TcpListener),
    /// In the file system.
    File(Door),
}

/// The window, and all that it is served with.
pub(super) struct Window {
    admin: Admin,
    place: Option<Place>,
    tls: Option<Arc<tls::Server>>,
}

impl Place {
    /// Its address, if it has one.
    pub(super) fn address(&self) -> Result<Option<SocketAddr>, Error> {
        match self {
            Place::Address(socket) => Ok(Some(socket.local_addr()?)),
            Place::File(_) => Ok(None),
        }
    }
}

/// True if a running window can go on as the other.
pub(super) fn is_same(old: Option<&config::Admin>, new: Option<&config::Admin>) -> bool {
    match (old, new) {
        (Some(old), Some(new)) => old.is_same(new),
        (old, new) => old.is_none() && new.is_none(),
    }
}

/// What the window is secured with; none if it is plain.
pub(super) fn secured(config: &Config, metrics: &Metrics) -> Result<Option<Arc<tls::Server>>, Error> {
    let Some(listener) = config.admin.as_ref().and_then(config::Admin::secured) else { return Ok(None) };
    Ok(tls::Server::new(&listener, metrics.tls(&NAME.into()))?)
}

impl App {
    /// What is logged, for whoever writes the log to say how it is changed.
    pub fn log_level(&self) -> &LogLevel {
        &self.log_level
    }

    /// Where the operator's window is, for people: an address or a file.
    pub fn window_at(&self) -> Option<String> {
        let place = match &self.config.admin.as_ref()?.bind {
            AdminBind::Unix { path, .. } => format!("unix:{}", path.display()),
            AdminBind::Address(address) => self.admin.unwrap_or(*address).to_string(),
        };
        Some(place)
    }
}

impl Window {
    /// The window on all of an app, and by which it is reached into.
    pub(super) fn of(
        app: &App,
        reader: Reader,
        (hand, withdrawal): (Hand, Withdrawal),
        (place, tls): (Option<Place>, Option<Arc<tls::Server>>),
    ) -> Window {
        let (config, readiness) = (&app.config, app.readiness.clone());
        let admin = Admin::new(reader, Arc::clone(&app.metrics), readiness, Arc::clone(&app.journal))
            .with_listeners(&config.listeners, &app.addresses)
            .with_hand(hand, withdrawal)
            .with_endpoints(config.endpoint_figures)
            .with_names(&config.egress)
            .with_log(&app.log_level);
        let admin = match &config.admin {
            Some(settings) => admin.for_those(settings),
            None => admin,
        };
        Window { admin, place, tls }
    }

    /// Keeps the time of what is logged for a while. For good.
    pub(super) fn keep_log_level(&self) -> impl Future<Output = ()> + use<> {
        self.admin.keep_log_level()
    }

    /// Answers operators until the end.
    pub(super) async fn serve(self, metrics: &Metrics, draining: Draining) {
        let admin = Rc::new(self.admin);
        let socket = match self.place {
            Some(Place::File(door)) => return door.serve(admin).await,
            Some(Place::Address(socket)) => tokio::net::TcpListener::from_std(socket),
            None => return,
        };
        let Ok(socket) = socket else { return };
        let terms = Terms {
            limits: admin::LIMITS,
            http: Http { http2: false, ..Http::default() },
            room: Room::new(admin::MAX_CONNECTIONS),
            series: metrics.listener(&NAME.into()),
            announced: None,
            tls: self.tls.map(Entrance::Own),
        };
        listener::serve(socket, admin, terms, draining).await;
    }
}
