//! What the agent does for its own checks: deadlines of those that report in, questions to ask for the others, and when a
//! service has been critical for too long.
//!
//! Pure: the clock is passed in. The running of it is in `checks`.

use crate::registry::definition::{CheckDefinition, Probe, Run};
use crate::registry::model::Status;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// One check of the agent's own.
#[derive(Debug)]
struct Watched {
    service_id: String,
    run: Run,
    /// When a TTL check expires; none once it has.
    expires: Option<Instant>,
    reap_after: Option<Duration>,
    critical_since: Option<Instant>,
    /// Tells this run of the check from earlier ones under the same ID, whose late answers must not count.
    generation: u64,
}

/// The agent's own checks, by ID.
#[derive(Debug, Default)]
pub struct Local {
    checks: BTreeMap<String, Watched>,
    generations: u64,
    revision: u64,
}

/// What has become due.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Checks whose service has been silent for too long.
    pub expired: Vec<String>,
    /// Services that have been critical for too long.
    pub reaped: Vec<String>,
    /// When to look again; none if nothing is waited for.
    pub next: Option<Instant>,
}

impl Local {
    /// Moves when checks come or go, so that whoever runs them looks again.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Begins to watch a check. A check that is the same as before goes on running; its TTL starts anew.
    pub fn watch(&mut self, id: &str, check: &CheckDefinition, status: Status, now: Instant) {
        let Some(run) = check.run.clone() else {
            return;
        };
        let before = self.checks.remove(id);
        let same = before.as_ref().filter(|before| before.run == run);
        let generation = same.map_or(self.generations + 1, |before| before.generation);
        self.generations = self.generations.max(generation);
        self.revision += 1;
        let critical_since =
            before.and_then(|before| before.critical_since).or(Some(now)).filter(|_| status == Status::Critical);
        let watched = Watched {
            service_id: check.service_id.clone(),
            expires: match run {
                Run::Ttl(ttl) => now.checked_add(ttl),
                Run::Probe(_) => None,
            },
            run,
            reap_after: check.reap_after,
            critical_since,
            generation,
        };
        self.checks.insert(id.to_owned(), watched);
    }

    /// Ends the watch of one check.
    pub fn forget(&mut self, id: &str) {
        if self.checks.remove(id).is_some() {
            self.revision += 1;
        }
    }

    /// Ends the watch of every check of a service.
    pub fn forget_service(&mut self, id: &str) {
        let before = self.checks.len();
        self.checks.retain(|_, check| check.service_id != id);
        if before != self.checks.len() {
            self.revision += 1;
        }
    }

    /// Notes a heartbeat; false if there is no such TTL check.
    pub fn beat(&mut self, id: &str, status: Status, now: Instant) -> bool {
        let Some(check) = self.checks.get_mut(id) else {
            return false;
        };
        let Run::Ttl(ttl) = check.run else {
            return false;
        };
        // Once a deadline has passed, nobody is waiting for the new one.
        self.revision += u64::from(check.expires.is_none());
        check.expires = now.checked_add(ttl);
        check.note(status, now);
        true
    }

    /// Notes a probe's answer; false if that check has gone or been replaced since the question was asked.
    pub fn answer(&mut self, id: &str, generation: u64, status: Status, now: Instant) -> bool {
        let check = self.checks.get_mut(id);
        let Some(check) = check.filter(|check| check.generation == generation) else {
            return false;
        };
        check.note(status, now);
        true
    }

    /// Every probe that should be running, as (generation, check ID, probe).
    pub fn probes(&self) -> impl Iterator<Item = (u64, &String, &Probe)> {
        self.checks.iter().filter_map(|(id, check)| match &check.run {
            Run::Probe(probe) => Some((check.generation, id, probe)),
            Run::Ttl(_) => None,
        })
    }

    /// Collects what has become due by `now`, once.
    pub fn due(&mut self, now: Instant) -> Due {
        let mut due = Due::default();
        for (id, check) in &mut self.checks {
            if check.expires.is_some_and(|at| at <= now) {
                check.expires = None;
                check.note(Status::Critical, now);
                due.expired.push(id.clone());
            }
            let reap = check.reap_after.filter(|_| !check.service_id.is_empty());
            let reap = reap.zip(check.critical_since).and_then(|(after, since)| since.checked_add(after));
            if reap.is_some_and(|at| at <= now) {
                due.reaped.push(check.service_id.clone());
                continue;
            }
            let next = [due.next, check.expires, reap];
            due.next = next.into_iter().flatten().min();
        }
        due
    }
}

impl Watched {
    fn note(&mut self, status: Status, now: Instant) {
        self.critical_since = (status == Status::Critical).then(|| self.critical_since.unwrap_or(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::definition::Target;

    const TTL: Duration = Duration::from_secs(15);

    fn ttl(reap_after: Option<Duration>) -> CheckDefinition {
        CheckDefinition { service_id: "s".into(), run: Some(Run::Ttl(TTL)), reap_after, ..CheckDefinition::default() }
    }

    #[test]
    fn silence_expires_a_ttl_once_and_a_heartbeat_renews_it() {
        let mut local = Local::default();
        let start = Instant::now();
        local.watch("c", &ttl(None), Status::Passing, start);
        assert_eq!(local.due(start).next, Some(start + TTL));
        assert!(local.beat("c", Status::Passing, start + TTL / 2));
        assert!(local.due(start + TTL).expired.is_empty());
        let late = start + TTL * 2;
        assert_eq!(local.due(late).expired, ["c"]);
        assert_eq!(local.due(late), Due::default());
        assert!(!local.beat("unknown", Status::Passing, late));
    }

    #[test]
    fn a_service_that_stays_critical_is_reaped_and_one_that_recovers_is_not() {
        let mut local = Local::default();
        let start = Instant::now();
        let reap = Duration::from_secs(60);
        local.watch("c", &ttl(Some(reap)), Status::Critical, start);
        local.beat("c", Status::Critical, start + TTL);
        assert_eq!(local.due(start + reap).reaped, ["s"]);
        local.beat("c", Status::Passing, start + reap);
        assert!(local.due(start + reap).reaped.is_empty());
    }

    #[test]
    fn the_answer_of_a_replaced_probe_does_not_count() {
        let mut local = Local::default();
        let start = Instant::now();
        let probe = |port: &str| CheckDefinition {
            run: Some(Run::Probe(Probe { target: Target::Tcp(format!("h:{port}")), interval: TTL, timeout: TTL })),
            ..CheckDefinition::default()
        };
        local.watch("c", &probe("1"), Status::Critical, start);
        let first = local.probes().next().unwrap().0;
        local.watch("c", &probe("1"), Status::Critical, start);
        assert!(local.answer("c", first, Status::Passing, start));
        local.watch("c", &probe("2"), Status::Critical, start);
        assert!(!local.answer("c", first, Status::Passing, start));
        assert_eq!(local.probes().count(), 1);
        local.forget("c");
        assert_eq!(local.probes().count(), 0);
    }
}
