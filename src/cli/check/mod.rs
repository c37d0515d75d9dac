//! `lictor check`: whether a configuration would be taken, without doing anything. On its own it reads files; with `--kv` the
//! documents in the KV store as well, and with `--live` it asks the agent whether the token may do what the configuration needs.

mod documents;
mod live;
mod needs;

use std::path::PathBuf;
use std::sync::Arc;

use super::{Error, File};
use crate::app;
use crate::config::{self, Config, Environment};
use crate::consul;
use crate::tls;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: File,
    /// Read the documents in the KV store and check them together with the file
    #[arg(long)]
    kv: bool,
    /// A document as if it stood in the KV store, by the name of its file; may be given more than once
    #[arg(long, value_name = "FILE")]
    document: Vec<PathBuf>,
    /// Ask the agent whether the token may do what the configuration needs
    #[arg(long)]
    live: bool,
}

pub(super) fn check(arguments: &Arguments) -> Result<(), Error> {
    let file = &arguments.file.config;
    let mut config = config::load(file, &Environment::process())?;
    let agent = consul::Agent::new(&config.consul).map_err(app::Error::from)?;
    for listener in &config.listeners {
        tls::Server::new(listener, Arc::default()).map_err(app::Error::from)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut name = file.display().to_string();
    if arguments.kv || !arguments.document.is_empty() {
        let documents = runtime.block_on(documents::gather(&config, &agent, arguments))?;
        config = config.with_documents(&documents)?;
        name += &match documents.len() {
            1 => " and 1 document".to_owned(),
            count => format!(" and {count} documents"),
        };
    }
    report(&name, &config);
    if arguments.live { runtime.block_on(live::check(&config, &agent)) } else { Ok(()) }
}

fn report(name: &str, config: &Config) {
    println!(
        "{name}: good: {} listeners, {} routes, {} clusters",
        config.listeners.len(),
        config.routes.len(),
        config.clusters.len()
    );
}
