//! Routes that services claim: by tags in the language of Fabio's `urlprefix-`, by metadata of our own, and by route commands in the
//! KV store. `text`, `terms`, `redirect` and `command` read what is written; `board` puts it together as Fabio does, place by place, with the
//! share of each; `part` makes routes and clusters of that. All of this is pure: from claims and lists to what tables are built from.

mod board;
mod command;
mod part;
mod redirect;
mod state;
mod terms;
mod text;

use std::fmt;

use crate::config::Host;
pub(super) use state::Claims;
use terms::Terms;

/// What somebody asks for.
#[derive(Debug, Clone, PartialEq)]
struct Claim {
    place: Place,
    terms: Terms,
    /// The share of each instance; 0 for an equal part of what is left.
    weight: f64,
}

/// Which requests or connections are meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// Requests to this host whose path begins like this.
    Web { host: Host, path: String },
    /// Connections whose TLS greeting names one of these.
    Name(Host),
    /// Connections to a listener at this port.
    Port(u16),
}

/// Why a text is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
struct Malformed(String);

impl Malformed {
    fn new(why: &str) -> Self {
        Malformed(why.to_owned())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Web { host: Host::Any, path } => f.write_str(path),
            Place::Web { host, path } => write!(f, "{host}{path}"),
            Place::Name(host) => write!(f, "{host}"),
            Place::Port(port) => write!(f, ":{port}"),
        }
    }
}
