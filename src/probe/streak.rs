//! What follows from one result after the other: rows of them change what is found, and end an ejection.

use crate::endpoint::Finding;

/// The results so far, as far as they matter.
#[derive(Debug)]
pub(super) struct Streak {
    finding: Option<Finding>,
    /// Results in a row that speak against the finding.
    against: u32,
    /// Successes in a row while it was ejected.
    returning: u32,
}

impl Streak {
    /// Goes on from what was found before.
    pub(super) fn since(finding: Option<Finding>) -> Self {
        Streak { finding, against: 0, returning: 0 }
    }

    /// Takes a result. The finding, if there is another one; the first result makes one by itself.
    pub(super) fn note(&mut self, result: Finding, needed: u32) -> Option<Finding> {
        if self.finding == Some(result) {
            self.against = 0;
            return None;
        }
        self.against += 1;
        if self.finding.is_some() && self.against < needed {
            return None;
        }
        *self = Streak { finding: Some(result), against: 0, ..*self };
        self.finding
    }

    /// True if it has shown often enough, while it was ejected, that it is well.
    pub(super) fn returns(&mut self, result: Finding, is_ejected: bool, needed: u32) -> bool {
        let counts = is_ejected && result == Finding::Passing;
        self.returning = if counts { self.returning + 1 } else { 0 };
        if self.returning < needed {
            return false;
        }
        self.returning = 0;
        true
    }
}

#[cfg(test)]
mod tests {
    use Finding::{Failing, Passing};

    use super::*;

    fn findings(streak: &mut Streak, results: &[Finding]) -> Vec<Option<Finding>> {
        results.iter().map(|result| streak.note(*result, if *result == Passing { 2 } else { 3 })).collect()
    }

    #[test]
    fn the_first_result_counts_at_once_and_then_rows_do() {
        let mut streak = Streak::since(None);
        assert_eq!(findings(&mut streak, &[Failing, Passing, Failing]), [Some(Failing), None, None]);
        assert_eq!(findings(&mut streak, &[Passing, Passing, Passing]), [None, Some(Passing), None]);
        assert_eq!(findings(&mut streak, &[Failing, Failing, Passing, Failing, Failing]), [None; 5]);
        assert_eq!(findings(&mut streak, &[Failing]), [Some(Failing)]);
    }

    #[test]
    fn what_was_found_before_takes_a_row_to_change() {
        assert_eq!(
            findings(&mut Streak::since(Some(Passing)), &[Failing, Failing, Failing]),
            [None, None, Some(Failing)]
        );
        assert_eq!(findings(&mut Streak::since(Some(Failing)), &[Passing, Passing]), [None, Some(Passing)]);
    }

    #[test]
    fn only_successes_of_an_ejection_end_it() {
        let mut streak = Streak::since(Some(Passing));
        assert!(!streak.returns(Passing, false, 2) && !streak.returns(Passing, true, 2));
        assert!(!streak.returns(Failing, true, 2) && !streak.returns(Passing, true, 2));
        assert!(streak.returns(Passing, true, 2));
        assert!(!streak.returns(Passing, true, 2), "another ejection takes another row");
    }
}
