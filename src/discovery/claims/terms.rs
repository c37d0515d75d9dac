//! The options of a claim: what requests are spoken to endpoints in, what is changed in them, where they are sent instead, and who
//! may send them. Options that nobody knows are left alone, as ever; those that keep clients out are understood or the claim is none.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::Malformed;
use super::redirect::{self, Elsewhere};
use crate::config::{NewHost, Rewrite, Speech};

/// What holds for a claim besides its place and its weight.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Terms {
    /// What endpoints are spoken to in.
    pub(super) proto: Proto,
    /// How, in particular.
    pub(super) speech: Speech,
    /// What is changed in requests.
    pub(super) rewrite: Rewrite,
    /// Where their clients are sent instead.
    pub(super) elsewhere: Option<Elsewhere>,
    /// Who may send them.
    pub(super) access: Access,
    /// Options that mean nothing here, for people.
    pub(super) ignored: Vec<String>,
}

/// What endpoints are spoken to in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Proto {
    #[default]
    Http,
    Https,
    Grpc,
    Grpcs,
    Tcp,
}

/// Who may use a route.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Access {
    #[default]
    Everybody,
    /// These and nobody else.
    Only(Vec<IpNet>),
    /// All but these.
    AllBut(Vec<IpNet>),
}

/// Options as they are written, the last of a name.
#[derive(Debug, Default)]
pub(super) struct Options<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Options<'a> {
    /// `k=v k=v flag`.
    pub(super) fn read(text: &'a str) -> Self {
        Options(text.split_whitespace().map(|option| option.split_once('=').unwrap_or((option, ""))).collect())
    }

    /// True if they say so of connections.
    pub(super) fn is_tcp(&self) -> bool {
        matches!(self.0.get("proto"), Some(&("tcp" | "tcp+sni" | "tcp-dynamic" | "https+tcp+sni")))
    }

    /// What they mean, and the weight among them; 0 if there is none. A redirect's target stands in the option itself, or, where it
    /// is given here, elsewhere.
    pub(super) fn terms(&self, target: Option<&str>) -> Result<(Terms, f64), Malformed> {
        let mut terms = Terms::default();
        let mut weight = 0.0;
        let (mut allow, mut deny) = (None, None);
        for (name, value) in &self.0 {
            match *name {
                "proto" => terms.proto = proto(value)?,
                "strip" => terms.rewrite.strip = beginning(name, value)?,
                "prepend" => terms.rewrite.prepend = beginning(name, value)?.trim_end_matches('/').to_owned(),
                "host" => terms.rewrite.host = new_host(value)?,
                "weight" => weight = self::weight(value)?,
                "redirect" => {}
                "allow" => allow = Some(networks(name, value)?),
                "deny" => deny = Some(networks(name, value)?),
                "tlsskipverify" => terms.speech.skip_verify = *value == "true",
                "grpcservername" if !value.is_empty() => terms.speech.server_name = Some((*value).to_owned()),
                "pxyproto" => terms.speech.proxy_protocol = *value == "true",
                "auth" => return Err(Malformed::new("auth is not there, and without it anybody would get in")),
                other => terms.ignored.push(other.to_owned()),
            }
        }
        terms.access = match (allow, deny) {
            (None, None) => Access::Everybody,
            (Some(allow), None) => Access::Only(allow),
            (None, Some(deny)) => Access::AllBut(deny),
            (Some(_), Some(_)) => return Err(Malformed::new("allow and deny exclude each other")),
        };
        if let Some(written) = self.0.get("redirect") {
            terms.elsewhere = Some(redirect::read(written, target, &terms.rewrite)?);
        }
        terms.settle()?;
        Ok((terms, weight))
    }
}

impl Terms {
    /// True if they are about connections.
    pub(super) fn is_tcp(&self) -> bool {
        self.proto == Proto::Tcp
    }

    /// What the protocol says of how endpoints are spoken to; and what does not go with it.
    fn settle(&mut self) -> Result<(), Malformed> {
        let speech = &mut self.speech;
        match self.proto {
            Proto::Http => {}
            Proto::Https => speech.tls = Some(true),
            Proto::Grpc => (speech.tls, speech.http2) = (Some(false), true),
            Proto::Grpcs => (speech.tls, speech.http2) = (Some(true), true),
            Proto::Tcp => speech.tls = Some(false),
        }
        if speech.tls != Some(true) {
            // They mean nothing where nothing is encrypted.
            (speech.skip_verify, speech.server_name) = (false, None);
        }
        if speech.proxy_protocol && self.proto != Proto::Tcp {
            return Err(Malformed::new("pxyproto goes with proto=tcp"));
        }
        if self.proto == Proto::Tcp && (self.rewrite != Rewrite::default() || self.elsewhere.is_some()) {
            return Err(Malformed::new("strip, prepend, host and redirect are for requests, and proto=tcp has none"));
        }
        Ok(())
    }
}

fn proto(written: &str) -> Result<Proto, Malformed> {
    match written {
        "http" => Ok(Proto::Http),
        "https" => Ok(Proto::Https),
        "grpc" => Ok(Proto::Grpc),
        "grpcs" => Ok(Proto::Grpcs),
        "tcp" | "tcp+sni" | "tcp-dynamic" | "https+tcp+sni" => Ok(Proto::Tcp),
        other => Err(Malformed(format!("proto={other} is not there; use http, https, grpc, grpcs or tcp"))),
    }
}

/// The beginning of a path.
fn beginning(name: &str, written: &str) -> Result<String, Malformed> {
    let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '\\' | '"' | '<' | '>');
    if !written.starts_with('/') || written.starts_with("//") || !written.chars().all(is_plain) {
        return Err(Malformed(format!("{name}={written} is not the beginning of a path; use {name}=/api")));
    }
    Ok(written.to_owned())
}

fn new_host(written: &str) -> Result<NewHost, Malformed> {
    match crate::config::Host::parse(written) {
        _ if written == "dst" => Ok(NewHost::Endpoint),
        Some(crate::config::Host::Exact(_) | crate::config::Host::At(..)) => Ok(NewHost::Named(written.to_owned())),
        _ => Err(Malformed(format!("host={written} is not a host; use host=dst or host=api.example.com"))),
    }
}

/// A part of the whole, or of what is left if it is 0 or less.
pub(super) fn weight(written: &str) -> Result<f64, Malformed> {
    let weight = written.parse::<f64>().ok().filter(|weight| weight.is_finite());
    weight
        .map(|weight| weight.max(0.0))
        .ok_or_else(|| Malformed(format!("the weight \"{written}\" is not a number; use 0.05")))
}

/// Clients are known by their IPv4 address, however they came.
fn plain(network: IpNet) -> IpNet {
    let mapped = |network: ipnet::Ipv6Net| {
        let address = network.addr().to_ipv4_mapped()?;
        ipnet::Ipv4Net::new(address, network.prefix_len().checked_sub(96)?).ok()
    };
    match network {
        IpNet::V6(network) => mapped(network).map_or(IpNet::V6(network), IpNet::V4),
        IpNet::V4(_) => network,
    }
}

/// `ip:10.0.0.0/8,ip:fe80::1`: the word may be missing, and a single address is a network of its own.
fn networks(name: &str, written: &str) -> Result<Vec<IpNet>, Malformed> {
    let network = |item: &str| {
        let item = item.trim();
        let text = item.strip_prefix("ip:").unwrap_or(item);
        let network = text.parse::<IpNet>().ok().map(|network| network.trunc());
        let network = network.or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        network
            .map(plain)
            .ok_or_else(|| Malformed(format!("{name}: \"{item}\" is not an address or a network; use ip:10.0.0.0/8")))
    };
    written.split(',').map(network).collect()
}
