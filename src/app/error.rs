//! What can keep a proxy from starting, and a configuration from being taken over.

use crate::lifecycle::SocketError;
use crate::{access, admin, config, consul, listener, tls, trace};

/// Why the proxy did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] listener::Error),
    /// A socket that was handed over cannot be served on.
    #[error(transparent)]
    Handed(#[from] SocketError),
    /// The file of the operator's window cannot be made.
    #[error(transparent)]
    Door(#[from] admin::DoorError),
    /// The Consul client cannot be made.
    #[error(transparent)]
    Consul(#[from] consul::Error),
    /// A certificate, a key, or what else TLS needs.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The access log.
    #[error(transparent)]
    AccessLog(#[from] access::Error),
    /// What sends spans.
    #[error(transparent)]
    Trace(#[from] trace::Error),
    /// The system has no random numbers to give.
    #[error("cannot draw random numbers from the system")]
    Randomness,
    /// A thread or its runtime.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// Why a configuration was not taken over.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// Some keys hold for the life of the process.
    #[error("{0} cannot change while lictor runs; restart it")]
    NeedsRestart(String),
    /// A file that is named for the first time cannot be used.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The file is good, but not together with the documents beside it.
    #[error("the file does not go with the documents in the KV store:\n{0}")]
    Documents(config::Error),
    /// Discovery has ended: the proxy is about to.
    #[error("lictor is ending")]
    Ending,
}
