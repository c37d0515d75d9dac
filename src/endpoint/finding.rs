//! What probes say of an endpoint: one atomic word, since whoever sorts candidates reads it.

use super::atomic::{AtomicU8, Ordering};

/// What probes say of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Finding {
    /// It is well.
    Passing = 1,
    /// It is not, and takes no requests.
    Failing = 2,
}

#[derive(Debug, Default)]
pub(super) struct Cell(AtomicU8);

impl Cell {
    pub(super) fn load(&self) -> Option<Finding> {
        match self.0.load(Ordering::Acquire) {
            1 => Some(Finding::Passing),
            2 => Some(Finding::Failing),
            _ => None,
        }
    }

    pub(super) fn store(&self, finding: Option<Finding>) {
        self.0.store(finding.map_or(0, |finding| finding as u8), Ordering::Release);
    }
}

impl Finding {
    /// The word for people and labels.
    pub fn name(self) -> &'static str {
        match self {
            Finding::Passing => "passing",
            Finding::Failing => "failing",
        }
    }
}
