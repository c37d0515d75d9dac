//! Where a claim sends clients: a status and an address, in which `$path` stands for the path and the query of the request, and
//! `$host` for the host that it asked for.

use http::StatusCode;

use super::Malformed;
use crate::config::{Host, NewPath, Redirect, Rewrite, Spot};

/// Those that a client goes on from with the address that it is given.
const STATUSES: [u16; 5] = [301, 302, 303, 307, 308];

/// Where clients are sent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Elsewhere {
    status: u16,
    scheme: Option<&'static str>,
    /// The request's own if absent.
    host: Option<String>,
    port: Option<u16>,
    path: Way,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Own { strip: String, prepend: String },
    Target(String),
}

/// `301,https://www.example.com$path`; or only the status, where the target is given apart.
pub(super) fn read(written: &str, target: Option<&str>, rewrite: &Rewrite) -> Result<Elsewhere, Malformed> {
    let (status, target) = match (written.split_once(','), target) {
        (Some((status, target)), _) => (status, target),
        (None, Some(target)) => (written, target),
        (None, None) => return Err(Malformed(format!("redirect={written} has no target; use redirect=301,https://…"))),
    };
    let Some(status) = status.parse().ok().filter(|status| STATUSES.contains(status)) else {
        return Err(Malformed(format!("redirect={status} is none that clients follow; use 301, 302, 303, 307 or 308")));
    };
    if !target.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '\\' | '"' | '<' | '>')) {
        return Err(Malformed(format!("the redirect's target \"{target}\" is not an address")));
    }
    let (scheme, rest) = scheme(target)?;
    let end = match scheme {
        Some(_) => rest.find(['/', '?', '#']).into_iter().chain(rest.find("$path")).min().unwrap_or(rest.len()),
        None => 0,
    };
    let (host, port) = if scheme.is_some() { authority(&rest[..end])? } else { (None, None) };
    let path = way(&rest[end..], rewrite)?;
    if scheme.is_none() && path == (Way::Own { strip: String::new(), prepend: String::new() }) {
        return Err(Malformed(format!("redirect={written} leads back to itself")));
    }
    Ok(Elsewhere { status, scheme, host, port, path })
}

fn scheme(target: &str) -> Result<(Option<&'static str>, &str), Malformed> {
    if let Some(rest) = target.strip_prefix("https://") {
        return Ok((Some("https"), rest));
    }
    if let Some(rest) = target.strip_prefix("http://") {
        return Ok((Some("http"), rest));
    }
    if target.starts_with('/') && !target.starts_with("//") || target.starts_with("$path") {
        return Ok((None, target));
    }
    Err(Malformed(format!("the redirect's target \"{target}\" is not an address; use https://www.example.com$path")))
}

fn authority(written: &str) -> Result<(Option<String>, Option<u16>), Malformed> {
    let not_one = || Malformed(format!("\"{written}\" is not a host to redirect to"));
    if written == "$host" {
        return Ok((None, None));
    }
    let bracketed = |name: String| if name.contains(':') { format!("[{name}]") } else { name };
    match Host::parse(written) {
        Some(Host::Exact(name)) => Ok((Some(bracketed(name)), None)),
        Some(Host::At(name, port)) => Ok((Some(bracketed(name)), Some(port))),
        _ => Err(not_one()),
    }
}

fn way(written: &str, rewrite: &Rewrite) -> Result<Way, Malformed> {
    let Some((before, after)) = written.split_once("$path") else {
        let target = if written.starts_with('/') { written.to_owned() } else { format!("/{written}") };
        return Ok(Way::Target(target));
    };
    if !after.is_empty() || before.contains(['?', '#', '$']) {
        return Err(Malformed::new("in a redirect, $path stands once, and at the end: it brings the query along"));
    }
    Ok(Way::Own { strip: rewrite.strip.clone(), prepend: before.trim_end_matches('/').to_owned() })
}

impl Elsewhere {
    /// As a route has it.
    pub(super) fn redirect(&self) -> Redirect {
        let path = match &self.path {
            Way::Own { strip, prepend } if strip.is_empty() && prepend.is_empty() => None,
            Way::Own { strip, prepend } => Some(NewPath::Own { strip: strip.clone(), prepend: prepend.clone() }),
            Way::Target(target) => Some(NewPath::Target(target.clone())),
        };
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::TEMPORARY_REDIRECT);
        Redirect { scheme: self.scheme, host: self.host.clone(), port: self.port, path, status }
    }

    /// Where a request to this host must not have come already, lest it be sent there for ever; none if it cannot have.
    pub(super) fn spot(&self, host: &Host) -> Option<Box<Spot>> {
        let may_come = |to: &String| match (to.trim_matches(['[', ']']), host) {
            (to, Host::At(own, _)) => own == to,
            (to, own) => own.covers(&Host::Exact(to.to_owned())),
        };
        if !self.host.as_ref().is_none_or(may_come) {
            return None;
        }
        let path = match &self.path {
            Way::Own { strip, prepend } if strip.is_empty() && prepend.is_empty() => None,
            // Each time it is another.
            Way::Own { .. } => return None,
            Way::Target(target) => Some(target.split(['?', '#']).next().unwrap_or_default().to_owned()),
        };
        let (scheme, host, port) = (self.scheme, self.host.clone(), self.port);
        Some(Box::new(Spot { scheme, host, port, path }))
    }
}
