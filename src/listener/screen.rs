//! What holds for a request's head in every version of HTTP: that it names one host, that its target is one, and that its path
//! and its headers mean the same to everybody. Behind it every request has its target in origin-form and exactly one `Host`.

use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use http::uri::{PathAndQuery, Uri};
use http::{Method, StatusCode, request};

use crate::config::{Http, Paths, Underscores};
use crate::message::{self, path};

/// Why a request is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    /// What of it is wrong, for a person.
    pub(super) what: &'static str,
}

/// What is said to be served, beside `CONNECT`.
pub(super) const SERVED: &str = "GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS";

/// Refuses a request for that part of it.
pub(super) const fn bad(what: &'static str) -> Refused {
    Refused { status: StatusCode::BAD_REQUEST, what }
}

/// True for a field of HTTP/1.1's connections, which HTTP/2 has none of (RFC 9113 section 8.2.2).
pub(super) fn is_of_http1(name: &HeaderName) -> bool {
    matches!(name.as_str(), "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade")
}

/// Checks a head, and brings it into the form in which it is passed on.
pub(super) fn screen(parts: &mut request::Parts, rules: &Http) -> Result<(), Refused> {
    target(parts, rules)?;
    if rules.paths == Paths::Strict && path::reading(parts.uri.path()) == path::Reading::Wrong {
        return Err(bad("its path, which servers read in more than one way"));
    }
    if parts.headers.keys().any(|name| name.as_str().contains('_')) {
        underscores(&mut parts.headers, rules)?;
    }
    Ok(())
}

/// RFC 9112 section 3.2: the form of the target, and the one host of the request.
fn target(parts: &mut request::Parts, rules: &Http) -> Result<(), Refused> {
    if parts.method == Method::CONNECT {
        return connect(parts, rules);
    }
    let uri = &parts.uri;
    let target = uri.path_and_query().map_or("", PathAndQuery::as_str);
    if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(bad("its target"));
    }
    let Some(authority) = uri.authority() else {
        if !(target.starts_with('/') || target == "*" && parts.method == Method::OPTIONS) {
            return Err(bad("its target"));
        }
        let host = parts.headers.get(HOST).ok_or(bad("Host, which is missing"))?;
        return if message::is_host(host.as_bytes()) { Ok(()) } else { Err(bad("Host, which is none")) };
    };
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(bad("the scheme of its target"));
    }
    if !message::is_host(authority.as_str().as_bytes()) {
        return Err(bad("the host of its target"));
    }
    let same = |host: &HeaderValue| host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes());
    match parts.headers.get(HOST) {
        Some(host) if !same(host) => return Err(bad("Host, which is not that of its target")),
        None if parts.version < http::Version::HTTP_2 => return Err(bad("Host, which is missing")),
        _ => {}
    }
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| bad("the host of its target"))?;
    parts.headers.insert(HOST, host);
    parts.uri = origin_form(&parts.uri, &parts.method)?;
    Ok(())
}

/// A target without its scheme and authority: with a path, if only the empty one.
fn origin_form(uri: &Uri, method: &Method) -> Result<Uri, Refused> {
    let wrong = |_| bad("its target");
    match uri.path_and_query() {
        None => Ok(Uri::from_static("/")),
        Some(target) if target.as_str().starts_with('/') => {
            Uri::builder().path_and_query(target.clone()).build().map_err(|_| bad("its target"))
        }
        Some(target) if target.as_str() == "*" && *method == Method::OPTIONS => Ok(Uri::from_static("*")),
        // "http://host?query" has an empty path.
        Some(target) if target.as_str().starts_with('?') => {
            Uri::try_from(format!("/{}", target.as_str())).map_err(wrong)
        }
        Some(_) => Err(bad("its target")),
    }
}

/// `CONNECT` names a host and a port, and nothing else (RFC 9110 section 9.3.6).
fn connect(parts: &mut request::Parts, rules: &Http) -> Result<(), Refused> {
    if !rules.connect {
        return Err(Refused { status: StatusCode::METHOD_NOT_ALLOWED, what: "CONNECT is not served here" });
    }
    let wrong = bad("its target, which is a host and a port");
    let authority = parts.uri.authority().ok_or(wrong)?;
    let alone = parts.uri.path_and_query().is_none() && parts.uri.scheme().is_none();
    if !alone || authority.port_u16().is_none() || !message::is_host(authority.as_str().as_bytes()) {
        return Err(wrong);
    }
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| wrong)?;
    match parts.headers.get(HOST) {
        Some(host) if !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) => {
            return Err(bad("Host, which is not that of its target"));
        }
        None if parts.version < http::Version::HTTP_2 => return Err(bad("Host, which is missing")),
        _ => {}
    }
    parts.headers.insert(HOST, host);
    Ok(())
}

fn underscores(headers: &mut HeaderMap, rules: &Http) -> Result<(), Refused> {
    let with = headers.keys().filter(|name| name.as_str().contains('_')).cloned();
    for name in with.collect::<Vec<HeaderName>>() {
        match rules.underscores {
            // Whoever takes it for what it looks like would read another message than we do.
            _ if message::frames(&name.as_str().replace('_', "-")) => {
                return Err(bad("the name of a header, which looks like one that frames the message"));
            }
            Underscores::Refuse => return Err(bad("the name of a header, which has an underscore")),
            Underscores::Keep if !message::is_ours(&name.as_str().replace('_', "-")) => {}
            Underscores::Keep | Underscores::Drop => {
                headers.remove(name);
            }
        }
    }
    Ok(())
}
