//! How many connections there are to an endpoint, and to all of its cluster: counted from the dialling to the close, over all
//! workers, and bounded where somebody said so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Connections to one endpoint, or to all of a cluster.
#[derive(Debug, Default)]
pub(super) struct Connections {
    open: AtomicU32,
    /// Of a cluster's, how many there have been.
    begun: AtomicU64,
    /// Somebody was refused one since the last that gave way.
    wanted: AtomicBool,
}

/// A connection, counted until it is dropped.
#[derive(Debug)]
pub struct Connected {
    to_endpoint: Arc<Connections>,
    to_cluster: Arc<Connections>,
}

impl Connections {
    pub(super) fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    fn add(&self, most: u32) -> bool {
        let one_more = |open: u32| (most == 0 || open < most).then(|| open + 1);
        let added = self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok();
        if !added {
            self.wanted.store(true, Ordering::Relaxed);
        }
        added
    }

    fn remove(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    fn gives_way(&self) -> bool {
        // Read first: nearly always nobody wants one.
        self.wanted.load(Ordering::Relaxed) && self.wanted.swap(false, Ordering::Relaxed)
    }
}

impl Connected {
    /// One more, unless that would be more than `most` to the endpoint or `most_of_all` to its cluster; 0 is no limit.
    pub(super) fn new(
        (to_endpoint, most): (&Arc<Connections>, u32),
        (to_cluster, most_of_all): (&Arc<Connections>, u32),
    ) -> Option<Self> {
        if !to_endpoint.add(most) {
            return None;
        }
        if !to_cluster.add(most_of_all) {
            to_endpoint.remove();
            return None;
        }
        to_cluster.begun.fetch_add(1, Ordering::Relaxed);
        Some(Connected { to_endpoint: Arc::clone(to_endpoint), to_cluster: Arc::clone(to_cluster) })
    }

    /// True if somebody was refused a connection for this one's sake; said once for each that has to give way.
    pub fn give_way(&self) -> bool {
        self.to_endpoint.gives_way() || self.to_cluster.gives_way()
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.to_endpoint.remove();
        self.to_cluster.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_bounded_by_endpoint_and_by_cluster_and_idle_ones_give_way() {
        let (one, other, all) = <(Arc<Connections>, Arc<Connections>, Arc<Connections>)>::default();
        let first = Connected::new((&one, 1), (&all, 2)).unwrap();
        assert!(Connected::new((&one, 1), (&all, 2)).is_none(), "one to the endpoint");
        assert!(first.give_way() && !first.give_way());
        let _second = Connected::new((&other, 0), (&all, 2)).unwrap();
        assert!(Connected::new((&other, 0), (&all, 2)).is_none(), "two to the cluster");
        assert_eq!((one.open(), other.open(), all.open()), (1, 1, 2));
        assert_eq!(all.begun(), 2, "whoever is refused has not begun");
        drop(first);
        assert_eq!((one.open(), all.open()), (0, 1));
        Connected::new((&other, 0), (&all, 2)).unwrap();
    }
}
