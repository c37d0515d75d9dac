//! Logs on standard error. `RUST_LOG`, where it is set, wins over the configuration: whoever sets it is looking for something.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, reload};

use super::Error;
use crate::config::Log;

/// How what is logged is made another.
pub(super) type Set = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// Writes logs from now on; returns the level that they have, and how to change it.
pub(super) fn start(log: &Log) -> Result<(String, Set), Error> {
    let filter = match EnvFilter::try_from_default_env() {
        Ok(filter) => filter,
        Err(_) => EnvFilter::try_new(&log.level).map_err(|error| Error::Other(format!("log.level: {error}")))?,
    };
    let usual = filter.to_string();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let (started, set) = if log.json {
        let builder = builder.json().with_filter_reloading();
        let set = setter(builder.reload_handle());
        (builder.try_init(), set)
    } else {
        let builder = builder.with_filter_reloading();
        let set = setter(builder.reload_handle());
        (builder.try_init(), set)
    };
    started.map_err(|error| Error::Other(error.to_string()))?;
    Ok((usual, set))
}

fn setter<S: 'static>(handle: reload::Handle<EnvFilter, S>) -> Set {
    Box::new(move |level| {
        let filter = EnvFilter::try_new(level).map_err(|error| error.to_string())?;
        handle.reload(filter).map_err(|error| error.to_string())
    })
}
