//! Routes: which requests they take. What becomes of those is `action`'s business.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::Method;
use http::header::{HOST, HeaderName};
use regex::bytes::RegexBuilder;

use super::super::documents::{self, Joined};
use super::super::text::nearest;
use super::super::{Action, Ends, HeaderRules, Host, Match, Predicates, Principal, Redirect, Route, Spot, raw};
use super::egress::Written;
use super::{Problems, action, modifier, networks};

/// A pattern that needs more room than this is not one to match every request with.
const LARGEST_REGEX: usize = 1 << 20;

/// What routes lean on.
pub(super) struct Told<'a> {
    pub(super) written: Written<'a>,
    pub(super) defaults: &'a raw::Policy,
    pub(super) joined: &'a [Joined],
}

impl Told<'_> {
    /// The name of a cluster that there is.
    pub(super) fn cluster(&self, key: &str, written: &str, problems: &mut Problems) -> Arc<str> {
        known(key, written, self.written, problems);
        written.into()
    }
}

/// Sees to it that there is a cluster of that name, with endpoints.
pub(super) fn known(key: &str, name: &str, written: Written<'_>, problems: &mut Problems) {
    if !written.clusters.contains_key(name) {
        problems.add(key, no_cluster(name, written.clusters));
    } else if written.is_policy(name) {
        let what = format!(
            "cluster \"{name}\" has no endpoints of its own, only a policy for the service that is asked for by name"
        );
        problems.add(key, format!("{what}; add consul = {{ service = \"{name}\" }} to it"));
    }
}

/// That there is none of that name, and what might be meant.
fn no_cluster(written: &str, clusters: &BTreeMap<String, raw::Cluster>) -> String {
    match nearest(written, clusters.keys().map(String::as_str)) {
        Some(meant) => format!("no cluster \"{written}\"; did you mean \"{meant}\"?"),
        None => format!("no cluster \"{written}\"; add [clusters.{written}]"),
    }
}

pub(super) fn routes(written: Vec<raw::Route>, told: &Told<'_>, problems: &mut Problems) -> Vec<Arc<Route>> {
    let mut names = BTreeSet::new();
    let mut places = BTreeMap::<_, Vec<usize>>::new();
    let mut routes: Vec<Arc<Route>> = Vec::new();
    for (index, mut route) in written.into_iter().enumerate() {
        let key = format!("routes[{index}]");
        let host = host(&format!("{key}.host"), route.host.as_deref(), problems);
        let path = path(&format!("{key}.path"), route.path.as_deref(), problems);
        let mut predicates = predicates(&key, &mut route, problems);
        let rules = route.response_headers.take();
        let response_headers = rules.map_or_else(HeaderRules::default, |rules| {
            modifier::headers(&format!("{key}.response_headers"), rules, modifier::Side::Response, problems)
        });
        let name = name(&key, route.name.take(), (&host, &path, &mut names), problems);
        let action = action::action(&key, route, told, problems);
        if let Action::Redirect(redirect) = &action {
            predicates.not_at = not_at(redirect);
        }
        let beside = places.entry((host.to_string(), path.clone())).or_default();
        if let Some(first) = beside.iter().find(|other| routes[**other].predicates == predicates) {
            let advice = "give it another host or path, or something else to go by, such as methods or headers";
            let first = documents::route(told.joined, *first, index);
            problems.add(&key, format!("takes the same requests as {first}; {advice}"));
        }
        beside.push(index);
        let (name, ends, origin) = (name.into(), Ends::Segment, None);
        routes.push(Arc::new(Route { name, host, path, ends, predicates, action, response_headers, origin }));
    }
    routes
}

/// A redirect that changes nothing but the scheme is for those who came by another one.
fn not_at(redirect: &Redirect) -> Option<Box<Spot>> {
    let scheme = redirect.scheme.filter(|_| redirect.host.is_none() && redirect.path.is_none());
    scheme.map(|scheme| Box::new(Spot { scheme: Some(scheme), ..Spot::default() }))
}

fn name(
    key: &str,
    written: Option<String>,
    (host, path, names): (&Host, &str, &mut BTreeSet<String>),
    problems: &mut Problems,
) -> String {
    let Some(name) = written else {
        let plain = format!("{host}{path}");
        // Several may share host and path; the first of them has the plain name.
        let numbered = (2..).map(|number| format!("{plain}#{number}"));
        let free = std::iter::once(plain.clone()).chain(numbered).find(|name| names.insert(name.clone()));
        return free.unwrap_or(plain);
    };
    if name.is_empty() || name.len() > 256 || name.chars().any(char::is_control) {
        problems.add(format!("{key}.name"), "a name has 1 to 256 visible characters");
    }
    if !names.insert(name.clone()) {
        problems.add(format!("{key}.name"), format!("\"{name}\" is the name of another route"));
    }
    name
}

/// A host, which may be a wildcard for everything below a domain.
pub(super) fn host(key: &str, written: Option<&str>, problems: &mut Problems) -> Host {
    let Some(written) = written else { return Host::Any };
    let host = Host::parse(written).filter(|host| !matches!(host, Host::At(..)));
    if host.is_none() {
        problems.add(
            key,
            format!("\"{written}\" is not a host; use \"shop.example.com\" or \"*.example.com\", without a port"),
        );
    }
    host.unwrap_or_else(|| Host::Exact(written.to_ascii_lowercase()))
}

/// A path without the slash at its end.
pub(super) fn path(key: &str, written: Option<&str>, problems: &mut Problems) -> String {
    let written = written.unwrap_or("/");
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '*' | '\\' | '"' | '<' | '>');
    if !written.starts_with('/') || !written.chars().all(plain) || written.contains("//") {
        problems.add(key, format!("\"{written}\" is not a path prefix; use \"/api/\", without wildcard or query"));
    }
    written.trim_end_matches('/').to_owned()
}

fn predicates(key: &str, route: &mut raw::Route, problems: &mut Problems) -> Predicates {
    let methods = some(&format!("{key}.methods"), route.methods.take(), problems);
    let server_names = some(&format!("{key}.server_names"), route.server_names.take(), problems);
    let identities = some(&format!("{key}.identities"), route.identities.take(), problems);
    let client_networks = some(&format!("{key}.client_networks"), route.client_networks.take(), problems);
    let mut predicates = Predicates {
        client_networks: networks(&format!("{key}.client_networks"), &client_networks, problems),
        ..Predicates::default()
    };
    for (index, method) in methods.iter().enumerate() {
        match Method::from_bytes(method.as_bytes()) {
            // Methods are told apart by case, so that one in lower case would never come.
            Ok(known) if !method.bytes().any(|byte| byte.is_ascii_lowercase()) => predicates.methods.push(known),
            _ => problems.add(format!("{key}.methods[{index}]"), format!("\"{method}\" is no method; use \"GET\"")),
        }
    }
    for (index, name) in server_names.iter().enumerate() {
        predicates.server_names.push(host(&format!("{key}.server_names[{index}]"), Some(name), problems));
    }
    for (index, pattern) in identities.iter().enumerate() {
        predicates.identities.push(identity(&format!("{key}.identities[{index}]"), pattern, problems));
    }
    for (index, condition) in std::mem::take(&mut route.headers).into_iter().enumerate() {
        let key = format!("{key}.headers[{index}]");
        let name = header_name(&format!("{key}.name"), &condition.name, problems);
        if name.as_ref() == Some(&HOST) {
            problems.add(format!("{key}.name"), "the route's host is what Host is matched with; use that");
        }
        predicates.headers.extend(name.zip(condition_of(&key, condition, problems)));
    }
    for (index, condition) in std::mem::take(&mut route.query).into_iter().enumerate() {
        let key = format!("{key}.query[{index}]");
        if condition.name.is_empty() {
            problems.add(format!("{key}.name"), "is empty; name a parameter");
        }
        let name = condition.name.clone();
        predicates.query.extend(condition_of(&key, condition, problems).map(|found| (name, found)));
    }
    predicates
}

/// A list that has something in it, if there is one.
fn some(key: &str, written: Option<Vec<String>>, problems: &mut Problems) -> Vec<String> {
    if written.as_ref().is_some_and(Vec::is_empty) {
        problems.add(key, "is empty, and would take nothing; leave the key out to take all");
    }
    written.unwrap_or_default()
}

fn identity(key: &str, pattern: &str, problems: &mut Problems) -> Principal {
    let (name, is_prefix) = pattern.strip_suffix('*').map_or((pattern, false), |prefix| (prefix, true));
    if pattern.is_empty() || name.contains('*') || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        let advice = "use a name as certificates have it, with a * at its end at most: \"spiffe://example.com/*\"";
        problems.add(key, format!("\"{pattern}\" is not an identity; {advice}"));
    }
    if is_prefix { Principal::Prefix(name.to_owned()) } else { Principal::Exact(name.to_owned()) }
}

pub(super) fn header_name(key: &str, written: &str, problems: &mut Problems) -> Option<HeaderName> {
    let name = written.parse().ok();
    if name.is_none() {
        problems.add(key, format!("\"{written}\" is not the name of a header"));
    }
    name
}

fn condition_of(key: &str, written: raw::Condition, problems: &mut Problems) -> Option<Match> {
    let raw::Condition { name: _, value, prefix, regex, present } = written;
    match (value, prefix, regex, present) {
        (Some(value), None, None, None) => Some(Match::Value(value)),
        (None, Some(prefix), None, None) => Some(Match::Prefix(prefix)),
        (None, None, Some(regex), None) => self::regex(&format!("{key}.regex"), regex, problems),
        (None, None, None, Some(true)) => Some(Match::Present),
        (None, None, None, Some(false)) => Some(Match::Absent),
        _ => {
            problems.add(key, "needs exactly one of value, prefix, regex and present");
            None
        }
    }
}

/// Matches bytes and all of them, in a time that grows with their number and not faster.
fn regex(key: &str, written: String, problems: &mut Problems) -> Option<Match> {
    let built = RegexBuilder::new(&format!("^(?:{written})$")).unicode(false).size_limit(LARGEST_REGEX).build();
    // On its own first: the frame must not mend what is broken.
    let alone = RegexBuilder::new(&written).unicode(false).size_limit(LARGEST_REGEX).build();
    match alone.and(built) {
        Ok(regex) => Some(Match::Regex(regex, written)),
        Err(error) => {
            let error = error.to_string();
            let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
            problems.add(key, format!("\"{written}\" is not a regular expression: {reason}"));
            None
        }
    }
}
