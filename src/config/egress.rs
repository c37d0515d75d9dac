//! Names of services, as applications say them to an egress listener: those of Consul's DNS, and a service's bare name. Pure: from a
//! host to what is to be looked up, so that every form is in one table of tests.
//!
//! The grammar is that of Consul's documentation on DNS queries: what stands before the last of the words `service`, `connect` and
//! `query` says who, and what stands behind it says where.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::glob::Glob;
use super::{Draw, Lookup, Selection, Source};

/// What holds for all egress listeners.
#[derive(Debug, Clone, PartialEq)]
pub struct Egress {
    /// What names of services end with, lower case and without a dot at either end.
    pub domain: String,
    /// Which services may be asked for.
    pub services: Vec<Glob>,
    /// In which datacenters, where one is named.
    pub datacenters: Vec<Glob>,
    /// How many names are followed at once.
    pub max_services: usize,
    /// How long a name is followed that nobody asks for.
    pub idle: Duration,
    /// How long a request waits for a name that is asked for the first time.
    pub wait: Duration,
}

/// Who is meant by the host of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    lookup: Lookup,
    service: String,
    tag: Option<String>,
    place: Option<Place>,
}

/// Where a service is looked for, if not in the agent's own datacenter.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Place {
    Datacenter(String),
    Peer(String),
}

/// Why a host is not the name of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nameless {
    /// It is not of the domain, and not a bare name either.
    Foreign,
    /// It is of the domain, and stands for something else than a service.
    Other,
    /// It has parts that no name has.
    Malformed,
}

/// Longest name, as in DNS.
const LONGEST: usize = 253;
const LONGEST_LABEL: usize = 63;

impl Egress {
    /// Who is meant by a host, which may carry a port, capitals and a final dot.
    pub fn name(&self, host: &str) -> Result<Name, Nameless> {
        Name::parse(host, &self.domain)
    }

    /// Whether applications may ask for it.
    pub fn allows(&self, name: &Name) -> bool {
        let fits = |globs: &[Glob], text: &str| globs.iter().any(|glob| glob.fits(text));
        let is_near = match &name.place {
            None => true,
            Some(Place::Datacenter(place) | Place::Peer(place)) => fits(&self.datacenters, place),
        };
        is_near && fits(&self.services, &name.service)
    }
}

impl Name {
    /// Who is meant by a host, where names of services end with this domain.
    pub fn parse(host: &str, domain: &str) -> Result<Self, Nameless> {
        let host = host.split(':').next().unwrap_or_default();
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        if host.len() > LONGEST || !host.split('.').all(is_label) {
            return Err(if host.starts_with('[') { Nameless::Foreign } else { Nameless::Malformed });
        }
        if !host.contains('.') {
            return Ok(Name { lookup: Lookup::Service, service: host, tag: None, place: None });
        }
        let rest = host.strip_suffix(domain).and_then(|rest| rest.strip_suffix('.')).ok_or(Nameless::Foreign)?;
        let labels: Vec<&str> = rest.split('.').collect();
        let word = labels.iter().rposition(|label| Word::of(label).is_some()).ok_or(Nameless::Other)?;
        let (who, place) = (&labels[..word], place(&labels[word + 1..])?);
        let (service, tag) = match Word::of(labels[word]) {
            Some(Word::Looked(lookup)) => who_is(lookup, who)?,
            _ => return Err(Nameless::Other),
        };
        let lookup = Lookup::named(labels[word]).ok_or(Nameless::Other)?;
        Ok(Name { lookup, service, tag, place })
    }

    /// The name by which a selection is asked for, if there is one.
    pub fn of(selection: &Selection) -> Option<Self> {
        let service = selection.service.to_ascii_lowercase();
        let place = match (&selection.datacenter, &selection.peer) {
            (Some(place), None) => Some(Place::Datacenter(place.to_ascii_lowercase())),
            (None, Some(place)) => Some(Place::Peer(place.to_ascii_lowercase())),
            (None, None) => None,
            (Some(_), Some(_)) => return None,
        };
        let name = Name { lookup: selection.lookup, service, tag: None, place };
        let whole = if name.is_plain() { name.to_string() } else { format!("{name}.consul") };
        let is_one = selection.filter.is_none() && Name::parse(&whole, "consul").as_ref() == Ok(&name);
        is_one.then_some(name)
    }

    /// Of the service, or of the prepared query.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// How it is looked up.
    pub fn lookup(&self) -> Lookup {
        self.lookup
    }

    /// True for a service as it is, without a word on which of its instances, or where.
    pub fn is_plain(&self) -> bool {
        self.lookup == Lookup::Service && self.tag.is_none() && self.place.is_none()
    }

    /// What is asked of Consul.
    pub fn selection(&self) -> Selection {
        let (datacenter, peer) = match &self.place {
            Some(Place::Datacenter(place)) => (Some(place.clone()), None),
            Some(Place::Peer(place)) => (None, Some(place.clone())),
            None => (None, None),
        };
        Selection { datacenter, peer, lookup: self.lookup, ..Selection::of(&self.service) }
    }

    /// The tag that instances have to carry.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Where the endpoints of a cluster for it come from.
    pub fn source(&self) -> Source {
        Source::Followed(vec![Draw { tag: self.tag.as_deref().map(Arc::from), ..self.selection().into() }])
    }
}

/// The one way to write it: the bare name where nothing else is said, else the name in DNS without its domain.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_plain() {
            return f.write_str(&self.service);
        }
        if let Some(tag) = &self.tag {
            write!(f, "{tag}.")?;
        }
        write!(f, "{}.{}", self.service, self.lookup.name())?;
        match &self.place {
            Some(Place::Datacenter(place)) => write!(f, ".{place}"),
            Some(Place::Peer(place)) => write!(f, ".{place}.peer"),
            None => Ok(()),
        }
    }
}

impl Nameless {
    /// What is said to whoever asked.
    pub fn text(self) -> &'static str {
        match self {
            Nameless::Foreign => {
                "the host is not the name of a service; use NAME or NAME.service.consul, with the domain that is configured\n"
            }
            Nameless::Other => {
                "the host is not the name of a service; there are NAME.service, NAME.connect and NAME.query, each with a datacenter or \
                 without, in the domain that is configured\n"
            }
            Nameless::Malformed => {
                "the host is not the name of a service: it has characters or parts that no name has\n"
            }
        }
    }
}

/// Labels that say what kind of name it is.
enum Word {
    Looked(Lookup),
    /// Known to Consul's DNS, and not a service.
    Other,
}

impl Word {
    fn of(label: &str) -> Option<Word> {
        match label {
            "node" | "addr" | "ingress" | "virtual" => Some(Word::Other),
            word => Lookup::named(word).map(Word::Looked),
        }
    }
}

fn is_label(label: &str) -> bool {
    (1..=LONGEST_LABEL).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// The service, and the tag that it is to carry.
fn who_is(lookup: Lookup, labels: &[&str]) -> Result<(String, Option<String>), Nameless> {
    let (last, before) = labels.split_last().ok_or(Nameless::Other)?;
    // RFC 2782: _service._protocol, where Consul reads a tag for the protocol, and none for tcp.
    if let [first] = before
        && let (Some(service), Some(protocol)) = (first.strip_prefix('_'), last.strip_prefix('_'))
        && lookup != Lookup::Connect
    {
        if service.is_empty() || protocol.is_empty() {
            return Err(Nameless::Malformed);
        }
        let tag = (protocol != "tcp" && lookup == Lookup::Service).then(|| protocol.to_owned());
        return Ok((service.to_owned(), tag));
    }
    match lookup {
        // Names of queries may have dots, and so may tags.
        Lookup::Query => Ok((labels.join("."), None)),
        Lookup::Service => Ok(((*last).to_owned(), (!before.is_empty()).then(|| before.join(".")))),
        Lookup::Connect if before.is_empty() => Ok(((*last).to_owned(), None)),
        Lookup::Connect => Err(Nameless::Other),
    }
}

/// A datacenter as it is, or with the word for what it is.
fn place(labels: &[&str]) -> Result<Option<Place>, Nameless> {
    match labels {
        [] => Ok(None),
        [datacenter] | [datacenter, "dc"] => Ok(Some(Place::Datacenter((*datacenter).to_owned()))),
        [peer, "peer"] => Ok(Some(Place::Peer((*peer).to_owned()))),
        _ => Err(Nameless::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(host: &str) -> Result<String, Nameless> {
        Name::parse(host, "consul").map(|name| {
            let Source::Followed(draws) = name.source() else { return String::new() };
            let tag = draws[0].tag.as_deref().map(|tag| format!("+{tag}")).unwrap_or_default();
            format!("{name} = {}{tag}", draws[0].selection)
        })
    }

    #[test]
    fn each_form_of_consuls_names_says_who_and_where() {
        for (host, expected) in [
            ("web", "web = web"),
            ("web.service.consul", "web = web"),
            ("WEB.Service.Consul.:8080", "web = web"),
            ("web:80", "web = web"),
            ("web.", "web = web"),
            ("v2.web.service.consul", "v2.web.service = web+v2"),
            ("v1.2.web.service.consul", "v1.2.web.service = web+v1.2"),
            ("web.service.dc2.consul", "web.service.dc2 = web@dc2"),
            ("web.service.dc2.dc.consul", "web.service.dc2 = web@dc2"),
            ("v2.web.service.dc2.consul", "v2.web.service.dc2 = web@dc2+v2"),
            ("web.service.far.peer.consul", "web.service.far.peer = web@peer:far"),
            ("web.connect.consul", "web.connect = connect:web"),
            ("web.connect.dc2.consul", "web.connect.dc2 = connect:web@dc2"),
            ("name.query.consul", "name.query = query:name"),
            ("a.b.query.consul", "a.b.query = query:a.b"),
            ("name.query.dc2.consul", "name.query.dc2 = query:name@dc2"),
            ("_name._tcp.query.consul", "name.query = query:name"),
            ("_web._v2.service.consul", "v2.web.service = web+v2"),
            ("_web._tcp.service.consul", "web = web"),
            ("_web._v2.service.dc2.consul", "v2.web.service.dc2 = web@dc2+v2"),
            // A service may have a name that says something else elsewhere: the last word counts.
            ("service.service.consul", "service = service"),
            ("query.service.consul", "query = query"),
            ("service", "service = service"),
            ("consul", "consul = consul"),
            ("consul.service.consul", "consul = consul"),
            ("my_app-2", "my_app-2 = my_app-2"),
        ] {
            assert_eq!(parsed(host).as_deref(), Ok(expected), "{host}");
        }
    }

    #[test]
    fn what_is_no_service_is_told_from_what_is_no_name() {
        let long = format!("{}.service.consul", "a".repeat(64));
        let longer = format!("{}service.consul", "a.".repeat(130));
        for (hosts, expected) in [
            (
                &[
                    "example.com",
                    "127.0.0.1:80",
                    "web.service.example.com",
                    "[::1]:80",
                    "[::1]",
                    "webconsul.",
                    "a.consul2",
                ][..],
                { Nameless::Foreign },
            ),
            (
                &[
                    "web.consul",
                    "web.dc2.consul",
                    "n1.node.consul",
                    "0a000001.addr.consul",
                    "web.ingress.consul",
                    "web.virtual.consul",
                    "service.consul",
                    "v2.web.connect.consul",
                    "web.service.a.b.consul",
                    "web.service.team.ns.consul",
                    "web.service.dc2.peer.dc.consul",
                ],
                Nameless::Other,
            ),
            (
                &[
                    "",
                    ".",
                    "a..service.consul",
                    "web service",
                    "wéb",
                    "a/b",
                    "_._v2.service.consul",
                    "a*",
                    &long,
                    &longer,
                ],
                { Nameless::Malformed },
            ),
        ] {
            for host in hosts {
                let expected =
                    if *host == "webconsul." { Ok("webconsul = webconsul".to_owned()) } else { Err(expected) };
                assert_eq!(parsed(host), expected, "{host}");
            }
        }
    }

    #[test]
    fn a_name_is_read_again_as_it_is_written() {
        for host in [
            "web",
            "v2.web.service.dc2.consul",
            "web.service.far.peer.consul",
            "a.b.query.consul",
            "_a._b.service.consul",
        ] {
            let name = Name::parse(host, "consul").unwrap();
            let whole = if name.is_plain() { name.to_string() } else { format!("{name}.consul") };
            assert_eq!(Name::parse(&whole, "consul"), Ok(name));
        }
    }

    #[test]
    fn a_selection_has_a_name_where_it_can_be_asked_for() {
        for host in ["web", "web.service.dc2.consul", "web.service.far.peer.consul", "a.b.query.consul"] {
            let name = Name::parse(host, "consul").unwrap();
            assert_eq!(Name::of(&name.selection()), Some(name));
        }
        let filtered = Selection { filter: Some("x".to_owned()), ..Selection::of("web") };
        for other in [filtered, Selection::of("a b"), Selection::of("a.b"), Selection::of("")] {
            assert_eq!(Name::of(&other), None);
        }
    }

    #[test]
    fn another_domain_may_have_dots() {
        let parse = |host| Name::parse(host, "consul.example.com").map(|name| name.to_string());
        assert_eq!(parse("web.service.consul.example.com"), Ok("web".to_owned()));
        assert_eq!(parse("web.service.consul"), Err(Nameless::Foreign));
        assert_eq!(parse("consul.example.com"), Err(Nameless::Foreign));
    }

    #[test]
    fn lists_of_what_is_allowed_count_for_services_and_for_places() {
        let globs = |written: &[&str]| written.iter().map(|glob| Glob::new(*glob)).collect();
        let egress = Egress {
            domain: "consul".to_owned(),
            services: globs(&["web", "team-*"]),
            datacenters: globs(&["dc2"]),
            max_services: 1,
            idle: Duration::ZERO,
            wait: Duration::ZERO,
        };
        for (host, allowed) in [
            ("web", true),
            ("v2.web.service.consul", true),
            ("team-a.query.consul", true),
            ("db", false),
            ("web.service.dc2.consul", true),
            ("web.service.dc3.consul", false),
            ("web.service.dc3.peer.consul", false),
        ] {
            assert_eq!(egress.allows(&egress.name(host).unwrap()), allowed, "{host}");
        }
    }
}
