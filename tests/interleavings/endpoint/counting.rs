//! What is in flight, and what has ended, as workers begin and end attempts at once.

// For what the test notes; loom runs one thread at a time, so it needs no orders of its own.
use std::sync::atomic::{AtomicU32, Ordering};

use super::load::Load;
use super::row::Row;
use crate::in_every_order;

/// A load, and how many hold an attempt that they may only begin below a bound.
#[derive(Default)]
struct Bounded {
    load: Load,
    holding: AtomicU32,
    begun: AtomicU32,
}

impl Bounded {
    fn attempt_below(&self, most: u32) {
        if self.load.begin_below(most) {
            let others = self.holding.fetch_add(1, Ordering::Relaxed);
            assert!(others < most, "{others} others are in flight");
            self.begun.fetch_add(1, Ordering::Relaxed);
            // Here the others have their turn.
            assert!(self.load.in_flight() <= most);
            self.holding.fetch_sub(1, Ordering::Relaxed);
            self.load.end();
        }
    }
}

#[test]
fn attempts_at_once_are_each_counted_until_they_end() {
    let attempt: fn(&Load) = |load| {
        load.begin();
        let in_flight = load.in_flight();
        assert!((1..=2).contains(&in_flight), "{in_flight} in flight");
        load.end();
    };
    in_every_order(Load::default, &[attempt; 2], |load| assert_eq!((load.in_flight(), load.ended()), (0, 2)));
}

#[test]
fn nobody_begins_above_the_bound_and_somebody_begins_below_it() {
    fn check(shared: &Bounded, least: u32) {
        let begun = shared.begun.load(Ordering::Relaxed);
        assert!(begun >= least, "{begun} have begun");
        assert_eq!((shared.load.in_flight(), shared.load.ended()), (0, begun));
    }
    let attempt: fn(&Bounded) = |shared| shared.attempt_below(1);
    in_every_order(Bounded::default, &[attempt; 2], |shared| check(shared, 1));
    let attempt: fn(&Bounded) = |shared| shared.attempt_below(2);
    in_every_order(Bounded::default, &[attempt; 2], |shared| check(shared, 2));
}

#[test]
fn an_attempt_that_ends_beside_one_that_begins_loses_neither() {
    let make = || {
        let load = Load::default();
        load.begin();
        load
    };
    let steps: [fn(&Load); 3] = [Load::end, Load::begin, |load| assert!(load.begin_below(3))];
    in_every_order(make, &steps, |load| assert_eq!((load.in_flight(), load.ended()), (2, 1)));
}

#[test]
fn each_failure_of_a_row_has_its_own_number() {
    #[derive(Default)]
    struct Counted {
        row: Row,
        third: AtomicU32,
    }
    let fail: fn(&Counted) = |counted| {
        if counted.row.failed() == 3 {
            counted.third.fetch_add(1, Ordering::Relaxed);
        }
    };
    in_every_order(Counted::default, &[fail; 3], |counted| {
        assert_eq!(counted.third.load(Ordering::Relaxed), 1, "the third failure is one of them");
        counted.row.succeeded();
        assert_eq!(counted.row.failed(), 1);
    });
}
