//! Running the agent's own checks: one loop that watches the clock, and a task for each probe.
//!
//! The first question is asked at once, where Consul waits for a random part of the interval: whoever looks at a demo should
//! not have to.

use super::api::Api;
use super::definition::Probe;
use super::model::Status;
use super::probe;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// The longest time between two looks at the clock: how often Consul looks for services to reap.
const PATROL: Duration = Duration::from_secs(30);

/// Keeps the checks running for ever. The tasks are in `tasks`, whose owner ends them.
pub async fn run(api: &Arc<Api>, tasks: &mut JoinSet<()>) {
    let mut checks = api.checks();
    let mut running: HashMap<u64, AbortHandle> = HashMap::new();
    loop {
        checks.mark_unchanged();
        let now = Instant::now();
        let next = api.write(|store| store.settle(now));
        let (live, new) = api.read(|store| {
            let probes = || store.local().probes();
            let live: HashSet<u64> = probes().map(|(generation, ..)| generation).collect();
            let new = probes().filter(|(generation, ..)| !running.contains_key(generation));
            let new: Vec<_> = new.map(|(generation, id, probe)| (generation, id.clone(), probe.clone())).collect();
            (live, new)
        });
        running.retain(|generation, task| {
            let wanted = live.contains(generation);
            if !wanted {
                task.abort();
            }
            wanted
        });
        for (generation, id, probe) in new {
            let task = ask(Arc::clone(api), id, generation, probe);
            running.insert(generation, tasks.spawn(task));
        }
        while tasks.try_join_next().is_some() {}
        let patrol = now + PATROL;
        tokio::select! {
            _ = checks.changed() => {}
            () = sleep_until(next.map_or(patrol, |next| next.min(patrol))) => {}
        }
    }
}

/// Asks one probe's question for ever.
async fn ask(api: Arc<Api>, id: String, generation: u64, probe: Probe) {
    loop {
        let said = match timeout(probe.timeout, probe::ask(&probe.target)).await {
            Ok(said) => said,
            Err(_) => (Status::Critical, format!("no answer within {:?}", probe.timeout)),
        };
        api.write(|store| store.answer((&id, generation), said, Instant::now()));
        sleep(probe.interval).await;
    }
}
