//! Which requests a route takes, and what becomes of them, as it is meant.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use ipnet::IpNet;
use regex::bytes::Regex;

use super::text::{is_host_name, parse_address};
use super::{HashKey, Retry, Timeouts};

/// A rule from request to action.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Label in metrics; `host` and `path` if none was written.
    pub name: Arc<str>,
    /// Which `Host`s.
    pub host: Host,
    /// Prefix, starting with a slash; empty for every path. Without a slash at the end unless it is just a text.
    pub path: String,
    /// Where the prefix may end.
    pub ends: Ends,
    /// What else a request has to be.
    pub predicates: Predicates,
    /// What becomes of it.
    pub action: Action,
    /// What is changed in the head of the answer.
    pub response_headers: HeaderRules,
    /// Who told it, if it is not of the file.
    pub origin: Option<Arc<str>>,
}

/// Which hosts a route takes; lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// Every host.
    Any,
    /// This one, at whatever port.
    Exact(String),
    /// This one at this port, which a request has to name unless it is its scheme's own.
    At(String, u16),
    /// Everything below this domain, which is written without `*.`.
    Below(String),
}

/// Where a prefix may end in a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// Where a segment ends: `/api` takes `/api/x` and not `/apis`.
    Segment,
    /// Anywhere: `/api` takes `/apis` as well.
    Anywhere,
}

/// What a request has to be beside its host and path: all of it. What is empty asks for nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Predicates {
    /// One of these.
    pub methods: Vec<Method>,
    /// Each of these holds for a header of its name.
    pub headers: Vec<(HeaderName, Match)>,
    /// Each of these holds for a query parameter of its name.
    pub query: Vec<(String, Match)>,
    /// The client's address is in one of these.
    pub client_networks: Vec<IpNet>,
    /// The name in the TLS handshake is one of these.
    pub server_names: Vec<Host>,
    /// The client has proved to be one of these.
    pub identities: Vec<Principal>,
    /// It came elsewhere than there: whoever is sent there must not be sent there again.
    pub not_at: Option<Box<Spot>>,
}

/// Where requests come, as far as that is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spot {
    /// By this scheme.
    pub scheme: Option<&'static str>,
    /// To this host, lower case and in brackets if it is an IPv6 address.
    pub host: Option<String>,
    /// To this port; with a host and without a port, to the scheme's own.
    pub port: Option<u16>,
    /// With exactly this path.
    pub path: Option<String>,
}

/// What a value has to be. Where there are several of one name, one of them.
#[derive(Debug, Clone)]
pub enum Match {
    /// Any at all.
    Present,
    /// There must be none.
    Absent,
    /// Exactly this.
    Value(String),
    /// This, and whatever follows.
    Prefix(String),
    /// All of it looks like this; and how that was written.
    Regex(Regex, String),
}

/// Who a client may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// This one.
    Exact(String),
    /// Whoever's name begins like this.
    Prefix(String),
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// It is passed on.
    Forward(Arc<Forward>),
    /// Its client is sent elsewhere.
    Redirect(Redirect),
    /// It is answered here.
    Respond(Respond),
}

/// Where a request is passed on to, and what is changed in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Forward {
    /// At least one; several share the requests by weight.
    pub targets: Vec<Target>,
    /// What ties a client to its part.
    pub split_by: Option<HashKey>,
    /// In place of the route's prefix; without a slash at the end, empty to strip it.
    pub replace_prefix: Option<String>,
    /// In place of the request's `Host`.
    pub host_header: Option<HeaderValue>,
    /// What is changed in its head.
    pub request_headers: HeaderRules,
    /// Where a copy goes.
    pub mirror: Option<Mirror>,
}

/// One of the clusters that a route's requests go to.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Name of a cluster.
    pub cluster: Arc<str>,
    /// Share relative to the others; 0 for one that serves only if no other can.
    pub weight: u32,
    /// In place of the cluster's own, if the route has any.
    pub terms: Option<Box<Terms>>,
    /// What is changed in a request that goes there, before all that the route changes.
    pub rewrite: Option<Box<Rewrite>>,
}

/// What is changed in a request for the sake of where it goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rewrite {
    /// What is taken from the beginning of its path, if it is there.
    pub strip: String,
    /// What is put in front of that.
    pub prepend: String,
    /// In place of its `Host`.
    pub host: NewHost,
}

/// What takes the place of a request's `Host`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum NewHost {
    /// Nothing.
    #[default]
    Same,
    /// The endpoint's own host and port.
    Endpoint,
    /// This one.
    Named(String),
}

/// What a route holds a cluster's requests to.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    /// How long anything may take.
    pub timeouts: Timeouts,
    /// When another attempt is made.
    pub retry: Retry,
}

/// Where a client is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// `http` or `https`; the request's own if absent.
    pub scheme: Option<&'static str>,
    /// Another host; an IPv6 address in brackets.
    pub host: Option<String>,
    /// Another port.
    pub port: Option<u16>,
    /// Another path.
    pub path: Option<NewPath>,
    /// How it is said.
    pub status: StatusCode,
}

/// What takes the place of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewPath {
    /// This, whatever it was.
    Whole(String),
    /// This in place of the route's prefix; without a slash at the end.
    Prefix(String),
    /// The request's own, but for what is taken from its beginning and what is put in front of that.
    Own {
        /// Taken from it if it is there.
        strip: String,
        /// Put in front.
        prepend: String,
    },
    /// This with its query, and nothing of the request.
    Target(String),
}

/// An answer that is always the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Respond {
    /// Its status.
    pub status: StatusCode,
    /// Its body, perhaps empty.
    pub body: Bytes,
    /// What the body is, if there is one.
    pub content_type: Option<HeaderValue>,
}

/// A copy of requests, whose answers nobody waits for.
#[derive(Debug, Clone, PartialEq)]
pub struct Mirror {
    /// Where it goes, without retries; its weight means nothing.
    pub target: Target,
    /// Share of the requests, 0 to 100.
    pub percent: f64,
}

/// What is changed in a head: removed, then set, then added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderRules {
    /// All that have the name go.
    pub remove: Vec<HeaderName>,
    /// In place of all that have the name.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Beside those that have the name.
    pub add: Vec<(HeaderName, HeaderValue)>,
}

impl std::fmt::Display for Spot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Spot { scheme, host, port, path } = self;
        f.write_str(scheme.unwrap_or_default())?;
        if host.is_some() || port.is_some() {
            f.write_str("://")?;
        }
        f.write_str(host.as_deref().unwrap_or_default())?;
        port.iter().try_for_each(|port| write!(f, ":{port}"))?;
        f.write_str(path.as_deref().unwrap_or_default())
    }
}

impl Predicates {
    /// How many there are: the more, the more particular.
    pub fn count(&self) -> usize {
        let lists = [
            self.methods.is_empty(),
            self.client_networks.is_empty(),
            self.server_names.is_empty(),
            self.identities.is_empty(),
            self.not_at.is_none(),
        ];
        self.headers.len() + self.query.len() + lists.into_iter().filter(|is_empty| !is_empty).count()
    }
}

impl PartialEq for Match {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Match::Present, Match::Present) | (Match::Absent, Match::Absent) => true,
            (Match::Value(a), Match::Value(b)) | (Match::Prefix(a), Match::Prefix(b)) => a == b,
            (Match::Regex(_, a), Match::Regex(_, b)) => a == b,
            _ => false,
        }
    }
}

impl HeaderRules {
    /// True if they change nothing.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// Changes a head.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
    }
}

impl Host {
    /// A host in any spelling: `shop.example.com`, `shop.example.com:8080`, `*.example.com`, an IP address; none if it is no host.
    pub fn parse(written: &str) -> Option<Host> {
        let lower = written.to_ascii_lowercase();
        if let Some(domain) = lower.strip_prefix("*.") {
            return is_host_name(domain).then(|| Host::Below(domain.to_owned()));
        }
        let is_host = |name: &str| is_host_name(name) || name.parse::<std::net::IpAddr>().is_ok();
        let bare = lower.trim_start_matches('[').trim_end_matches(']');
        if is_host(bare) {
            return Some(Host::Exact(bare.to_owned()));
        }
        parse_address(&lower).map(|(name, port)| Host::At(name, port))
    }

    /// True if it takes all that the other takes, whatever the port.
    pub fn covers(&self, other: &Host) -> bool {
        let is_below = |name: &str, domain: &str| name.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
        match (self, other) {
            (Host::Any, _) => true,
            (Host::Exact(own), Host::Exact(name) | Host::At(name, _)) => own == name,
            (Host::At(..), _) => self == other,
            (Host::Below(own), Host::Below(domain)) => own == domain || is_below(domain, own),
            (Host::Below(own), Host::Exact(name) | Host::At(name, _)) => is_below(name, own),
            (_, Host::Any) | (Host::Exact(_), Host::Below(_)) => false,
        }
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Host::Any => f.write_str("*"),
            Host::Exact(host) => f.write_str(host),
            Host::At(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Host::At(host, port) => write!(f, "{host}:{port}"),
            Host::Below(domain) => write!(f, "*.{domain}"),
        }
    }
}
