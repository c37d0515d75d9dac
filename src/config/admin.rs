//! The operator's window as it was told: where it is, and who may look through it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{Accepts, Http, Listener, ListenerTls, Secret, Serves};

/// What a handshake of an operator may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The operator's window.
#[derive(Debug, Clone, PartialEq)]
pub struct Admin {
    /// Where it is.
    pub bind: AdminBind,
    /// What clients have to know, if it was written down, or what its file held when that was read.
    pub token: Option<Secret>,
    /// The file that holds it; it may hold another one later.
    pub token_file: Option<PathBuf>,
    /// Names that clients may call it by, besides addresses and `localhost`; lower case.
    pub names: Vec<String>,
    /// Whether figures are shown to everybody who can connect.
    pub anonymous_metrics: bool,
    /// TLS on its connections; none if they are plain.
    pub tls: Option<ListenerTls>,
}

/// Where the operator's window is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminBind {
    /// On an address.
    Address(SocketAddr),
    /// In the file system, for whoever may write to the file.
    Unix {
        /// The file.
        path: PathBuf,
        /// Its rights.
        mode: u32,
    },
}

impl Admin {
    /// A plain window there, for everybody who can connect.
    pub fn at(address: SocketAddr) -> Self {
        Admin {
            bind: AdminBind::Address(address),
            token: None,
            token_file: None,
            names: Vec::new(),
            anonymous_metrics: false,
            tls: None,
        }
    }

    /// Its address, if it has one.
    pub fn address(&self) -> Option<SocketAddr> {
        match self.bind {
            AdminBind::Address(address) => Some(address),
            AdminBind::Unix { .. } => None,
        }
    }

    /// True if a running window can go on as the other. What its files hold it looks at by itself.
    pub fn is_same(&self, other: &Admin) -> bool {
        let bare = |admin: &Admin| Admin {
            token: admin.token.clone().filter(|_| admin.token_file.is_none()),
            ..admin.clone()
        };
        bare(self) == bare(other)
    }

    /// True if clients have to show who they are.
    pub fn asks(&self) -> bool {
        self.token.is_some() || self.asks_for_certificates()
    }

    /// True if a certificate shows it.
    pub fn asks_for_certificates(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.clients.is_some())
    }

    /// The same as a listener, for what looks after certificates; none if its connections are plain.
    pub fn secured(&self) -> Option<Listener> {
        let (tls, bind) = (Some(self.tls.clone()?), self.address()?);
        Some(Listener {
            name: "admin".into(),
            bind,
            request_header: PATIENCE,
            idle: PATIENCE,
            connection_age: None,
            trust_deadline: false,
            http: Http { http2: false, ..Http::default() },
            accepts: Accepts::Http,
            serves: Serves::Routes,
            trusted_networks: Vec::new(),
            proxy_protocol: false,
            tls,
            mesh: false,
            handshake: PATIENCE,
        })
    }
}
