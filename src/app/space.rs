//! How many clients there is room for, by the limit on descriptors.

use std::sync::Arc;

use tracing::warn;

use crate::admin;
use crate::config::{self, Config, Serves};
use crate::listener::Room;

/// Descriptors of a program that checks: itself, and both ends of what it prints to.
const OF_A_PROGRAM: usize = 3;
/// Descriptors of each thread: its event loop's, and the pipes for long bodies of uploads and of tunnels; its listeners' apart from that.
const OF_A_THREAD: usize = 10;
/// Descriptors of a listener on a worker: its own, that of whoever was accepted and has to wait, and its pipe for long bodies of answers.
const OF_A_LISTENER: usize = 4;
/// Descriptors of the process: standard streams, signals, files that are read for a moment, host names that are looked up.
const OF_THE_PROCESS: usize = 24;

/// Room for as many connections as was written, or else as the limit on descriptors allows: each may need another one to an
/// endpoint, and what lictor itself needs is left out.
pub(super) fn room(config: &Config, descriptors: usize) -> Arc<Room> {
    let threads = config.workers + 1;
    let of_workers = config.workers * OF_A_LISTENER * config.listeners.len();
    let by_name = config.listeners.iter().any(|listener| listener.serves == Serves::Names);
    let named = if by_name { config.egress.max_services } else { 0 };
    let watches = (config.selections().len() + named).min(config.consul.max_queries);
    let entered = config.registration.iter().flat_map(config::Registration::all);
    let entered: usize = entered.map(|service| 1 + OF_A_PROGRAM * service.checks.len()).sum();
    let watches = watches + usize::from(config.kv.is_some()) + entered;
    let own = OF_THE_PROCESS + threads * OF_A_THREAD + of_workers + watches + 1 + admin::MAX_CONNECTIONS;
    let allowed = descriptors.saturating_sub(own) / 2;
    let most = config.max_connections.unwrap_or(allowed).max(1);
    if most > allowed {
        warn!(
            max_connections = most,
            allowed, descriptors, "the limit on descriptors does not allow so many with an endpoint's for each"
        );
    }
    Room::new(most)
}
