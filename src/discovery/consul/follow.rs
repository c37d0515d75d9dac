//! What an answer of Consul is worth: a pure state machine over indexes and lists, so that every rule can be tested without a
//! network. The rules are those of Consul's documentation on blocking queries, and two that its behaviour asks for: an
//! answer that comes early with the same index means that the server's state was replaced, and an index that goes backwards
//! on a stale read is never believed. A list that lacks much is looked at again, and an empty one only counts from somebody who
//! may see what would be on it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::super::suspects::Loss;
use crate::config::Consistency;
use crate::consul::Meta;
use crate::endpoint::{Address, List, Listed};

/// Between a list that is doubted and the look at it again.
pub(super) const SECOND_LOOK: Duration = Duration::from_millis(300);
/// An index that really went backwards is believed when two looks, so far apart, agree.
pub(super) const AGREEMENT: Duration = Duration::from_secs(1);
/// Fewer than these are no mass, whatever their share.
const MANY: usize = 3;
/// While a server says itself that it should not be believed.
pub(super) const HOLD: Duration = Duration::from_secs(2);

/// How far a service has been followed.
#[derive(Debug)]
pub(super) struct Follow {
    mode: Consistency,
    /// What to wait beyond; 0 asks at once.
    index: u64,
    accepted: u64,
    backend: Option<String>,
    /// Whether ACLs hid something from the answer that was believed: then they may go on to.
    filtered: bool,
    list: Option<List>,
    /// True while that is a list from before the start.
    recalled: bool,
    /// More than this share of a list, in hundredths, is too much to be gone at once.
    percent: u32,
    doubt: Option<Doubt>,
    /// What would be believed, were it known that we may see the rest.
    pending: Option<Pending>,
}

#[derive(Debug)]
struct Doubt {
    list: Option<List>,
    since: Instant,
}

#[derive(Debug)]
struct Pending {
    meta: Meta,
    list: List,
    loss: Loss,
}

/// The next query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ask {
    /// Wait for a change beyond this; 0 answers at once.
    pub(super) index: u64,
    /// Who may answer.
    pub(super) mode: Consistency,
}

/// What to do about an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A list to serve by, and how it lost whoever is missing on it.
    Changed(List, Loss),
    /// Nothing new.
    Unchanged,
    /// Nothing new, and the next query starts at index 0.
    Reset,
    /// Not believed: ask again after this long.
    Doubted(Duration, Reason),
    /// To be believed if we may see what is missing: see [`Follow::missing`] and [`Follow::conclude`].
    Pending,
}

/// Why a list is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// Rights hide something.
    Acl,
    /// The server knows of no leader.
    Leader,
    /// The index went backwards.
    Index,
    /// Too much is gone at once.
    Mass,
    /// Whoever answered has not heard from those who know for too long.
    Lag,
}

/// Whether we may see what is not on a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rights {
    /// We may, or nobody says otherwise.
    Whole,
    /// Something is kept from us.
    Hidden,
}

impl Follow {
    /// Knows nothing yet; doubts a list that lacks more than this share of the one before, in hundredths.
    pub(super) fn new(mode: Consistency, percent: u32) -> Self {
        Follow {
            mode,
            index: 0,
            accepted: 0,
            backend: None,
            filtered: false,
            list: None,
            recalled: false,
            percent,
            doubt: None,
            pending: None,
        }
    }

    /// Judges the first answer by a list from before the start, as if it had been the last.
    pub(super) fn recall(&mut self, list: List) {
        self.list = Some(list);
        self.recalled = true;
    }

    /// True before anything was known.
    pub(super) fn is_new(&self) -> bool {
        self.list.is_none()
    }

    /// Who may answer from now on.
    pub(super) fn read(&mut self, mode: Consistency) {
        self.mode = mode;
    }

    /// What to ask next.
    pub(super) fn ask(&self) -> Ask {
        let mode = if self.doubt.is_some() { Consistency::Default } else { self.mode };
        Ask { index: self.index, mode }
    }

    /// The index of the last answer that was believed.
    pub(super) fn accepted(&self) -> u64 {
        self.accepted
    }

    /// There was no usable answer: the agent may have another state when it is back.
    pub(super) fn failed(&mut self) {
        self.index = 0;
    }

    /// The verdict on an answer of somebody who has been alone for longer than `most`: the leader is asked, whatever the answer says.
    pub(super) fn is_behind(&mut self, meta: &Meta, (asked, most): (Ask, Duration), now: Instant) -> Option<Verdict> {
        let is_behind = asked.mode != Consistency::Default && meta.lag > most;
        is_behind.then(|| self.doubt(None, now, (Duration::ZERO, Reason::Lag)))
    }

    /// The verdict on an answer with the index that was waited beyond, before the wait was over: the server's timer never fires before that,
    /// so its state was replaced by one with that index, and following starts anew. The end of a wait is judged like any other answer: rights
    /// that were lost or given meanwhile move no index, and show nowhere else.
    pub(super) fn is_early(&mut self, meta: &Meta, (asked, took, wait): (Ask, Duration, Duration)) -> Option<Verdict> {
        let is_early = asked.index > 0 && meta.index.max(1) == asked.index && took < wait;
        if is_early {
            self.index = 0;
        }
        is_early.then_some(Verdict::Reset)
    }

    /// Judges a list.
    pub(super) fn judge(&mut self, meta: &Meta, asked: Ask, list: List, now: Instant) -> Verdict {
        let index = meta.index.max(1);
        let comparable = self.backend == meta.backend;
        let regressed = comparable && index < self.accepted;
        if regressed && asked.mode != Consistency::Default {
            return self.doubt(None, now, (Duration::ZERO, Reason::Index));
        }
        let Some(current) = &self.list else {
            return self.accept(meta, list, Loss::Plain);
        };
        if *current == list {
            if self.recalled {
                return self.accept(meta, list, Loss::Plain);
            }
            self.settle(meta);
            return Verdict::Unchanged;
        }
        let lost = removed(current, &list).count();
        if lost > 0
            && let Some(reason) = self.objection(meta)
        {
            return self.doubt(None, now, (HOLD, reason));
        }
        if !self.is_destructive((current.len(), list.len(), lost), regressed) {
            // Its last one may have left, or be kept from us.
            let emptied = list.is_empty() && lost > 0;
            return if emptied {
                self.ask_first(meta, list, Loss::Plain)
            } else {
                self.accept(meta, list, Loss::Plain)
            };
        }
        let reason = if regressed { Reason::Index } else { Reason::Mass };
        match &self.doubt {
            // Seen once: look again, by way of the leader.
            None => self.doubt(Some(list), now, (SECOND_LOOK, reason)),
            Some(_) if !regressed => self.ask_first(meta, list, Loss::Mass),
            Some(Doubt { list: Some(seen), since }) if *seen == list => match AGREEMENT.checked_sub(now - *since) {
                None | Some(Duration::ZERO) => self.ask_first(meta, list, Loss::Mass),
                Some(rest) => Verdict::Doubted(rest, reason),
            },
            Some(_) => self.doubt(Some(list), now, (AGREEMENT, reason)),
        }
    }

    /// Who would be gone with the list that is pending.
    pub(super) fn missing(&self) -> impl Iterator<Item = &Listed> {
        let both = self.list.as_ref().zip(self.pending.as_ref());
        both.into_iter().flat_map(|(current, pending)| removed(current, &pending.list))
    }

    /// Judges the list that is pending, now that it is known what we may see.
    pub(super) fn conclude(&mut self, rights: Rights, now: Instant) -> Verdict {
        let Some(Pending { meta, list, loss }) = self.pending.take() else { return Verdict::Reset };
        match rights {
            Rights::Whole => self.accept(&meta, list, loss),
            Rights::Hidden => self.doubt(Some(list), now, (HOLD, Reason::Acl)),
        }
    }

    /// What the answer itself says against whatever it lacks.
    fn objection(&self, meta: &Meta) -> Option<Reason> {
        if meta.known_leader == Some(false) {
            return Some(Reason::Leader);
        }
        // Whether they hid something before the start is not known.
        (meta.filtered && !self.filtered && !self.recalled).then_some(Reason::Acl)
    }

    /// True if so much is missing that it is more likely a mistake than news: everything, or more than the share and at least
    /// three. One instance that leaves is taken at its word, unless the index went backwards at the same time.
    fn is_destructive(&self, (before, after, lost): (usize, usize, usize), regressed: bool) -> bool {
        let single = lost <= 1 && !regressed;
        let much = lost >= MANY && lost * 100 > before * self.percent as usize;
        lost > 0 && !single && (after == 0 || much)
    }

    fn doubt(&mut self, list: Option<List>, now: Instant, (pause, reason): (Duration, Reason)) -> Verdict {
        self.index = 0;
        self.doubt = Some(Doubt { list, since: now });
        Verdict::Doubted(pause, reason)
    }

    fn ask_first(&mut self, meta: &Meta, list: List, loss: Loss) -> Verdict {
        self.pending = Some(Pending { meta: meta.clone(), list, loss });
        Verdict::Pending
    }

    fn accept(&mut self, meta: &Meta, list: List, loss: Loss) -> Verdict {
        self.settle(meta);
        self.list = Some(list.clone());
        self.recalled = false;
        Verdict::Changed(list, loss)
    }

    fn settle(&mut self, meta: &Meta) {
        let index = meta.index.max(1);
        self.index = index;
        self.accepted = index;
        self.backend.clone_from(&meta.backend);
        self.filtered = meta.filtered;
        self.doubt = None;
    }
}

/// Those of the one list who are not on the other.
fn removed<'a>(current: &'a [Listed], new: &'a [Listed]) -> impl Iterator<Item = &'a Listed> {
    let staying: BTreeSet<&Address> = new.iter().map(|listed| &listed.address).collect();
    current.iter().filter(move |listed| !staying.contains(&listed.address))
}

#[cfg(test)]
mod tests;
