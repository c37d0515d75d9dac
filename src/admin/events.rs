//! What has happened: the last tables as JSON, and everything as server-sent events, which a follower goes on with where it was.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::Admin;
use super::answer::{Problem, Reply, event, events, json};
use super::ask::{Ask, one};
use super::dispatch::Page;
use crate::journal::{Entry, Event, Journal};

/// Pages of this file.
pub(super) const PAGES: &[Page] = &[
    Page::get("/v1/tables", tables).with(&[one("limit")]),
    Page::get("/v1/events", follow).with(&[one("since"), one("once")]),
];

/// Tables that are shown if nobody says how many.
const TABLES: usize = 20;
/// With nothing to tell, a comment so often: proxies on the way close what is silent for a minute, and a follower that is gone shows.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// An entry as JSON, whose field names are an interface.
#[derive(Serialize)]
pub(super) struct EntryView<'a> {
    id: u64,
    /// RFC 3339, UTC.
    time: String,
    /// The same for people.
    text: String,
    #[serde(flatten)]
    event: &'a Event,
}

impl<'a> From<&'a Entry> for EntryView<'a> {
    fn from(entry: &'a Entry) -> Self {
        EntryView { id: entry.id, time: written(entry.at), text: entry.event.words(), event: &entry.event }
    }
}

/// A time as JSON has it.
pub(super) fn written(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

/// The last tables, the newest first.
fn tables(admin: &Admin, ask: &Ask) -> Reply {
    let limit =
        number(ask.query("limit"), "limit")?.map_or(TABLES, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let tables = admin.journal.tables();
    json(&tables.iter().rev().take(limit).map(|entry| EntryView::from(&**entry)).collect::<Vec<_>>())
}

/// Somebody who is told what happens.
struct Follower {
    journal: Arc<Journal>,
    /// The number of the last that was told.
    told: u64,
    is_new: bool,
    _place: OwnedSemaphorePermit,
}

/// What happens from now on, or behind a number; or only what has.
fn follow(admin: &Admin, ask: &Ask) -> Reply {
    let since = match ask.header("last-event-id") {
        Some(id) => number(Some(id), "Last-Event-ID")?,
        None => number(ask.query("since"), "since")?,
    };
    if ask.query("once").is_some() {
        let entries = admin.journal.since(since.unwrap_or_default()).entries;
        return json(&entries.iter().map(|entry| EntryView::from(&**entry)).collect::<Vec<_>>());
    }
    let journal = Arc::clone(&admin.journal);
    let told = since.unwrap_or_else(|| journal.last());
    Ok(events(Follower { journal, told, is_new: true, _place: admin.follower()? }, Follower::next))
}

impl Follower {
    /// What there is to tell, once there is something.
    async fn next(mut self) -> Option<(Bytes, Follower)> {
        if !std::mem::take(&mut self.is_new) && timeout(HEARTBEAT, self.journal.beyond(self.told)).await.is_err() {
            return Some((Bytes::from_static(b": still here\n\n"), self));
        }
        let since = self.journal.since(self.told);
        // At the beginning even if there is nothing: whoever follows sees that it does.
        let mut text = "retry: 1000\n\n".to_owned();
        if since.incomplete {
            text += &event(None, "forgotten", &serde_json::json!({ "since": self.told }));
        }
        for entry in &since.entries {
            text += &event(Some(entry.id), entry.event.kind(), &EntryView::from(&**entry));
        }
        // Not the last of them: there may be none, and a number that is not ours has had its answer.
        self.told = since.last;
        Some((text.into(), self))
    }
}

fn number(written: Option<&str>, what: &str) -> Result<Option<u64>, Problem> {
    let wrong = |text| Problem::bad(format!("{what}: \"{text}\" is not a number"));
    written.map(|text| text.parse().map_err(|_| wrong(text))).transpose()
}
