//! The open connections of one listener on one worker.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use super::pulse::Pulse;
use crate::metrics::ListenerSeries;

/// How many give way at once, at most: looking for them costs a glance at each.
const AT_ONCE: usize = 32;

/// Their tasks, and what each is doing.
pub(super) struct Connections {
    tasks: JoinSet<()>,
    pulses: HashMap<Id, (AbortHandle, Arc<Pulse>)>,
    series: Arc<ListenerSeries>,
}

impl Connections {
    pub(super) fn new(series: &Arc<ListenerSeries>) -> Self {
        Connections { tasks: JoinSet::new(), pulses: HashMap::new(), series: Arc::clone(series) }
    }

    /// Starts to serve one.
    pub(super) fn start(&mut self, pulse: Arc<Pulse>, connection: impl Future<Output = ()> + 'static) {
        let open = Open::new(&self.series);
        let task = self.tasks.spawn_local(async move {
            connection.await;
            drop(open);
        });
        self.pulses.insert(task.id(), (task, pulse));
    }

    /// Forgets those that are over.
    pub(super) fn reap(&mut self) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.forget(ended);
        }
    }

    /// Returns when none is left.
    pub(super) async fn finish(&mut self) {
        while let Some(ended) = self.tasks.join_next_with_id().await {
            self.forget(ended);
        }
    }

    fn forget(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
        self.pulses.remove(&id);
    }

    /// Closes some of those that have been idle for so long, the longest idle first: a sixteenth of all, and one at least.
    pub(super) fn give_way(&mut self, idle: Duration, now: Instant) {
        let long = |(task, pulse): &(AbortHandle, Arc<Pulse>)| {
            let since = pulse.idle_since().filter(|since| *since + idle <= now)?;
            Some((since, task.clone()))
        };
        let mut idle: Vec<(Instant, AbortHandle)> = self.pulses.values().filter_map(long).collect();
        idle.sort_by_key(|(since, _)| *since);
        let count = (self.pulses.len() / 16).clamp(1, AT_ONCE);
        for (_, task) in idle.into_iter().take(count) {
            // What it holds is dropped before anybody is served in its place.
            task.abort();
            self.series.gave_way.fetch_add(1, Ordering::Relaxed);
        }
        self.reap();
    }
}

/// Counts a connection for as long as it is open.
struct Open(Arc<ListenerSeries>);

impl Open {
    fn new(series: &Arc<ListenerSeries>) -> Self {
        series.accepted.fetch_add(1, Ordering::Relaxed);
        series.open.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(series))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
