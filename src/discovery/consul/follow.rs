//! What an answer of Consul is worth: a pure state machine over indexes and lists, so that every rule can be tested without a
//! network. The rules are those of Consul's documentation on blocking queries, and two that its behaviour asks for: an
//! answer that comes early with the same index means that the server's state was replaced, and an index that goes backwards
//! on a stale read is never believed. A list that lacks much is looked at again, and an empty one only counts from somebody who
//! may see what would be on it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::super::suspects::Loss;
use crate::config::Consistency;
use crate::endpoint::{Address, List, Listed};

/// Between a list that is doubted and the look at it again.
const SECOND_LOOK: Duration = Duration::from_millis(300);
/// An index that really went backwards is believed when two looks, so far apart, agree.
const AGREEMENT: Duration = Duration::from_secs(1);
/// Fewer than these are no mass, whatever their share.
const MANY: usize = 3;
/// While a server says itself that it should not be believed.
const HOLD: Duration = Duration::from_secs(2);

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

/// What an answer's headers say.
#[derive(Debug, Clone, Default)]
pub(super) struct Meta {
    /// `X-Consul-Index`; 0 if missing or not a number.
    pub(super) index: u64,
    /// `X-Consul-KnownLeader`; absent with streaming, which is not a "no".
    pub(super) known_leader: Option<bool>,
    /// `X-Consul-Results-Filtered-By-ACLs`.
    pub(super) filtered: bool,
    /// `X-Consul-Query-Backend`: indexes of different backends need not agree.
    pub(super) backend: Option<String>,
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
            percent,
            doubt: None,
            pending: None,
        }
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

    /// True if the answer, by its headers and the time it took, cannot hold anything new, so that its body need not be read.
    pub(super) fn is_expiry(&mut self, meta: &Meta, (asked, took, wait): (Ask, Duration, Duration)) -> Option<Verdict> {
        if asked.index == 0 || meta.index.max(1) != asked.index {
            return None;
        }
        // The server's timer never fires before `wait` is over.
        if took >= wait {
            return Some(Verdict::Unchanged);
        }
        self.index = 0;
        Some(Verdict::Reset)
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
        (meta.filtered && !self.filtered).then_some(Reason::Acl)
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
mod tests {
    use super::*;
    use crate::endpoint::{Address, Listed};

    fn list(ports: std::ops::Range<u16>) -> List {
        ports.map(|port| Listed::new(Address::from(([127, 0, 0, 1], port)))).collect()
    }

    fn meta(index: u64) -> Meta {
        Meta { index, known_leader: Some(true), ..Meta::default() }
    }

    fn plain(list: List) -> Verdict {
        Verdict::Changed(list, Loss::Plain)
    }

    fn mass(list: List) -> Verdict {
        Verdict::Changed(list, Loss::Mass)
    }

    struct Lab {
        follow: Follow,
        now: Instant,
        rights: Rights,
    }

    impl Lab {
        /// One that has accepted 300 endpoints at index 100.
        fn new(mode: Consistency) -> Self {
            let mut lab = Lab { follow: Follow::new(mode, 50), now: Instant::now(), rights: Rights::Whole };
            assert!(matches!(lab.see(meta(100), list(0..300)), Verdict::Changed(..)));
            lab
        }

        fn see(&mut self, meta: Meta, list: List) -> Verdict {
            let asked = self.follow.ask();
            match self.follow.judge(&meta, asked, list, self.now) {
                Verdict::Pending => self.follow.conclude(self.rights, self.now),
                verdict => verdict,
            }
        }
    }

    #[test]
    fn growth_and_single_departures_are_taken_at_once() {
        let mut lab = Lab::new(Consistency::Default);
        assert_eq!(lab.see(meta(101), list(0..301)), plain(list(0..301)));
        assert_eq!(lab.see(meta(102), list(1..301)), plain(list(1..301)));
        assert_eq!(lab.follow.ask(), Ask { index: 102, mode: Consistency::Default });
    }

    #[test]
    fn the_last_instance_leaving_is_taken_at_its_word() {
        let mut follow = Follow::new(Consistency::Default, 50);
        let now = Instant::now();
        follow.judge(&meta(5), follow.ask(), list(0..1), now);
        assert_eq!(follow.judge(&meta(6), follow.ask(), list(0..0), now), Verdict::Pending);
        assert_eq!(follow.conclude(Rights::Whole, now), plain(list(0..0)));
    }

    #[test]
    fn the_same_list_under_another_index_is_nothing_new() {
        let mut lab = Lab::new(Consistency::Default);
        assert_eq!(lab.see(meta(150), list(0..300)), Verdict::Unchanged);
        assert_eq!(lab.follow.ask().index, 150);
    }

    #[test]
    fn a_follower_that_replays_its_log_is_never_believed() {
        let mut lab = Lab::new(Consistency::Stale);
        for (index, count) in [(1, 0), (7, 33), (44, 153), (64, 207)] {
            lab.follow.doubt = None;
            assert_eq!(lab.see(meta(index), list(0..count)), Verdict::Doubted(Duration::ZERO, Reason::Index));
            assert_eq!(lab.follow.ask(), Ask { index: 0, mode: Consistency::Default });
        }
        assert_eq!(lab.see(meta(100), list(0..300)), Verdict::Unchanged);
        assert_eq!(lab.follow.ask(), Ask { index: 100, mode: Consistency::Stale });
    }

    #[test]
    fn an_early_answer_with_the_same_index_starts_anew() {
        let mut lab = Lab::new(Consistency::Default);
        let (asked, wait) = (lab.follow.ask(), Duration::from_secs(55));
        assert_eq!(lab.follow.is_expiry(&meta(101), (asked, wait, wait)), None);
        assert_eq!(lab.follow.is_expiry(&meta(100), (asked, wait, wait)), Some(Verdict::Unchanged));
        assert_eq!(lab.follow.ask().index, 100);
        assert_eq!(lab.follow.is_expiry(&meta(100), (asked, wait / 2, wait)), Some(Verdict::Reset));
        assert_eq!(lab.follow.ask().index, 0);
    }

    #[test]
    fn a_mass_removal_is_looked_at_twice() {
        let mut lab = Lab::new(Consistency::Stale);
        assert_eq!(lab.see(meta(101), list(0..0)), Verdict::Doubted(SECOND_LOOK, Reason::Mass));
        assert_eq!(lab.follow.ask(), Ask { index: 0, mode: Consistency::Default });
        assert_eq!(lab.see(meta(101), list(0..0)), mass(list(0..0)));
    }

    #[test]
    fn a_passing_blip_changes_nothing() {
        let mut lab = Lab::new(Consistency::Stale);
        lab.see(meta(101), list(0..100));
        assert_eq!(lab.see(meta(101), list(0..300)), Verdict::Unchanged);
        assert_eq!(lab.follow.ask(), Ask { index: 101, mode: Consistency::Stale });
    }

    #[test]
    fn an_index_that_really_went_back_is_believed_when_two_looks_a_second_apart_agree() {
        let mut lab = Lab::new(Consistency::Default);
        assert_eq!(lab.see(meta(12), list(0..0)), Verdict::Doubted(SECOND_LOOK, Reason::Index));
        lab.now += SECOND_LOOK;
        assert_eq!(lab.see(meta(12), list(0..0)), Verdict::Doubted(AGREEMENT - SECOND_LOOK, Reason::Index));
        lab.now += AGREEMENT - SECOND_LOOK;
        assert_eq!(lab.see(meta(12), list(0..0)), mass(list(0..0)));
        assert_eq!(lab.follow.ask().index, 12);
    }

    #[test]
    fn a_server_without_a_leader_removes_nothing_but_may_add() {
        let mut lab = Lab::new(Consistency::Default);
        let lost = Meta { known_leader: Some(false), ..meta(101) };
        for _ in 0..5 {
            assert_eq!(lab.see(lost.clone(), list(0..10)), Verdict::Doubted(HOLD, Reason::Leader));
        }
        assert!(matches!(lab.see(lost, list(0..301)), Verdict::Changed(..)));
    }

    #[test]
    fn what_acls_hid_is_not_gone() {
        let mut lab = Lab::new(Consistency::Default);
        let hidden = Meta { filtered: true, ..meta(101) };
        assert_eq!(lab.see(hidden, list(0..0)), Verdict::Doubted(HOLD, Reason::Acl));
    }

    #[test]
    fn a_list_that_rights_have_emptied_is_not_believed_until_they_are_back() {
        let mut lab = Lab::new(Consistency::Default);
        lab.see(meta(101), list(0..0));
        lab.rights = Rights::Hidden;
        for _ in 0..5 {
            lab.now += HOLD;
            assert_eq!(lab.see(meta(101), list(0..0)), Verdict::Doubted(HOLD, Reason::Acl));
            assert_eq!(lab.follow.ask(), Ask { index: 0, mode: Consistency::Default });
        }
        lab.rights = Rights::Whole;
        assert_eq!(lab.see(meta(101), list(0..300)), Verdict::Unchanged);
    }

    #[test]
    fn who_would_be_gone_is_known_while_it_is_asked_whether_we_may_see_them() {
        let mut follow = Follow::new(Consistency::Default, 50);
        let now = Instant::now();
        follow.judge(&meta(5), follow.ask(), list(0..4), now);
        follow.judge(&meta(6), follow.ask(), list(3..4), now);
        assert_eq!(follow.missing().count(), 0);
        assert_eq!(follow.judge(&meta(6), follow.ask(), list(3..4), now), Verdict::Pending);
        assert!(follow.missing().eq(list(0..3).iter()));
        follow.conclude(Rights::Whole, now);
        assert_eq!(follow.missing().count(), 0);
    }

    #[test]
    fn the_share_that_may_go_at_once_is_what_was_asked_for() {
        for (percent, left, doubted) in [(50, 5, false), (50, 4, true), (0, 7, true), (0, 8, false), (100, 1, false)] {
            let mut follow = Follow::new(Consistency::Default, percent);
            let now = Instant::now();
            follow.judge(&meta(5), follow.ask(), list(0..10), now);
            let verdict = follow.judge(&meta(6), follow.ask(), list(0..left), now);
            assert_eq!(verdict == Verdict::Doubted(SECOND_LOOK, Reason::Mass), doubted, "{percent} % and {left} left");
            let verdict = follow.judge(&meta(7), follow.ask(), list(90..90), now);
            assert!(!matches!(verdict, Verdict::Changed(..)), "but all of it is always doubted");
        }
    }

    #[test]
    fn the_only_instance_is_not_hidden_either() {
        let hidden = (Meta { filtered: true, ..meta(6) }, Reason::Acl);
        for (lost, why) in [hidden, (Meta { known_leader: Some(false), ..meta(6) }, Reason::Leader)] {
            let mut follow = Follow::new(Consistency::Default, 50);
            let now = Instant::now();
            follow.judge(&meta(5), follow.ask(), list(0..1), now);
            assert_eq!(follow.judge(&lost, follow.ask(), list(0..0), now), Verdict::Doubted(HOLD, why));
        }
    }

    #[test]
    fn who_always_sees_a_part_still_sees_it_shrink() {
        let mut follow = Follow::new(Consistency::Default, 50);
        let mut now = Instant::now();
        let part = |index| Meta { filtered: true, ..meta(index) };
        follow.judge(&part(5), follow.ask(), list(0..6), now);
        let mut last = Verdict::Unchanged;
        for _ in 0..10 {
            last = follow.judge(&part(6), follow.ask(), list(0..2), now);
            if last == Verdict::Pending {
                last = follow.conclude(Rights::Whole, now);
            }
            if matches!(last, Verdict::Changed(..)) {
                break;
            }
            now += Duration::from_secs(2);
        }
        assert_eq!(last, mass(list(0..2)));
    }

    #[test]
    fn a_lower_index_of_another_backend_is_no_regress() {
        let mut lab = Lab::new(Consistency::Stale);
        let streaming = Meta { backend: Some("streaming".into()), known_leader: None, ..meta(40) };
        assert!(matches!(lab.see(streaming, list(0..299)), Verdict::Changed(..)));
        assert_eq!(lab.follow.ask(), Ask { index: 40, mode: Consistency::Stale });
    }

    #[test]
    fn a_missing_index_is_taken_for_one() {
        let mut follow = Follow::new(Consistency::Default, 50);
        follow.judge(&Meta::default(), follow.ask(), list(0..1), Instant::now());
        assert_eq!(follow.ask().index, 1);
    }

    #[test]
    fn after_a_failure_the_next_query_asks_at_once() {
        let mut lab = Lab::new(Consistency::Default);
        lab.follow.failed();
        assert_eq!(lab.follow.ask().index, 0);
    }
}
