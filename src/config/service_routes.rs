//! Routes that services claim by their tags, as it is meant: who may claim what.

use std::sync::Arc;

use ipnet::IpNet;

use super::{Accepts, Forwarding, Glob, Host, Target};

/// Who may claim routes, and which.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceRoutes {
    /// What a tag begins with that claims one; not empty.
    pub tag_prefix: String,
    /// The names of those who may; at least one.
    pub services: Vec<Glob>,
    /// The hosts that may be claimed; at least one.
    pub hosts: Vec<Claimable>,
    /// Beginnings of the paths that may be claimed; at least one.
    pub paths: Vec<String>,
    /// Most services that are followed for it.
    pub max_services: usize,
    /// Key of route commands in Consul's KV store, and prefix of more behind a slash.
    pub kv: Option<String>,
    /// Whether a service may have its certificates go unchecked.
    pub skip_verify: bool,
}

/// Hosts that may be claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimable {
    /// All of them, and all hosts at once.
    Everything,
    /// All hosts at once.
    Hostless,
    /// This one, or those below it.
    Named(Host),
}

/// What a connection without requests comes to, where services claim those.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Door {
    /// A listener at this port.
    Port(u16),
    /// This name, or one of these, in its TLS greeting.
    Name(Host),
}

/// Where such connections go.
#[derive(Debug, Clone, PartialEq)]
pub struct Passage {
    /// At least one; several share them by weight.
    pub targets: Vec<Target>,
    /// Only clients of these networks, unless there are none.
    pub only: Vec<IpNet>,
    /// No client of these.
    pub but: Vec<IpNet>,
    /// Who claims it.
    pub origin: Arc<str>,
}

impl Passage {
    /// True if a client of that address may pass.
    pub fn admits(&self, client: std::net::IpAddr) -> bool {
        let is_in = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&client));
        (self.only.is_empty() || is_in(&self.only)) && !is_in(&self.but)
    }
}

/// What services claim a listener's connections by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed {
    /// Its port.
    Port,
    /// The name in the TLS greeting, into which connections are looked for it.
    Name,
}

/// Who of a list is meant, beside a tag.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Only {
    /// They carry all of these tags.
    pub with: Vec<Arc<str>>,
    /// There is none of these sets of which they carry all tags.
    pub without: Vec<Vec<Arc<str>>>,
    /// They are at none of these addresses.
    pub except: Vec<(String, u16)>,
}

/// The tag of a service that claims routes by its metadata.
const OWN_TAG: &str = "lictor";
/// What the keys of such metadata begin with; and with a `=` behind it, a tag that says the same.
pub const OWN_ROUTE: &str = "lictor-route";

impl ServiceRoutes {
    /// True if a tag says that its service claims something.
    pub fn announces(&self, tag: &str) -> bool {
        let tag = tag.trim();
        tag.starts_with(&self.tag_prefix) || tag == OWN_TAG || self.claims(tag).is_some()
    }

    /// What a tag claims, if it claims anything.
    pub fn claims<'a>(&self, tag: &'a str) -> Option<&'a str> {
        let tag = tag.trim();
        let own = || tag.strip_prefix(OWN_ROUTE)?.strip_prefix('=');
        tag.strip_prefix(self.tag_prefix.as_str()).or_else(own)
    }

    /// True if a service of that name may claim anything.
    pub fn admits(&self, service: &str) -> bool {
        self.services.iter().any(|glob| glob.fits(service))
    }

    /// True if requests of that host and path may be claimed.
    pub fn allows(&self, host: &Host, path: &str) -> bool {
        self.allows_host(host) && self.paths.iter().any(|allowed| path.starts_with(allowed.as_str()))
    }

    /// True if that host may be claimed.
    pub fn allows_host(&self, host: &Host) -> bool {
        self.hosts.iter().any(|allowed| match (allowed, host) {
            (Claimable::Everything, _) | (Claimable::Hostless, Host::Any) => true,
            (Claimable::Hostless, _) | (Claimable::Named(_), Host::Any) => false,
            (Claimable::Named(allowed), host) => allowed.covers(host),
        })
    }
}

impl Accepts {
    /// True if services claim its connections by the name in the TLS greeting.
    pub fn goes_by_claimed_names(&self) -> bool {
        matches!(self, Accepts::Tcp(Forwarding { claimed: Some(Claimed::Name), .. }))
    }
}

impl Only {
    /// True if somebody with these tags is meant, wherever that is.
    pub fn fits(&self, tags: &[Box<str>]) -> bool {
        let carries = |tag: &Arc<str>| tags.iter().any(|own| **own == **tag);
        self.with.iter().all(carries) && !self.without.iter().any(|set| set.iter().all(carries))
    }
}
