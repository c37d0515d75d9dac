//! The documents to check: those in the KV store, those that somebody is about to put there, or both.

use std::path::Path;
use std::time::Duration;

use super::report::Report;
use super::{Arguments, Error};
use crate::config::{Config, Documents};
use crate::consul::Agent;

/// What stands under the prefix if that was asked for, and files in the place of what has their name.
pub(super) async fn gather(
    config: &Config,
    agent: &Agent,
    arguments: &Arguments,
    report: &mut Report,
) -> Result<Documents, Error> {
    let Some(kv) = &config.kv else {
        let file = arguments.file.config.display();
        return Err(Error::Other(format!("{file} has no [kv] table with a prefix, so that no document would be read")));
    };
    let mut documents = if arguments.kv { read(agent, &kv.prefix, report).await? } else { Documents::new() };
    for file in &arguments.document {
        documents.insert(
            format!("{}{}", kv.prefix, name(file)?),
            std::fs::read(file).map_err(|error| unreadable(file, &error))?,
        );
    }
    Ok(documents)
}

async fn read(agent: &Agent, prefix: &str, report: &mut Report) -> Result<Documents, Error> {
    let failed = |failure| Error::Other(format!("kv {prefix}: cannot be read: {failure}"));
    let (_, mut found) = agent.entries(prefix, (0, Duration::ZERO)).await.map_err(failed)?;
    // Folders of Consul's own interface are no documents.
    found.retain(|key, value| !(value.is_empty() && key.ends_with('/')));
    if found.is_empty() {
        let what = "nothing stands there, or the token may not read it; --live tells the two apart";
        report.say("documents", "warning", format!("kv {prefix}: {what}"));
    }
    Ok(found)
}

fn name(file: &Path) -> Result<String, Error> {
    let name = file.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).ok_or_else(|| Error::Other(format!("{}: a key has to be text", file.display())))
}

fn unreadable(file: &Path, error: &std::io::Error) -> Error {
    Error::Other(format!("{}: cannot be read: {error}", file.display()))
}
