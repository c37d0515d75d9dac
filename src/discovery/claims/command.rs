//! Route commands, as they stand in the KV store: `route add`, `route del` and `route weight`, a line each, in the language of Fabio's
//! documentation. A text is understood whole or not at all: half of what somebody ordered is an order that nobody gave.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::terms::{self, Options, Terms};
use super::text::{self, claim_of};
use super::{Claim, Malformed, Place};
use crate::config::parse_address;

/// Lines that are commands, of all keys; a table that long is written by a machine, for another one.
const MOST: usize = 2000;

/// What is ordered, and where that stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ordered {
    pub(super) command: Command,
    /// Key and line.
    pub(super) origin: Arc<str>,
}

/// What is ordered.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Command {
    /// One more instance for a place.
    Add { service: String, claim: Box<Claim>, address: Option<(String, u16)>, tags: Vec<Arc<str>> },
    /// Instances go from all places, or from one.
    Del { who: Who, place: Option<(Place, Place)>, address: Option<(String, u16)> },
    /// Instances at a place have this share together; 0 for no share of their own.
    Weigh { who: Who, place: (Place, Place), weight: f64 },
}

/// Whose instances are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Who {
    /// Any if absent.
    pub(super) service: Option<String>,
    /// They carry all of these.
    pub(super) tags: Vec<Arc<str>>,
}

/// The commands under these keys, in the order of the keys and of their lines.
pub(super) fn read(values: &BTreeMap<String, String>) -> Result<Vec<Ordered>, Malformed> {
    let mut commands = Vec::new();
    for (key, text) in values {
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') || line.starts_with("//") {
                continue;
            }
            let origin: Arc<str> = format!("{key}, line {}", number + 1).into();
            let command = command(line).map_err(|Malformed(why)| Malformed(format!("{origin}: {why}")))?;
            commands.push(Ordered { command, origin });
            if commands.len() > MOST {
                return Err(Malformed(format!("there are more than {MOST} commands")));
            }
        }
    }
    Ok(commands)
}

fn command(line: &str) -> Result<Command, Malformed> {
    let words = words(line)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match &words[..] {
        ["route", "add", rest @ ..] => add(rest),
        ["route", "del", rest @ ..] => del(rest),
        ["route", "weight", rest @ ..] => weigh(rest),
        _ => Err(Malformed::new("a command begins with route add, route del or route weight")),
    }
}

/// `SERVICE SOURCE TARGET [weight W] [tags "A,B"] [opts "K=V …"]`
fn add(words: &[&str]) -> Result<Command, Malformed> {
    let usage = || Malformed::new("use route add SERVICE SOURCE TARGET [weight W] [tags \"A,B\"] [opts \"K=V …\"]");
    let [service, source, target, rest @ ..] = words else { return Err(usage()) };
    let (mut rest, mut own, mut tags, mut opts) = (rest, None, Vec::new(), "");
    if let ["weight", weight, behind @ ..] = rest {
        (own, rest) = (Some(terms::weight(weight)?), behind);
    }
    if let ["tags", list, behind @ ..] = rest {
        (tags, rest) = (self::tags(list), behind);
    }
    if let ["opts", list, behind @ ..] = rest {
        (opts, rest) = (list, behind);
    }
    if !rest.is_empty() {
        return Err(usage());
    }
    let (scheme, address) = self::target(target);
    let scheme = format!("proto={scheme}");
    // The target's scheme is the protocol, unless an option says another.
    let all = if scheme == "proto=" { opts.to_owned() } else { format!("{scheme} {opts}") };
    let options = Options::read(&all);
    let (terms, weight) = options.terms(Some(target))?;
    let address = match (terms.elsewhere.is_some(), address) {
        (true, _) => None,
        (false, Some(address)) => Some(address),
        (false, None) => return Err(Malformed(format!("\"{target}\" is not a target; use http://10.0.0.1:8000/"))),
    };
    let claim = Box::new(claim_of(place(source, &terms)?, terms, own.unwrap_or(weight))?);
    Ok(Command::Add { service: (*service).to_owned(), claim, address, tags })
}

/// `SERVICE [SOURCE [TARGET]]`, `SERVICE tags "A,B"` or `tags "A,B"`
fn del(words: &[&str]) -> Result<Command, Malformed> {
    let who = |service: &str, tags: &str| {
        let tags = self::tags(tags);
        let service = Some(service).filter(|service| !service.is_empty()).map(str::to_owned);
        // Without a tag or a service it would be everything.
        if tags.is_empty() && service.is_none() {
            Err(Malformed::new("tags \"\" names nobody"))
        } else {
            Ok(Who { service, tags })
        }
    };
    match words {
        ["tags", tags] => Ok(Command::Del { who: who("", tags)?, place: None, address: None }),
        [service, "tags", tags] => Ok(Command::Del { who: who(service, tags)?, place: None, address: None }),
        [service] => Ok(Command::Del { who: who(service, "")?, place: None, address: None }),
        [service, source] => Ok(Command::Del { who: who(service, "")?, place: Some(places(source)?), address: None }),
        [service, source, target] => {
            let address = self::target(target).1;
            let not_one = || Malformed(format!("\"{target}\" is not a target; use http://10.0.0.1:8000/"));
            let (place, address) = (Some(places(source)?), Some(address.ok_or_else(not_one)?));
            Ok(Command::Del { who: who(service, "")?, place, address })
        }
        _ => Err(Malformed::new("use route del SERVICE [SOURCE [TARGET]], or route del [SERVICE] tags \"A,B\"")),
    }
}

/// `SERVICE SOURCE weight W [tags "A,B"]` or `SOURCE weight W tags "A,B"`
fn weigh(words: &[&str]) -> Result<Command, Malformed> {
    let (service, source, weight, tags) = match words {
        [service, source, "weight", weight] => (Some(*service), source, weight, ""),
        [service, source, "weight", weight, "tags", tags] => (Some(*service), source, weight, *tags),
        [source, "weight", weight, "tags", tags] => (None, source, weight, *tags),
        _ => return Err(Malformed::new("use route weight [SERVICE] SOURCE weight W [tags \"A,B\"]")),
    };
    let who = Who { service: service.map(str::to_owned), tags: self::tags(tags) };
    Ok(Command::Weigh { who, place: places(source)?, weight: terms::weight(weight)? })
}

/// Where a command's source is, for requests, or for connections.
fn place(source: &str, terms: &Terms) -> Result<Place, Malformed> {
    text::source(source, terms.is_tcp())
}

/// The place of requests, and that of connections, which a source can be meant for.
fn places(source: &str) -> Result<(Place, Place), Malformed> {
    Ok((text::source(source, false)?, text::source(source, true)?))
}

/// Scheme and address of a target: a URL, or host and port.
fn target(written: &str) -> (&str, Option<(String, u16)>) {
    let (scheme, rest) = written.split_once("://").unwrap_or(("", written));
    let authority = &rest[..rest.find(['/', '?']).unwrap_or(rest.len())];
    let usual = match scheme {
        "http" | "grpc" => Some(80),
        "https" | "grpcs" => Some(443),
        _ => None,
    };
    let with_port = |port: u16| parse_address(&format!("{authority}:{port}"));
    (scheme, parse_address(authority).or_else(|| with_port(usual?)))
}

fn tags(list: &str) -> Vec<Arc<str>> {
    list.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(Arc::from).collect()
}

/// The words of a line; what stands in quotes is one.
fn words(line: &str) -> Result<Vec<String>, Malformed> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (word, behind) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or_else(|| Malformed::new("a quotation has no end"))?,
            None => rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len())),
        };
        words.push(word.to_owned());
        rest = behind.trim_start();
    }
    Ok(words)
}

#[cfg(test)]
mod tests;
