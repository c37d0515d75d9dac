//! Where an endpoint stands, and where we do.

use std::collections::HashMap;
use std::time::Duration;

/// Where something stands; what is not known is not the same as anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Locality {
    /// The machine.
    pub node: Option<Box<str>>,
    /// The zone.
    pub zone: Option<Box<str>>,
    /// The datacenter.
    pub datacenter: Option<Box<str>>,
}

/// Where we stand, and how far others are from there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Vantage {
    /// Our own place.
    pub here: Locality,
    /// Estimated round trips to the nodes of our datacenter, by name.
    pub round_trips: HashMap<Box<str>, Duration>,
}

impl Vantage {
    /// The estimated round trip to whoever stands there, if there is one.
    pub fn round_trip(&self, there: &Locality) -> Option<Duration> {
        // Estimates are within a datacenter; a node's name is unique there only.
        let is_near = there.datacenter.is_none() || there.datacenter == self.here.datacenter;
        let node = there.node.as_ref().filter(|_| is_near)?;
        self.round_trips.get(node).copied()
    }
}
