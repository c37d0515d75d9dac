//! What becomes of an endpoint by what is said of it: by each attempt that fails, and by looking at all of them side by side
//! every second. Every ejection, and every one that the rules forbid, is counted and logged here.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::{Cluster, Member};
use crate::endpoint::{Counts, Endpoint, Id, Standing};
use crate::health::{self, Reason, Window};
use crate::journal::Event;

/// The recent past of a cluster's endpoints. Only whoever looks at them side by side needs it.
#[derive(Debug, Default)]
pub(super) struct Windows(Mutex<HashMap<Id, Window>>);

/// Why an endpoint that should be taken out was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spared {
    /// It is out.
    Ejected,
    /// A rule forbids it.
    By(&'static str),
}

impl Cluster {
    /// Looks at all endpoints side by side and takes out whoever does too badly. Called every [`health::SLOT`].
    pub fn examine(&self, now: Instant) {
        let rules = &self.settings.ejection;
        if !health::compares(rules) {
            return;
        }
        let eligible = |member: &&Member| member.is_usable() && member.endpoint.standing() == Standing::Eligible;
        let members: Vec<&Member> = self.members.iter().filter(eligible).collect();
        let sums = self.lasting.windows.turn(members.iter().map(|member| &member.endpoint), rules.window);
        // What is far away takes longer: only those of a level are alike.
        let levels: BTreeSet<usize> = members.iter().map(|member| member.level).collect();
        for level in levels {
            let (alike, sums): (Vec<&Member>, Vec<Counts>) =
                members.iter().zip(&sums).filter(|(member, _)| member.level == level).unzip();
            for (place, reason) in health::outliers(rules, &sums) {
                let endpoint = &alike[place].endpoint;
                // Whatever comes of it: what it was convicted for does not count again.
                self.lasting.windows.forget(endpoint);
                self.eject(endpoint, reason, now);
            }
        }
    }

    /// Ejects an endpoint if the rules allow it, and says what came of it.
    pub(super) fn eject(&self, endpoint: &Endpoint, reason: Reason, now: Instant) {
        self.report_ejection(endpoint, reason, self.try_eject(endpoint, reason, now));
    }

    /// Counts and logs what came of an ejection.
    pub(super) fn report_ejection(&self, endpoint: &Endpoint, reason: Reason, ejected: Result<Duration, Spared>) {
        let (cluster, address) = (&self.settings.name, endpoint.address());
        match ejected {
            Ok(length) => {
                self.lasting.windows.forget(endpoint);
                self.series().ejection(reason.name(), None);
                warn!(%cluster, endpoint = %address, reason = reason.name(), ?length, "ejected");
                self.note(Event::Ejected {
                    cluster: cluster.to_string(),
                    endpoint: address.to_string(),
                    reason: reason.name(),
                    for_seconds: length.as_secs_f64(),
                });
            }
            Err(Spared::Ejected) => {}
            Err(Spared::By(why)) => {
                self.series().ejection(reason.name(), Some(why));
                info!(%cluster, endpoint = %address, reason = reason.name(), why, "fails, but was not ejected");
                // With every request that fails there, as long as that is so.
                self.lasting.journal.note_now_and_then(Event::Spared {
                    cluster: cluster.to_string(),
                    endpoint: address.to_string(),
                    reason: reason.name(),
                    rule: why,
                });
            }
        }
    }

    /// Ejects an endpoint if the rules allow it.
    pub(super) fn try_eject(&self, endpoint: &Endpoint, reason: Reason, now: Instant) -> Result<Duration, Spared> {
        let rules = &self.settings.ejection;
        let _book = self.lasting.book.open();
        let (mut count, mut out, mut is_usable) = (0, 0, false);
        for member in self.members.iter().filter(|member| member.is_usable()) {
            let is_other = member.endpoint.id() != endpoint.id();
            count += 1;
            out += usize::from(member.endpoint.standing() != Standing::Eligible && is_other);
            is_usable |= !is_other;
        }
        let forbidden = || match endpoint.standing() {
            // A trial that failed does not change how many are out.
            Standing::Ejected | Standing::Probation | Standing::Trial => None,
            // Whoever takes no new clients, and only keeps those that it has, leaves no gap.
            Standing::Eligible if !is_usable => None,
            Standing::Eligible => health::forbids(rules, count, out),
        };
        if endpoint.standing() == Standing::Ejected {
            return Err(Spared::Ejected);
        }
        let spared = if rules.dry_run { Some("dry_run") } else { forbidden() };
        if let Some(why) = spared {
            return Err(Spared::By(why));
        }
        let length = health::eject(rules, endpoint, now, fastrand::f64());
        endpoint.ejections().why = Some(reason.name());
        self.sort_with_book(now);
        Ok(length)
    }

    pub(super) fn readmit(&self, endpoint: &Endpoint, now: Instant) {
        let _book = self.lasting.book.open();
        // In a panic several requests serve as trials at once; the first that succeeds decides.
        if endpoint.standing() == Standing::Eligible {
            return;
        }
        health::readmit(&self.settings.ejection, endpoint, now);
        self.sort_with_book(now);
        let (cluster, address) = (&self.settings.name, endpoint.address());
        info!(%cluster, endpoint = %address, "back from its ejection");
        self.note(Event::Returned { cluster: cluster.to_string(), endpoint: address.to_string() });
    }

    /// Takes back whoever was taken out as a suspect, and is on the list again. With the book open.
    pub(super) fn rehabilitate(&self, previous: Option<&Cluster>, now: Instant) {
        let was_suspect = |member: &&Member| {
            let before = previous.and_then(|previous| previous.member(&member.endpoint));
            before.is_some_and(Member::is_suspect) && !member.is_suspect()
        };
        // Only where there were any: most lists have none.
        if previous.is_some_and(|previous| previous.members.iter().any(Member::is_suspect)) {
            for member in self.members.iter().filter(was_suspect) {
                if member.endpoint.standing() != Standing::Eligible {
                    health::readmit(&self.settings.ejection, &member.endpoint, now);
                }
            }
        }
    }

    /// The member that this endpoint is; none if it has left the list.
    pub(super) fn member(&self, endpoint: &Endpoint) -> Option<&Member> {
        self.members.iter().find(|member| member.endpoint.id() == endpoint.id())
    }
}

impl Windows {
    /// Ends a slot of each, and returns what is in their windows, in the same order. Others are forgotten.
    fn turn<'a>(&self, endpoints: impl Iterator<Item = &'a Arc<Endpoint>>, length: Duration) -> Vec<Counts> {
        let mut windows = self.lock();
        let mut before = std::mem::take(&mut *windows);
        let mut turn = |endpoint: &'a Arc<Endpoint>| {
            let counts = endpoint.counts();
            let mut window = before.remove(&endpoint.id()).unwrap_or_else(|| Window::new(counts));
            window.turn(counts, length);
            let sum = window.sum();
            windows.insert(endpoint.id(), window);
            sum
        };
        endpoints.map(&mut turn).collect()
    }

    pub(super) fn forget(&self, endpoint: &Endpoint) {
        self.lock().remove(&endpoint.id());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Id, Window>> {
        // A panic elsewhere can only have lost some of the past.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
