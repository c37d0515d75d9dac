//! What becomes of a route's requests: exactly one action, and what goes with it.

use std::sync::Arc;

use http::StatusCode;

use super::super::text::is_host_name;
use super::super::{Action, Forward, HeaderRules, MAX_WEIGHT, Mirror, NewPath, Redirect, Respond, Target, Terms, raw};
use super::balancing::hash_key;
use super::modifier::{Side, header_value, headers};
use super::policy::table;
use super::route::{Told, path};
use super::{Problems, protection};

const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];
const PLAIN_TEXT: &str = "text/plain; charset=utf-8";
/// What is longer is a page, and pages have servers.
const LARGEST_BODY: usize = 64 * 1024;

pub(super) fn action(key: &str, mut written: raw::Route, told: &Told<'_>, problems: &mut Problems) -> Action {
    let actions = [
        ("cluster", written.cluster.is_some()),
        ("split", written.split.is_some()),
        ("redirect", written.redirect.is_some()),
        ("respond", written.respond.is_some()),
    ];
    let given: Vec<&str> = actions.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
    if given.is_empty() {
        problems.add(key, "does nothing; add cluster = \"…\", or split, redirect or respond");
    }
    if let [first, second, ..] = given[..] {
        problems.add(format!("{key}.{second}"), format!("stands beside {first}; keep one of them"));
    }
    let redirect = written.redirect.take().map(|redirect| self::redirect(key, redirect, problems));
    let respond = written.respond.take().map(|respond| self::respond(key, respond, problems));
    if written.split_by.is_some() && written.split.is_none() {
        problems.add(format!("{key}.split_by"), "goes with split");
    }
    let own = redirect.map(Action::Redirect).or(respond.map(Action::Respond));
    if own.is_some() {
        only_forwarded(key, &written, problems);
    }
    own.unwrap_or_else(|| Action::Forward(Arc::new(forward(key, written, told, problems))))
}

/// What means nothing where nothing is passed on.
fn only_forwarded(key: &str, written: &raw::Route, problems: &mut Problems) {
    for (name, given) in [
        ("replace_prefix", written.replace_prefix.is_some()),
        ("host_header", written.host_header.is_some()),
        ("request_headers", written.request_headers.is_some()),
        ("mirror", written.mirror.is_some()),
        ("timeouts", written.timeouts.is_some()),
        ("retry", written.retry.is_some()),
    ] {
        if given {
            problems.add(format!("{key}.{name}"), "goes with cluster or split: nothing is passed on here");
        }
    }
}

fn forward(key: &str, written: raw::Route, told: &Told<'_>, problems: &mut Problems) -> Forward {
    let targets = match (&written.cluster, &written.split) {
        (Some(cluster), _) => vec![target(key, &format!("{key}.cluster"), (cluster, 1), (&written, told), problems)],
        (None, shares) => split(key, shares.as_deref().unwrap_or_default(), (&written, told), problems),
    };
    let split_by = written.split_by.as_deref().and_then(|by| {
        let known = hash_key(by);
        if known.is_none() {
            let advice = "use \"header:NAME\", \"cookie:NAME\" or \"client_address\"";
            problems.add(format!("{key}.split_by"), format!("\"{by}\" is nothing to go by; {advice}"));
        }
        known
    });
    let replace_prefix = written.replace_prefix.as_deref();
    let replace_prefix = replace_prefix.map(|prefix| path(&format!("{key}.replace_prefix"), Some(prefix), problems));
    let host_header = written.host_header.as_deref().and_then(|host| {
        if !is_authority(host) {
            problems.add(
                format!("{key}.host_header"),
                format!("\"{host}\" is not a host; use \"api.internal\" or \"api.internal:8080\""),
            );
        }
        header_value(&format!("{key}.host_header"), host, problems)
    });
    let mirror = written.mirror.as_ref().map(|mirror| self::mirror(key, mirror, (&written, told), problems));
    let request_headers = written.request_headers.map_or_else(HeaderRules::default, |rules| {
        headers(&format!("{key}.request_headers"), rules, Side::Request, problems)
    });
    Forward { targets, split_by, replace_prefix, host_header, request_headers, mirror }
}

fn is_authority(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0)) && is_host(host)
}

/// A name, an IPv4 address, or an IPv6 address in brackets.
fn is_host(host: &str) -> bool {
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_six = inner.is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok());
    is_six || host.parse::<std::net::Ipv4Addr>().is_ok() || is_host_name(host)
}

fn split(
    key: &str,
    shares: &[raw::Share],
    (written, told): (&raw::Route, &Told<'_>),
    problems: &mut Problems,
) -> Vec<Target> {
    let mut targets = Vec::new();
    for (index, share) in shares.iter().enumerate() {
        let place = format!("{key}.split[{index}]");
        let weight = share.weight.unwrap_or(1);
        if weight > MAX_WEIGHT {
            problems.add(format!("{place}.weight"), format!("{weight} is not a weight; use 0 to {MAX_WEIGHT}"));
        }
        if shares[..index].iter().any(|other| other.cluster == share.cluster) {
            problems.add(format!("{place}.cluster"), format!("\"{}\" stands here twice; use a weight", share.cluster));
        }
        let cluster = (share.cluster.as_str(), weight);
        targets.push(target(key, &format!("{place}.cluster"), cluster, (written, told), problems));
    }
    if written.split.is_some() && targets.iter().all(|target| target.weight == 0) {
        problems.add(format!("{key}.split"), "has nobody with a weight; give one to somebody");
    }
    targets
}

/// A cluster, and what the route says over the cluster's own word.
fn target(
    key: &str,
    place: &str,
    (cluster, weight): (&str, u32),
    (written, told): (&raw::Route, &Told<'_>),
    problems: &mut Problems,
) -> Target {
    let index = told.cluster(place, cluster, problems);
    let terms = told.written.clusters.get(cluster).and_then(|cluster| terms(key, cluster, (written, told), problems));
    Target { cluster: index, weight, terms: terms.map(Box::new), rewrite: None }
}

fn terms(
    key: &str,
    cluster: &raw::Cluster,
    (written, told): (&raw::Route, &Told<'_>),
    problems: &mut Problems,
) -> Option<Terms> {
    if written.timeouts.is_none() && written.retry.is_none() {
        return None;
    }
    if written.retry.as_ref().is_some_and(|retry| retry.budget.is_some()) {
        problems.add(format!("{key}.retry.budget"), "is the cluster's, and shared by all its routes; set it there");
    }
    let timeouts = table(cluster.timeouts.clone(), &told.defaults.timeouts);
    let retry = table(cluster.retry.clone(), &told.defaults.retry);
    let check = |timeouts: Option<raw::Timeouts>, retry: Option<raw::Retry>, problems: &mut Problems| Terms {
        timeouts: protection::timeouts(key, timeouts.unwrap_or_default(), problems),
        retry: protection::retry(key, retry.unwrap_or_default(), problems),
    };
    // What the cluster brings along by itself has been reported there.
    let (mut inherited, mut merged) = (Problems::default(), Problems::default());
    check(timeouts.clone(), retry.clone(), &mut inherited);
    let terms = check(table(written.timeouts.clone(), &timeouts), table(written.retry.clone(), &retry), &mut merged);
    for problem in merged.0.into_iter().filter(|problem| !inherited.0.contains(problem)) {
        // A split has several clusters, and one mistake.
        if !problems.0.contains(&problem) {
            problems.0.push(problem);
        }
    }
    Some(terms)
}

fn mirror(
    key: &str,
    mirror: &raw::Mirror,
    (written, told): (&raw::Route, &Told<'_>),
    problems: &mut Problems,
) -> Mirror {
    let percent = mirror.percent.unwrap_or(100.0);
    if !(percent > 0.0 && percent <= 100.0) {
        problems.add(format!("{key}.mirror.percent"), format!("{percent} is not a share; use up to 100, above 0"));
    }
    let cluster = (mirror.cluster.as_str(), 1);
    Mirror { target: target(key, &format!("{key}.mirror.cluster"), cluster, (written, told), problems), percent }
}

fn redirect(key: &str, written: raw::Redirect, problems: &mut Problems) -> Redirect {
    let key = format!("{key}.redirect");
    let scheme = match written.scheme.as_deref() {
        None => None,
        Some("http") => Some("http"),
        Some("https") => Some("https"),
        Some(other) => {
            problems.add(format!("{key}.scheme"), format!("\"{other}\" is not a scheme; use \"https\" or \"http\""));
            None
        }
    };
    if let Some(host) = written.host.as_deref().filter(|host| !is_host(host)) {
        problems
            .add(format!("{key}.host"), format!("\"{host}\" is not a host; use \"www.example.com\", without a port"));
    }
    if written.port == Some(0) {
        problems.add(format!("{key}.port"), "0 is not a port; use 1 to 65535");
    }
    let changes = [written.host.is_some(), written.port.is_some(), written.path.is_some(), written.prefix.is_some()];
    if written.scheme.is_none() && !changes.contains(&true) {
        problems.add(&key, "leads back to itself; add scheme, host, port, path or prefix");
    }
    let path = match (written.path, written.prefix) {
        (None, None) => None,
        (Some(whole), None) => {
            path(&format!("{key}.path"), Some(&whole), problems);
            Some(NewPath::Whole(whole))
        }
        (None, Some(prefix)) => Some(NewPath::Prefix(path(&format!("{key}.prefix"), Some(&prefix), problems))),
        (Some(_), Some(_)) => {
            problems.add(format!("{key}.prefix"), "stands beside path; keep one of them");
            None
        }
    };
    let code = written.status.unwrap_or(308);
    if !REDIRECTS.contains(&code) {
        problems.add(format!("{key}.status"), format!("{code} is no redirect; use 301, 302, 303, 307 or 308"));
    }
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::PERMANENT_REDIRECT);
    Redirect { scheme, host: written.host.map(|host| host.to_ascii_lowercase()), port: written.port, path, status }
}

fn respond(key: &str, written: raw::Respond, problems: &mut Problems) -> Respond {
    let key = format!("{key}.respond");
    let code = written.status.unwrap_or(200);
    if !(200..=599).contains(&code) {
        problems.add(format!("{key}.status"), format!("{code} is no status of an answer; use 200 to 599"));
    }
    let body = written.body.unwrap_or_default();
    if body.len() > LARGEST_BODY {
        problems.add(format!("{key}.body"), format!("{} bytes are too many; use {LARGEST_BODY} at most", body.len()));
    }
    if !body.is_empty() && [204, 205, 304].contains(&code) {
        problems.add(format!("{key}.body"), format!("an answer of {code} has none"));
    }
    if body.is_empty() && written.content_type.is_some() {
        problems.add(format!("{key}.content_type"), "goes with a body");
    }
    let kind = written.content_type.as_deref().unwrap_or(PLAIN_TEXT);
    let content_type = header_value(&format!("{key}.content_type"), kind, problems).filter(|_| !body.is_empty());
    Respond { status: StatusCode::from_u16(code).unwrap_or_default(), body: body.into(), content_type }
}
