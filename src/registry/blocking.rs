//! Blocking queries: a read that says which index it has already seen waits until there is a newer one.
//!
//! A waiting reader holds nothing but its place in line; at every change it compares one number, and only the last look
//! builds an answer. Consul's rules: an index of 0 does not wait, a wait of 0 is the default, and up to a sixteenth is added
//! at random so that readers do not return all at once.

use super::answer::{Answer, Consistency, Refusal};
use super::api::{Api, DATACENTER};
use super::call::Call;
use super::duration;
use super::store::Store;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// The wait of a query that does not say.
const DEFAULT_WAIT: Duration = Duration::from_secs(5 * 60);
/// The longest wait.
const MAX_WAIT: Duration = Duration::from_secs(10 * 60);
/// The part of the wait that may be added to it.
const JITTER_PART: u32 = 16;

/// How a read is to be done, as its parameters say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    index: u64,
    wait: Duration,
    consistency: Consistency,
}

impl Reading {
    /// Reads `index`, `wait`, `stale`, `consistent` and `dc`.
    pub fn of(call: &Call) -> Result<Self, Refusal> {
        let consistency = match (call.has("stale"), call.has("consistent")) {
            (true, true) => {
                return Err(Refusal::bad("Cannot specify ?stale with ?consistent, conflicting semantics."));
            }
            (true, false) => Consistency::Stale,
            (false, true) => Consistency::Consistent,
            (false, false) => Consistency::Leader,
        };
        if call.has("cached") && consistency == Consistency::Consistent {
            return Err(Refusal::bad("Cannot specify ?cached with ?consistent, conflicting semantics."));
        }
        let wait = match call.filled("wait") {
            None => DEFAULT_WAIT,
            Some(text) => parse_wait(text).ok_or_else(|| Refusal::bad("Invalid wait time"))?,
        };
        let index = match call.filled("index") {
            None => 0,
            Some(text) => text.parse().map_err(|_| Refusal::bad("Invalid index"))?,
        };
        check_datacenter(call.find("dc").unwrap_or(""))?;
        Ok(Self { index, wait, consistency })
    }

    /// Waits until `index` is newer than the one that the caller knows or the wait is over, then answers with `look`.
    pub async fn answer(
        self,
        api: &Api,
        index: impl Fn(&Store) -> u64,
        look: impl FnOnce(&Store) -> Result<Answer, Refusal>,
    ) -> Result<Answer, Refusal> {
        if self.index > 0 {
            self.wait(api, &index).await;
        }
        api.read(|store| Ok(look(store)?.seen(index(store), self.consistency)))
    }

    async fn wait(self, api: &Api, index: &impl Fn(&Store) -> u64) {
        let jitter = (self.wait / JITTER_PART).mul_f64(fastrand::f64());
        let deadline = Instant::now() + self.wait + jitter;
        // In line before the first look, so that no change falls between the two.
        let mut changes = api.changes();
        while api.read(index) <= self.index {
            match timeout_at(deadline, changes.changed()).await {
                Ok(Ok(())) => {}
                // The wait is over, or the registry is.
                Ok(Err(_)) | Err(_) => return,
            }
        }
    }
}

/// Refuses a datacenter that is not this one, in the words of a Consul that has no way there.
pub fn check_datacenter(name: &str) -> Result<(), Refusal> {
    if name.is_empty() || name == DATACENTER { Ok(()) } else { Err(Refusal::failed("No path to datacenter")) }
}

fn parse_wait(text: &str) -> Option<Duration> {
    let nanos = duration::parse(text).ok()?;
    Some(match u64::try_from(nanos) {
        Ok(0) | Err(_) => DEFAULT_WAIT,
        Ok(nanos) => Duration::from_nanos(nanos).min(MAX_WAIT),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_of_nothing_is_the_default_and_a_long_one_is_cut() {
        assert_eq!(parse_wait("0s"), Some(DEFAULT_WAIT));
        assert_eq!(parse_wait("-3s"), Some(DEFAULT_WAIT));
        assert_eq!(parse_wait("3h"), Some(MAX_WAIT));
        assert_eq!(parse_wait("1500ms"), Some(Duration::from_millis(1500)));
        assert_eq!(parse_wait("3"), None);
    }
}
