//! Claims as they are written: `HOST/PATH options` or `:PORT options`, the language of `urlprefix-` tags as Fabio's documentation
//! has it. One text, one claim, or why it is none: what is wrong with one never matters to another.

use super::terms::{self, Terms};
use super::{Claim, Malformed, Place};
use crate::config::Host;

/// The longest path that can be claimed: routes are looked up once for each length that there is.
const LONGEST_PATH: usize = 255;

/// What a claim is read in the light of.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Light<'a> {
    /// What `$DC` stands for, where that is known.
    pub(super) datacenter: Option<&'a str>,
}

/// The claim that a text makes.
pub(super) fn claim(text: &str, light: Light<'_>) -> Result<Claim, Malformed> {
    let text = text.trim();
    let (source, options) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let options = terms::Options::read(options);
    let place = place(&expand(source, light)?, options.is_tcp())?;
    let (terms, weight) = options.terms(None)?;
    claim_of(place, terms, weight)
}

/// The claim of a place on these terms, if they go together.
pub(super) fn claim_of(place: Place, terms: Terms, weight: f64) -> Result<Claim, Malformed> {
    match (&place, terms.is_tcp()) {
        (Place::Port(_), false) => Err(Malformed::new("a port alone is for connections; add proto=tcp, or a path")),
        (Place::Web { .. }, true) => {
            Err(Malformed::new("proto=tcp takes a port, as in :5432, or a host, as in db.example.com/"))
        }
        _ => Ok(Claim { place, terms, weight }),
    }
}

/// Which requests or connections are meant: with a slash somewhere, unless it is a port.
fn place(source: &str, is_tcp: bool) -> Result<Place, Malformed> {
    if source.is_empty() {
        return Err(Malformed::new("says nothing; use HOST/PATH or /PATH"));
    }
    if !source.contains('/') && !source.starts_with(':') {
        if is_tcp {
            let why = "an address is nothing to listen on by itself: use :PORT, and a listener with service_routes = \"port\"";
            return Err(Malformed(format!("\"{source}\": {why}")));
        }
        return Err(Malformed(format!(
            "\"{source}\" has no slash; use \"{source}/\" for a host, \"/{source}\" for a path"
        )));
    }
    self::source(source, is_tcp)
}

/// Which requests or connections are meant; a host alone is all of it.
pub(super) fn source(source: &str, is_tcp: bool) -> Result<Place, Malformed> {
    if let Some(port) = source.strip_prefix(':') {
        let port = port.parse().ok().filter(|port| *port > 0);
        return port.map(Place::Port).ok_or_else(|| Malformed(format!("\"{source}\" is not a port; use \":5432\"")));
    }
    let slash = source.find('/').unwrap_or(source.len());
    let (host, path) = (host(&source[..slash])?, &source[slash..]);
    let path = if path.is_empty() { "/" } else { path };
    let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '\\' | '"' | '<' | '>' | '*' | '{' | '}');
    if !path.chars().all(is_plain) {
        return Err(Malformed(format!("\"{path}\" is not a path: patterns and queries cannot be claimed")));
    }
    if path.len() > LONGEST_PATH {
        return Err(Malformed(format!("the path has {} bytes; {LONGEST_PATH} at most", path.len())));
    }
    match (is_tcp, host) {
        (true, host @ (Host::Exact(_) | Host::Below(_))) if path == "/" => Ok(Place::Name(host)),
        (_, host) => Ok(Place::Web { host, path: path.to_owned() }),
    }
}

fn host(written: &str) -> Result<Host, Malformed> {
    match written {
        "" | "*" => Ok(Host::Any),
        _ => Host::parse(written).ok_or_else(|| {
            let advice = "use shop.example.com, shop.example.com:8080 or *.example.com";
            Malformed(format!("\"{written}\" is not a host; {advice}"))
        }),
    }
}

/// With `$DC` and `${DC}` as what they stand for. There is no other such word.
fn expand(source: &str, light: Light<'_>) -> Result<String, Malformed> {
    let mut expanded = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let (name, behind) = match after.strip_prefix('{') {
            Some(inner) => inner.split_once('}').ok_or_else(|| Malformed::new("a ${ has no end"))?,
            None => after.split_at(after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len())),
        };
        if name != "DC" {
            return Err(Malformed(format!("\"${name}\" stands for nothing here; there is $DC")));
        }
        let datacenter =
            light.datacenter.ok_or_else(|| Malformed::new("$DC is not known: the instance has no datacenter"))?;
        expanded.push_str(datacenter);
        rest = behind;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

#[cfg(test)]
mod tests;
