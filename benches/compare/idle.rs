//! Memory for each of many idle connections: clients that have asked once and stay.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use serde::Serialize;

use crate::Failure;
use crate::check::Visitor;
use crate::load::Script;
use crate::peers::{Peer, Proxy};
use crate::stop::Stop;
use crate::usage;
use crate::work::Work;

/// Clients that stay.
pub const CLIENTS: usize = 10_000;
/// Clients that ask once and leave before: what the first requests cost is not a connection's.
const EARLIER: usize = 64;
/// Until what was needed for those has been given back.
const SETTLE: Duration = Duration::from_secs(1);
/// A proxy may give back after a while what an idle connection does not need.
const QUIET: Duration = Duration::from_secs(4);
/// Every so many of the clients asks again at the end: they must still be served.
const ASKED_AGAIN: usize = 100;

/// What one proxy needed.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Idle {
    /// In the clear, or in TLS.
    pub work: Work,
    /// Whose memory it is.
    pub peer: Peer,
    /// From 1; a proxy is started anew for each.
    pub round: u32,
    /// Resident before, of all processes.
    pub before_kib: u64,
    /// Resident with the clients.
    pub after_kib: u64,
}

impl Idle {
    /// KiB for each connection.
    pub fn each(&self) -> f64 {
        self.after_kib.saturating_sub(self.before_kib) as f64 / CLIENTS as f64
    }
}

/// Fills a proxy that has just been started with clients.
pub fn measure(
    (work, round): (Work, u32),
    proxy: &Proxy,
    tls: Option<&Arc<ClientConfig>>,
    stop: &Stop,
) -> Result<Idle, Failure> {
    let script = work.script();
    drop(crowd(proxy.address, &script, tls, (EARLIER, stop))?);
    stop.sleep(SETTLE)?;
    let before_kib = usage::memory(&proxy.processes)?.rss_kib;
    let mut clients = crowd(proxy.address, &script, tls, (CLIENTS, stop))?;
    stop.sleep(QUIET)?;
    let after_kib = usage::memory(&proxy.processes)?.rss_kib;
    for client in clients.iter_mut().step_by(ASKED_AGAIN) {
        client.ask(&script.requests[0], &script.answer).map_err(|failure| format!("an idle client: {failure}"))?;
    }
    Ok(Idle { work, peer: proxy.peer, round, before_kib, after_kib })
}

/// Clients who come one after another, and have each asked once.
fn crowd(
    address: SocketAddr,
    script: &Script,
    tls: Option<&Arc<ClientConfig>>,
    (count, stop): (usize, &Stop),
) -> Result<Vec<Visitor>, Failure> {
    let mut clients = Vec::new();
    for _ in 0..count {
        stop.check()?;
        let mut client = Visitor::connect(address, tls)?;
        client.ask(&script.requests[0], &script.answer)?;
        clients.push(client);
    }
    Ok(clients)
}
