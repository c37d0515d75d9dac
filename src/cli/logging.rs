//! Logs on standard error. `RUST_LOG`, where it is set, wins over the configuration: whoever sets it is looking for something.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::Error;
use crate::config::Log;

pub(super) fn start(log: &Log) -> Result<(), Error> {
    let filter = match EnvFilter::try_from_default_env() {
        Ok(filter) => filter,
        Err(_) => EnvFilter::try_new(&log.level).map_err(|error| Error::Other(format!("log.level: {error}")))?,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let started = if log.json { builder.json().try_init() } else { builder.try_init() };
    started.map_err(|error| Error::Other(error.to_string()))
}
