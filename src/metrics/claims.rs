//! Routes that services claim: how many there are, and what is not served.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use prometheus::proto::MetricFamily;

use super::family::{counter, gauge};

/// What claims come to.
#[derive(Debug, Default)]
pub struct ClaimSeries {
    routes: AtomicU64,
    rejected: AtomicU64,
    commands: [AtomicU64; 2],
    has_commands: AtomicBool,
}

impl ClaimSeries {
    /// Notes how many routes there are by claims, and how many claims are not served as they stand.
    pub fn now(&self, routes: usize, rejected: usize) {
        self.routes.store(routes as u64, Ordering::Relaxed);
        self.rejected.store(rejected as u64, Ordering::Relaxed);
    }

    /// Counts commands that changed, and are in force or refused.
    pub fn commands(&self, succeeded: bool) {
        self.has_commands.store(true, Ordering::Relaxed);
        self.commands[usize::from(succeeded)].fetch_add(1, Ordering::Relaxed);
    }
}

pub(super) fn families(all: &[((), Arc<ClaimSeries>)]) -> Vec<MetricFamily> {
    let value = |read: fn(&ClaimSeries) -> &AtomicU64| {
        all.iter().map(move |(_, series)| (vec![], read(series).load(Ordering::Relaxed) as f64))
    };
    let mut commands = Vec::new();
    for (_, series) in all.iter().filter(|(_, series)| series.has_commands.load(Ordering::Relaxed)) {
        for (result, count) in ["failure", "success"].iter().zip(&series.commands) {
            commands.push((vec![("result", (*result).to_owned())], count.load(Ordering::Relaxed) as f64));
        }
    }
    vec![
        gauge("lictor_service_routes", "Routes that services claim.", value(|series| &series.routes)),
        gauge(
            "lictor_service_routes_rejected",
            "Claims and commands that are not served as they stand, or change nothing.",
            value(|series| &series.rejected),
        ),
        counter(
            "lictor_service_routes_commands_total",
            "Route commands that changed in the KV store, by whether they are in force.",
            commands,
        ),
    ]
}
