//! Who does worse than the others: shares of errors and latencies over a window, compared.
//!
//! An endpoint is held against all the others together, not against a mean of which it is a part itself: with three
//! endpoints nobody can be two standard deviations from such a mean (Samuelson's inequality), which is why rules of that kind
//! ask for five at least. Two shares differ by more than chance if a two-proportion z-test says so.

use std::collections::VecDeque;
use std::time::Duration;

use super::Reason;
use crate::config::Ejection;
use crate::endpoint::Counts;

/// How long a slot of a [`Window`] is; whoever turns it does so as often.
pub const SLOT: Duration = Duration::from_secs(1);
/// Standard deviations by which two shares must differ: once in 740 by chance.
const DEVIATIONS: f64 = 3.0;

/// The last few slots of an endpoint's counts.
#[derive(Debug, Default)]
pub struct Window {
    slots: VecDeque<Counts>,
    /// The counts at the end of the last slot.
    last: Counts,
}

impl Window {
    /// One that begins at these counts.
    pub fn new(counts: Counts) -> Self {
        Window { slots: VecDeque::new(), last: counts }
    }

    /// Ends a slot at these counts, and forgets what is older than `length`.
    pub fn turn(&mut self, counts: Counts, length: Duration) {
        self.slots.push_back(counts.since(self.last));
        self.last = counts;
        let most = (length.as_secs() / SLOT.as_secs()).max(1) as usize;
        while self.slots.len() > most {
            self.slots.pop_front();
        }
    }

    /// All slots together.
    pub fn sum(&self) -> Counts {
        self.slots.iter().fold(Counts::default(), |sum, slot| sum.and(*slot))
    }
}

impl Counts {
    /// What came since earlier ones.
    fn since(self, earlier: Counts) -> Counts {
        Counts {
            ended: self.ended.wrapping_sub(earlier.ended),
            errors: self.errors.wrapping_sub(earlier.errors),
            unjudged: self.unjudged.wrapping_sub(earlier.unjudged),
            waited: self.waited.wrapping_sub(earlier.waited),
        }
    }

    fn and(self, other: Counts) -> Counts {
        Counts {
            ended: self.ended.saturating_add(other.ended),
            errors: self.errors.saturating_add(other.errors),
            unjudged: self.unjudged.saturating_add(other.unjudged),
            waited: self.waited.saturating_add(other.waited),
        }
    }

    fn without(self, part: Counts) -> Counts {
        self.since(part)
    }

    /// Attempts that say something.
    fn judged(self) -> u32 {
        self.ended.saturating_sub(self.unjudged).max(self.errors)
    }

    fn share(self) -> f64 {
        f64::from(self.errors) / f64::from(self.judged().max(1))
    }

    /// Mean time to an answer, in microseconds.
    fn latency(self) -> f64 {
        self.waited as f64 / f64::from((self.judged() - self.errors).max(1))
    }
}

/// True if these rules look at windows at all.
pub fn compares(rules: &Ejection) -> bool {
    rules.outlier_percent > 0 || rules.failure_percent > 0 || rules.latency_factor > 0.0
}

/// Those, by their places, who do too badly in the window, and why.
pub fn outliers(rules: &Ejection, sums: &[Counts]) -> Vec<(usize, Reason)> {
    let is_judged = |sum: &Counts| sum.judged() >= rules.min_requests;
    let judged = || sums.iter().enumerate().filter(|(_, sum)| is_judged(sum));
    let together = judged().fold(Counts::default(), |all, (_, sum)| all.and(*sum));
    let comparable = judged().count() >= (rules.min_endpoints as usize).max(2);
    let verdict = |(place, sum): (usize, &Counts)| {
        let others = together.without(*sum);
        let reason = if exceeds(rules.failure_percent, sum.share()) {
            Some(Reason::FailurePercent)
        } else if comparable && is_outlier(rules.outlier_percent, *sum, others) {
            Some(Reason::SuccessRate)
        } else if comparable && is_slow(rules.latency_factor, *sum, others) {
            Some(Reason::Latency)
        } else {
            None
        };
        reason.map(|reason| (place, reason))
    };
    judged().filter_map(verdict).collect()
}

fn exceeds(percent: u32, share: f64) -> bool {
    percent > 0 && share * 100.0 >= f64::from(percent)
}

/// True if the share of errors is so many points above that of the others, and by more than chance.
fn is_outlier(points: u32, one: Counts, others: Counts) -> bool {
    let difference = one.share() - others.share();
    if points == 0 || difference * 100.0 < f64::from(points) {
        return false;
    }
    let both = one.and(others).share();
    let variance = both * (1.0 - both) * (1.0 / f64::from(one.judged()) + 1.0 / f64::from(others.judged()));
    difference * difference >= DEVIATIONS * DEVIATIONS * variance
}

/// True if answers take so many times as long as those of the others.
fn is_slow(factor: f64, one: Counts, others: Counts) -> bool {
    factor > 0.0 && others.waited > 0 && one.judged() > one.errors && one.latency() > factor * others.latency()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::tests::RULES;

    fn counts(judged: u32, errors: u32) -> Counts {
        Counts { ended: judged, errors, ..Counts::default() }
    }

    fn out(rules: &Ejection, sums: &[(u32, u32)]) -> Vec<usize> {
        let sums: Vec<Counts> = sums.iter().map(|(judged, errors)| counts(*judged, *errors)).collect();
        outliers(rules, &sums).into_iter().map(|(place, _)| place).collect()
    }

    #[test]
    fn one_of_two_and_one_of_three_can_be_the_odd_one() {
        assert_eq!(out(&RULES, &[(50, 15), (50, 0)]), [0]);
        assert_eq!(out(&RULES, &[(50, 0), (50, 15), (50, 1)]), [1]);
        assert_eq!(out(&RULES, &[(50, 25), (50, 25), (50, 0)]), [0, 1]);
    }

    #[test]
    fn errors_that_all_have_are_not_those_of_one() {
        assert_eq!(out(&RULES, &[(500, 500), (500, 500), (500, 499)]), [] as [usize; 0]);
        assert_eq!(out(&RULES, &[(500, 100), (500, 110), (500, 95)]), [] as [usize; 0]);
    }

    #[test]
    fn few_requests_and_small_differences_prove_nothing() {
        assert_eq!(out(&RULES, &[(19, 19), (500, 0)]), [] as [usize; 0]);
        assert_eq!(out(&RULES, &[(20, 2), (40, 0)]), [] as [usize; 0], "chance");
        assert_eq!(out(&RULES, &[(10_000, 900), (10_000, 0)]), [] as [usize; 0], "less than ten points");
        assert_eq!(out(&RULES, &[(10_000, 1_100), (10_000, 0)]), [0]);
        let five = Ejection { min_endpoints: 5, ..RULES };
        assert_eq!(out(&five, &[(50, 15), (50, 0), (50, 0)]), [] as [usize; 0]);
    }

    #[test]
    fn a_share_can_be_too_much_whatever_the_others_do() {
        let rules = Ejection { failure_percent: 50, outlier_percent: 0, ..RULES };
        assert_eq!(out(&rules, &[(20, 10), (20, 20), (20, 9)]), [0, 1]);
    }

    #[test]
    fn attempts_whose_client_left_do_not_count() {
        let left = Counts { ended: 100, unjudged: 90, ..Counts::default() };
        assert_eq!(outliers(&Ejection { failure_percent: 1, ..RULES }, &[left]), []);
    }

    #[test]
    fn who_takes_several_times_as_long_is_slow() {
        let rules = Ejection { latency_factor: 3.0, ..RULES };
        let waited = |milliseconds: u64| Counts { ended: 20, waited: 20 * 1000 * milliseconds, ..Counts::default() };
        assert_eq!(outliers(&rules, &[waited(31), waited(10), waited(10)]), [(0, Reason::Latency)]);
        assert_eq!(outliers(&rules, &[waited(29), waited(10), waited(10)]), []);
        assert_eq!(outliers(&RULES, &[waited(900), waited(10)]), [], "not compared unless asked for");
    }

    #[test]
    fn a_window_forgets_slots_and_survives_counters_that_wrap() {
        let mut window = Window::new(counts(u32::MAX - 4, 0));
        window.turn(counts(5, 3), Duration::from_secs(2));
        assert_eq!(window.sum(), counts(10, 3));
        window.turn(counts(6, 3), Duration::from_secs(2));
        window.turn(counts(8, 4), Duration::from_secs(2));
        assert_eq!(window.sum(), counts(3, 1));
    }
}
