//! For services that have no query of their own: one query on the list of all services, which returns whenever an instance comes or
//! goes, be it of whatever service. Who has changed it does not say; so all who are asked by turns are asked then, but no more often
//! than every few seconds. It does not return when a check changes its mind, for which the regular turns stay.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tracing::{debug, warn};

use super::Shared;
use super::share::Turns;
use crate::config::Consistency;
use crate::consul::{Backoff, Bucket, Failure, vary};

/// Between two rounds over everybody: each costs the agent nearly half a millisecond for each service.
const PAUSE: Duration = Duration::from_secs(5);

/// Looks at one datacenter's catalogue.
pub(super) struct Catalogue {
    shared: Arc<Shared>,
    datacenter: Option<String>,
    turns: Arc<Turns>,
    wanted: Arc<AtomicBool>,
    bucket: Bucket,
    index: u64,
}

impl Catalogue {
    pub(super) fn new(shared: &Arc<Shared>, datacenter: Option<String>, wanted: &Arc<AtomicBool>) -> Self {
        let turns = shared.everywhere.of(datacenter.as_ref());
        let (shared, wanted, bucket) = (Arc::clone(shared), Arc::clone(wanted), Bucket::new(Instant::now()));
        Catalogue { shared, datacenter, turns, wanted, bucket, index: 0 }
    }

    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::default();
        while self.wanted.load(Ordering::Acquire) {
            sleep(self.bucket.take(Instant::now())).await;
            match self.look().await {
                Ok(pause) => {
                    backoff.reset();
                    sleep(pause).await;
                }
                Err(failure) => {
                    self.index = 0;
                    let pause = backoff.after(&failure);
                    if backoff.is_first() {
                        warn!(datacenter = self.datacenter, error = %failure, "the catalogue cannot be watched; services are asked by turns");
                    }
                    sleep(pause).await;
                }
            }
        }
        debug!(datacenter = self.datacenter, "the catalogue is not watched any more");
    }

    /// One query, and a round for everybody if it has something new; how long to pause then.
    async fn look(&mut self) -> Result<Duration, Failure> {
        // Only asked for when something moves: nothing is taken away by what a server says that is behind.
        let mode = self.shared.mode().await.unwrap_or(Consistency::Default);
        let waits = (self.index, vary(self.shared.settings.wait));
        let answer = self.shared.agent.services(self.datacenter.as_ref(), mode, waits, 0).await?;
        let index = answer.meta.index.max(1);
        let (body, cost) = answer.body().await?;
        self.bucket.cost(cost, body.len());
        let (before, is_new) = (self.index, index != self.index);
        // One that went backwards is of another state, which is waited on from its beginning.
        self.index = if index < before { 0 } else { index };
        if before == 0 || !is_new {
            return Ok(Duration::ZERO);
        }
        self.turns.rounds.send_modify(|rounds| *rounds += 1);
        Ok(vary(PAUSE))
    }
}
