//! The `[consul]` table joined with the `CONSUL_*` environment. As with the consul command, the environment is what the
//! person who starts the process says now, so it wins over the file; the meaning of each variable is that of Consul's own
//! Go client (`api.DefaultConfig`).

use std::time::Duration;

use super::check::Problems;
use super::{Agent, ClientTls, Consistency, Consul, Environment, Secret, raw};

const ADDRESS: &str = "127.0.0.1:8500";
// Bounds both the slots that a dropped poll leaves occupied at the agent, and the time that a missed wake-up costs.
const WAIT: Duration = Duration::from_secs(55);
const WAITS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);
// An agent takes 200 connections from one address; 40 of them are left to lictor's neighbours.
const MAX_QUERIES: usize = 160;
// By HTTP/2 they are ten connections; each costs the agent some 30 KiB.
const MAX_QUERIES_BY_TLS: usize = 2000;
// A leader is heard of several times a second; without one, an election begins after five seconds at the latest.
const MAX_LAG: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_secs(5);
const POLLS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
const DOUBT: Doubt = Doubt { percent: 50, hold: Duration::from_secs(120) };

/// When a list is doubted, and what becomes of those who are missing on it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Doubt {
    /// More than this share of a list, 0 to 100, is too much to be gone at once; so is all of it.
    pub percent: u32,
    /// How long those who went all at once are kept as suspects.
    pub hold: Duration,
}

/// When a list is too old, and what follows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Staleness {
    /// Longest time without a good answer; any, if there is none.
    pub max: Option<Duration>,
    /// What follows when it is over.
    pub then: OnStale,
}

/// What is done with a list that is too old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnStale {
    /// It is served, and that is said.
    Serve,
    /// It is served, but whoever has a choice should go elsewhere.
    Degrade,
    /// It is not served.
    Fail,
}

/// The agent to talk to.
pub(super) fn check(file: raw::Consul, environment: &Environment, problems: &mut Problems) -> Consul {
    let pick = |variable: &str, file: Option<String>| environment.get(variable).map(str::to_owned).or(file);
    let address = pick("CONSUL_HTTP_ADDR", file.address).unwrap_or_else(|| ADDRESS.to_owned());
    let ssl = flag(environment, "CONSUL_HTTP_SSL", false, problems);
    let certificate = pick("CONSUL_CLIENT_CERT", file.client_cert);
    let key = pick("CONSUL_CLIENT_KEY", file.client_key);
    let client = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => {
            problems.add("consul.client_cert", "a client certificate needs client_cert and client_key, both");
            None
        }
    };
    let wait = wait(file.wait, problems);
    if file.last_lists.as_ref().is_some_and(|path| path.trim().is_empty() || path.ends_with('/')) {
        problems.add("consul.last_lists", "is not a file; use a path such as \"/var/lib/lictor/lists\"");
    }
    let address = agent(&address, ssl, problems);
    Consul {
        max_queries: max_queries(file.max_queries, &address, problems),
        address,
        token: pick("CONSUL_HTTP_TOKEN", file.token).map(Secret::new),
        // A token in the environment wins over both of the file's keys.
        token_file: pick(
            "CONSUL_HTTP_TOKEN_FILE",
            file.token_file.filter(|_| environment.get("CONSUL_HTTP_TOKEN").is_none()),
        ),
        basic_auth: environment.get("CONSUL_HTTP_AUTH").map(Secret::new),
        datacenter: file.datacenter,
        namespace: pick("CONSUL_NAMESPACE", file.namespace),
        tls: ClientTls {
            ca_file: pick("CONSUL_CACERT", file.ca_file),
            client,
            server_name: pick("CONSUL_TLS_SERVER_NAME", file.tls_server_name),
            verify: flag(environment, "CONSUL_HTTP_SSL_VERIFY", true, problems),
        },
        consistency: consistency(file.consistency.as_deref(), problems),
        max_lag: max_lag(file.max_lag, problems),
        wait,
        poll: poll(file.poll, problems),
        doubt: doubt(file.suspect_percent, file.suspect_hold, problems),
        staleness: staleness((file.max_stale, file.on_stale.as_deref()), wait, problems),
        last_lists: file.last_lists,
    }
}

/// Go's `strconv.ParseBool`, which is what Consul uses.
fn flag(environment: &Environment, variable: &str, default: bool, problems: &mut Problems) -> bool {
    match environment.get(variable) {
        None => default,
        Some("1" | "t" | "T" | "TRUE" | "true" | "True") => true,
        Some("0" | "f" | "F" | "FALSE" | "false" | "False") => false,
        Some(other) => {
            problems.add("", format!("{variable}=\"{other}\" is neither true nor false"));
            default
        }
    }
}

fn agent(written: &str, ssl: bool, problems: &mut Problems) -> Agent {
    if let Some(path) = written.strip_prefix("unix://") {
        return Agent::Unix(path.to_owned());
    }
    let (scheme, rest) = match written.split_once("://") {
        Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
        None => ("http".to_owned(), written),
    };
    let rest = rest.trim_end_matches('/');
    let valid = matches!(scheme.as_str(), "http" | "https")
        && !rest.is_empty()
        && !rest.starts_with('/')
        && reqwest::Url::parse(&format!("{scheme}://{rest}")).is_ok()
        && rest.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '@' | '?' | '#'));
    if !valid {
        // What stands before an @ may be a password.
        let written = if written.contains('@') { "…@…" } else { written };
        problems.add(
            "consul.address",
            format!(
                "\"{written}\" is not a Consul agent; use \"http://127.0.0.1:8500\", \"https://…\" or \"unix:///…\""
            ),
        );
    }
    // CONSUL_HTTP_SSL wins over "http://", as in Consul's own client.
    let scheme = if ssl { "https" } else { &scheme };
    Agent::Url(format!("{scheme}://{rest}"))
}

fn consistency(written: Option<&str>, problems: &mut Problems) -> Consistency {
    match written {
        None | Some("stale") => Consistency::Stale,
        Some("default") => Consistency::Default,
        Some("cached") => Consistency::Cached,
        Some(other) => {
            problems
                .add("consul.consistency", format!("no mode \"{other}\"; use \"stale\", \"default\" or \"cached\""));
            Consistency::Stale
        }
    }
}

fn wait(written: Option<Duration>, problems: &mut Problems) -> Duration {
    let wait = written.unwrap_or(WAIT);
    if !WAITS.contains(&wait) {
        problems.add("consul.wait", "Consul waits 1s to 10m; 55s is the default");
    }
    wait
}

fn max_lag(written: Option<Duration>, problems: &mut Problems) -> Duration {
    let lag = written.unwrap_or(MAX_LAG);
    if lag < Duration::from_secs(1) {
        problems.add("consul.max_lag", "a leader is not heard of so often; use 1s at least");
    }
    lag
}

fn poll(written: Option<Duration>, problems: &mut Problems) -> Duration {
    let poll = written.unwrap_or(POLL);
    if !POLLS.contains(&poll) {
        problems.add("consul.poll", "is not a time between two looks; use 1s to 1h");
    }
    poll
}

fn doubt(percent: Option<u32>, hold: Option<Duration>, problems: &mut Problems) -> Doubt {
    let doubt = Doubt { percent: percent.unwrap_or(DOUBT.percent), hold: hold.unwrap_or(DOUBT.hold) };
    if doubt.percent > 100 {
        problems.add("consul.suspect_percent", format!("{} is not a percentage; use 0 to 100", doubt.percent));
    }
    doubt
}

fn staleness((max, then): (Option<Duration>, Option<&str>), wait: Duration, problems: &mut Problems) -> Staleness {
    // A query that finds nothing new is held for as long as that, and some more.
    if max.is_some_and(|max| max < wait * 2) {
        let least = humantime::format_duration(wait * 2);
        problems.add("consul.max_stale", format!("good answers may be as far apart as wait; use {least} at least"));
    }
    let then = match then {
        None | Some("serve") => OnStale::Serve,
        Some("degrade") => OnStale::Degrade,
        Some("fail") => OnStale::Fail,
        Some(other) => {
            problems
                .add("consul.on_stale", format!("\"{other}\" is not known; use \"serve\", \"degrade\" or \"fail\""));
            OnStale::Serve
        }
    };
    if max.is_none() && then != OnStale::Serve {
        problems.add("consul.on_stale", "never happens without max_stale; say how old a list may be");
    }
    Staleness { max, then }
}

fn max_queries(written: Option<usize>, address: &Agent, problems: &mut Problems) -> usize {
    let is_tls = matches!(address, Agent::Url(url) if url.starts_with("https://"));
    let count = written.unwrap_or(if is_tls { MAX_QUERIES_BY_TLS } else { MAX_QUERIES });
    if !(1..=100_000).contains(&count) {
        problems.add("consul.max_queries", format!("{count} is not a number of queries; use 1 to 100000"));
    }
    count
}
