//! How an endpoint is chosen: keys of the policies, and those that hold for every policy.

use std::time::Duration;

use super::super::text::{is_host_name, nearest};
use super::super::{Balancing, Ewma, Hash, HashKey, Level, Locality, Policy, Prefer, Secret, SlowStart, Sticky, raw};
use super::{Problems, failover};

// Defaults; `config/reference.toml` says why each is what it is.
const DECAY: Duration = Duration::from_secs(10);
const PENALTY: Duration = Duration::from_secs(5);
const LOAD_FACTOR: f64 = 1.25;
const START_PERCENT: u32 = 10;
const PANIC_PERCENT: u32 = 1;
const MAINTENANCE: Duration = Duration::from_secs(600);
/// A factor beyond this is a mistake.
const LARGEST_FACTOR: f64 = 100.0;
/// Shorter ones can be tried out.
const SHORTEST_SECRET: usize = 16;

/// Tiers beyond these are too fine for estimates.
const MOST_BOUNDS: usize = 7;

const LEVELS: [(&str, Level); 3] = [("node", Level::Node), ("zone", Level::Zone), ("datacenter", Level::Datacenter)];

pub(super) fn check(key: &str, policy: Policy, written: raw::Policy, problems: &mut Problems) -> Balancing {
    let panic_percent = written.panic_percent.unwrap_or(PANIC_PERCENT);
    if panic_percent > 100 {
        problems.add(format!("{key}.panic_percent"), format!("{panic_percent} is not a percentage; use 0 to 100"));
    }
    let subset_size = written.subset_size.unwrap_or_default();
    if subset_size > 0 && policy == Policy::ConsistentHash {
        problems.add(
            format!("{key}.subset_size"),
            "each process would hash over a subset of its own; use 0 here, or another policy",
        );
    }
    let attempts = written.retry.as_ref().and_then(|retry| retry.attempts).unwrap_or(super::protection::ATTEMPTS);
    if (1..=attempts as usize).contains(&subset_size) {
        problems.add(
            format!("{key}.subset_size"),
            format!(
                "{subset_size} endpoints are not enough for {attempts} retries; use {} at least, better 20",
                attempts + 1
            ),
        );
    }
    Balancing {
        ewma: ewma(key, written.ewma.unwrap_or_default(), problems),
        hash: hash(key, written.hash.unwrap_or_default(), problems),
        slow_start: slow_start(key, written.slow_start.unwrap_or_default(), problems),
        locality: locality(key, written.locality.unwrap_or_default(), problems),
        failover: failover::when(key, &written.failover_when.unwrap_or_default(), problems),
        panic_percent,
        subset_size,
        sticky: written.sticky.and_then(|sticky| self::sticky(key, sticky, problems)),
    }
}

fn ewma(key: &str, written: raw::Ewma, problems: &mut Problems) -> Ewma {
    for (name, duration) in [("decay", written.decay), ("penalty", written.penalty)] {
        if duration.is_some_and(|duration| duration.is_zero()) {
            problems.add(format!("{key}.ewma.{name}"), "is nothing at all; leave the key out for its default");
        }
    }
    Ewma { decay: written.decay.unwrap_or(DECAY), penalty: written.penalty.unwrap_or(PENALTY) }
}

fn hash(key: &str, written: raw::Hash, problems: &mut Problems) -> Hash {
    let load_factor = written.load_factor.unwrap_or(LOAD_FACTOR);
    if load_factor != 0.0 && !(1.0..=LARGEST_FACTOR).contains(&load_factor) {
        problems.add(
            format!("{key}.hash.load_factor"),
            format!("{load_factor} is not a bound; use 1 to {LARGEST_FACTOR}, such as 1.25, or 0 for none"),
        );
    }
    let Some(names) = written.keys else { return Hash { keys: vec![HashKey::ClientAddress], load_factor } };
    if names.is_empty() {
        problems.add(format!("{key}.hash.keys"), "is empty; leave it out for the client's address");
    }
    let mut keys = Vec::new();
    for (index, name) in names.iter().enumerate() {
        match hash_key(name) {
            Some(key) => keys.push(key),
            None => problems.add(
                format!("{key}.hash.keys[{index}]"),
                format!(
                    "\"{name}\" is not a key; use \"header:NAME\", \"cookie:NAME\", \"query:NAME\", \"path\", \
                     \"client_address\" or \"identity\""
                ),
            ),
        }
    }
    Hash { keys, load_factor }
}

pub(super) fn hash_key(written: &str) -> Option<HashKey> {
    let (kind, name) = written.split_once(':').map_or((written, None), |(kind, name)| (kind, Some(name)));
    match (kind, name) {
        ("header", Some(name)) => name.parse().ok().map(HashKey::Header),
        ("cookie", Some(name)) if is_token(name) => Some(HashKey::Cookie(name.to_owned())),
        ("query", Some(name)) if !name.is_empty() => Some(HashKey::Query(name.to_owned())),
        ("path", None) => Some(HashKey::Path),
        ("client_address", None) => Some(HashKey::ClientAddress),
        ("identity", None) => Some(HashKey::Identity),
        _ => None,
    }
}

fn slow_start(key: &str, written: raw::SlowStart, problems: &mut Problems) -> SlowStart {
    let start_percent = written.start_percent.unwrap_or(START_PERCENT);
    if !(1..=100).contains(&start_percent) {
        problems.add(
            format!("{key}.slow_start.start_percent"),
            format!("{start_percent} is not a share to begin with; use 1 to 100"),
        );
    }
    SlowStart { window: written.window.unwrap_or_default(), start_percent }
}

fn locality(key: &str, written: raw::Locality, problems: &mut Problems) -> Locality {
    let key = format!("{key}.locality");
    let overprovisioning = written.overprovisioning.unwrap_or(1.0);
    if !(1.0..=LARGEST_FACTOR).contains(&overprovisioning) {
        problems.add(
            format!("{key}.overprovisioning"),
            format!("{overprovisioning} is not a factor; use 1.0 to {LARGEST_FACTOR}"),
        );
    }
    if written.prefer.as_ref().is_some_and(|levels| !levels.is_empty()) && written.prefer_rtt.is_some() {
        problems.add(format!("{key}.prefer_rtt"), "stands beside prefer; keep one of them");
    }
    let prefer = match (written.prefer_rtt, written.prefer) {
        (Some(bounds), _) => round_trips(&key, bounds, problems),
        (None, names) => levels(&key, &names.unwrap_or_default(), problems),
    };
    Locality { prefer, overprovisioning }
}

fn round_trips(key: &str, bounds: Vec<Duration>, problems: &mut Problems) -> Prefer {
    if bounds.is_empty() {
        problems.add(format!("{key}.prefer_rtt"), "is empty; leave it out, or name bounds: [\"1ms\", \"10ms\"]");
        return Prefer::RoundTrip(bounds);
    }
    let ascend = bounds.is_sorted_by(|a, b| a < b) && bounds.first().is_some_and(|first| !first.is_zero());
    if bounds.len() > MOST_BOUNDS {
        problems.add(format!("{key}.prefer_rtt"), format!("has {} bounds; use at most {MOST_BOUNDS}", bounds.len()));
    }
    if !ascend {
        problems
            .add(format!("{key}.prefer_rtt"), "is not in order; name bounds from the nearest on: [\"1ms\", \"10ms\"]");
    }
    Prefer::RoundTrip(bounds)
}

fn levels(key: &str, names: &[String], problems: &mut Problems) -> Prefer {
    let mut levels = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let key = format!("{key}.prefer[{index}]");
        match LEVELS.iter().find(|(known, _)| known == name) {
            Some((_, level)) if levels.contains(level) => problems.add(key, format!("\"{name}\" stands here twice")),
            Some((_, level)) => levels.push(*level),
            None => {
                let advice = match nearest(name, LEVELS.iter().map(|(known, _)| *known)) {
                    Some(meant) => format!("did you mean \"{meant}\"?"),
                    None => "use \"node\", \"zone\" and \"datacenter\"".to_owned(),
                };
                problems.add(key, format!("nothing to prefer by \"{name}\"; {advice}"));
            }
        }
    }
    if !levels.is_sorted() {
        problems.add(format!("{key}.prefer"), "names a wider place before a narrower one; say the nearest first");
    }
    Prefer::Levels(levels)
}

fn sticky(key: &str, written: raw::Sticky, problems: &mut Problems) -> Option<Sticky> {
    // Clusters behind one host must not overwrite each other's.
    let own = || format!("lictor-{}", key.strip_prefix("clusters.").unwrap_or(key));
    let cookie = written.cookie.clone().unwrap_or_else(own);
    let key = format!("{key}.sticky");
    if !is_token(&cookie) {
        problems.add(
            format!("{key}.cookie"),
            format!("\"{cookie}\" is not a cookie's name; use letters, digits, '-', '_' and '.'"),
        );
    }
    let attributes = attributes(&key, &written, problems);
    let secure = written.secure.unwrap_or_default();
    let is_host = secure && written.domain.is_none() && written.path.as_deref().is_none_or(|path| path == "/");
    if cookie.starts_with("__Host-") && !is_host || cookie.starts_with("__Secure-") && !secure {
        problems.add(
            format!("{key}.cookie"),
            format!("\"{cookie}\" is refused by browsers: __Secure- needs secure = true, __Host- also path \"/\" and no domain"),
        );
    }
    if !written.enabled.unwrap_or(true) {
        return None;
    }
    let maintenance = written.maintenance.unwrap_or(MAINTENANCE);
    Some(Sticky { cookie, secret: secret(&key, &written, problems), attributes, maintenance })
}

fn secret(key: &str, written: &raw::Sticky, problems: &mut Problems) -> Option<Secret> {
    let (name, secret) = match (&written.secret, &written.secret_file) {
        (None, None) => return None,
        (Some(secret), None) => ("secret", secret.trim().to_owned()),
        (_, Some(path)) => match std::fs::read_to_string(path) {
            Ok(text) => ("secret_file", text.trim().to_owned()),
            Err(error) => {
                problems.add(format!("{key}.secret_file"), format!("{path} cannot be read: {error}"));
                return None;
            }
        },
    };
    if secret.len() < SHORTEST_SECRET {
        problems.add(
            format!("{key}.{name}"),
            format!("has {} characters; a secret has at least {SHORTEST_SECRET}, better 32 at random", secret.len()),
        );
    }
    Some(Secret::new(secret))
}

/// RFC 6265 section 4.1.
fn attributes(key: &str, written: &raw::Sticky, problems: &mut Problems) -> String {
    let path = written.path.as_deref().unwrap_or("/");
    if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';') {
        problems.add(format!("{key}.path"), format!("\"{path}\" is not a path; use \"/\" or \"/shop\""));
    }
    let mut attributes = format!("; Path={path}");
    if let Some(domain) = &written.domain {
        if !is_host_name(domain.strip_prefix('.').unwrap_or(domain)) {
            problems.add(format!("{key}.domain"), format!("\"{domain}\" is not a domain; use \"example.com\""));
        }
        attributes += &format!("; Domain={domain}");
    }
    if let Some(age) = written.max_age {
        if age.as_secs() == 0 {
            problems.add(format!("{key}.max_age"), "is less than a second; leave it out for a cookie of the session");
        }
        attributes += &format!("; Max-Age={}", age.as_secs());
    }
    let secure = written.secure.unwrap_or_default();
    if secure {
        attributes += "; Secure";
    }
    if written.http_only.unwrap_or(true) {
        attributes += "; HttpOnly";
    }
    match written.same_site.as_deref().unwrap_or("lax") {
        "lax" => attributes += "; SameSite=Lax",
        "strict" => attributes += "; SameSite=Strict",
        "none" if secure => attributes += "; SameSite=None",
        "none" => problems.add(format!("{key}.same_site"), "\"none\" is refused by browsers without secure = true"),
        other => problems
            .add(format!("{key}.same_site"), format!("\"{other}\" is not known; use \"lax\", \"strict\" or \"none\"")),
    }
    attributes
}

/// A name as cookies have it (RFC 9110 section 5.6.2).
fn is_token(name: &str) -> bool {
    let other = |byte: u8| b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.len() <= 256 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || other(byte))
}
