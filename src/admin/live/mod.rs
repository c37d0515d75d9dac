//! The live feed: what goes on, as server-sent events, for the dashboard and for `lictor top`. First comes everything (`whole`), then
//! each second what is different (`change`), and at once if something has happened.
//!
//! There is one sampler for all who follow, and it works only while somebody does: whoever of them is the first to find a sample due
//! takes it, and all send the same bytes. So it needs no task of its own, costs nothing while nobody looks, and forgets what it knows when
//! the last one leaves; but not when it was last at work, so that whoever comes again and again waits as one who stays. A follower who is
//! too slow for what has changed is given everything again.
//!
//! However large the fleet is, it has bounds: a sample is followed by a rest that is longer by so much than it took ([`REST`]), as long as
//! readers can wait, and what is told has a limit on endpoints and on points of the past (`sampler`).

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

/// From the begin of what took so long to the next, so many times as long: the control thread has other work.
const REST: u32 = 10;
/// But no longer than this. Figures are of readings that are no further apart than `window::GAP`, and readers take a feed that is silent for
/// five seconds for broken, come back, and want everything again, which costs most.
const LONGEST_REST: Duration = Duration::from_millis(2500);

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
    followers: usize,
    /// Of the last sample; 0 before the first that anybody follows.
    number: u64,
    pace: Pace,
    /// The last sample as those are told who know the one before.
    change: Bytes,
    /// The same for those who do not, once there is somebody.
    whole: Option<Bytes>,
}

/// When samples are due.
#[derive(Default)]
struct Pace {
    /// When the last was taken that began another second, and when the last of all.
    ticked: Option<Instant>,
    taken: Option<Instant>,
    /// How long that took, with what was done for it since.
    cost: Duration,
}

/// Somebody who follows.
struct Follower {
    live: Arc<Live>,
    /// The number of the sample that was sent last; none before the first.
    seen: Option<u64>,
    _place: OwnedSemaphorePermit,
}

fn live(admin: &Admin, _: &Ask) -> Reply {
    let follower = Follower::of(&admin.live, admin.follower()?);
    Ok(events(follower, |follower| async { Some(follower.next().await) }))
}

impl Follower {
    fn of(live: &Arc<Live>, place: OwnedSemaphorePermit) -> Self {
        live.feed().followers += 1;
        Follower { live: Arc::clone(live), seen: None, _place: place }
    }

    /// What it is to be sent next, once there is something.
    async fn next(mut self) -> (Bytes, Self) {
        let seen = self.seen.unwrap_or_default();
        self.live.beyond(seen).await;
        let (number, piece) = self.live.feed().since(self.seen);
        self.seen = Some(number);
        (piece, self)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.live.feed().leave();
    }
}

impl Live {
    pub(super) fn new(sight: Sight) -> Self {
        let journal = Arc::clone(&sight.journal);
        let feed = Feed {
            sampler: Sampler::new(sight, Instant::now()),
            followers: 0,
            number: 0,
            pace: Pace::default(),
            change: Bytes::new(),
            whole: None,
        };
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
                let (tick, soon) = feed.pace.next(now);
                (tick, soon, feed.sampler.told())
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
}

impl Feed {
    /// Takes a sample if one is due: a second is over, or something has happened that was not told yet.
    fn look(&mut self, now: Instant, happened: u64) {
        let (tick, soon) = self.pace.next(now);
        let scope = if now >= tick {
            Scope::Figures
        } else if happened > self.sampler.told() && now >= soon {
            Scope::Standings
        } else {
            return;
        };
        self.whole = None;
        self.change = self.sampler.take(now, scope);
        self.number += 1;
        self.pace.took(scope, now, Instant::now());
    }

    /// The last sample, for somebody who knows that one.
    fn since(&mut self, seen: Option<u64>) -> (u64, Bytes) {
        if seen.is_some_and(|seen| seen + 1 == self.number) {
            return (self.number, self.change.clone());
        }
        let begun = Instant::now();
        let whole = self.whole.get_or_insert_with(|| self.sampler.whole()).clone();
        self.pace.cost += begun.elapsed();
        (self.number, whole)
    }

    /// One follower less. With the last goes what is known: nobody is to pay for what nobody sees. Whoever comes next waits for a sample
    /// that is due.
    fn leave(&mut self) {
        self.followers -= 1;
        if self.followers == 0 {
            self.sampler.forget_all();
            (self.number, self.change, self.whole) = (0, Bytes::new(), None);
        }
    }
}

impl Pace {
    /// From when on the next is due: because a second is over, and if something has happened.
    fn next(&self, now: Instant) -> (Instant, Instant) {
        let after = |time: Option<Instant>, pause| time.map_or(now, |time| time + pause);
        // At least half of the time nothing is done, however long it takes.
        let rested = after(self.taken, (self.cost * REST).min(LONGEST_REST).max(self.cost * 2));
        (after(self.ticked, INTERVAL).max(rested), after(self.taken, SOON).max(rested))
    }

    /// One was taken.
    fn took(&mut self, scope: Scope, begun: Instant, over: Instant) {
        if scope == Scope::Figures {
            self.ticked = Some(begun);
        }
        self.taken = Some(begun);
        self.cost = over.saturating_duration_since(begun);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_sample_costs_most_of_the_time_nothing_is_done() {
        let begin = Instant::now();
        let after = |length| begin + length;
        let mut pace = Pace::default();
        assert_eq!(pace.next(begin), (begin, begin), "the first is due at once");
        pace.took(Scope::Figures, begin, after(Duration::from_millis(1)));
        assert_eq!(pace.next(begin), (after(INTERVAL), after(SOON)), "a quick one is no reason to wait");
        pace.took(Scope::Standings, begin, after(Duration::from_millis(50)));
        assert_eq!(pace.next(begin), (after(INTERVAL), after(Duration::from_millis(500))));
        pace.cost += Duration::from_millis(350);
        assert_eq!(pace.next(begin), (after(LONGEST_REST), after(LONGEST_REST)), "nobody takes it for broken");
        pace.cost += Duration::from_secs(2);
        assert_eq!(pace.next(begin).0, after(Duration::from_millis(4800)));
    }

    #[tokio::test]
    async fn who_comes_at_once_is_sent_the_same_and_with_the_last_all_is_forgotten() {
        let (readiness, journal) = (Readiness::default(), Arc::new(Journal::default()));
        let (_publisher, reader) = crate::table::channel();
        let sight = Sight { reader, metrics: Arc::new(Metrics::new(1)), readiness, journal: Arc::clone(&journal) };
        let live = Arc::new(Live::new(sight));
        let places = Arc::new(tokio::sync::Semaphore::new(2));
        let follow = || Follower::of(&live, Arc::clone(&places).try_acquire_owned().unwrap());
        let (first, one) = follow().next().await;
        // None is due before something happens, or before a second is over.
        live.feed().pace.ticked = Some(Instant::now() + INTERVAL);
        let (second, other) = follow().next().await;
        assert_eq!(first.as_ptr(), second.as_ptr());
        drop(one);
        assert!(live.feed().whole.is_some());
        drop(other);
        let taken = {
            let feed = live.feed();
            assert!(feed.followers == 0 && feed.number == 0 && feed.whole.is_none() && feed.change.is_empty());
            feed.pace.taken.unwrap()
        };
        // Who comes back at once waits for the next, as if nobody had left, and is told everything by it.
        journal.note(crate::journal::Event::Draining);
        let (third, _again) = follow().next().await;
        assert!(live.feed().pace.taken.unwrap() >= taken + SOON);
        let third = std::str::from_utf8(&third).unwrap();
        assert!(third.starts_with("event: whole") && third.contains("draining"), "{third}");
    }
}
