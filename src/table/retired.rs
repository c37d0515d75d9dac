//! What was published and is not any more, kept until nobody else has it. To free a table of ten thousand endpoints takes a
//! millisecond, and whoever let go of it last would be a worker, in the middle of a request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Table;
use crate::cluster::Cluster;

/// Between two looks, if no table is published meanwhile. A worker without requests keeps the table of its last one.
const PAUSE: Duration = Duration::from_secs(1);

/// Tables of before, and those of their clusters that others have taken the place of: workers hold both, and each for as long as it
/// likes.
#[derive(Default)]
pub(super) struct Retired {
    tables: Vec<Arc<Table>>,
    clusters: Vec<Arc<Cluster>>,
    next: Option<Instant>,
}

impl Retired {
    pub(super) fn table(&mut self, table: Arc<Table>) {
        self.tables.push(table);
    }

    pub(super) fn cluster(&mut self, cluster: &Arc<Cluster>) {
        self.clusters.push(Arc::clone(cluster));
    }

    /// Frees what nobody else has.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.tables.retain(|table| Arc::strong_count(table) > 1);
        self.clusters.retain(|cluster| Arc::strong_count(cluster) > 1);
        let is_empty = self.tables.is_empty() && self.clusters.is_empty();
        self.next = (!is_empty).then(|| now + PAUSE);
    }

    /// When to look again; none if there is nothing left.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }
}
