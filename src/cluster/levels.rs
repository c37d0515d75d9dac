//! Which of a cluster's levels serves: the first that has enough of what it is made of.
//!
//! One level serves at a time, so that it can be said where requests go, and so that a key stays where it is. A level that has too
//! little is left at once. To an earlier one requests return only when it has had more than that for a while: what is well by a
//! hair, or for a moment, would send everybody to and fro. If no level has enough, all serve together, each with what it has.

use std::time::Instant;

use super::locality::Strength;
use crate::config::FailoverWhen;

/// What is remembered of a cluster's levels from one moment to the next.
#[derive(Debug, Default, Clone)]
pub(super) struct Levels {
    /// The one that serves; all of them together if none has enough.
    serving: Option<usize>,
    /// Since when each has had enough to return to.
    well: Vec<Option<Instant>>,
}

/// Who serves as of now, and until when at most that holds if nobody's standing changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) serving: Option<usize>,
    pub(super) review: Option<Instant>,
}

impl Levels {
    /// Decides by what of each level's weight there is and may serve, the preferred one first.
    pub(super) fn decide(&mut self, when: &FailoverWhen, levels: &[Strength], now: Instant) -> Turn {
        self.well.resize(levels.len(), None);
        for (since, level) in self.well.iter_mut().zip(levels) {
            *since = has(level, when.return_percent).then(|| since.unwrap_or(now));
        }
        let able = |level: &Strength| has(level, when.below_percent);
        let current = self.serving.filter(|place| levels.get(*place).is_some_and(able));
        self.serving = match current {
            Some(current) => {
                let mut earlier = self.well[..current].iter();
                let back = earlier.position(|since| since.is_some_and(|since| since + when.return_after <= now));
                Some(back.unwrap_or(current))
            }
            // Who has enough is better than nobody, however short a time that has been so.
            None => levels.iter().position(able),
        };
        let earlier = &self.well[..self.serving.unwrap_or_default()];
        let review = earlier.iter().flatten().map(|since| *since + when.return_after).min();
        Turn { serving: self.serving, review }
    }

    /// Begins anew: the levels are others than before.
    pub(super) fn forget(&mut self) {
        *self = Levels::default();
    }
}

/// True if so many hundredths of the level's weight may serve, and somebody does.
fn has(level: &Strength, percent: u32) -> bool {
    level.serving > 0.0 && level.serving * 100.0 >= level.whole * f64::from(percent)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const WHEN: FailoverWhen =
        FailoverWhen { below_percent: 50, return_percent: 75, return_after: Duration::from_secs(30) };

    /// Levels of a hundred each, of which so many serve.
    fn levels(serving: &[u32]) -> Vec<Strength> {
        serving.iter().map(|serving| Strength { whole: 100.0, serving: f64::from(*serving) }).collect()
    }

    struct Clock(Levels, Instant);

    impl Clock {
        fn new() -> Self {
            Clock(Levels::default(), Instant::now())
        }

        /// Who serves so many seconds after the last look.
        fn after(&mut self, seconds: u64, serving: &[u32]) -> Option<usize> {
            self.1 += Duration::from_secs(seconds);
            self.0.decide(&WHEN, &levels(serving), self.1).serving
        }
    }

    #[test]
    fn a_level_with_too_little_is_left_at_once_and_returned_to_when_it_has_had_more_for_a_while() {
        let mut clock = Clock::new();
        assert_eq!(clock.after(0, &[100, 100]), Some(0));
        assert_eq!(clock.after(1, &[50, 100]), Some(0), "half is enough");
        assert_eq!(clock.after(1, &[49, 100]), Some(1));
        assert_eq!(clock.after(1, &[74, 100]), Some(1), "enough to stay is not enough to return");
        assert_eq!(clock.after(100, &[74, 100]), Some(1));
        assert_eq!(clock.after(0, &[75, 100]), Some(1));
        assert_eq!(clock.after(29, &[75, 100]), Some(1));
        assert_eq!(clock.after(1, &[75, 100]), Some(0));
    }

    #[test]
    fn whoever_is_well_only_now_and_then_is_not_returned_to() {
        let mut clock = Clock::new();
        clock.after(0, &[0, 100]);
        for _ in 0..10 {
            assert_eq!(clock.after(1, &[100, 100]), Some(1));
            assert_eq!(clock.after(29, &[0, 100]), Some(1));
        }
    }

    #[test]
    fn an_earlier_level_that_has_enough_is_better_than_none() {
        let mut clock = Clock::new();
        clock.after(0, &[0, 100, 100]);
        assert_eq!(clock.after(1, &[50, 0, 100]), Some(0), "not long enough to return, but who served cannot");
        assert_eq!(clock.after(1, &[0, 0, 100]), Some(2));
        assert_eq!(clock.after(1, &[0, 100, 100]), Some(2));
        assert_eq!(clock.after(30, &[0, 100, 100]), Some(1));
    }

    #[test]
    fn all_serve_together_only_if_none_has_enough() {
        let mut clock = Clock::new();
        assert_eq!(clock.after(0, &[49, 49]), None);
        assert_eq!(clock.after(1, &[49, 50]), Some(1), "at once: nobody was sent anywhere");
        assert_eq!(clock.after(1, &[0, 0]), None);
        assert_eq!(clock.after(1, &[50, 50]), Some(0));
        assert_eq!(Levels::default().decide(&WHEN, &[Strength::default(); 2], clock.1).serving, None);
    }

    #[test]
    fn a_look_is_due_when_a_return_is() {
        let (mut state, now) = (Levels::default(), Instant::now());
        let mut review = |seconds: u64, serving: &[u32]| {
            let turn = state.decide(&WHEN, &levels(serving), now + Duration::from_secs(seconds));
            turn.review.map(|at| (at - now).as_secs())
        };
        assert_eq!(review(0, &[100, 100, 100]), None);
        assert_eq!(review(1, &[0, 0, 100]), None);
        assert_eq!(review(5, &[0, 80, 100]), Some(35));
        assert_eq!(review(7, &[80, 80, 100]), Some(35));
        assert_eq!(review(35, &[80, 80, 100]), Some(37), "at the second, and the first may be next");
        assert_eq!(review(37, &[80, 80, 100]), None);
    }

    #[test]
    fn fewer_levels_than_before_are_no_trouble() {
        let mut clock = Clock::new();
        assert_eq!(clock.after(0, &[0, 0, 100]), Some(2));
        assert_eq!(clock.after(1, &[0, 100]), Some(1));
        assert_eq!(clock.after(1, &[]), None);
    }

    proptest! {
        #[test]
        fn who_serves_has_enough_and_changes_no_more_often_than_it_must(
            steps in prop::collection::vec((0_u64..40, prop::collection::vec(0_u32..=100, 3)), 1..60),
        ) {
            let mut clock = Clock::new();
            let (mut before, mut well): (Option<usize>, [u64; 3]) = (None, [0; 3]);
            for (seconds, serving) in steps {
                let now = clock.after(seconds, &serving);
                for (level, share) in well.iter_mut().zip(&serving) {
                    *level = if *share < 75 { 0 } else { level.saturating_add(1) };
                }
                match now {
                    Some(level) => prop_assert!(serving[level] >= 50),
                    None => prop_assert!(serving.iter().all(|share| *share < 50)),
                }
                if let (Some(before), Some(now)) = (before, now) {
                    // Left for want of enough; or for an earlier one that was well at the look before as well, or is to be at once.
                    prop_assert!(before == now || serving[before] < 50 || now < before && well[now] > 1);
                }
                before = now;
            }
        }
    }
}
