//! Which services announce routes: followed by one blocking query on `/v1/catalog/services`, which has the names of all services and their
//! tags. It wakes with every instance of whatever service, so it is asked rarely while nothing of this changes. That a service is missing
//! in an answer says little; what becomes of it then is the business of `claims`, which looks at its list.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tracing::{info, warn};

use super::{Shared, Update};
use crate::config::{Consistency, ServiceRoutes};
use crate::consul::{Backoff, Bucket, Failure, vary};

/// Between two looks where the first has shown nothing new.
const QUIET: Duration = Duration::from_secs(1);

/// Follows the names of those whose tags fit.
pub(super) struct Announced {
    shared: Arc<Shared>,
    wanted: Arc<AtomicBool>,
    settings: ServiceRoutes,
    bucket: Bucket,
    index: u64,
    told: Option<BTreeSet<Arc<str>>>,
}

impl Announced {
    pub(super) fn new(shared: &Arc<Shared>, wanted: &Arc<AtomicBool>, settings: &ServiceRoutes) -> Self {
        let (shared, wanted) = (Arc::clone(shared), Arc::clone(wanted));
        let settings = settings.clone();
        Announced { shared, wanted, settings, bucket: Bucket::new(Instant::now()), index: 0, told: None }
    }

    /// Runs for as long as that is wanted.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::default();
        while self.wanted.load(Ordering::Acquire) {
            sleep(self.bucket.take(Instant::now())).await;
            let token = self.shared.agent.token_version();
            match self.ask().await {
                Ok(pause) => {
                    if backoff.reset() {
                        info!("the names of services are followed again");
                    }
                    sleep(pause).await;
                }
                Err(failure) => {
                    self.index = 0;
                    let pause = backoff.after(&failure);
                    if backoff.is_first() {
                        warn!(error = %failure, "the names of services cannot be followed; routes that are known stay");
                    }
                    match failure {
                        Failure::Denied { .. } => self.shared.agent.another_token(token, pause).await,
                        _ => sleep(pause).await,
                    }
                }
            }
        }
    }

    /// One question; returns how long to pause.
    async fn ask(&mut self) -> Result<Duration, Failure> {
        let mode = self.shared.mode().await.filter(|mode| *mode == Consistency::Stale).unwrap_or(Consistency::Default);
        let (asked, wait) = (Instant::now(), vary(self.shared.settings.wait));
        let answer = self.shared.agent.services(None, mode, (self.index, wait), 0).await?;
        let now = answer.meta.index.max(1);
        let (body, cost) = answer.body().await?;
        self.bucket.cost(cost, body.len());
        let is_early = self.index > 0 && now == self.index && asked.elapsed() < wait;
        // An index that went backwards is of another state, and so is one that was answered early with nothing new.
        self.index = if is_early || now < self.index { 0 } else { now };
        let names = announced(&body, &self.settings)?;
        if self.told.is_none() && names.is_empty() && is_blank(&body) {
            warn!(
                "the catalogue shows no service at all, not even Consul's own: the token needs service:read for those that announce routes"
            );
        }
        if self.told.as_ref() == Some(&names) || !self.wanted.load(Ordering::Acquire) {
            return Ok(if is_early { vary(QUIET) } else { QUIET });
        }
        self.told = Some(names.clone());
        // Fails only when discovery has ended, and this with it.
        let _ = self.shared.updates.send(Update::Announced(names)).await;
        Ok(Duration::ZERO)
    }
}

fn is_blank(body: &[u8]) -> bool {
    body.trim_ascii() == b"{}"
}

/// The names of the services that have a tag which says that they claim something.
fn announced(body: &[u8], settings: &ServiceRoutes) -> Result<BTreeSet<Arc<str>>, Failure> {
    let all: BTreeMap<String, Option<Vec<String>>> =
        serde_json::from_slice(body).map_err(|error| Failure::Garbled(error.to_string()))?;
    let announcing = all.into_iter().filter(|(_, tags)| tags.iter().flatten().any(|tag| settings.announces(tag)));
    Ok(announcing.map(|(name, _)| Arc::from(name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn settings() -> ServiceRoutes {
        let text = "[[listeners]]\nname='a'\nbind='127.0.0.1:0'\n[service_routes]\nenabled=true";
        config::parse(text, &config::Environment::default()).unwrap().service_routes.unwrap()
    }

    #[test]
    fn only_those_are_announced_whose_tags_say_so() {
        let body = br#"{"consul":[],"a":["x","urlprefix-/a"],"b":["x urlprefix-/"],"c":null,"d":[" urlprefix-/d"],"e f":["lictor"],"g":["lictor-route=/g"],"h":["lictors"]}"#;
        let names = announced(body, &settings()).unwrap();
        assert_eq!(names.iter().map(|name| &**name).collect::<Vec<_>>(), ["a", "d", "e f", "g"]);
        for garbled in ["null", "[]", "", "<html>", "{\"a\":1}"] {
            assert!(announced(garbled.as_bytes(), &settings()).is_err(), "{garbled}");
        }
    }
}
