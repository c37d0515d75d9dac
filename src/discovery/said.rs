//! What a source has said of one selection, and what time makes of it. Pure: time is passed in.

use std::time::{Duration, Instant};

use super::suspects::{Loss, Suspects};
use crate::config::{Consul, OnStale, Staleness};
use crate::endpoint::{Age, Freshness, List};

/// How long others wait for a first answer that is still to come. A thousand lists come in half of that; and whoever asks a datacenter
/// that swallows every question learns nothing of it for longer, one after the other.
const PATIENCE: Duration = Duration::from_secs(10);

/// One selection's list and what has to be known besides it.
#[derive(Debug)]
pub(super) struct Said {
    rules: Staleness,
    list: Option<List>,
    /// The list from before the start, and when its source last stood by it; until there is a true one.
    recalled: Option<(List, Instant)>,
    suspects: Suspects,
    /// The last good answer; before the first, when we began to ask.
    heard: Instant,
    freshness: Freshness,
    /// True once the first answer has taken too long.
    is_overdue: bool,
}

/// What the passing of time has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changed {
    /// The list to serve by.
    pub(super) list: bool,
    /// How far it can be relied on.
    pub(super) freshness: bool,
    /// Whether anything is to be waited for.
    pub(super) overdue: bool,
}

impl Said {
    /// Nothing yet; asked for from now on.
    pub(super) fn new(settings: &Consul, now: Instant) -> Self {
        Said {
            rules: settings.staleness,
            list: None,
            recalled: None,
            suspects: Suspects::new(settings.doubt.hold),
            heard: now,
            freshness: Freshness::default(),
            is_overdue: false,
        }
    }

    /// Takes a list over that is the truth from now on.
    pub(super) fn hear(&mut self, list: List, loss: Loss, now: Instant) {
        let recalled = self.recalled.take().map(|(list, _)| list);
        let before = self.list.take().or(recalled).unwrap_or_default();
        self.suspects.follow(&before, &list, loss, now);
        self.list = Some(list);
        self.heard = now;
    }

    /// Remembers a list from before the start.
    pub(super) fn recall(&mut self, list: List, heard: Instant) {
        self.recalled = Some((list, heard));
    }

    /// Goes by the list from before the start if there is nothing better; true if it does so from now on.
    pub(super) fn fall_back(&mut self) -> bool {
        match &self.recalled {
            Some((list, heard)) if self.list.is_none() => {
                self.list = Some(list.clone());
                self.heard = *heard;
                true
            }
            _ => false,
        }
    }

    /// The list to remember for another start, and when its source last stood by it.
    pub(super) fn kept(&self) -> Option<(List, Instant)> {
        self.recalled.clone().or_else(|| Some((self.served()?, self.heard)))
    }

    /// The source stands by what it said.
    pub(super) fn confirm(&mut self, now: Instant) {
        self.heard = now;
    }

    /// Brings all in step with time.
    pub(super) fn pass(&mut self, now: Instant) -> Changed {
        let freshness = Freshness { age: self.age(now), from_disk: self.list.is_some() && self.recalled.is_some() };
        let overdue = self.overdue_from().is_some_and(|from| from <= now);
        let changed = Changed { list: self.suspects.expire(now), freshness: self.freshness != freshness, overdue };
        self.freshness = freshness;
        self.is_overdue |= overdue;
        changed
    }

    /// When the first answer is to be waited for no longer, if it still is.
    fn overdue_from(&self) -> Option<Instant> {
        (self.list.is_none() && !self.is_overdue).then(|| self.heard + PATIENCE)
    }

    fn age(&self, now: Instant) -> Age {
        match self.stale_from() {
            Some(from) if from <= now && self.rules.then == OnStale::Fail => Age::Expired,
            Some(from) if from <= now => Age::Stale,
            _ => Age::Fresh,
        }
    }

    fn stale_from(&self) -> Option<Instant> {
        self.rules.max.map(|max| self.heard + max)
    }

    /// When time will next change anything.
    pub(super) fn next(&self) -> Option<Instant> {
        let stale_from = self.stale_from().filter(|_| self.freshness.age == Age::Fresh);
        [self.suspects.next(), stale_from, self.overdue_from()].into_iter().flatten().min()
    }

    /// The list to serve by, if there is one.
    pub(super) fn served(&self) -> Option<List> {
        self.list.as_ref().map(|list| self.suspects.join(list))
    }

    /// How far it can be relied on, as of when time was last looked at.
    pub(super) fn freshness(&self) -> Freshness {
        self.freshness
    }

    /// How many on it are suspects.
    pub(super) fn suspects(&self) -> usize {
        self.suspects.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{self, Environment};
    use crate::endpoint::{Address, Listed};

    const MAX: Duration = Duration::from_secs(300);

    fn said(more: &str, now: Instant) -> Said {
        let text = format!("[[listeners]]\nname='a'\nbind='127.0.0.1:0'\n[consul]\n{more}");
        Said::new(&config::parse(&text, &Environment::default()).unwrap().consul, now)
    }

    fn list(ports: &[u16]) -> List {
        ports.iter().map(|port| Listed::new(Address::from(([127, 0, 0, 1], *port)))).collect()
    }

    #[test]
    fn a_list_is_stale_when_nothing_good_was_heard_for_too_long_and_fresh_again_with_the_next_word() {
        let now = Instant::now();
        let mut said = said("max_stale='5m'", now);
        said.hear(list(&[1]), Loss::Plain, now);
        assert_eq!(said.pass(now), Changed::default());
        said.confirm(now + MAX / 2);
        assert_eq!(said.next(), Some(now + MAX / 2 + MAX));
        assert_eq!(said.pass(now + MAX), Changed::default());
        assert_eq!(said.pass(now + MAX * 2), Changed { freshness: true, ..Changed::default() });
        assert_eq!((said.freshness().age, said.next()), (Age::Stale, None));
        assert_eq!(said.served(), Some(list(&[1])), "it is all there is");
        said.confirm(now + MAX * 3);
        assert_eq!(said.pass(now + MAX * 3), Changed { freshness: true, ..Changed::default() });
        assert_eq!(said.freshness().age, Age::Fresh);
    }

    #[test]
    fn a_list_that_must_not_be_stale_expires() {
        let now = Instant::now();
        let mut said = said("max_stale='5m'\non_stale='fail'", now);
        said.hear(list(&[1]), Loss::Plain, now);
        said.pass(now + MAX);
        assert_eq!(said.freshness().age, Age::Expired);
    }

    #[test]
    fn without_a_limit_nothing_is_ever_stale() {
        let now = Instant::now();
        let mut said = said("", now);
        assert_eq!((said.served(), said.next()), (None, Some(now + PATIENCE)));
        said.hear(list(&[1]), Loss::Plain, now);
        said.pass(now + MAX * 1000);
        assert_eq!((said.freshness().age, said.next()), (Age::Fresh, None));
    }

    #[test]
    fn a_list_from_before_the_start_serves_until_there_is_a_true_one_and_says_so() {
        let now = Instant::now();
        let mut said = said("max_stale='5m'", now);
        said.recall(list(&[1, 2]), now - MAX / 2);
        assert_eq!((said.served(), said.kept()), (None, Some((list(&[1, 2]), now - MAX / 2))));
        assert!(said.fall_back() && !said.fall_back());
        assert_eq!(said.served(), Some(list(&[1, 2])));
        assert_eq!(said.pass(now), Changed { freshness: true, ..Changed::default() });
        assert_eq!(said.freshness(), Freshness { age: Age::Fresh, from_disk: true });
        assert_eq!(said.next(), Some(now + MAX / 2), "it is as old as it is");
        said.hear(list(&[]), Loss::Mass, now);
        said.pass(now);
        assert_eq!((said.suspects(), said.freshness()), (2, Freshness::default()));
        assert!(!said.fall_back());
        assert_eq!(said.kept().unwrap().0.len(), 2, "another start knows them as well");
    }

    #[test]
    fn an_answer_that_comes_before_the_list_from_disk_is_needed_still_has_it_to_go_by() {
        let now = Instant::now();
        let mut said = said("", now);
        said.recall(list(&[1, 2]), now);
        said.hear(list(&[]), Loss::Mass, now);
        assert_eq!((said.suspects(), said.served().unwrap().len()), (2, 2));
    }

    #[test]
    fn a_first_answer_is_waited_for_no_longer_than_so_long() {
        let now = Instant::now();
        let mut said = said("", now);
        assert_eq!(said.pass(now + PATIENCE / 2), Changed::default());
        assert_eq!(said.pass(now + PATIENCE), Changed { overdue: true, ..Changed::default() });
        assert_eq!((said.pass(now + PATIENCE * 2), said.next()), (Changed::default(), None), "that is said once");
        said.hear(list(&[1]), Loss::Plain, now + PATIENCE * 3);
        assert_eq!((said.pass(now + PATIENCE * 3), said.next()), (Changed::default(), None));
    }

    #[test]
    fn suspects_are_served_until_their_time_is_over() {
        let now = Instant::now();
        let mut said = said("suspect_hold='1m'", now);
        said.hear(list(&[1, 2]), Loss::Plain, now);
        said.hear(list(&[]), Loss::Mass, now);
        let over = now + Duration::from_secs(60);
        assert_eq!((said.suspects(), said.next()), (2, Some(over)));
        assert_eq!(said.served().unwrap().len(), 2);
        assert_eq!(said.pass(over), Changed { list: true, ..Changed::default() });
        assert_eq!(said.served(), Some(list(&[])));
    }
}
