//! Where an endpoint serves: an IP address and port, or a host name that is looked up with each new connection.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Where an endpoint serves, and by that who it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// A fixed address.
    Ip(SocketAddr),
    /// A name for the system's resolver, and a port.
    Name(Box<str>, u16),
}

impl Address {
    /// From a host, which may be an IP address without brackets, and a port.
    pub fn new(host: &str, port: u16) -> Self {
        match host.parse::<IpAddr>() {
            Ok(ip) => Address::Ip(SocketAddr::new(ip, port)),
            Err(_) => Address::Name(host.to_ascii_lowercase().into(), port),
        }
    }

    /// The host, an IP address without brackets.
    pub fn host(&self) -> String {
        match self {
            Address::Ip(address) => address.ip().to_string(),
            Address::Name(host, _) => host.to_string(),
        }
    }

    /// Another port of the same host.
    pub fn with_port(&self, port: u16) -> Self {
        match self {
            Address::Ip(address) => Address::Ip(SocketAddr::new(address.ip(), port)),
            Address::Name(host, _) => Address::Name(host.clone(), port),
        }
    }
}

impl<T: Into<SocketAddr>> From<T> for Address {
    fn from(address: T) -> Self {
        Address::Ip(address.into())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(address) => address.fmt(f),
            Address::Name(host, port) => write!(f, "{host}:{port}"),
        }
    }
}
