//! What an operator does by hand: endpoints taken out, back, drained, and given another weight; the proxy itself drained and taken back.
//! Nothing is done here. Orders about endpoints go to discovery, and are answered once a table is read that has them.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::Admin;
use super::answer::{Problem, Reply, json};
use super::ask::Ask;
use super::dispatch::{Acting, Page, Verb};
use super::view;
use crate::config::{self, MAX_WEIGHT};
use crate::endpoint::{Address, Measure, What};
use crate::table::{Deed, Refused, Table};

/// Pages of this file.
pub(super) const PAGES: &[Page] = &[
    Page::get("/v1/overrides", |admin, _| json(&all(&admin.reader.load(), Instant::now()))),
    Page::act(Verb::Post, "/v1/clusters/{cluster}/endpoints/{address}/eject", |admin, ask| {
        take(admin, ask, What::Ejected)
    }),
    Page::act(Verb::Post, "/v1/clusters/{cluster}/endpoints/{address}/readmit", |admin, ask| {
        back(admin, ask, What::Ejected)
    }),
    Page::act(Verb::Post, "/v1/clusters/{cluster}/endpoints/{address}/drain", |admin, ask| {
        take(admin, ask, What::Drained)
    }),
    Page::act(Verb::Post, "/v1/clusters/{cluster}/endpoints/{address}/undrain", |admin, ask| {
        back(admin, ask, What::Drained)
    }),
    Page::act(Verb::Post, "/v1/clusters/{cluster}/endpoints/{address}/weight", weigh),
    Page::act(Verb::Post, "/v1/drain", |admin, ask| withdraw(admin, ask, Wish::Away)),
    Page::act(Verb::Post, "/v1/undrain", |admin, ask| withdraw(admin, ask, Wish::Here)),
];

/// What nobody has given a time for is forgotten by nobody else either: it ends after this.
const DEFAULT: Duration = Duration::from_secs(60 * 60);
const SHORTEST: Duration = Duration::from_secs(1);
/// Whatever is to hold for longer belongs into the configuration or the catalogue.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// For what holds until it is taken back or the process ends.
const FOREVER: &str = "forever";
/// Longest note, in characters.
const LONGEST_NOTE: usize = 200;

/// What is said with an order that holds for a while.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Terms {
    r#for: Option<String>,
    note: Option<String>,
}

/// The same with a weight.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Weighing {
    /// None for the one that the source gives.
    weight: Option<u32>,
    r#for: Option<String>,
    note: Option<String>,
}

/// An order that has nothing to say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Where the proxy is to be, for those who look it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Away,
    Here,
}

/// One thing that holds by hand.
#[derive(Debug, Serialize)]
pub(super) struct Override {
    what: &'static str,
    /// In place of the source's own, if it is a weight.
    weight: Option<u32>,
    by: String,
    note: Option<String>,
    /// Until it ends by itself, if it does.
    ends_in_seconds: Option<f64>,
}

/// All that holds for one endpoint, whether it is there or not.
#[derive(Debug, Serialize)]
struct Held {
    cluster: String,
    endpoint: String,
    /// Whether it is on the cluster's list now.
    listed: bool,
    overrides: Vec<Override>,
}

/// How the proxy is.
#[derive(Debug, Serialize)]
struct Standing {
    /// True while clients are asked to go elsewhere.
    drained: bool,
    ready: bool,
    /// Why not, if it is not.
    blocker: Option<&'static str>,
}

/// What holds by hand, as people read it.
pub(super) fn overrides(held: Option<&[Measure]>, now: Instant) -> Vec<Override> {
    let view = |measure: &Measure| Override {
        what: measure.what.name(),
        weight: measure.what.weight(),
        by: measure.by.to_string(),
        note: measure.note.as_deref().map(str::to_owned),
        ends_in_seconds: measure.until.map(|until| until.saturating_duration_since(now).as_secs_f64()),
    };
    held.unwrap_or_default().iter().map(view).collect()
}

fn all(table: &Table, now: Instant) -> Vec<Held> {
    let each =
        table.measures().iter().flat_map(|(cluster, held)| held.iter().map(move |(at, held)| (cluster, at, held)));
    each.map(|(cluster, at, held)| self::held(table, (cluster, at), Some(held), now)).collect()
}

fn held(table: &Table, (cluster, at): (&str, &Address), held: Option<&Arc<[Measure]>>, now: Instant) -> Held {
    Held {
        cluster: cluster.to_owned(),
        endpoint: at.to_string(),
        listed: view::find(table, cluster, at).is_some(),
        overrides: overrides(held.map(|held| &**held), now),
    }
}

fn take(admin: Rc<Admin>, ask: Ask, what: What) -> Acting {
    Box::pin(async move {
        let Terms { r#for, note } = ask.read()?;
        order(&admin, &ask, Deed::Take { what, length: length(r#for.as_deref())?, note: self::note(note)? }).await
    })
}

fn back(admin: Rc<Admin>, ask: Ask, what: What) -> Acting {
    Box::pin(async move {
        let Nothing {} = ask.read()?;
        order(&admin, &ask, Deed::TakeBack(what)).await
    })
}

fn weigh(admin: Rc<Admin>, ask: Ask) -> Acting {
    Box::pin(async move {
        let Weighing { weight, r#for, note } = ask.read()?;
        let deed = match weight {
            None if r#for.is_none() && note.is_none() => Deed::TakeBack(What::Weight(0)),
            None => {
                return Err(Problem::bad(
                    "\"for\" and \"note\" go with a \"weight\"; without any, the source's own holds again",
                ));
            }
            Some(weight) if weight > MAX_WEIGHT => {
                return Err(Problem::bad(format!("weight: {weight} is not a weight; use 0 to {MAX_WEIGHT}")));
            }
            Some(weight) => {
                Deed::Take { what: What::Weight(weight), length: length(r#for.as_deref())?, note: self::note(note)? }
            }
        };
        order(&admin, &ask, deed).await
    })
}

/// How long something is to hold; none for what has no end.
fn length(written: Option<&str>) -> Result<Option<Duration>, Problem> {
    let Some(text) = written else { return Ok(Some(DEFAULT)) };
    if text == FOREVER {
        return Ok(None);
    }
    let right = "use 1s to 7d, as in \"30m\", or \"forever\"";
    let length = humantime::parse_duration(text)
        .map_err(|error| Problem::bad(format!("for: {text:?} is not a duration: {error}; {right}")))?;
    if (SHORTEST..=LONGEST).contains(&length) {
        Ok(Some(length))
    } else {
        Err(Problem::bad(format!("for: {text:?} is out of bounds; {right}")))
    }
}

fn note(written: Option<String>) -> Result<Option<Arc<str>>, Problem> {
    let Some(text) = written.filter(|text| !text.is_empty()) else { return Ok(None) };
    // It is shown to people, on pages and in terminals.
    if text.chars().count() > LONGEST_NOTE || text.chars().any(char::is_control) {
        return Err(Problem::bad(format!("note: use a line of {LONGEST_NOTE} characters at most")));
    }
    Ok(Some(text.into()))
}

/// Has it done, and answers with the endpoint as it is then.
async fn order(admin: &Admin, ask: &Ask, deed: Deed) -> Reply {
    let (cluster, written) = (ask.segment("cluster"), ask.segment("address"));
    let parsed = config::parse_address(written).map(|(host, port)| Address::new(&host, port));
    let at = parsed.ok_or_else(|| {
        Problem::bad(format!("{written:?} is not the address of an endpoint; use host:port, as /v1/clusters has it"))
    })?;
    let Some(hand) = &admin.hand else { return Err(problem(Refused::Ending, cluster, &at)) };
    let by = ask.who.name.as_str().into();
    hand.order((cluster.into(), at.clone()), deed, by).await.map_err(|refused| problem(refused, cluster, &at))?;
    let (table, now) = (admin.reader.load(), Instant::now());
    match view::find(&table, cluster, &at) {
        Some((cluster, member)) => json(&view::endpoint(cluster, member, now)),
        None => json(&held(&table, (cluster, &at), None, now)),
    }
}

fn problem(refused: Refused, cluster: &str, at: &Address) -> Problem {
    match refused {
        Refused::NoCluster => Problem::missing(format!("there is no cluster {cluster:?}")),
        Refused::NoEndpoint => Problem::missing(format!("cluster {cluster:?} has no endpoint {at}")),
        Refused::Full(most) => Problem::new(
            StatusCode::CONFLICT,
            format!("{most} things are done by hand already; take some of them back (/v1/overrides)"),
        ),
        Refused::Busy => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many orders at once; ask again"),
        Refused::Ending => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "lictor is ending"),
    }
}

/// Has clients go elsewhere, or come again. All who come are served, whatever is wished.
fn withdraw(admin: Rc<Admin>, ask: Ask, wish: Wish) -> Acting {
    Box::pin(async move {
        let Nothing {} = ask.read()?;
        let is_away = wish == Wish::Away;
        admin.readiness.withdrawn(is_away);
        if let Some(withdrawal) = &admin.withdrawal {
            withdrawal.urge(is_away);
        }
        let blocker = admin.readiness.blocker();
        json(&Standing { drained: is_away, ready: blocker.is_none(), blocker })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_strictly() {
        let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
        assert_eq!(length(None).unwrap(), minutes(60));
        assert_eq!((length(Some("30m")).unwrap(), length(Some("7d")).unwrap()), (minutes(30), Some(LONGEST)));
        assert_eq!(length(Some("forever")).unwrap(), None);
        for wrong in ["", "0s", "10ms", "8d", "never", "1", "-1s"] {
            let problem = format!("{:?}", length(Some(wrong)).unwrap_err());
            assert!(
                problem.contains(&format!("for: \\{:?}", wrong).replace("\"\"", "\\\"\\\""))
                    || problem.contains("for:")
            );
            assert!(problem.contains("use 1s to 7d"), "{problem}");
        }
    }

    #[test]
    fn a_note_is_one_line() {
        assert_eq!(note(Some("rolling it out".into())).unwrap().as_deref(), Some("rolling it out"));
        assert_eq!((note(None).unwrap(), note(Some(String::new())).unwrap()), (None, None));
        for wrong in ["a\nb".to_owned(), "\u{1b}[2J".to_owned(), "é".repeat(201)] {
            assert!(note(Some(wrong)).is_err());
        }
    }
}
