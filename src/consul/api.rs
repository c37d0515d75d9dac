//! The questions that lictor asks: which path, and with which words.

use std::time::Duration;

use base64::Engine;
use serde::Deserialize;
use serde_json::Value;

use super::agent::{Agent, encode};
use super::answer::{Answer, Meta};
use super::failure::Failure;
use crate::config::{Consistency, Lookup, Selection};
use crate::tls::Values;

/// A question as the agent takes it, but for the wait.
pub type Query = Vec<(&'static str, String)>;

/// Cluster peers are known from this version of Consul on. An older one takes no notice of being asked for them.
const PEERS_SINCE: (u32, u32) = (1, 13);

/// An entry of the KV store.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    key: String,
    value: Option<String>,
}

impl Agent {
    /// Asks for the instances of a service; `lane` spreads queries over connections.
    pub async fn health(
        &self,
        selection: &Selection,
        mode: Consistency,
        waits: (u64, Duration),
        lane: usize,
    ) -> Result<Answer, Failure> {
        let mut path = match selection.lookup {
            Lookup::Service => "/v1/health/service/".to_owned(),
            Lookup::Connect => "/v1/health/connect/".to_owned(),
            Lookup::Query => "/v1/query/".to_owned(),
        };
        encode(&mut path, &selection.service);
        if selection.lookup == Lookup::Query {
            path.push_str("/execute");
        }
        // What queries come to is cached in another way, which takes a changed answer for a long time to notice.
        let is_polled = selection.lookup == Lookup::Query;
        let mut query = of_mode(if is_polled { uncached(mode) } else { mode });
        query.extend(self.catalogue(selection));
        query.extend(selection.filter.as_ref().map(|filter| ("filter", filter.clone())));
        self.watch(&path, &query, waits, lane).await?.found().await
    }

    /// Which services there are, and what they are tagged with.
    pub async fn services(
        &self,
        datacenter: Option<&String>,
        mode: Consistency,
        waits: (u64, Duration),
        lane: usize,
    ) -> Result<Answer, Failure> {
        let mut query = of_mode(uncached(mode));
        query.extend(self.place(datacenter));
        self.watch("/v1/catalog/services", &query, waits, lane).await?.found().await
    }

    /// Whether the agent is a server itself: then a stale read may see a state that is still being replayed.
    pub async fn is_server(&self) -> Result<bool, Failure> {
        Ok(self.about().await?["Config"]["Server"].as_bool().unwrap_or(true))
    }

    /// The version of Consul that the agent is, such as 1.8; none if it does not say.
    pub async fn version(&self) -> Result<Option<(u32, u32)>, Failure> {
        Ok(self.about().await?["Config"]["Version"].as_str().and_then(release))
    }

    /// Whether the agent does what is asked with this selection: one that knows of no peers takes no notice of them, and would answer with
    /// its own instances.
    pub async fn supports(&self, selection: &Selection) -> Result<(), Failure> {
        if selection.peer.is_none() {
            return Ok(());
        }
        match self.version().await {
            Ok(Some(version)) if version < PEERS_SINCE => {
                let ((major, minor), (known, since)) = (version, PEERS_SINCE);
                Err(Failure::Unsupported(format!(
                    "the agent is Consul {major}.{minor}, which knows of no cluster peers and would answer with its own instances; \
                     {known}.{since} does"
                )))
            }
            // It may not be told; the answers will show whose they are.
            Ok(_) | Err(Failure::Denied { .. }) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// What the agent says of itself and its node; it takes agent:read.
    pub async fn about(&self) -> Result<Value, Failure> {
        self.ask("/v1/agent/self", &[]).await
    }

    /// The network coordinates of a datacenter's nodes; those without node:read are left out.
    pub async fn coordinates(&self, datacenter: &str, mode: Consistency) -> Result<Value, Failure> {
        let mut query = of_mode(uncached(mode));
        query.push(("dc", datacenter.to_owned()));
        self.ask("/v1/coordinate/nodes", &query).await
    }

    /// Which of these rights the token has, each with its answer in `Allow`; Consul takes 64 of them at once. `place` is the catalogue
    /// that they are rights to.
    pub async fn authorize(&self, place: &Query, rights: &Value) -> Result<Value, Failure> {
        self.post("/v1/internal/acl/authorize", place, rights).await
    }

    /// What stands under a prefix of the KV store, by the rest of its keys, and the index of that. Nothing stands under a prefix that is
    /// not there, or that the token may not list.
    pub async fn values(&self, prefix: &str, index: u64, wait: Duration) -> Result<(u64, Values), Failure> {
        let (meta, entries) = self.entries(prefix, (index, wait)).await?;
        let value = |(key, value): (String, Vec<u8>)| Some((key.strip_prefix(prefix)?.to_owned(), value));
        Ok((meta.index.max(1), entries.into_iter().filter_map(value).collect()))
    }

    /// The same by whole keys, and with all that the answer says of itself.
    pub async fn entries(&self, prefix: &str, waits: (u64, Duration)) -> Result<(Meta, Values), Failure> {
        let mut path = "/v1/kv".to_owned();
        for segment in prefix.split('/') {
            path.push('/');
            encode(&mut path, segment);
        }
        let mut query = vec![("recurse", String::new())];
        query.extend(self.place(None));
        let answer = self.watch(&path, &query, waits, 0).await?;
        let meta = answer.meta.clone();
        if answer.is_missing() {
            return Ok((meta, Values::new()));
        }
        let entries: Vec<Entry> = serde_json::from_slice(&answer.body().await?.0)
            .map_err(|_| Failure::Garbled("it is not a list of keys and values".to_owned()))?;
        let value = |entry: Entry| (entry.key, decoded(&entry.value.unwrap_or_default()));
        Ok((meta, entries.into_iter().map(value).filter(|(key, _)| key.starts_with(prefix)).collect()))
    }

    /// The catalogue that a service is looked up in.
    pub fn catalogue(&self, selection: &Selection) -> Query {
        let mut query = self.place(selection.datacenter.as_ref());
        query.extend(selection.peer.as_ref().map(|peer| ("peer", peer.clone())));
        query
    }

    /// The datacenter and the namespace that are asked.
    pub fn place(&self, datacenter: Option<&String>) -> Query {
        let datacenter = datacenter.or(self.settings().datacenter.as_ref());
        let datacenter = datacenter.map(|datacenter| ("dc", datacenter.clone()));
        datacenter.into_iter().chain(self.namespace()).collect()
    }

    /// The namespace alone: what an agent has of its own is in no other datacenter.
    pub fn namespace(&self) -> Query {
        self.settings().namespace.iter().map(|namespace| ("ns", namespace.clone())).collect()
    }
}

/// For what the agent does not keep in step by itself.
fn uncached(mode: Consistency) -> Consistency {
    if mode == Consistency::Cached { Consistency::Stale } else { mode }
}

fn of_mode(mode: Consistency) -> Query {
    match mode {
        Consistency::Stale => vec![("stale", String::new())],
        Consistency::Cached => vec![("cached", String::new())],
        Consistency::Default => Vec::new(),
    }
}

/// The first two numbers of a version.
fn release(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// A value of the KV store; what is not Base64 is nothing, of which nobody can make anything.
fn decoded(value: &str) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD.decode(value).unwrap_or_default()
}
