//! What a source has said of one selection, and what time makes of it. Pure: time is passed in.

use std::time::{Duration, Instant};

use super::suspects::{Loss, Suspects};
use crate::endpoint::List;

/// One selection's list and what has to be known besides it.
#[derive(Debug)]
pub(super) struct Said {
    list: List,
    suspects: Suspects,
}

impl Said {
    /// Nobody yet; suspects will be held for so long.
    pub(super) fn new(hold: Duration) -> Self {
        Said { list: List::default(), suspects: Suspects::new(hold) }
    }

    /// Takes a list over that is the truth from now on.
    pub(super) fn hear(&mut self, list: List, loss: Loss, now: Instant) {
        self.suspects.follow(&self.list, &list, loss, now);
        self.list = list;
    }

    /// Lets time pass; true if the list to serve by is another one for it.
    pub(super) fn pass(&mut self, now: Instant) -> bool {
        self.suspects.expire(now)
    }

    /// When time will next change anything.
    pub(super) fn next(&self) -> Option<Instant> {
        self.suspects.next()
    }

    /// The list to serve by.
    pub(super) fn served(&self) -> List {
        self.suspects.join(&self.list)
    }

    /// How many on it are suspects.
    pub(super) fn suspects(&self) -> usize {
        self.suspects.len()
    }
}
