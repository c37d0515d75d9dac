//! Following roots or a certificate by blocking query, for good. What was there last stays in force whatever fails.
//!
//! A query is waited for until it answers, and never for longer than a minute: agents have let later ones hang for as long as one that
//! was given up would have waited. For the same reason a certificate is asked for afresh once more than half of its time is over,
//! whatever a query that waits would have said.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::time::sleep;
use tracing::{info, warn};

use super::material::Material;
use crate::config;
use crate::consul::{Agent, Backoff, Bucket, Failure, vary};
use crate::metrics::{MeshSeries, MeshUpdate};
use crate::tls::Mesh;

/// Longest wait of one query.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// When in its life a certificate is asked for afresh: by chance between these parts of it, so that not all do so at once.
const REFRESH: std::ops::Range<f64> = 0.5..0.7;

/// Keeps one of the two new.
pub(super) struct Follow {
    agent: Arc<Agent>,
    wait: Duration,
    query: Vec<(&'static str, String)>,
    material: Material,
    mesh: Arc<Mesh>,
    series: Arc<MeshSeries>,
    /// What was last said to be wrong with an answer.
    complaint: String,
    /// Which certificate was asked for afresh, by its end.
    refreshed: Option<SystemTime>,
    /// In which part of its life.
    refresh: f64,
}

impl Follow {
    pub(super) fn new(
        agent: &Arc<Agent>,
        consul: &config::Consul,
        material: Material,
        (mesh, series): (&Arc<Mesh>, &Arc<MeshSeries>),
    ) -> Self {
        // The agent's own datacenter, whichever is asked for services: its certificates are of that one.
        let query = match &material {
            Material::Roots => Vec::new(),
            Material::Leaf(_) => consul.namespace.iter().map(|namespace| ("ns", namespace.clone())).collect(),
        };
        Follow {
            agent: Arc::clone(agent),
            wait: consul.wait.min(LONGEST_WAIT.mul_f64(0.9)),
            query,
            material,
            mesh: Arc::clone(mesh),
            series: Arc::clone(series),
            complaint: String::new(),
            refreshed: None,
            refresh: REFRESH.start + (REFRESH.end - REFRESH.start) * fastrand::f64(),
        }
    }

    /// Runs for as long as it is wanted.
    pub(super) async fn run(mut self) {
        let (mut bucket, mut backoff, mut index) = (Bucket::new(Instant::now()), Backoff::default(), 0);
        loop {
            sleep(bucket.take(Instant::now())).await;
            if self.is_due(SystemTime::now()) {
                index = 0;
            }
            let token = self.agent.token_version();
            match self.step(index).await {
                Ok(next) => {
                    if backoff.reset() {
                        info!("{} followed again", self.material.name());
                    }
                    index = next;
                }
                Err(failure) => {
                    index = 0;
                    let pause = backoff.after(&failure);
                    self.report(&failure, backoff.is_first());
                    match failure {
                        Failure::Denied { .. } => self.agent.another_token(token, pause).await,
                        _ => sleep(pause).await,
                    }
                }
            }
        }
    }

    /// One query; returns the index to go on from.
    async fn step(&mut self, index: u64) -> Result<u64, Failure> {
        let (asked, wait) = (Instant::now(), vary(self.wait));
        let answer = self.agent.watch(&self.material.path(), &self.query, (index, wait), 0).await?.found().await?;
        let now = answer.meta.index.max(1);
        let is_early = asked.elapsed() < wait;
        let (body, _) = answer.body().await?;
        if index > 0 && now == index {
            self.series.update(self.material.part(), MeshUpdate::Unchanged);
            // Woken without anything new: what was waited on may be gone, as after a snapshot was restored.
            return Ok(if is_early { 0 } else { now });
        }
        match self.material.take(&body, &self.mesh) {
            Ok(true) => {
                self.series.update(self.material.part(), MeshUpdate::Changed);
                self.complaint.clear();
                info!("{} changed", self.material.name());
            }
            Ok(false) => self.series.update(self.material.part(), MeshUpdate::Unchanged),
            Err(why) => {
                self.series.update(self.material.part(), MeshUpdate::Refused);
                return Err(Failure::Garbled(why));
            }
        }
        // One that went backwards is of another state, which is asked for from its beginning.
        Ok(if now < index { 0 } else { now })
    }

    /// True once for each certificate, when the time has come to see whether there is another.
    fn is_due(&mut self, now: SystemTime) -> bool {
        let lifetime = self.mesh.lifetime().filter(|_| matches!(self.material, Material::Leaf(_)));
        let end = lifetime.filter(|lifetime| now >= turn(*lifetime, self.refresh)).map(|(_, end)| end);
        let is_due = end.is_some() && self.refreshed != end;
        if is_due {
            self.refreshed = end;
        }
        is_due
    }

    fn report(&mut self, failure: &Failure, is_first: bool) {
        let (what, text) = (self.material.name(), failure.to_string());
        match failure {
            Failure::Denied { .. } => self.series.update(self.material.part(), MeshUpdate::Denied),
            // Counted as refused when it was.
            Failure::Garbled(_) => {}
            _ => self.series.update(self.material.part(), MeshUpdate::Error),
        }
        if !is_first && self.complaint == text {
            return;
        }
        match failure {
            Failure::Denied { .. } => {
                warn!(
                    error = text,
                    needs = self.material.needs(),
                    "{what} may not be asked for; what was before stays"
                );
            }
            _ => warn!(error = text, "{what} cannot be followed; what was before stays"),
        }
        self.complaint = text;
    }
}

/// When that part of a life is over.
fn turn((begin, end): (SystemTime, SystemTime), part: f64) -> SystemTime {
    begin + end.duration_since(begin).unwrap_or_default().mul_f64(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_turn_of_a_life_is_within_it() {
        let begin = SystemTime::UNIX_EPOCH;
        let life = (begin, begin + Duration::from_secs(100));
        assert_eq!(turn(life, 0.5), begin + Duration::from_secs(50));
        assert_eq!(turn((life.1, life.0), 0.5), life.1, "one that ends before it begins is over at once");
    }
}
