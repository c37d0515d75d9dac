//! What each kind of answer is worth.

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
    assert_eq!(lab.follow.is_early(&meta(101), (asked, wait / 2, wait)), None);
    assert_eq!(lab.follow.is_early(&meta(100), (asked, wait, wait)), None);
    assert_eq!(lab.follow.ask().index, 100);
    assert_eq!(lab.follow.is_early(&meta(100), (asked, wait / 2, wait)), Some(Verdict::Reset));
    assert_eq!(lab.follow.ask().index, 0);
}

#[test]
fn rights_that_were_given_or_lost_while_nothing_moved_are_noticed_at_the_end_of_a_wait() {
    let mut lab = Lab::new(Consistency::Default);
    assert_eq!(lab.see(meta(100), list(0..302)), plain(list(0..302)));
    lab.rights = Rights::Hidden;
    assert_eq!(lab.see(meta(100), list(0..0)), Verdict::Doubted(SECOND_LOOK, Reason::Mass));
    assert_eq!(lab.see(meta(100), list(0..0)), Verdict::Doubted(HOLD, Reason::Acl));
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
fn the_first_answer_is_judged_by_what_was_known_before_the_start() {
    let lab = || {
        let mut lab = Lab { follow: Follow::new(Consistency::Default, 50), now: Instant::now(), rights: Rights::Whole };
        lab.follow.recall(list(0..300));
        lab
    };
    assert_eq!(lab().see(meta(9), list(0..300)), plain(list(0..300)), "now it is true");
    assert_eq!(lab().see(meta(9), list(0..299)), plain(list(0..299)));
    let mut shrunk = lab();
    assert_eq!(shrunk.see(meta(9), list(0..0)), Verdict::Doubted(SECOND_LOOK, Reason::Mass));
    assert_eq!(shrunk.see(meta(9), list(0..0)), mass(list(0..0)));
    assert_eq!(shrunk.see(meta(9), list(0..0)), Verdict::Unchanged);
    // Who only ever sees a part must be able to begin.
    let part = Meta { filtered: true, ..meta(9) };
    assert_eq!(lab().see(part, list(0..299)), plain(list(0..299)));
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

#[test]
fn whoever_has_been_alone_for_too_long_is_not_asked_next() {
    let (mut follow, now, most) = (Follow::new(Consistency::Stale, 50), Instant::now(), Duration::from_secs(5));
    let asked = follow.ask();
    let alone = |seconds| Meta { lag: Duration::from_secs(seconds), ..meta(10) };
    assert_eq!(follow.is_behind(&alone(5), (asked, most), now), None);
    let verdict = follow.is_behind(&alone(6), (asked, most), now);
    assert_eq!(verdict, Some(Verdict::Doubted(Duration::ZERO, Reason::Lag)));
    let next = follow.ask();
    assert_eq!((next.mode, next.index), (Consistency::Default, 0));
    assert_eq!(follow.is_behind(&alone(6), (next, most), now), None, "the leader is believed");
    assert!(matches!(follow.judge(&meta(11), next, list(0..1), now), Verdict::Changed(..)));
    assert_eq!(follow.ask().mode, Consistency::Stale);
}
