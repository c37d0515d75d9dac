//! What watches have to share, so that together they ask no more of Consul than one of them would alone: connections, and turns for
//! those who have no query of their own. Datacenters are far from each other, and so none waits for another's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, watch};

/// Services that are asked by turns share this many connections.
const SWEEPERS: usize = 4;
/// Lists that are asked for at once, and not waited for. With the first of them a connection is made that the others can share: a
/// thousand that began together would begin with a connection each.
const OPENERS: usize = 8;

/// What the watches of one datacenter share.
#[derive(Debug)]
pub(super) struct Turns {
    /// For those who have no query of their own.
    pub(super) sweepers: Semaphore,
    /// For answers that are given at once.
    pub(super) openers: Semaphore,
    /// Counts the times that the datacenter's catalogue has changed, while somebody looks.
    pub(super) rounds: watch::Sender<u64>,
}

/// The turns of each datacenter, by its name; that of the agent has none.
#[derive(Debug, Default)]
pub(super) struct Everywhere(Mutex<HashMap<Option<String>, Arc<Turns>>>);

/// How many queries are on each connection.
#[derive(Debug)]
pub(super) struct Lanes {
    most: usize,
    queries: Mutex<Vec<usize>>,
}

/// A query's place on a connection, for as long as it is held.
#[derive(Debug)]
pub(super) struct Lane {
    lanes: Arc<Lanes>,
    /// Which connection.
    pub(super) number: usize,
}

impl Everywhere {
    pub(super) fn of(&self, datacenter: Option<&String>) -> Arc<Turns> {
        let fresh = || {
            let (sweepers, openers) = (Semaphore::new(SWEEPERS), Semaphore::new(OPENERS));
            Arc::new(Turns { sweepers, openers, rounds: watch::Sender::new(0) })
        };
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever adds also sweeps, so that there are no more than are in use.
        turns.retain(|_, turns| Arc::strong_count(turns) > 1);
        Arc::clone(turns.entry(datacenter.cloned()).or_insert_with(fresh))
    }
}

impl Lanes {
    /// So many connections, each for so many queries.
    pub(super) fn new((count, most): (usize, usize)) -> Arc<Self> {
        Arc::new(Lanes { most, queries: Mutex::new(vec![0; count.max(1)]) })
    }

    /// A place on the first connection that has room; on the emptiest if none has.
    pub(super) fn take(self: &Arc<Self>) -> Lane {
        let mut queries = self.queries.lock().unwrap_or_else(PoisonError::into_inner);
        let emptiest = || queries.iter().enumerate().min_by_key(|(_, queries)| **queries).map(|(number, _)| number);
        let number = queries.iter().position(|queries| *queries < self.most).or_else(emptiest).unwrap_or_default();
        queries[number] += 1;
        Lane { lanes: Arc::clone(self), number }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.lanes.queries.lock().unwrap_or_else(PoisonError::into_inner)[self.number] -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_filled_one_after_the_other() {
        let lanes = Lanes::new((2, 2));
        let mut taken: Vec<Lane> = (0..6).map(|_| lanes.take()).collect();
        let numbers: Vec<usize> = taken.iter().map(|lane| lane.number).collect();
        assert_eq!(numbers, [0, 0, 1, 1, 0, 1], "what is too much is shared");
        taken.clear();
        assert_eq!(lanes.take().number, 0);
    }

    #[test]
    fn turns_are_shared_within_a_datacenter_and_forgotten_with_it() {
        let everywhere = Everywhere::default();
        let far = "dc2".to_owned();
        let (here, there) = (everywhere.of(None), everywhere.of(Some(&far)));
        assert!(Arc::ptr_eq(&here, &everywhere.of(None)) && !Arc::ptr_eq(&here, &there));
        drop(there);
        everywhere.of(None);
        assert_eq!(everywhere.0.lock().unwrap().len(), 1);
    }
}
