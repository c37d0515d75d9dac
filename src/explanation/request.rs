//! A request as somebody describes it who wants to know what would become of it.

use std::net::{IpAddr, Ipv4Addr};

use http::header::{HOST, HeaderName, HeaderValue};
use http::{Method, Uri, request};

use crate::config::{Accepts, Listener};
use crate::message::{Downstream, Sender, Trusted, is_host};

/// What is known of a request; what is not said is as usual.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Description {
    /// Where it comes in; the first listener for HTTP if absent.
    pub listener: Option<String>,
    /// Its method; GET if absent.
    pub method: Option<String>,
    /// Its host, with a port if it has one.
    pub host: String,
    /// Its path and query; `/` if absent.
    pub path: Option<String>,
    /// Its headers, each `Name: value`.
    pub headers: Vec<String>,
    /// The address at the other end of its connection; our own host if absent.
    pub client: Option<String>,
    /// `http` or `https`; as the listener has it if absent.
    pub scheme: Option<String>,
    /// The name in its TLS handshake; its host if absent.
    pub server_name: Option<String>,
    /// Who its client has proved to be.
    pub identities: Vec<String>,
}

/// What is wrong with a description, by the name of what is wrong, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {said:?} {right}")]
pub struct Wrong {
    what: &'static str,
    said: String,
    right: String,
}

/// A request that has not been made.
pub(super) struct Request<'a> {
    pub(super) listener: &'a Listener,
    pub(super) head: request::Parts,
    pub(super) host: String,
    downstream: Downstream,
    trusted: Trusted,
}

impl Request<'_> {
    pub(super) fn sender(&self) -> Sender<'_> {
        Sender::new(&self.downstream, &self.trusted)
    }
}

impl Description {
    /// As it would come in.
    pub(super) fn request<'a>(&self, listeners: &'a [Listener]) -> Result<Request<'a>, Wrong> {
        let listener = self.listener(listeners)?;
        let host = self.host.trim();
        let wrong_host = || wrong("host", &self.host, "is no host; use a name or an address, with a port or without");
        if host.is_empty() || !is_host(host.as_bytes()) {
            return Err(wrong_host());
        }
        let (mut head, ()) = http::Request::new(()).into_parts();
        if let Some(method) = &self.method {
            head.method = Method::from_bytes(method.as_bytes()).map_err(|_| wrong("method", method, "is no method"))?;
        }
        let path = self.path.as_deref().unwrap_or("/");
        let wrong_path = || wrong("path", path, "is no path; begin with a slash, and escape what is not for a URI");
        if !path.starts_with('/') && path != "*" || path.contains('#') {
            return Err(wrong_path());
        }
        head.uri = Uri::try_from(path).map_err(|_| wrong_path())?;
        for line in &self.headers {
            let (name, value) = header(line)?;
            head.headers.append(name, value);
        }
        head.headers.insert(HOST, HeaderValue::from_str(host).map_err(|_| wrong_host())?);
        let trusted = Trusted::new(&listener.trusted_networks);
        Ok(Request { listener, head, host: host.to_owned(), downstream: self.downstream(listener, host)?, trusted })
    }

    fn listener<'a>(&self, listeners: &'a [Listener]) -> Result<&'a Listener, Wrong> {
        let is_http = |listener: &&Listener| listener.accepts == Accepts::Http;
        let names = || listeners.iter().filter(is_http).map(|listener| &*listener.name).collect::<Vec<_>>().join(", ");
        let Some(name) = &self.listener else {
            let first = listeners.iter().find(is_http);
            return first.ok_or_else(|| wrong("listener", "", "is not there: no listener takes HTTP"));
        };
        let found = listeners.iter().find(|listener| *listener.name == **name);
        found
            .filter(is_http)
            .ok_or_else(|| wrong("listener", name, &format!("is no listener for HTTP; there is {}", names())))
    }

    fn downstream(&self, listener: &Listener, host: &str) -> Result<Downstream, Wrong> {
        let ip: IpAddr = match &self.client {
            None => Ipv4Addr::LOCALHOST.into(),
            Some(client) => client.parse().map_err(|_| wrong("client", client, "is no IP address"))?,
        };
        let is_secure = match self.scheme.as_deref() {
            None => {
                listener.tls.is_some() || listener.mesh || !self.identities.is_empty() || self.server_name.is_some()
            }
            Some("https") => true,
            Some("http") => false,
            Some(other) => return Err(wrong("scheme", other, "is neither \"http\" nor \"https\"")),
        };
        let downstream = Downstream::plain(ip);
        if !is_secure {
            if let Some(name) = &self.server_name {
                return Err(wrong("server_name", name, "goes with https"));
            }
            if let Some(identity) = self.identities.first() {
                return Err(wrong("identity", identity, "goes with https"));
            }
            return Ok(downstream);
        }
        let bare = host.split(':').next().filter(|bare| !bare.starts_with('[') && bare.parse::<IpAddr>().is_err());
        let name = self.server_name.as_deref().or(bare).map(|name| name.to_ascii_lowercase().into());
        Ok(downstream.encrypted(name, self.identities.iter().map(|identity| identity.as_str().into()).collect()))
    }
}

fn header(line: &str) -> Result<(HeaderName, HeaderValue), Wrong> {
    // What is said of a wrong one must not repeat what may be a secret.
    let (name, value) = line.split_once(':').ok_or_else(|| {
        let said = line.chars().take(16).collect::<String>();
        wrong("header", &said, "is no header; use \"Name: value\"")
    })?;
    let parsed =
        HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| wrong("header", name, "is no header's name"))?;
    let value =
        HeaderValue::from_str(value.trim()).map_err(|_| wrong("header", name, "has a value that none may have"))?;
    if parsed == HOST {
        return Err(wrong("header", name, "is said by the host"));
    }
    Ok((parsed, value))
}

fn wrong(what: &'static str, said: &str, right: &str) -> Wrong {
    Wrong { what, said: said.to_owned(), right: right.to_owned() }
}
