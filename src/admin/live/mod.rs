//! The live feed: what goes on, as server-sent events, for the dashboard and for `lictor top`. First comes everything (`whole`), then
//! each second what is different (`change`), and at once if something has happened.
//!
//! There is one sampler for all who follow, and it works only while somebody does: whoever of them is the first to find a sample due
//! takes it, and all send the same bytes. So it needs no task of its own, and costs nothing while nobody looks. A follower who is too slow
//! for what has changed is given everything again.

mod sampler;
mod view;
mod window;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep_until;

use super::Admin;
use super::answer::{Reply, events};
use super::ask::Ask;
use super::dispatch::Page;
use crate::journal::Journal;
use crate::lifecycle::Readiness;
use crate::metrics::Metrics;
use crate::table::Reader;
use sampler::{Sampler, Scope};

/// What goes on.
pub(super) const PAGES: &[Page] = &[Page::get("/v1/live", live)];

/// From one sample to the next: what an eye can follow.
const INTERVAL: Duration = Duration::from_secs(1);
/// The least from one sample to the next if something has happened: a storm of events is told ten times a second.
const SOON: Duration = Duration::from_millis(100);

/// What a sample is made from.
pub(super) struct Sight {
    pub(super) reader: Reader,
    pub(super) metrics: Arc<Metrics>,
    pub(super) readiness: Readiness,
    pub(super) journal: Arc<Journal>,
}

/// The feed.
// Behind a lock, since the window is made on another thread than it works on; nobody ever waits for it.
pub(super) struct Live {
    feed: Mutex<Feed>,
    journal: Arc<Journal>,
}

struct Feed {
    sampler: Sampler,
    /// Of the last sample; 0 before the first.
    number: u64,
    /// When the last was taken that began another second, and when the last of all.
    ticked: Option<Instant>,
    taken: Option<Instant>,
    /// The last sample as those are told who know the one before.
    change: Bytes,
}

/// Somebody who follows.
struct Follower {
    live: Arc<Live>,
    /// The number of the sample that was sent last; none before the first.
    seen: Option<u64>,
    _place: OwnedSemaphorePermit,
}

fn live(admin: &Admin, _: &Ask) -> Reply {
    let follower = Follower { live: Arc::clone(&admin.live), seen: None, _place: admin.follower()? };
    Ok(events(follower, |follower| async { Some(follower.next().await) }))
}

impl Follower {
    /// What it is to be sent next, once there is something.
    async fn next(mut self) -> (Bytes, Self) {
        let seen = self.seen.unwrap_or_default();
        self.live.beyond(seen).await;
        let (number, piece) = self.live.since(self.seen);
        self.seen = Some(number);
        (piece, self)
    }
}

impl Live {
    pub(super) fn new(sight: Sight) -> Self {
        let journal = Arc::clone(&sight.journal);
        let sampler = Sampler::new(sight, Instant::now());
        let feed = Feed { sampler, number: 0, ticked: None, taken: None, change: Bytes::new() };
        Live { feed: Mutex::new(feed), journal }
    }

    /// Returns once there is a later sample than that, which it takes if it is due.
    async fn beyond(&self, number: u64) {
        loop {
            let (tick, soon, told) = {
                let mut feed = self.feed();
                let now = Instant::now();
                feed.look(now, self.journal.last());
                if feed.number > number {
                    return;
                }
                let after = |time: Option<Instant>, pause| time.map_or(now, |time| time + pause);
                (after(feed.ticked, INTERVAL), after(feed.taken, SOON), feed.sampler.told())
            };
            let news = async {
                self.journal.beyond(told).await;
                sleep_until(soon.into()).await;
            };
            tokio::select! {
                () = sleep_until(tick.into()) => {}
                () = news => {}
            }
        }
    }

    fn feed(&self) -> MutexGuard<'_, Feed> {
        // A sample that was not finished is made up for by the next.
        self.feed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last sample, for somebody who knows that one.
    fn since(&self, seen: Option<u64>) -> (u64, Bytes) {
        let feed = self.feed();
        let follows = seen.is_some_and(|seen| seen + 1 == feed.number);
        (feed.number, if follows { feed.change.clone() } else { feed.sampler.whole() })
    }
}

impl Feed {
    /// Takes a sample if one is due: a second is over, or something has happened that was not told yet.
    fn look(&mut self, now: Instant, happened: u64) {
        let is_over = |time: Option<Instant>, pause| time.is_none_or(|time| now >= time + pause);
        let scope = if is_over(self.ticked, INTERVAL) {
            self.ticked = Some(now);
            Scope::Figures
        } else if happened > self.sampler.told() && is_over(self.taken, SOON) {
            Scope::Standings
        } else {
            return;
        };
        self.taken = Some(now);
        self.change = self.sampler.take(now, scope);
        self.number += 1;
    }
}
