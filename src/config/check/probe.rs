//! How endpoints are asked whether they are well: the keys of `probe`.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::super::text::nearest;
use super::super::{GrpcProbe, HttpProbe, Probe, ProbeKind, raw};
use super::policy::Or;
use super::{Problems, positive};

// Defaults; `config/reference.toml` says why each is what it is.
const INTERVAL: Duration = Duration::from_secs(5);
const JITTER: f64 = 0.2;
const TIMEOUT: Duration = Duration::from_secs(2);
const RISE: u32 = 2;
const FALL: u32 = 3;
const STATUSES: RangeInclusive<u16> = 200..=399;

const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
/// More in a row than this is a mistake.
const MOST_IN_A_ROW: u32 = 1000;
/// Consul's bound of a service's name.
const LONGEST_SERVICE: usize = 255;
const KINDS: [&str; 3] = ["http", "tcp", "grpc"];

/// None if it is turned off.
pub(super) fn check(key: &str, written: raw::Probe, problems: &mut Problems) -> Option<Probe> {
    let key = format!("{key}.probe");
    if written.interval.is_some_and(|interval| interval < SHORTEST_INTERVAL) {
        problems.add(
            format!("{key}.interval"),
            format!("is shorter than {SHORTEST_INTERVAL:?}, which is load and no probe; \"5s\" is usual"),
        );
    }
    positive(&format!("{key}.timeout"), written.timeout, problems);
    let jitter = written.jitter.unwrap_or(JITTER);
    if !(0.0..=1.0).contains(&jitter) {
        problems.add(format!("{key}.jitter"), format!("{jitter} is not a share of the interval; use 0.0 to 1.0"));
    }
    let (rise, fall) = (written.rise.unwrap_or(RISE), written.fall.unwrap_or(FALL));
    for (name, count) in [("rise", rise), ("fall", fall)] {
        if !(1..=MOST_IN_A_ROW).contains(&count) {
            let advice = format!("{count} is not a number of probes in a row; use 1 to {MOST_IN_A_ROW}");
            problems.add(format!("{key}.{name}"), advice);
        }
    }
    if written.port == Some(0) {
        problems.add(format!("{key}.port"), "0 is not a port to connect to; leave the key out for the endpoint's own");
    }
    let probe = Probe {
        interval: written.interval.unwrap_or(INTERVAL),
        jitter,
        timeout: written.timeout.unwrap_or(TIMEOUT),
        rise,
        fall,
        port: written.port,
        proxy_protocol: None,
        return_ejected: written.return_ejected.unwrap_or(true),
        kind: kind(&key, &written, problems),
    };
    written.enabled.unwrap_or(true).then_some(probe)
}

fn kind(key: &str, written: &raw::Probe, problems: &mut Problems) -> ProbeKind {
    let kind = written.kind();
    if !KINDS.contains(&kind) {
        let advice = match nearest(kind, KINDS.into_iter()) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => format!("there are {}", KINDS.join(", ")),
        };
        problems.add(format!("{key}.kind"), format!("no kind of probe \"{kind}\"; {advice}"));
        return ProbeKind::Tcp;
    }
    belong(key, written, problems);
    if let Some(host) = &written.host
        && host.parse::<http::uri::Authority>().is_err()
    {
        problems.add(format!("{key}.host"), format!("\"{host}\" is not a host; use \"shop.example.com\""));
    }
    match kind {
        "http" => ProbeKind::Http(http(key, written, problems)),
        "grpc" => ProbeKind::Grpc(grpc(key, written, problems)),
        _ => ProbeKind::Tcp,
    }
}

/// Whoever gives a key that this kind of probe does not look at expects something that does not happen.
fn belong(key: &str, written: &raw::Probe, problems: &mut Problems) {
    let keys: [(&str, bool, &[&str]); 6] = [
        ("path", written.path.is_some(), &["http"]),
        ("method", written.method.is_some(), &["http"]),
        ("statuses", written.statuses.is_some(), &["http"]),
        ("body", written.body.is_some(), &["http"]),
        ("host", written.host.is_some(), &["http", "grpc"]),
        ("service", written.service.is_some(), &["grpc"]),
    ];
    for (name, is_given, kinds) in keys {
        if is_given && !kinds.contains(&written.kind()) {
            let kinds = kinds.join("\" or \"");
            let advice = format!("is for kind = \"{kinds}\", and this is \"{}\"; remove one of them", written.kind());
            problems.add(format!("{key}.{name}"), advice);
        }
    }
}

fn http(key: &str, written: &raw::Probe, problems: &mut Problems) -> HttpProbe {
    let path = written.path.as_deref().unwrap_or("/");
    let is_plain = path.chars().all(|c| c.is_ascii_graphic() && c != '#');
    if !path.starts_with('/') || !is_plain || path.parse::<http::uri::PathAndQuery>().is_err() {
        problems.add(
            format!("{key}.path"),
            format!("\"{path}\" is not a path; use \"/health\" or \"/health?deep=1\", percent-encoded"),
        );
    }
    let method = written.method.as_deref().unwrap_or("GET");
    let is_method = method.chars().all(|c| c.is_ascii_uppercase() || c == '-') && method != "CONNECT";
    if method.is_empty() || !is_method {
        problems.add(
            format!("{key}.method"),
            format!("\"{method}\" is not a method; use \"GET\", \"HEAD\" or \"OPTIONS\""),
        );
    }
    let body = written.body.as_deref();
    if body.is_some_and(str::is_empty) {
        problems.add(format!("{key}.body"), "is empty; leave the key out");
    }
    if body.is_some() && method == "HEAD" {
        problems.add(format!("{key}.body"), "an answer to HEAD has no body; use method = \"GET\"");
    }
    HttpProbe {
        method: method.to_owned(),
        path: path.to_owned(),
        host: written.host.clone(),
        statuses: statuses(key, written.statuses.as_deref(), problems),
        body: body.map(str::to_owned),
    }
}

fn statuses(key: &str, written: Option<&[raw::Codes]>, problems: &mut Problems) -> Vec<RangeInclusive<u16>> {
    let Some(written) = written else { return vec![STATUSES] };
    if written.is_empty() {
        problems.add(format!("{key}.statuses"), "is empty; leave the key out for 200 to 399");
    }
    let mut statuses = Vec::new();
    for (place, codes) in written.iter().enumerate() {
        match range(&codes.0) {
            Some(range) => statuses.push(range),
            None => problems.add(
                format!("{key}.statuses[{place}]"),
                format!("\"{}\" is not a status; use 204 or \"200-399\", within 200 to 599", codes.0),
            ),
        }
    }
    statuses
}

fn range(codes: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = codes.split_once('-').unwrap_or((codes, codes));
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    // An interim answer is never the one that counts.
    (200 <= first && first <= last && last <= 599).then_some(first..=last)
}

fn grpc(key: &str, written: &raw::Probe, problems: &mut Problems) -> GrpcProbe {
    let service = written.service.clone().unwrap_or_default();
    if service.len() > LONGEST_SERVICE || service.chars().any(char::is_control) {
        problems.add(
            format!("{key}.service"),
            format!(
                "a service's name has up to {LONGEST_SERVICE} visible characters; leave the key out for all of them"
            ),
        );
    }
    GrpcProbe { service, host: written.host.clone() }
}

impl raw::Probe {
    fn kind(&self) -> &str {
        self.kind.as_deref().unwrap_or("http")
    }
}

impl Or for raw::Probe {
    fn or(self, defaults: &Self) -> Self {
        // What is asked belongs to the kind: whoever names another one does not mean it.
        let is_other = self.kind.is_some() && self.kind() != defaults.kind();
        let asked = if is_other { raw::Probe::default() } else { defaults.clone() };
        raw::Probe {
            // A table of its own turns it on, whatever the defaults say.
            enabled: self.enabled.or(Some(true)),
            kind: self.kind.or(asked.kind),
            path: self.path.or(asked.path),
            method: self.method.or(asked.method),
            host: self.host.or(asked.host),
            statuses: self.statuses.or(asked.statuses),
            body: self.body.or(asked.body),
            service: self.service.or(asked.service),
            port: self.port.or(asked.port),
            interval: self.interval.or(defaults.interval),
            jitter: self.jitter.or(defaults.jitter),
            timeout: self.timeout.or(defaults.timeout),
            rise: self.rise.or(defaults.rise),
            fall: self.fall.or(defaults.fall),
            return_ejected: self.return_ejected.or(defaults.return_ejected),
        }
    }
}
