//! What is logged, shown and changed for a while: so that a restart is not needed to see more, and nobody has to remember to see less.

use std::rc::Rc;
use std::time::{Duration, Instant};

use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::Admin;
use super::answer::{Problem, Reply, json};
use super::ask::Ask;
use super::dispatch::{Page, Verb};
use crate::journal::Event;
use crate::lifecycle::Other;

/// Pages of this file.
pub(super) const PAGES: &[Page] = &[
    Page::get("/v1/log", |admin, _| json(&view(admin)?)),
    Page::act(Verb::Put, "/v1/log", |admin, ask| Box::pin(async move { change(&admin, &ask) })),
];

/// How long another level is in force if nobody says: enough to look at something.
const FOR: Duration = Duration::from_secs(15 * 60);
/// Longest filter, in bytes: each event is held to all that is in it.
const LONGEST_LEVEL: usize = 1_000;
/// What of a wrong one is said back, in characters.
const SHOWN: usize = 100;
/// Longer is a matter for the configuration.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

#[derive(Serialize)]
struct LogView {
    level: String,
    /// The level of the configuration, or of `RUST_LOG`.
    usual: String,
    /// Until the usual one is back; none if it is in force.
    expires_in_seconds: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// None: the usual one.
    level: Option<String>,
    r#for: Option<String>,
}

fn view(admin: &Admin) -> Result<LogView, Problem> {
    let usual = admin.log_level.usual().ok_or_else(cannot)?.to_owned();
    let other = admin.log_level.other();
    let left = other.as_ref().map(|other| other.until.saturating_duration_since(Instant::now()).as_secs_f64());
    Ok(LogView { level: other.map_or_else(|| usual.clone(), |other| other.level), usual, expires_in_seconds: left })
}

fn change(admin: &Rc<Admin>, ask: &Ask) -> Reply {
    let wanted: Wanted = ask.read()?;
    let usual = admin.log_level.usual().ok_or_else(cannot)?;
    if wanted.level.is_none() && wanted.r#for.is_some() {
        return Err(Problem::bad("for: there is no level; leave both out for the usual one"));
    }
    let length = length(wanted.r#for.as_deref())?;
    let other = wanted.level.map(|level| Other { level, until: Instant::now() + length });
    if let Some(Other { level, .. }) = &other
        && !is_filter(level)
    {
        let advice = "use off, error, warn, info or debug, or such as lictor::discovery=debug,info";
        let shown: String = level.chars().take(SHOWN).collect();
        return Err(Problem::bad(format!(
            "level: \"{shown}\" is not a filter of {LONGEST_LEVEL} bytes at most; {advice}"
        )));
    }
    let level = other.as_ref().map_or(usual, |other| &other.level).to_owned();
    let for_seconds = other.as_ref().map(|_| length.as_secs_f64());
    admin.log_level.set(other).map_err(|error| Problem::bad(format!("level: {error}")))?;
    admin.journal.note(Event::LogLevel { level, for_seconds });
    json(&view(admin)?)
}

fn length(written: Option<&str>) -> Result<Duration, Problem> {
    let Some(written) = written else { return Ok(FOR) };
    let length = humantime::parse_duration(written).ok().filter(|length| !length.is_zero() && *length <= LONGEST);
    length
        .ok_or_else(|| Problem::bad(format!("for: \"{written}\" is not a duration such as \"10m\", of 7 days at most")))
}

/// The filter's own reader takes a mistyped level for the name of a module, and would log nothing.
fn is_filter(written: &str) -> bool {
    let is_level =
        |word: &str| ["off", "error", "warn", "info", "debug", "trace"].contains(&word.to_lowercase().as_str());
    let is_directive = |directive: &str| is_level(directive.rsplit('=').next().unwrap_or_default().trim());
    !written.is_empty() && written.len() <= LONGEST_LEVEL && written.split(',').all(is_directive)
}

fn cannot() -> Problem {
    Problem::new(StatusCode::CONFLICT, "this process writes no log that could be changed")
}
