//! The last lists, and the documents and route commands that counted last, as a file's content: a line with a version and a checksum, and JSON behind it. What is not exactly what was
//! written, or was written for another catalogue, is not read at all: better no list than a wrong one.
//!
//! Of a suspect it says nothing: whoever is on a list here could serve when it was written.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use crate::config::{self, Agent, Consul, Documents, Lookup, MAX_WEIGHT, Selection};
use crate::endpoint::{Address, List, Listed, Locality, Status};

/// What the first line begins with.
const MAGIC: &str = "lictor-lists";
/// Another one when what follows is no longer read by older ones.
const VERSION: u32 = 1;

/// One list, and when its source last stood by it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Kept {
    pub(super) selection: Selection,
    pub(super) list: List,
    pub(super) heard: SystemTime,
}

/// All that is kept.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Content {
    pub(super) lists: Vec<Kept>,
    /// The documents beside the file that counted last; none if none ever did.
    pub(super) documents: Option<Arc<Documents>>,
    /// The route commands that counted last, as they stand in the store; none if none ever did.
    pub(super) commands: Option<Arc<Documents>>,
}

/// Whose lists they are: what another agent says of a service of the same name is no list of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Catalogue {
    agent: String,
    datacenter: Option<String>,
    namespace: Option<String>,
}

/// Why a file's content is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Not one of ours, or its beginning is lost.
    #[error("it does not begin as a file of last lists does")]
    Unknown,
    /// Of a later lictor.
    #[error("it has version {0}; this lictor reads version {VERSION}")]
    Version(u32),
    /// Cut short, or changed.
    #[error("its checksum does not fit its content: it was cut short or changed")]
    Checksum,
    /// As it was written, and still no lists.
    #[error("its content is not what it should be: {0}")]
    Content(#[from] serde_json::Error),
    /// Of another catalogue.
    #[error("it is of {0}, and this is {1}")]
    Foreign(Box<Catalogue>, Box<Catalogue>),
}

#[derive(Serialize, Deserialize)]
struct Body {
    catalogue: Catalogue,
    lists: Vec<Entry>,
    #[serde(default)]
    documents: Option<BTreeMap<String, String>>,
    #[serde(default)]
    commands: Option<BTreeMap<String, String>>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    service: String,
    filter: Option<String>,
    datacenter: Option<String>,
    #[serde(default)]
    peer: Option<String>,
    #[serde(default)]
    lookup: Option<String>,
    /// Seconds since 1970.
    heard: u64,
    endpoints: Vec<Endpoint>,
}

#[derive(Serialize, Deserialize)]
struct Endpoint {
    address: String,
    id: String,
    status: String,
    weight: u32,
    node: Option<String>,
    zone: Option<String>,
    datacenter: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    identity: Option<String>,
}

impl Catalogue {
    /// That of these settings.
    pub(super) fn of(settings: &Consul) -> Self {
        let agent = match &settings.address {
            Agent::Url(url) => url.clone(),
            Agent::Unix(path) => format!("unix://{path}"),
        };
        Catalogue { agent, datacenter: settings.datacenter.clone(), namespace: settings.namespace.clone() }
    }
}

impl std::fmt::Display for Catalogue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.agent)?;
        for (name, value) in [("datacenter", &self.datacenter), ("namespace", &self.namespace)] {
            if let Some(value) = value {
                write!(f, ", {name} {value}")?;
            }
        }
        Ok(())
    }
}

/// What to write for this content.
pub(super) fn encode(catalogue: &Catalogue, content: &Content) -> Result<Vec<u8>, Error> {
    // Those that counted were text.
    let text = |(key, value): (&String, &Vec<u8>)| (key.clone(), String::from_utf8_lossy(value).into_owned());
    let texts = |all: &Option<Arc<Documents>>| all.as_ref().map(|all| all.iter().map(text).collect());
    let (documents, commands) = (texts(&content.documents), texts(&content.commands));
    let lists = content.lists.iter().map(entry).collect();
    let body = Body { catalogue: catalogue.clone(), lists, documents, commands };
    let body = serde_json::to_vec(&body)?;
    let mut content = format!("{MAGIC} {VERSION} {}\n", checksum(&body)).into_bytes();
    content.extend(body);
    Ok(content)
}

/// What was written for this catalogue.
pub(super) fn decode(content: &[u8], ours: &Catalogue) -> Result<Content, Error> {
    let end = content.iter().position(|byte| *byte == b'\n').ok_or(Error::Unknown)?;
    let (line, body) = (std::str::from_utf8(&content[..end]).map_err(|_| Error::Unknown)?, &content[end + 1..]);
    let mut words = line.split(' ');
    let version = match (words.next(), words.next().and_then(|version| version.parse().ok())) {
        (Some(MAGIC), Some(version)) => version,
        _ => return Err(Error::Unknown),
    };
    if version != VERSION {
        return Err(Error::Version(version));
    }
    if words.next() != Some(&checksum(body)) {
        return Err(Error::Checksum);
    }
    let body: Body = serde_json::from_slice(body)?;
    if body.catalogue != *ours {
        return Err(Error::Foreign(Box::new(body.catalogue), Box::new(ours.clone())));
    }
    let bytes = |(key, text): (String, String)| (key, text.into_bytes());
    let all = |texts: Option<BTreeMap<String, String>>| texts.map(|all| Arc::new(all.into_iter().map(bytes).collect()));
    let (documents, commands) = (all(body.documents), all(body.commands));
    Ok(Content { lists: body.lists.into_iter().filter_map(kept).collect(), documents, commands })
}

fn checksum(body: &[u8]) -> String {
    let mut text = String::new();
    for byte in digest::digest(&digest::SHA256, body).as_ref() {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn entry(kept: &Kept) -> Entry {
    let Selection { service, filter, datacenter, peer, lookup } = kept.selection.clone();
    let lookup = Some(lookup.name().to_owned());
    let heard = kept.heard.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Entry { service, filter, datacenter, peer, lookup, heard, endpoints: kept.list.iter().map(endpoint).collect() }
}

fn endpoint(listed: &Listed) -> Endpoint {
    let owned = |name: &Option<Box<str>>| name.as_deref().map(str::to_owned);
    let Locality { node, zone, datacenter } = &listed.locality;
    let status = if listed.status == Status::Suspect { Status::Passing } else { listed.status };
    Endpoint {
        address: listed.address.to_string(),
        id: listed.id.to_string(),
        status: status.name().to_owned(),
        weight: listed.weight,
        node: owned(node),
        zone: owned(zone),
        datacenter: owned(datacenter),
        tags: listed.tags.iter().map(|tag| tag.to_string()).collect(),
        identity: listed.identity.as_deref().map(str::to_owned),
    }
}

fn kept(entry: Entry) -> Option<Kept> {
    let Entry { service, filter, datacenter, peer, lookup, heard, endpoints } = entry;
    let lookup = lookup.as_deref().map_or(Some(Lookup::Service), Lookup::named)?;
    // In the order of addresses, each once, whatever stands there.
    let list: BTreeMap<Address, Listed> =
        endpoints.into_iter().filter_map(listed).map(|listed| (listed.address.clone(), listed)).collect();
    Some(Kept {
        selection: Selection { service, filter, datacenter, peer, lookup },
        list: list.into_values().collect(),
        // A time that no clock shows was not written by us.
        heard: UNIX_EPOCH.checked_add(Duration::from_secs(heard)).unwrap_or(UNIX_EPOCH),
    })
}

fn listed(endpoint: Endpoint) -> Option<Listed> {
    let (host, port) = config::parse_address(&endpoint.address)?;
    let boxed = |name: Option<String>| name.map(Box::from);
    let known = [Status::Passing, Status::Warning, Status::Maintenance];
    Some(Listed {
        address: Address::new(&host, port),
        id: Arc::from(endpoint.id),
        // Who is in no state that we know does not serve.
        status: known.into_iter().find(|status| status.name() == endpoint.status).unwrap_or(Status::Critical),
        weight: endpoint.weight.min(MAX_WEIGHT),
        locality: Locality {
            node: boxed(endpoint.node),
            zone: boxed(endpoint.zone),
            datacenter: boxed(endpoint.datacenter),
        },
        tags: endpoint.tags.into_iter().map(Box::from).collect(),
        identity: endpoint.identity.map(Arc::from),
        level: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;

    fn catalogue(more: &str) -> Catalogue {
        let text = format!("[[listeners]]\nname='a'\nbind='127.0.0.1:0'\n[consul]\n{more}");
        Catalogue::of(&config::parse(&text, &Environment::default()).unwrap().consul)
    }

    fn content() -> Content {
        let locality = Locality { node: Some("n1".into()), zone: Some("ü".into()), datacenter: None };
        let address = Address::from(([127, 0, 0, 1], 80));
        let first = Listed { status: Status::Warning, weight: 7, locality, id: "n1/a".into(), ..Listed::new(address) };
        let second =
            Listed { status: Status::Critical, tags: ["v2".into()].into(), ..Listed::new(Address::new("::1", 81)) };
        let third = Listed { status: Status::Maintenance, ..Listed::new(Address::new("db.example.com", 82)) };
        let selection =
            Selection { filter: Some("\"x\" in Tags".into()), lookup: Lookup::Connect, ..Selection::of("web") };
        let bare = Selection { datacenter: Some("dc2".into()), ..Selection::of("none") };
        let heard = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let documents = Documents::from([("l/ü".to_owned(), "[[routes]]\n".into())]);
        let lists = vec![
            Kept { selection, list: [first, second, third].into(), heard },
            Kept { selection: bare, list: [].into(), heard },
        ];
        let commands = Documents::from([("fabio/config".to_owned(), "route del web\n".into())]);
        Content { lists, documents: Some(Arc::new(documents)), commands: Some(Arc::new(commands)) }
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        let written = encode(&catalogue(""), &content()).unwrap();
        assert_eq!(decode(&written, &catalogue("")).unwrap(), content());
    }

    #[test]
    fn a_file_from_before_there_were_documents_is_read_all_the_same() {
        let without = Content { documents: None, commands: None, ..content() };
        let written = String::from_utf8(encode(&catalogue(""), &without).unwrap()).unwrap();
        let (_, body) = written.split_once('\n').unwrap();
        let body = body.replace(",\"documents\":null,\"commands\":null", "");
        assert!(!body.contains("documents"));
        let older = format!("{MAGIC} {VERSION} {}\n{body}", checksum(body.as_bytes()));
        assert_eq!(decode(older.as_bytes(), &catalogue("")).unwrap(), without);
    }

    #[test]
    fn a_suspect_is_written_down_as_who_it_was() {
        let mut content = content();
        content.lists[0].list =
            [Listed { status: Status::Suspect, ..Listed::new(Address::from(([127, 0, 0, 1], 80))) }].into();
        let read = decode(&encode(&catalogue(""), &content).unwrap(), &catalogue("")).unwrap();
        assert_eq!(read.lists[0].list[0].status, Status::Passing);
    }

    #[test]
    fn whatever_is_cut_or_changed_is_noticed() {
        let written = encode(&catalogue(""), &content()).unwrap();
        for length in 0..written.len() {
            assert!(decode(&written[..length], &catalogue("")).is_err(), "cut to {length}");
            let mut changed = written.clone();
            changed[length] ^= 1;
            assert!(decode(&changed, &catalogue("")).is_err(), "changed at {length}");
        }
        let more = [&written[..], b" "].concat();
        assert!(matches!(decode(&more, &catalogue("")), Err(Error::Checksum)));
    }

    #[test]
    fn another_version_and_another_kind_of_file_are_named() {
        let content = String::from_utf8(encode(&catalogue(""), &content()).unwrap()).unwrap();
        let newer = content.replacen("lictor-lists 1 ", "lictor-lists 2 ", 1);
        assert!(matches!(decode(newer.as_bytes(), &catalogue("")), Err(Error::Version(2))));
        for text in ["", "\n", "{}", "{\n}\n", "lictor-lists\n", "lictor-lists one x\n{}", "\u{fffd}\n"] {
            assert!(matches!(decode(text.as_bytes(), &catalogue("")), Err(Error::Unknown)), "{text:?}");
        }
        let empty = format!("{MAGIC} {VERSION} {}\n{{}}", checksum(b"{}"));
        assert!(matches!(decode(empty.as_bytes(), &catalogue("")), Err(Error::Content(_))));
    }

    #[test]
    fn lists_of_another_catalogue_are_not_ours() {
        let ours = catalogue("");
        for other in ["address='10.0.0.1:8500'", "datacenter='dc2'", "namespace='b'", "address='unix:///run/consul'"] {
            let error = decode(&encode(&catalogue(other), &content()).unwrap(), &ours).unwrap_err();
            assert!(matches!(error, Error::Foreign(..)), "{other}: {error}");
        }
        let error = decode(&encode(&catalogue("datacenter='dc2'"), &Content::default()).unwrap(), &ours)
            .unwrap_err()
            .to_string();
        assert_eq!(error, "it is of http://127.0.0.1:8500, datacenter dc2, and this is http://127.0.0.1:8500");
    }
}
