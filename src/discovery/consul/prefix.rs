//! What an answer for a whole prefix of the KV store is worth: a pure state machine, as `follow` is one for lists. There is no stale
//! read here, and no streaming; but nothing under a prefix looks the same whether it was deleted, may not be read any more, or has
//! not been replayed yet by a server that just started. So whatever lacks a key is looked at again, and believed only if the token may
//! still read what is missing. What only adds or changes is believed at once.

use std::time::{Duration, Instant};

use super::follow::{AGREEMENT, HOLD, Reason, Rights, SECOND_LOOK};
use crate::config::Documents;
use crate::consul::Meta;

/// How far a prefix has been followed.
#[derive(Debug, Default)]
pub(super) struct Prefix {
    /// What to wait beyond; 0 asks at once.
    index: u64,
    accepted: u64,
    /// What was believed last.
    documents: Option<Documents>,
    /// True while that is from before the start.
    recalled: bool,
    /// Whether ACLs hid something from the answer that was believed: then they may go on to.
    filtered: bool,
    doubt: Option<(Documents, Instant)>,
    pending: Option<(Meta, Documents)>,
}

/// What to do about an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Documents to go by.
    Changed(Documents),
    /// Nothing new.
    Unchanged,
    /// Nothing new, and the next query starts at index 0.
    Reset,
    /// Not believed: ask again after this long.
    Doubted(Duration, Reason),
    /// To be believed if we may see what is missing: see [`Prefix::missing`] and [`Prefix::conclude`].
    Pending,
}

impl Prefix {
    /// Goes on from documents of before the start, as if they had been the last.
    pub(super) fn recall(documents: Documents) -> Self {
        Prefix { documents: Some(documents), recalled: true, ..Prefix::default() }
    }

    /// The index to wait beyond; 0 asks at once.
    pub(super) fn index(&self) -> u64 {
        self.index
    }

    /// The index of the last answer that was believed.
    pub(super) fn accepted(&self) -> u64 {
        self.accepted
    }

    /// There was no usable answer: the agent may have another state when it is back.
    pub(super) fn failed(&mut self) {
        self.index = 0;
    }

    /// True if a query that waited beyond `asked` was answered with the same index before its time: the server's timer never fires before
    /// `wait` is over, so its state was replaced by one with that index, and following starts anew. (The end of a wait is judged like any
    /// other answer: rights that were lost show nowhere else.)
    pub(super) fn is_early(&mut self, meta: &Meta, (asked, took, wait): (u64, Duration, Duration)) -> bool {
        let is_early = asked > 0 && meta.index.max(1) == asked && took < wait;
        if is_early {
            self.index = 0;
        }
        is_early
    }

    /// Judges what stands under the prefix.
    pub(super) fn judge(&mut self, meta: &Meta, found: Documents, now: Instant) -> Verdict {
        if self.documents.as_ref() == Some(&found) && !self.recalled {
            self.settle(meta);
            return Verdict::Unchanged;
        }
        let regressed = meta.index.max(1) < self.accepted;
        if !self.lacks(&found) && !regressed {
            return self.accept(meta, found);
        }
        if meta.known_leader == Some(false) {
            return self.doubt(found, now, (HOLD, Reason::Leader));
        }
        if meta.filtered && !self.filtered {
            return self.doubt(found, now, (HOLD, Reason::Acl));
        }
        let reason = if regressed { Reason::Index } else { Reason::Mass };
        match &self.doubt {
            None => self.doubt(found, now, (SECOND_LOOK, reason)),
            Some(_) if !regressed => self.ask_first(meta, found),
            // One that really went backwards is believed when two looks, some time apart, agree.
            Some((seen, since)) if *seen == found => match AGREEMENT.checked_sub(now - *since) {
                None | Some(Duration::ZERO) => self.ask_first(meta, found),
                Some(rest) => Verdict::Doubted(rest, reason),
            },
            Some(_) => self.doubt(found, now, (AGREEMENT, reason)),
        }
    }

    /// The keys that would be gone with what is pending.
    pub(super) fn missing(&self) -> impl Iterator<Item = &str> {
        let both = self.documents.as_ref().zip(self.pending.as_ref());
        both.into_iter()
            .flat_map(|(known, (_, found))| known.keys().filter(|key| !found.contains_key(*key)).map(String::as_str))
    }

    /// Judges what is pending, now that it is known what we may see.
    pub(super) fn conclude(&mut self, rights: Rights, now: Instant) -> Verdict {
        let Some((meta, found)) = self.pending.take() else { return Verdict::Reset };
        match rights {
            Rights::Whole => self.accept(&meta, found),
            Rights::Hidden => self.doubt(found, now, (HOLD, Reason::Acl)),
        }
    }

    /// True if a key is missing; before anything was known, if all are: then it may be for want of rights.
    fn lacks(&self, found: &Documents) -> bool {
        match &self.documents {
            Some(known) => known.keys().any(|key| !found.contains_key(key)),
            None => found.is_empty(),
        }
    }

    fn doubt(&mut self, found: Documents, now: Instant, (pause, reason): (Duration, Reason)) -> Verdict {
        self.index = 0;
        self.doubt = Some((found, now));
        Verdict::Doubted(pause, reason)
    }

    fn ask_first(&mut self, meta: &Meta, found: Documents) -> Verdict {
        self.pending = Some((meta.clone(), found));
        Verdict::Pending
    }

    fn accept(&mut self, meta: &Meta, found: Documents) -> Verdict {
        self.settle(meta);
        self.recalled = false;
        self.documents = Some(found.clone());
        Verdict::Changed(found)
    }

    fn settle(&mut self, meta: &Meta) {
        self.index = meta.index.max(1);
        self.accepted = self.index;
        self.filtered = meta.filtered;
        self.doubt = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(30);

    fn documents(names: &[&str]) -> Documents {
        names.iter().map(|name| ((*name).to_owned(), b"x".to_vec())).collect()
    }

    fn at(index: u64) -> Meta {
        Meta { index, known_leader: Some(true), ..Meta::default() }
    }

    /// One that has believed these.
    fn knowing(names: &[&str], index: u64) -> Prefix {
        let mut prefix = Prefix::default();
        assert_eq!(prefix.judge(&at(index), documents(names), Instant::now()), Verdict::Changed(documents(names)));
        prefix
    }

    #[test]
    fn what_is_added_or_changed_counts_at_once() {
        let mut prefix = knowing(&["a"], 5);
        assert_eq!((prefix.index(), prefix.accepted()), (5, 5));
        let now = Instant::now();
        assert_eq!(prefix.judge(&at(7), documents(&["a", "b"]), now), Verdict::Changed(documents(&["a", "b"])));
        let mut other = documents(&["a", "b"]);
        other.insert("a".to_owned(), b"y".to_vec());
        assert_eq!(prefix.judge(&at(8), other.clone(), now), Verdict::Changed(other.clone()));
        assert_eq!(prefix.judge(&at(9), other, now), Verdict::Unchanged);
        assert_eq!(prefix.index(), 9);
    }

    #[test]
    fn a_key_that_is_gone_is_looked_at_again_and_asked_for_before_it_counts() {
        let mut prefix = knowing(&["a", "b"], 5);
        let now = Instant::now();
        let fewer = || documents(&["a"]);
        assert_eq!(prefix.judge(&at(6), fewer(), now), Verdict::Doubted(SECOND_LOOK, Reason::Mass));
        assert_eq!(prefix.index(), 0, "asked at once");
        assert_eq!(prefix.judge(&at(6), fewer(), now), Verdict::Pending);
        assert_eq!(prefix.missing().collect::<Vec<_>>(), ["b"]);
        assert_eq!(prefix.conclude(Rights::Whole, now), Verdict::Changed(fewer()));
        assert_eq!(prefix.index(), 6);
    }

    #[test]
    fn what_may_not_be_read_any_more_stays_for_as_long_as_that_is_so() {
        let mut prefix = knowing(&["a"], 5);
        let now = Instant::now();
        // As Consul answers who may read nothing: as if nothing were there, and as if the index were the first.
        assert_eq!(prefix.judge(&at(1), Documents::new(), now), Verdict::Doubted(SECOND_LOOK, Reason::Index));
        for _ in 0..3 {
            assert_eq!(prefix.judge(&at(1), Documents::new(), now + AGREEMENT), Verdict::Pending);
            assert_eq!(prefix.conclude(Rights::Hidden, now), Verdict::Doubted(HOLD, Reason::Acl));
        }
        assert_eq!(prefix.judge(&at(5), documents(&["a"]), now), Verdict::Unchanged);
        assert_eq!(prefix.index(), 5);
    }

    #[test]
    fn the_first_answer_is_looked_at_again_if_it_is_empty() {
        let (mut prefix, now) = (Prefix::default(), Instant::now());
        assert_eq!(prefix.judge(&at(1), Documents::new(), now), Verdict::Doubted(SECOND_LOOK, Reason::Mass));
        assert_eq!(prefix.judge(&at(1), Documents::new(), now), Verdict::Pending);
        assert_eq!(prefix.missing().count(), 0);
        assert_eq!(prefix.conclude(Rights::Whole, now), Verdict::Changed(Documents::new()));
    }

    #[test]
    fn an_index_that_went_backwards_needs_two_looks_that_agree() {
        let mut prefix = knowing(&["a"], 89);
        let now = Instant::now();
        // As after a delete of the parent, which wakes nobody and whose answer has an older index.
        assert_eq!(prefix.judge(&at(43), Documents::new(), now), Verdict::Doubted(SECOND_LOOK, Reason::Index));
        assert_eq!(prefix.judge(&at(43), documents(&["c"]), now), Verdict::Doubted(AGREEMENT, Reason::Index));
        let soon = now + AGREEMENT / 2;
        assert_eq!(prefix.judge(&at(43), documents(&["c"]), soon), Verdict::Doubted(AGREEMENT / 2, Reason::Index));
        assert_eq!(prefix.judge(&at(43), documents(&["c"]), now + AGREEMENT), Verdict::Pending);
        assert_eq!(prefix.conclude(Rights::Whole, now), Verdict::Changed(documents(&["c"])));
        assert_eq!(prefix.accepted(), 43);
        assert_eq!(
            prefix.judge(&at(12), documents(&["c"]), now),
            Verdict::Unchanged,
            "whatever the index, it is the same"
        );
    }

    #[test]
    fn a_server_without_a_leader_and_an_answer_that_rights_cut_take_nothing_away() {
        let mut prefix = knowing(&["a"], 5);
        let now = Instant::now();
        let alone = Meta { known_leader: Some(false), ..at(6) };
        assert_eq!(prefix.judge(&alone, Documents::new(), now), Verdict::Doubted(HOLD, Reason::Leader));
        let cut = Meta { filtered: true, ..at(6) };
        assert_eq!(prefix.judge(&cut, Documents::new(), now), Verdict::Doubted(HOLD, Reason::Acl));
    }

    #[test]
    fn the_same_index_before_its_time_starts_anew() {
        let mut prefix = knowing(&["a"], 5);
        assert!(!prefix.is_early(&at(6), (5, WAIT / 2, WAIT)));
        assert!(!prefix.is_early(&at(5), (0, Duration::ZERO, WAIT)));
        assert!(!prefix.is_early(&at(5), (5, WAIT, WAIT)));
        assert_eq!(prefix.index(), 5);
        assert!(prefix.is_early(&at(5), (5, WAIT / 2, WAIT)));
        assert_eq!(prefix.index(), 0);
        let mut prefix = knowing(&["a"], 5);
        prefix.failed();
        assert_eq!((prefix.index(), prefix.accepted()), (0, 5));
    }

    #[test]
    fn rights_that_were_lost_while_nothing_changed_are_noticed_at_the_end_of_a_wait() {
        let mut prefix = knowing(&["a"], 5);
        let verdict = prefix.judge(&at(5), Documents::new(), Instant::now());
        assert_eq!(verdict, Verdict::Doubted(SECOND_LOOK, Reason::Mass));
    }

    #[test]
    fn what_was_kept_from_before_the_start_is_gone_by_until_the_first_answer() {
        let mut prefix = Prefix::recall(documents(&["a"]));
        let now = Instant::now();
        assert_eq!(prefix.judge(&at(3), documents(&["a"]), now), Verdict::Changed(documents(&["a"])), "it is true now");
        let mut prefix = Prefix::recall(documents(&["a"]));
        assert_eq!(prefix.judge(&at(1), Documents::new(), now), Verdict::Doubted(SECOND_LOOK, Reason::Mass));
    }
}
