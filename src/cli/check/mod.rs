//! `lictor check`: whether a configuration would be taken, without doing anything. On its own it reads files; with `--kv` the
//! documents in the KV store as well, and with `--live` it looks at ports and certificates, and asks the agent whether the token may do what
//! the configuration needs.

mod documents;
mod here;
mod live;
mod needs;
mod report;

use std::path::PathBuf;
use std::sync::Arc;

use super::{Error, File};
use crate::app;
use crate::config::{self, Config, Environment};
use crate::consul;
use crate::tls;
use report::Report;

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
    /// Look outside as well: whether ports can be bound, how long certificates are good for, and whether the agent answers, knows the
    /// services, takes the filters, and lets the token do what the configuration needs
    #[arg(long)]
    live: bool,
    /// Fail for warnings too, such as a certificate that ends within two weeks or a service without instances
    #[arg(long)]
    strict: bool,
    /// Say it as one JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn check(arguments: &Arguments) -> Result<(), Error> {
    let (name, report) = look(arguments).inspect_err(|error| {
        if arguments.json {
            report::refused(&arguments.file.config.display().to_string(), error);
        }
    })?;
    report.end(&name, arguments.strict)
}

/// What is looked at, in a word, and what was found; an error if it is not good enough to go on.
fn look(arguments: &Arguments) -> Result<(String, Report), Error> {
    let file = &arguments.file.config;
    let mut config = config::load(file, &Environment::process())?;
    let agent = consul::Agent::new(&config.consul).map_err(app::Error::from)?;
    let mut servers = Vec::new();
    for listener in &config.listeners {
        servers.extend(tls::Server::new(listener, Arc::default()).map_err(app::Error::from)?);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut report = Report::new(arguments.json);
    let mut name = file.display().to_string();
    if arguments.kv || !arguments.document.is_empty() {
        let documents = runtime.block_on(documents::gather(&config, &agent, arguments, &mut report))?;
        config = config.with_documents(&documents)?;
        name += &match documents.len() {
            1 => " and 1 document".to_owned(),
            count => format!(" and {count} documents"),
        };
    }
    summary(&name, &config, &mut report);
    if arguments.live {
        here::ports(&config, &mut report);
        runtime.block_on(async {
            let asks = !needs::needs(&config).is_empty();
            let reached = asks && live::check(&config, &agent, &mut report).await;
            here::certificates(&config, &servers, reached.then_some(&agent), &mut report).await;
        });
    }
    Ok((name, report))
}

fn summary(name: &str, config: &Config, report: &mut Report) {
    let (listeners, routes, clusters) = (config.listeners.len(), config.routes.len(), config.clusters.len());
    report.say("file", "ok", format!("{name}: good: {listeners} listeners, {routes} routes, {clusters} clusters"));
}
