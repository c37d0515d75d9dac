//! What probes find, and what follows from it: an endpoint that fails them is out as one is that its source calls critical, and
//! one that passes them may return from an ejection before its time.

use std::time::Instant;

use super::Cluster;
use crate::endpoint::{Endpoint, Finding, Standing};

impl Cluster {
    /// Notes what probes say of an endpoint, or that they say nothing any more. True if it is out from now on, or back.
    ///
    /// To be called on the thread that builds tables, so that a table that is being built cannot miss it.
    pub fn diagnose(&self, endpoint: &Endpoint, finding: Option<Finding>, now: Instant) -> bool {
        let _book = self.lasting.book.open();
        let was_out = endpoint.finding() == Some(Finding::Failing);
        let is_out = finding == Some(Finding::Failing);
        endpoint.diagnose(finding);
        if was_out == is_out {
            return false;
        }
        if was_out {
            // Whoever is back starts slowly, where that is asked for.
            endpoint.ejections().returned = Some(now);
        }
        self.sort_with_book(now);
        true
    }

    /// Takes an endpoint back that is ejected or waits for its trial. False if it is not.
    pub fn return_early(&self, endpoint: &Endpoint, now: Instant) -> bool {
        if endpoint.standing() == Standing::Eligible {
            return false;
        }
        self.readmit(endpoint, now);
        true
    }

    /// Counts a probe towards the retry budget, which it takes from and is not bound by.
    pub fn probed(&self, now: Instant) {
        self.lasting.budget.spend(self.settings.retry.budget, now);
    }
}
