//! One endpoint's probes, one after the other for as long as its task runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::time::{sleep, sleep_until};
use tracing::{debug, info, warn};

use super::ask::ask;
use super::failure::Failure;
use super::streak::Streak;
use crate::cluster::Secured;
use crate::config;
use crate::endpoint::{Address, Endpoint, Finding, Standing};
use crate::metrics::ClusterSeries;
use crate::table::Reader;

/// What one endpoint's probes need.
pub(super) struct Round {
    pub(super) cluster: Arc<str>,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) settings: Arc<config::Probe>,
    pub(super) reader: Reader,
    pub(super) series: Arc<ClusterSeries>,
    pub(super) permits: Arc<Semaphore>,
}

impl Round {
    /// Probes for the first time after so long, and then again and again.
    pub(super) async fn run(self, first: Duration) {
        let own = self.endpoint.address();
        let address = self.settings.port.map_or_else(|| own.clone(), |port| own.with_port(port));
        let mut streak = Streak::since(self.endpoint.finding());
        sleep(first).await;
        loop {
            let next = tokio::time::Instant::now() + self.pause();
            let was_ejected = self.is_ejected();
            let result = self.probe(&address).await;
            self.conclude(&mut streak, result, was_ejected);
            sleep_until(next).await;
        }
    }

    /// The interval, a little longer by chance, so that those that began together do not stay together.
    fn pause(&self) -> Duration {
        self.settings.interval.mul_f64(1.0 + self.settings.jitter * fastrand::f64())
    }

    fn is_ejected(&self) -> bool {
        self.endpoint.standing() != Standing::Eligible
    }

    async fn probe(&self, address: &Address) -> Result<(), Failure> {
        // Never closed, so there is always a permit to wait for.
        let _permit = self.permits.acquire().await;
        // A port for probes alone is taken for one in the clear.
        let secured = if self.settings.port.is_none() { self.secured() } else { None };
        ask((address, self.endpoint.identity()), &self.settings, secured.as_ref()).await
    }

    /// What requests to the endpoint are secured with just now.
    fn secured(&self) -> Option<Secured> {
        self.reader.load().find_cluster(&self.cluster)?.tls().cloned()
    }

    /// Counts a result, and does what follows from it.
    fn conclude(&self, streak: &mut Streak, result: Result<(), Failure>, was_ejected: bool) {
        let table = self.reader.load();
        // It departs while the probe runs: the task is about to end.
        let Some(cluster) = table.find_cluster(&self.cluster) else { return };
        let (now, endpoint, settings) = (Instant::now(), &self.endpoint, &self.settings);
        self.series.probe(result.as_ref().map_or_else(Failure::name, |()| "success"));
        cluster.probed(now);
        let name = &self.cluster;
        let (result, failure) = match result {
            Ok(()) => (Finding::Passing, None),
            Err(Failure::Local(error)) => {
                debug!(cluster = %name, endpoint = %endpoint.address(), error, "probe: not made");
                return;
            }
            Err(failure) => (Finding::Failing, Some(failure)),
        };
        let needed = if failure.is_none() { settings.rise } else { settings.fall };
        if let Some(finding) = streak.note(result, needed)
            && cluster.diagnose(endpoint, Some(finding), now)
        {
            match failure {
                Some(failure) => {
                    warn!(cluster = %name, endpoint = %endpoint.address(), %failure, "probe: failing, takes no requests");
                }
                None => info!(cluster = %name, endpoint = %endpoint.address(), "probe: passing again"),
            }
        }
        let is_ejected = settings.return_ejected && was_ejected && self.is_ejected();
        if streak.returns(result, is_ejected, settings.rise) && cluster.return_early(endpoint, now) {
            info!(cluster = %name, endpoint = %endpoint.address(), "probe: back before its ejection is over");
        }
    }
}
