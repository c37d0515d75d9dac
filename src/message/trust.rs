//! Whose word on a request's way is believed. A peer in a trusted network says by `X-Forwarded-For` who its client was, and by
//! `X-Forwarded-Proto` how that one came; of all others only what the connection itself tells counts.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use super::forwarded::{FOR, PROTO};
use super::proxy_protocol::Ends;

/// What a connection says of the client, once for all its requests.
#[derive(Debug, Clone)]
pub struct Downstream {
    ip: IpAddr,
    address: HeaderValue,
    scheme: HeaderValue,
    server_name: Option<Arc<str>>,
    identities: Vec<Box<str>>,
    security: Option<Security>,
    common_name: Option<Box<str>>,
    ends: Option<Ends>,
}

/// What a connection is secured with, for whoever writes it down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Security {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// The cipher suite, by its standard name.
    pub cipher: &'static str,
}

impl Downstream {
    /// A client that speaks plain HTTP from this address.
    pub fn plain(client: IpAddr) -> Self {
        let ip = client.to_canonical();
        // An address has only characters that a header may have.
        let address = HeaderValue::from_str(&ip.to_string());
        Downstream {
            ip,
            address: address.unwrap_or_else(|_| HeaderValue::from_static("unknown")),
            scheme: HeaderValue::from_static("http"),
            server_name: None,
            identities: Vec::new(),
            security: None,
            common_name: None,
            ends: None,
        }
    }

    /// The same, whose connection has these ends.
    pub fn between(self, ends: Ends) -> Self {
        Downstream { ends: Some(ends), ..self }
    }

    /// The same, by TLS: the name that it asked for, in lower case, and the names (URI, DNS) that its certificate proves.
    pub fn encrypted(self, server_name: Option<Arc<str>>, identities: Vec<Box<str>>) -> Self {
        Downstream { scheme: HeaderValue::from_static("https"), server_name, identities, ..self }
    }

    /// The same, by what, and the common name in its certificate.
    pub fn by(self, security: Security, common_name: Option<Box<str>>) -> Self {
        Downstream { security: Some(security), common_name, ..self }
    }

    /// A name for the client that its certificate proves, for people: the first of its identities, or else the common name.
    pub fn name(&self) -> Option<&str> {
        self.identities().next().or(self.common_name.as_deref())
    }

    /// What its connection is secured with, if it is.
    pub fn security(&self) -> Option<Security> {
        self.security
    }

    /// The ends of its connection, where they are known.
    pub fn ends(&self) -> Option<Ends> {
        self.ends
    }

    /// The IP address at the other end.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The same as text.
    pub fn address(&self) -> &HeaderValue {
        &self.address
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &HeaderValue {
        &self.scheme
    }

    /// The name in the TLS handshake, if there was one.
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// Who the client has proved to be.
    pub fn identities(&self) -> impl Iterator<Item = &str> {
        self.identities.iter().map(|identity| &**identity)
    }
}

/// Networks whose peers are believed.
#[derive(Debug, Clone, Default)]
pub struct Trusted(Box<[IpNet]>);

impl Trusted {
    /// These networks.
    pub fn new(networks: &[IpNet]) -> Self {
        Trusted(networks.into())
    }

    fn has(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// Who sent a request: the peer, and what it may say of those before it.
#[derive(Debug, Clone, Copy)]
pub struct Sender<'a> {
    downstream: &'a Downstream,
    // None unless the peer is one of them.
    trusted: Option<&'a Trusted>,
}

impl<'a> Sender<'a> {
    /// A peer, where these are believed.
    pub fn new(downstream: &'a Downstream, trusted: &'a Trusted) -> Self {
        Sender { downstream, trusted: trusted.has(downstream.ip).then_some(trusted) }
    }

    /// What the connection says.
    pub fn downstream(&self) -> &'a Downstream {
        self.downstream
    }

    /// True if the peer's word on those before it counts.
    pub fn is_trusted(&self) -> bool {
        self.trusted.is_some()
    }

    /// The client's address: the peer's, or behind trusted ones the nearest in `X-Forwarded-For` that is not. Where nobody can be
    /// read any more, the last one that was.
    pub fn client(&self, headers: &HeaderMap) -> IpAddr {
        let mut client = self.downstream.ip;
        let Some(trusted) = self.trusted else { return client };
        let lines = headers.get_all(FOR).into_iter().rev();
        for entry in lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')) {
            let Some(address) = address(entry) else { break };
            client = address;
            if !trusted.has(address) {
                break;
            }
        }
        client
    }

    /// How the client came, `http` or `https`: the peer's word for it, or the connection's.
    pub fn scheme(&self, headers: &HeaderMap) -> HeaderValue {
        self.trusted.and_then(|_| said_scheme(headers)).unwrap_or_else(|| self.downstream.scheme.clone())
    }
}

impl<'a> From<&'a Downstream> for Sender<'a> {
    /// Somebody whom nobody knows.
    fn from(downstream: &'a Downstream) -> Self {
        Sender { downstream, trusted: None }
    }
}

fn said_scheme(headers: &HeaderMap) -> Option<HeaderValue> {
    let said = only(headers, &PROTO)?;
    let known = ["http", "https"].into_iter().find(|known| said.as_bytes().eq_ignore_ascii_case(known.as_bytes()));
    known.map(HeaderValue::from_static)
}

/// The one value of that name; none if there are none or several.
pub(super) fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).into_iter();
    values.next().filter(|_| values.next().is_none())
}

/// An address as it stands in `X-Forwarded-For`: some write the port as well.
pub(super) fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry.trim_ascii()).ok()?;
    let bare = || text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text).parse().ok();
    let address: IpAddr = bare().or_else(|| text.parse().ok().map(|socket: SocketAddr| socket.ip()))?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, lines: &[&str]) -> String {
        let trusted = Trusted::new(&["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        let downstream = Downstream::plain(peer.parse().unwrap());
        let headers = lines.iter().map(|line| (FOR, line.parse().unwrap())).collect();
        Sender::new(&downstream, &trusted).client(&headers).to_string()
    }

    #[test]
    fn the_client_is_the_nearest_who_is_not_trusted() {
        assert_eq!(client("192.0.2.1", &["1.1.1.1"]), "192.0.2.1", "the peer itself is not");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["6.6.6.6, 1.1.1.1"]), "1.1.1.1", "what stands before it anybody can write");
        assert_eq!(client("10.0.0.1", &["6.6.6.6", "1.1.1.1 , 10.0.0.2"]), "1.1.1.1", "lines are one list");
        assert_eq!(client("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3", "all are: the one furthest away");
        assert_eq!(client("::ffff:10.0.0.1", &["[fd00::2]:80, ::ffff:10.0.0.9"]), "fd00::2");
        assert_eq!(client("10.0.0.1", &["1.1.1.1:8080"]), "1.1.1.1");
    }

    #[test]
    fn what_cannot_be_read_ends_the_list() {
        assert_eq!(client("10.0.0.1", &["1.1.1.1, unknown, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(client("10.0.0.1", &["1.1.1.1, "]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["\u{e9}"]), "10.0.0.1");
    }
}
