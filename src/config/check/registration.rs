//! Who is entered in the catalogue: the keys of `registration`. What Consul would refuse is refused here, where the key can be named.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::registration::{Check, CheckKind, Own, Registration, Service, Weights};
use super::super::text::{is_host_name, nearest, parse_address};
use super::super::{MAX_WEIGHT, raw};
use super::Problems;

// Defaults; `config/reference.toml` says why each is what it is.
const TTL: Duration = Duration::from_secs(15);
const INTERVAL: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(2);
const RISE: u32 = 1;
const FALL: u32 = 2;
const OWN_REAPED_AFTER: Duration = Duration::from_secs(600);

/// Consul takes a shorter time for this long.
const SHORTEST_REAP: Duration = Duration::from_secs(60);
/// Consul takes a shorter interval for this long; a shorter TTL would be over before a second heartbeat.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
/// Each holds one of the 200 connections that an agent takes from one address.
const MAX_SERVICES: usize = 64;
const MAX_CHECKS: usize = 16;
const MAX_IN_A_ROW: u32 = 1000;
/// Names of services and instances, and of checks.
const MAX_NAME: usize = 255;
// Consul's own bounds.
const MAX_META: usize = 64;
const MAX_META_KEY: usize = 128;
const MAX_META_VALUE: usize = 512;

/// What of the rest of the file the keys lean on.
pub(super) struct Around<'a> {
    /// The names of the listeners that others may come in by.
    pub listeners: &'a [String],
    /// Whether there is an operator's window.
    pub has_window: bool,
}

/// True for a window that the agent can ask without knowing anything.
pub(super) fn can_be_asked(window: &raw::Admin) -> bool {
    !window.bind.starts_with("unix:") && window.tls.is_none()
}

pub(super) fn check(written: raw::Registration, around: &Around<'_>, problems: &mut Problems) -> Registration {
    let (own, services) = own(written, around, problems);
    if own.is_none() && services.is_empty() {
        problems
            .add("registration", "enters nobody; add name = \"edge\" for lictor itself, or [[registration.services]]");
    }
    if services.len() > MAX_SERVICES {
        problems.add("registration.services", format!("{} are too many; {MAX_SERVICES} at most", services.len()));
    }
    let services = services.into_iter().enumerate();
    let services = services.map(|(place, neighbour)| {
        let key = format!("registration.services[{place}]");
        let keep = neighbour.keep.unwrap_or(false);
        let checks = neighbour.checks.is_some();
        let mut service = service(&key, instance(neighbour), problems);
        service.keep = keep;
        if !checks && service.port.is_some() {
            service.checks = vec![plain(CheckKind::Tcp(None))];
        }
        service
    });
    let registration = Registration { own, services: services.collect() };
    check_ids(&registration, problems);
    registration
}

/// What is said of lictor itself, and the rest.
fn own(
    mut written: raw::Registration,
    around: &Around<'_>,
    problems: &mut Problems,
) -> (Option<Own>, Vec<raw::Neighbour>) {
    let services = std::mem::take(&mut written.services);
    let Some(name) = written.name.take() else {
        if let Some(key) = first_key(&written) {
            problems
                .add(format!("registration.{key}"), "is about lictor itself, which has no name; add name = \"edge\"");
        }
        return (None, services);
    };
    let listener = listener(written.listener.take(), written.port.is_some(), around.listeners, problems);
    let own = raw::Neighbour {
        name,
        id: written.id,
        address: written.address,
        port: written.port,
        tags: written.tags,
        meta: written.meta,
        weights: written.weights,
        connect_native: written.connect_native,
        deregister_critical_after: written.deregister_critical_after.or(Some(OWN_REAPED_AFTER)),
        checks: Some(
            written.checks.unwrap_or_else(|| vec![raw::Check { kind: Some("ttl".into()), ..Default::default() }]),
        ),
        keep: None,
    };
    if own.checks.as_ref().is_some_and(Vec::is_empty) {
        problems.add("registration.checks", "is empty; lictor would pass though it is dead. Leave the key out");
    }
    let is_asked_at_window = own.checks.iter().flatten().any(|check| check.kind() == "http" && check.url.is_none());
    if is_asked_at_window && !around.has_window {
        problems.add(
            "registration.checks",
            "the agent asks /readyz of the [admin] listener: it needs one on an address, without TLS",
        );
    }
    let mut own = instance(own);
    own.is_lictor = true;
    (Some(Own { service: service("registration", own, problems), listener: listener.map(Into::into) }), services)
}

/// The first key of lictor's own that is written.
fn first_key(written: &raw::Registration) -> Option<&'static str> {
    let keys = [
        ("id", written.id.is_some()),
        ("listener", written.listener.is_some()),
        ("address", written.address.is_some()),
        ("port", written.port.is_some()),
        ("tags", written.tags.is_some()),
        ("meta", written.meta.is_some()),
        ("weights", written.weights.is_some()),
        ("connect_native", written.connect_native.is_some()),
        ("deregister_critical_after", written.deregister_critical_after.is_some()),
        ("checks", written.checks.is_some()),
    ];
    keys.into_iter().find(|(_, is_written)| *is_written).map(|(key, _)| key)
}

fn listener(written: Option<String>, has_port: bool, known: &[String], problems: &mut Problems) -> Option<String> {
    let key = "registration.listener";
    match written {
        Some(name) if known.contains(&name) => Some(name),
        Some(name) => {
            let advice = match nearest(&name, known.iter().map(String::as_str)) {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None => format!("there are {}", known.join(", ")),
            };
            problems.add(key, format!("no listener \"{name}\" that others could come in by; {advice}"));
            None
        }
        None if known.len() > 1 && !has_port => {
            problems.add("registration", format!("say which listener is entered; there are {}", known.join(", ")));
            None
        }
        None => known.first().filter(|_| known.len() == 1).cloned(),
    }
}

/// An instance as it is written, lictor's or a neighbour's.
struct Instance {
    written: raw::Neighbour,
    is_lictor: bool,
}

fn instance(written: raw::Neighbour) -> Instance {
    Instance { written, is_lictor: false }
}

fn service(key: &str, instance: Instance, problems: &mut Problems) -> Service {
    let Instance { written, is_lictor } = instance;
    name(&format!("{key}.name"), "service", &written.name, problems);
    if let Some(id) = &written.id {
        name(&format!("{key}.id"), "instance", id, problems);
        if id.len() > 1 && id.split('/').any(|segment| ["", ".", ".."].contains(&segment)) {
            let message =
                "is sent in a path, which Consul clears of empty segments and of dots: it would never be taken out";
            problems.add(format!("{key}.id"), message);
        }
    }
    if let Some(address) = written.address.as_ref().filter(|address| !is_host(address)) {
        problems
            .add(format!("{key}.address"), format!("\"{address}\" is not an address; use \"10.0.0.5\" or a host name"));
    }
    if written.port == Some(0) {
        problems.add(format!("{key}.port"), "0 is not a port that others can connect to; leave the key out");
    }
    for (place, tag) in written.tags.iter().flatten().enumerate() {
        name(&format!("{key}.tags[{place}]"), "tag", tag, problems);
    }
    let after = written.deregister_critical_after;
    if after.is_some_and(|after| after < SHORTEST_REAP) {
        problems.add(format!("{key}.deregister_critical_after"), "is shorter than a minute, which Consul takes it for");
    }
    let meta = written.meta.unwrap_or_default();
    check_meta(&format!("{key}.meta"), &meta, problems);
    let subject = Subject { is_lictor, has_port: is_lictor || written.port.is_some() };
    Service {
        name: written.name,
        id: written.id,
        address: written.address,
        port: written.port,
        tags: written.tags.unwrap_or_default(),
        meta,
        weights: weights(key, &written.weights.unwrap_or_default(), problems),
        connect_native: written.connect_native.unwrap_or(false),
        deregister_critical_after: after,
        checks: checks(key, written.checks.unwrap_or_default(), &subject, problems),
        keep: false,
    }
}

/// Whatever may stand in a path and on a screen.
fn name(key: &str, what: &str, name: &str, problems: &mut Problems) {
    let is_path = [".", ".."].contains(&name);
    if name.trim().is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) || is_path {
        let an = if what == "instance" { "an" } else { "a" };
        problems.add(key, format!("{an} {what}'s name has 1 to {MAX_NAME} visible characters, and not only dots"));
    }
}

fn is_host(text: &str) -> bool {
    text.parse::<std::net::IpAddr>().map_or_else(|_| is_host_name(text), |ip| !ip.is_unspecified())
}

fn check_meta(key: &str, meta: &BTreeMap<String, String>, problems: &mut Problems) {
    if meta.len() > MAX_META {
        problems.add(key, format!("has {} keys; Consul takes {MAX_META}", meta.len()));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    for (name, value) in meta {
        let key = format!("{key}.{name}");
        if name.is_empty() || name.len() > MAX_META_KEY || !name.chars().all(plain) || name.starts_with("consul-") {
            let right = "1 to 128 letters, digits, '-' and '_', and does not begin with \"consul-\"";
            problems.add(&key, format!("a key of metadata has {right}"));
        }
        if value.len() > MAX_META_VALUE {
            problems.add(&key, format!("is longer than {MAX_META_VALUE} bytes"));
        }
    }
}

fn weights(key: &str, written: &raw::Weights, problems: &mut Problems) -> Weights {
    let (passing, warning) = (written.passing.unwrap_or(1), written.warning.unwrap_or(1));
    for (name, weight, least) in [("passing", passing, 1), ("warning", warning, 0)] {
        if !(least..=MAX_WEIGHT).contains(&weight) {
            problems
                .add(format!("{key}.weights.{name}"), format!("{weight} is not a weight; use {least} to {MAX_WEIGHT}"));
        }
    }
    Weights { passing, warning }
}

/// Whom a check is about.
struct Subject {
    is_lictor: bool,
    has_port: bool,
}

fn checks(key: &str, written: Vec<raw::Check>, subject: &Subject, problems: &mut Problems) -> Vec<Check> {
    if written.len() > MAX_CHECKS {
        problems.add(format!("{key}.checks"), format!("{} are too many; {MAX_CHECKS} at most", written.len()));
    }
    let each = written.into_iter().enumerate();
    each.map(|(place, check)| one(&format!("{key}.checks[{place}]"), check, subject, problems)).collect()
}

fn one(key: &str, written: raw::Check, subject: &Subject, problems: &mut Problems) -> Check {
    belong(key, &written, problems);
    if let Some(shown) = &written.name {
        name(&format!("{key}.name"), "check", shown, problems);
    }
    let durations = [("ttl", written.ttl, SHORTEST_INTERVAL), ("interval", written.interval, SHORTEST_INTERVAL)];
    for (name, duration, least) in durations {
        if duration.is_some_and(|duration| duration < least) {
            problems.add(format!("{key}.{name}"), format!("is shorter than {least:?}, which is load and no check"));
        }
    }
    super::positive(&format!("{key}.timeout"), written.timeout, problems);
    let (rise, fall) = (written.rise.unwrap_or(RISE), written.fall.unwrap_or(FALL));
    for (name, count) in [("rise", rise), ("fall", fall)] {
        if !(1..=MAX_IN_A_ROW).contains(&count) {
            problems.add(
                format!("{key}.{name}"),
                format!("{count} is not a number of results in a row; use 1 to {MAX_IN_A_ROW}"),
            );
        }
    }
    let (interval, timeout) = (written.interval.unwrap_or(INTERVAL), written.timeout.unwrap_or(TIMEOUT));
    let name = written.name.clone();
    Check { name, kind: kind(key, written, subject, problems), interval, timeout, rise, fall }
}

/// One with all defaults.
fn plain(kind: CheckKind) -> Check {
    Check { name: None, kind, interval: INTERVAL, timeout: TIMEOUT, rise: RISE, fall: FALL }
}

fn kind(key: &str, written: raw::Check, subject: &Subject, problems: &mut Problems) -> CheckKind {
    let word = written.kind().to_owned();
    match word.as_str() {
        "ttl" => CheckKind::Ttl(written.ttl.unwrap_or(TTL)),
        "http" => CheckKind::Http(url(key, written.url, subject, problems)),
        "tcp" => CheckKind::Tcp(address(key, written.address, subject, problems)),
        "grpc" => CheckKind::Grpc {
            address: address(key, written.address, subject, problems),
            service: grpc_service(key, written.service, problems),
            tls: written.tls.unwrap_or(false),
        },
        "command" => CheckKind::Command(command(key, written.command, problems)),
        other => {
            let advice = match nearest(other, CheckKind::NAMES.into_iter()) {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None => format!("there are {}", CheckKind::NAMES.join(", ")),
            };
            problems.add(format!("{key}.kind"), format!("no kind of check \"{other}\"; {advice}"));
            CheckKind::Tcp(None)
        }
    }
}

/// Whoever gives a key that this kind of check does not look at expects something that does not happen.
fn belong(key: &str, written: &raw::Check, problems: &mut Problems) {
    let paced: &[&str] = &["http", "tcp", "grpc", "command"];
    let keys: [(&str, bool, &[&str]); 10] = [
        ("ttl", written.ttl.is_some(), &["ttl"]),
        ("url", written.url.is_some(), &["http"]),
        ("address", written.address.is_some(), &["tcp", "grpc"]),
        ("service", written.service.is_some(), &["grpc"]),
        ("tls", written.tls.is_some(), &["grpc"]),
        ("command", written.command.is_some(), &["command"]),
        ("interval", written.interval.is_some(), paced),
        ("timeout", written.timeout.is_some(), paced),
        ("rise", written.rise.is_some(), paced),
        ("fall", written.fall.is_some(), paced),
    ];
    let word = written.kind();
    for (name, is_given, kinds) in keys {
        if is_given && CheckKind::NAMES.contains(&word) && !kinds.contains(&word) {
            let kinds = kinds.join("\" or \"");
            problems.add(
                format!("{key}.{name}"),
                format!("is for kind = \"{kinds}\", and this is \"{word}\"; remove one of them"),
            );
        }
    }
}

fn url(key: &str, written: Option<String>, subject: &Subject, problems: &mut Problems) -> Option<String> {
    let key = format!("{key}.url");
    let Some(url) = written else {
        if !subject.is_lictor {
            problems
                .add(key, "is missing; use \"/health\" for a path of the service, or \"http://127.0.0.1:9000/health\"");
        }
        return None;
    };
    let is_path = url.starts_with('/') && url.parse::<http::uri::PathAndQuery>().is_ok();
    let is_url = reqwest::Url::parse(&url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if !is_path && !is_url {
        problems.add(&key, format!("\"{url}\" is neither a path such as \"/health\" nor an http:// or https:// URL"));
    }
    if is_path && !subject.has_port {
        problems.add(&key, "is a path, and the service has no port; use a whole URL");
    }
    Some(url)
}

fn address(key: &str, written: Option<String>, subject: &Subject, problems: &mut Problems) -> Option<String> {
    let key = format!("{key}.address");
    match &written {
        Some(address) if parse_address(address).is_none() => {
            problems.add(key, format!("\"{address}\" is not an address; use \"127.0.0.1:9000\""));
        }
        None if !subject.has_port => {
            problems.add(key, "is missing, and the service has no port; use \"127.0.0.1:9000\"")
        }
        _ => {}
    }
    written
}

fn grpc_service(key: &str, written: Option<String>, problems: &mut Problems) -> String {
    if written.as_ref().is_some_and(|service| service.is_empty() || service.contains('/')) {
        problems.add(format!("{key}.service"), "is not the name of a gRPC service; leave the key out for all of them");
    }
    if let Some(service) = &written {
        name(&format!("{key}.service"), "service", service, problems);
    }
    written.unwrap_or_default()
}

fn command(key: &str, written: Option<Vec<String>>, problems: &mut Problems) -> Vec<String> {
    let key = format!("{key}.command");
    let command = written.unwrap_or_default();
    let example = "[\"/usr/local/bin/check\", \"--quick\"]";
    match command.first() {
        None => problems.add(key, format!("is missing; use {example}: no shell is in between")),
        // Without a search path, and without a directory to be relative to.
        Some(program) if !program.starts_with('/') => {
            problems.add(key, format!("\"{program}\" is not a whole path; use {example}"));
        }
        _ if command.iter().any(|word| word.contains('\0')) => problems.add(key, "has a NUL character"),
        _ => {}
    }
    command
}

/// Two instances by one name would take each other's place.
fn check_ids(registration: &Registration, problems: &mut Problems) {
    let mut seen = BTreeSet::new();
    let first = usize::from(registration.own.is_some());
    for (place, service) in registration.all().enumerate() {
        let by_default = service.id.is_none().then_some((&service.name, service.port));
        if !seen.insert((&service.id, by_default)) {
            let key = format!("registration.services[{}].id", place - first);
            problems.add(key, "another instance has the same one; give each an id of its own");
        }
    }
}

impl raw::Check {
    fn kind(&self) -> &str {
        match &self.kind {
            Some(kind) => kind,
            None if self.command.is_some() => "command",
            None if self.url.is_some() => "http",
            None if self.ttl.is_some() => "ttl",
            None => "tcp",
        }
    }
}
