//! How far a list can be relied on.

/// How far a list can be relied on; by default its source stands by it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Freshness {
    /// How old it is.
    pub age: Age,
    /// True if it was kept from before the start, and its source has not answered since.
    pub from_disk: bool,
}

/// How old a list is, by what was allowed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Age {
    /// Not too old.
    #[default]
    Fresh,
    /// Nothing good was heard of its source for too long.
    Stale,
    /// The same, and it is not to be served any more.
    Expired,
}
