//! What an operator has done about an endpoint by hand: for a while, whatever its source and our own judgement say. Facts like
//! those of a list, and part of the table that holds them; they go by the address, and so outlive every list.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::Address;

/// One thing that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measure {
    /// What it is.
    pub what: What,
    /// When it ends by itself; never if absent.
    pub until: Option<Instant>,
    /// Who has done it.
    pub by: Arc<str>,
    /// What for, in the operator's words, if any were given.
    pub note: Option<Arc<str>>,
}

/// What can be done about an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// It takes no requests, and nobody's session stays there.
    Ejected,
    /// It takes no new clients; whoever's session is there stays.
    Drained,
    /// It has this share, in place of the one that its source gives it; 0 is like being drained.
    Weight(u32),
}

/// All that holds for the endpoints of one cluster, each kind once for each.
pub type Measures = BTreeMap<Address, Arc<[Measure]>>;

impl What {
    /// The word for people and labels.
    pub fn name(self) -> &'static str {
        match self {
            What::Ejected => "ejected",
            What::Drained => "drained",
            What::Weight(_) => "weight",
        }
    }

    /// The share, if it is one.
    pub fn weight(self) -> Option<u32> {
        match self {
            What::Weight(weight) => Some(weight),
            What::Ejected | What::Drained => None,
        }
    }

    /// True if one takes the place of the other.
    pub fn is_like(self, other: What) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}
