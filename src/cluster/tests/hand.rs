//! What an operator does by hand, as a cluster lives it.

use super::*;
use crate::endpoint::{Measure, Measures, What};

impl Bench {
    /// From now on this holds for the endpoint at that port, and nothing else.
    fn by_hand(&mut self, port: u16, all: &[What]) {
        let measure = |what: &What| Measure { what: *what, until: None, by: "ann".into(), note: None };
        let held = all.iter().map(measure).collect();
        self.measures = Some(Arc::new(Measures::from([(Address::from(([127, 0, 0, 1], port)), held)])));
    }
}

#[test]
fn who_is_ejected_or_drained_by_hand_takes_no_new_requests_and_is_not_asked_in_a_panic() {
    for what in [What::Ejected, What::Drained, What::Weight(0)] {
        let mut bench = Bench::with("panic_percent=100");
        let before = bench.cluster(&[1, 2, 3], None);
        assert_eq!(bench.serving(&before), [1, 2, 3]);
        bench.by_hand(2, &[what]);
        let after = bench.cluster(&[1, 2, 3], Some(&before));
        assert_eq!(bench.serving(&after), [1, 3], "{what:?}");
        bench.measures = None;
        let again = bench.cluster(&[1, 2, 3], Some(&after));
        assert_eq!(bench.serving(&again), [1, 2, 3], "{what:?}");
    }
}

#[test]
fn nobody_is_asked_who_was_taken_out_by_hand_even_if_nobody_else_is_left() {
    let mut bench = Bench::new();
    bench.by_hand(1, &[What::Ejected]);
    let cluster = bench.cluster(&[1], None);
    assert!(bench.begin(&cluster).is_none());
    assert!(bench.begin_after(&cluster, &[]).is_none() && !cluster.has_reserve(&[]));
}

#[test]
fn a_weight_by_hand_is_a_weight_like_any_other() {
    let mut bench = Bench::new();
    bench.by_hand(1, &[What::Weight(3)]);
    let cluster = bench.cluster(&[1, 2], None);
    let counts = bench.counts(&cluster, 400);
    assert_eq!((counts[&1], counts[&2]), (300, 100));
    assert_eq!((cluster.members()[0].weight, cluster.members()[0].listed_weight), (3, 1));
}

#[test]
fn sessions_stay_where_it_is_drained_and_leave_where_it_is_ejected() {
    let mut bench = Bench::with("sticky={cookie='s'}");
    let cluster = bench.cluster(&[1, 2], None);
    let token = cluster.session(cluster.members()[0].endpoint.id()).unwrap().to_string();
    for (what, stays) in [(What::Drained, true), (What::Ejected, false)] {
        bench.by_hand(1, &[what]);
        let cluster = bench.cluster(&[1, 2], Some(&cluster));
        let attempt = cluster.begin(&Request { session: Some(&token), ..request(bench.now) }, &mut bench.rng).unwrap();
        assert_eq!(port(&attempt) == 1, stays, "{what:?}");
    }
}

#[test]
fn who_is_taken_back_by_hand_begins_anew() {
    let mut bench = Bench::new();
    let cluster = bench.cluster(&[1, 2, 3], None);
    bench.fail(&cluster, 2).unwrap();
    assert_eq!(bench.serving(&cluster), [1, 3]);
    let endpoint = Arc::clone(&cluster.members()[1].endpoint);
    assert_eq!(endpoint.ejections().why, Some("connect"));
    assert!(cluster.pardon(&endpoint, bench.now) && !cluster.pardon(&endpoint, bench.now));
    assert_eq!(bench.serving(&cluster), [1, 2, 3]);
    let first = bench.settings.ejection.base;
    assert!(bench.fail(&cluster, 2).unwrap() < first * 2, "not longer for what was before");
}
