//! What has happened, for whoever looks in or follows: a bounded memory of events and of tables, each with a number. It decides nothing
//! and outlives nothing: a restart begins anew, with numbers that are higher than any before.
//!
//! Two rings: an ejection now and then is worth knowing for hours, and must not push out the last tables, nor a storm of tables the
//! ejections. Whoever writes takes a lock for as long as it takes to append; whatever is written is rare.

mod event;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

pub use event::{Cause, ClusterChange, Event, Published};

/// Events that are remembered: a night's worth of a fleet that is not well.
const EVENTS: usize = 1024;
/// Tables that are.
const TABLES: usize = 128;
/// How far back, and for how long, the same thing again says nothing new.
const NEAR: usize = 128;
const SOON: Duration = Duration::from_secs(10);
/// Numbers a second that a process may use up before it could run into those of one that is started after it. Doubles hold them exactly
/// until the year 2242, which matters to scripts in a browser.
const A_SECOND: u64 = 1 << 20;

/// What has happened, shared by those who write and those who read.
#[derive(Debug)]
pub struct Journal {
    rings: Mutex<Rings>,
    last: watch::Sender<u64>,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Higher than that of everything before it, over restarts too.
    pub id: u64,
    /// When, by the system's clock.
    pub at: SystemTime,
    /// What.
    pub event: Event,
}

/// What came behind a number.
#[derive(Debug, Clone, Default)]
pub struct Since {
    /// In the order of their numbers.
    pub entries: Vec<Arc<Entry>>,
    /// True if there was more, which is forgotten.
    pub incomplete: bool,
    /// The number of what happened last, and with which to go on.
    pub last: u64,
}

#[derive(Debug)]
struct Rings {
    first: u64,
    next: u64,
    events: Ring,
    tables: Ring,
}

#[derive(Debug)]
struct Ring {
    entries: VecDeque<Arc<Entry>>,
    room: usize,
    /// The number of the last that was pushed out; 0 if none was.
    forgotten: u64,
}

impl Journal {
    /// An empty one, whose numbers begin by that time.
    pub fn begun(at: SystemTime) -> Self {
        let first = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() * A_SECOND;
        let rings = Rings { first, next: first + 1, events: Ring::of(EVENTS), tables: Ring::of(TABLES) };
        Journal { rings: Mutex::new(rings), last: watch::Sender::new(first) }
    }

    /// Writes down what happens now.
    pub fn note(&self, event: Event) {
        self.note_at(event, SystemTime::now());
    }

    /// The same for what may happen with every request: once in a while says as much as each time.
    pub fn note_now_and_then(&self, event: Event) {
        let now = SystemTime::now();
        let is_news = {
            let rings = self.lock();
            let recent = rings.events.entries.iter().rev().take(NEAR);
            let mut recent = recent.take_while(|entry| now.duration_since(entry.at).is_ok_and(|age| age < SOON));
            !recent.any(|entry| entry.event == event)
        };
        if is_news {
            self.note_at(event, now);
        }
    }

    fn note_at(&self, event: Event, at: SystemTime) {
        let id = {
            let mut rings = self.lock();
            let id = rings.next;
            rings.next += 1;
            let ring = if event.is_table() { &mut rings.tables } else { &mut rings.events };
            ring.push(Arc::new(Entry { id, at, event }));
            id
        };
        self.last.send_if_modified(|last| {
            let is_later = *last < id;
            *last = id.max(*last);
            is_later
        });
    }

    /// All that is remembered behind that number; all there is, if it is a number that nothing here has had.
    pub fn since(&self, id: u64) -> Since {
        let mut since = self.lock().since(id);
        // Two runs that are in order: each ring's. Whoever writes waits for no sorting.
        since.entries.sort_by_key(|entry| entry.id);
        since
    }

    /// The tables that are remembered, the oldest first.
    pub fn tables(&self) -> Vec<Arc<Entry>> {
        self.lock().tables.entries.iter().cloned().collect()
    }

    /// The number of what happened last.
    pub fn last(&self) -> u64 {
        *self.last.borrow()
    }

    /// Returns once there is something behind that number.
    pub async fn beyond(&self, id: u64) {
        // The sender is held by this journal, so the wait cannot fail.
        let _ = self.last.subscribe().wait_for(|last| *last > id).await;
    }

    fn lock(&self) -> MutexGuard<'_, Rings> {
        // A panic while it was held can have cost an entry at most.
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Journal {
    fn default() -> Self {
        Journal::begun(SystemTime::now())
    }
}

impl Rings {
    fn since(&self, id: u64) -> Since {
        let last = self.next - 1;
        // Of a process before this one nothing is known; one whose clock was ahead of ours had numbers that are still to come here.
        let is_of_another = id != 0 && !(self.first..=last).contains(&id);
        let behind = if is_of_another { 0 } else { id };
        let rings = self.events.entries.iter().chain(&self.tables.entries);
        let entries = rings.filter(|entry| entry.id > behind).cloned().collect();
        let incomplete = is_of_another || self.events.forgotten > id || self.tables.forgotten > id;
        Since { entries, incomplete, last }
    }
}

impl Ring {
    fn of(room: usize) -> Self {
        Ring { entries: VecDeque::new(), room, forgotten: 0 }
    }

    fn push(&mut self, entry: Arc<Entry>) {
        if self.entries.len() == self.room
            && let Some(oldest) = self.entries.pop_front()
        {
            self.forgotten = oldest.id;
        }
        self.entries.push_back(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back(endpoint: &str) -> Event {
        Event::Returned { cluster: "web".to_owned(), endpoint: endpoint.to_owned() }
    }

    fn table(version: u64) -> Event {
        Event::Table(Box::new(Published { version, ..Published::default() }))
    }

    #[test]
    fn a_reader_goes_on_where_it_was_and_is_told_what_it_missed() {
        let journal = Journal::begun(UNIX_EPOCH + Duration::from_secs(10));
        journal.note(back("a"));
        let seen = journal.since(0);
        assert!(!seen.incomplete && seen.entries.len() == 1);
        assert_eq!(seen.entries[0].id, 10 * A_SECOND + 1);
        let last = journal.last();
        assert!(journal.since(last).entries.is_empty());
        for _ in 0..=EVENTS {
            journal.note(back("b"));
        }
        let missed = journal.since(last);
        assert!(missed.incomplete && missed.entries.len() == EVENTS);
        let restarted = Journal::begun(UNIX_EPOCH + Duration::from_secs(11));
        assert!(restarted.last() > journal.last(), "numbers go on over a restart");
        assert!(restarted.since(last).incomplete);
        assert_eq!(restarted.since(last).last, restarted.last(), "who was told that goes on from there");
    }

    #[test]
    fn a_number_of_a_process_whose_clock_was_ahead_is_none_of_ours() {
        let journal = Journal::begun(UNIX_EPOCH + Duration::from_secs(10));
        journal.note(back("a"));
        for ahead in [journal.last() + 1, Journal::begun(UNIX_EPOCH + Duration::from_secs(60)).last()] {
            let since = journal.since(ahead);
            assert!(since.incomplete && since.entries.len() == 1 && since.last == journal.last());
        }
    }

    #[test]
    fn a_storm_of_one_kind_does_not_push_out_the_other() {
        let journal = Journal::default();
        journal.note(back("a"));
        for version in 0..10 * TABLES as u64 {
            journal.note(table(version));
        }
        assert_eq!(journal.tables().len(), TABLES);
        assert_eq!(journal.since(0).entries[0].event, back("a"));
        for _ in 0..10 * EVENTS {
            journal.note(back("b"));
        }
        assert_eq!(journal.tables().len(), TABLES);
        let entries = journal.since(0).entries;
        assert_eq!(entries.len(), EVENTS + TABLES);
        assert!(entries.is_sorted_by_key(|entry| entry.id));
    }

    #[test]
    fn what_goes_on_all_the_time_is_said_now_and_then() {
        let journal = Journal::default();
        (0..100).for_each(|_| journal.note_now_and_then(back("a")));
        journal.note_now_and_then(back("b"));
        assert_eq!(journal.since(0).entries.len(), 2);
    }

    #[tokio::test]
    async fn whoever_waits_is_told() {
        let journal = Arc::new(Journal::default());
        let (last, waiting) = (journal.last(), Arc::clone(&journal));
        let waiting = tokio::spawn(async move { waiting.beyond(last).await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        journal.note(back("a"));
        waiting.await.unwrap();
        journal.beyond(last).await;
    }
}
