//! Keeps the certificates of all listeners new.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::Server;

/// A look at a file costs a microsecond or two; nobody waits longer for a renewed certificate than for this and a moment.
const LOOK: Duration = Duration::from_secs(1);

/// Looks after certificates for as long as it runs.
pub async fn keep(servers: Vec<Arc<Server>>) {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        servers.iter().for_each(|server| server.look());
    }
}
