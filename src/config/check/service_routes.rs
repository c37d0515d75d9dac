//! `[service_routes]`: who may claim what.

use super::super::{Accepts, Claimable, Config, Glob, Host, ServiceRoutes, raw};
use super::Problems;

// Defaults; `config/reference.toml` says why each is what it is.
const TAG_PREFIX: &str = "urlprefix-";
const MAX_SERVICES: usize = 1000;
/// Far beyond what one agent answers for.
const MOST_SERVICES: usize = 100_000;

/// What services may claim; nothing unless that is turned on.
pub(super) fn check(written: raw::ServiceRoutes, problems: &mut Problems) -> Option<ServiceRoutes> {
    let enabled = written.enabled.unwrap_or(false);
    let tag_prefix = written.tag_prefix.unwrap_or_else(|| TAG_PREFIX.to_owned());
    if tag_prefix.trim().is_empty() || tag_prefix.trim() != tag_prefix {
        let advice = "use a text without spaces at its ends, such as \"urlprefix-\"";
        problems.add(
            "service_routes.tag_prefix",
            format!("\"{tag_prefix}\" would take tags that mean nothing of it; {advice}"),
        );
    }
    let max_services = written.max_services.unwrap_or(MAX_SERVICES);
    if !(1..=MOST_SERVICES).contains(&max_services) {
        let message = format!("{max_services} is not a number of services; use 1 to {MOST_SERVICES}");
        problems.add("service_routes.max_services", message);
    }
    let services = some("services", written.services, problems).into_iter().map(Glob::new).collect();
    let hosts = some("hosts", written.hosts, problems);
    let claimable = |(index, host): (usize, &String)| claimable(index, host, problems);
    let hosts = hosts.iter().enumerate().filter_map(claimable).collect();
    let paths = match written.paths {
        None => vec!["/".to_owned()],
        paths => some("paths", paths, problems),
    };
    for (index, path) in paths.iter().enumerate().filter(|(_, path)| !path.starts_with('/')) {
        let message = format!("\"{path}\" is not the beginning of a path; use \"/\" or \"/api/\"");
        problems.add(format!("service_routes.paths[{index}]"), message);
    }
    let kv = written.kv.inspect(|key| {
        // The agent answers a key that begins with a slash with a redirect to another.
        if key.trim_end_matches('/').is_empty() || key.starts_with('/') || key.chars().any(char::is_control) {
            let message = format!("\"{key}\" is not a key; use \"fabio/config\", without a slash before it");
            problems.add("service_routes.kv", message);
        }
    });
    let kv = kv.map(|key| key.trim_end_matches('/').to_owned());
    let skip_verify = written.tls_skip_verify.unwrap_or(false);
    enabled.then_some(ServiceRoutes { tag_prefix, services, hosts, paths, max_services, kv, skip_verify })
}

/// Sees to it that services can claim what listeners leave to them.
pub(super) fn check_listeners(config: &Config, problems: &mut Problems) {
    if config.service_routes.is_some() {
        return;
    }
    for (index, listener) in config.listeners.iter().enumerate() {
        let Accepts::Tcp(forwarding) = &listener.accepts else { continue };
        if forwarding.claimed.is_some() && forwarding.cluster.is_none() && forwarding.names.is_empty() {
            let message = "leads nowhere, since nobody may claim anything; add [service_routes] with enabled = true";
            problems.add(format!("listeners[{index}].service_routes"), message);
        }
    }
}

/// A list that has something in it; if there is none, the one that lets everything in.
fn some(key: &str, written: Option<Vec<String>>, problems: &mut Problems) -> Vec<String> {
    if written.as_ref().is_some_and(Vec::is_empty) {
        problems
            .add(format!("service_routes.{key}"), "is empty, and would let nothing in; set enabled = false for that");
    }
    written.unwrap_or_else(|| vec!["*".to_owned()])
}

fn claimable(index: usize, written: &str, problems: &mut Problems) -> Option<Claimable> {
    match written {
        "*" => return Some(Claimable::Everything),
        "" => return Some(Claimable::Hostless),
        _ => {}
    }
    let named = Host::parse(written).filter(|host| !matches!(host, Host::At(..)));
    if named.is_none() {
        let advice = "use \"shop.example.com\", \"*.example.com\", \"*\" for all, or \"\" for routes without a host";
        problems.add(format!("service_routes.hosts[{index}]"), format!("\"{written}\" is not a host; {advice}"));
    }
    named.map(Claimable::Named)
}
