//! What keeps a request from a route whose host and path it fits. The names of headers and parameters are said, and never their values,
//! which may be nobody's business.

use std::fmt;

use http::HeaderName;

use crate::config::{Match, Spot};

/// The first of a route's predicates that does not hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Misfit<'a> {
    /// It has another method.
    Method,
    /// It came there, and whoever is sent there must not be sent there again.
    At(&'a Spot),
    /// Another name was asked for in the handshake, or none.
    ServerName,
    /// A header.
    Header(&'a HeaderName, Lack),
    /// A query parameter.
    Query(&'a str, Lack),
    /// The client has not proved to be any of those.
    Identity,
    /// The client's address is in none of the networks.
    Network,
}

/// What is wrong with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// It is not there.
    Missing,
    /// It is there.
    Unwanted,
    /// It is another.
    Other,
}

impl Lack {
    /// Of a value that is not what is wanted, and is there or not.
    pub(super) fn of(wanted: &Match, is_there: bool) -> Self {
        match wanted {
            Match::Absent => Lack::Unwanted,
            _ if is_there => Lack::Other,
            _ => Lack::Missing,
        }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Lack::Missing => "is not there",
            Lack::Unwanted => "is there, and must not be",
            Lack::Other => "is not what the route asks for",
        })
    }
}

impl fmt::Display for Misfit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Misfit::Method => f.write_str("the method does not"),
            Misfit::At(spot) => write!(f, "it came to {spot} already"),
            Misfit::ServerName => f.write_str("the name in the TLS handshake does not"),
            Misfit::Header(name, lack) => write!(f, "header {name} {lack}"),
            Misfit::Query(name, lack) => write!(f, "query parameter {name} {lack}"),
            Misfit::Identity => f.write_str("who the client has proved to be does not"),
            Misfit::Network => f.write_str("the client's address does not"),
        }
    }
}
