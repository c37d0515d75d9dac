//! The same without a proxy: a table from the file, the documents beside it, and the lists that the request's clusters draw on, each
//! asked for once. Nobody is ejected in it, and nothing runs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Error;
use crate::app;
use crate::config::{Config, Selection};
use crate::consul::Agent;
use crate::discovery::consul::{given, list};
use crate::explanation::{self, Description, Explanation, Ground};
use crate::metrics::Metrics;
use crate::table::{self, Builder, Facts, Table};

/// Where it is from besides the file, in words, and the explanation.
pub(super) async fn explain(config: Config, description: &Description) -> Result<(String, Value), Error> {
    let agent = Agent::new(&config.consul).map_err(app::Error::from)?;
    let (config, mut sources) = with_documents(config, &agent).await?;
    let builder = Builder::draw(1, &Arc::new(Metrics::new(1))).ok_or(app::Error::Randomness)?;
    let empty = table::channel().0.current();
    let mut facts = Facts { vantage: Arc::new(given(&config.place)), ..Facts::default() };
    // First to see which clusters it is about: only their lists are asked for.
    let first = builder.build(&config, &facts, &empty, Instant::now());
    let explained = made(&first, &config, description)?;
    let wanted = wanted(&config, &explained);
    for selection in &wanted {
        match list(&agent, selection, &config.place.zone_key).await {
            Ok(list) => drop(facts.lists.insert(selection.clone(), list)),
            Err(failure) => sources += &format!("; {selection}: cannot be asked for: {failure}"),
        }
    }
    if facts.lists.is_empty() {
        return Ok((sources, value(&explained)?));
    }
    let table = builder.build(&config, &facts, &empty, Instant::now());
    Ok((format!(" with one look at Consul{sources}"), value(&made(&table, &config, description)?)?))
}

/// The configuration as it is with the documents beside the file, if there is a place for them.
async fn with_documents(config: Config, agent: &Agent) -> Result<(Config, String), Error> {
    let Some(prefix) = config.kv.as_ref().map(|kv| kv.prefix.clone()) else { return Ok((config, String::new())) };
    match agent.entries(&prefix, (0, Duration::ZERO)).await {
        Ok((_, mut found)) => {
            // Folders of Consul's own interface are no documents.
            found.retain(|key, value| !(value.is_empty() && key.ends_with('/')));
            let words = format!(", with {} documents under {prefix}", found.len());
            Ok((config.with_documents(&found)?, words))
        }
        Err(failure) => Ok((config, format!("; {prefix}: cannot be read: {failure}"))),
    }
}

fn made(table: &Table, config: &Config, description: &Description) -> Result<Explanation, Error> {
    let ground = Ground { listeners: &config.listeners, egress: &config.egress, now: Instant::now() };
    explanation::explain(table, ground, description).map_err(|wrong| Error::Other(wrong.to_string()))
}

fn value(explanation: &Explanation) -> Result<Value, Error> {
    serde_json::to_value(explanation).map_err(|error| Error::Other(error.to_string()))
}

/// What the clusters draw on that the request may go to.
fn wanted(config: &Config, explained: &Explanation) -> BTreeSet<Selection> {
    let is_meant = |name: &str| explained.targets().any(|target| target == name);
    let meant = config.clusters.iter().filter(|cluster| is_meant(&cluster.name));
    meant.flat_map(|cluster| cluster.source.draws()).map(|draw| draw.selection.clone()).collect()
}
