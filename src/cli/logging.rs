//! Logs on standard error. `RUST_LOG`, where it is set to something, wins over the configuration: whoever sets it is looking for something,
//! and is told if that cannot be read.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, reload};

use super::Error;
use crate::config::Log;

/// How what is logged is made another.
pub(super) type Set = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// Writes logs from now on; returns the level that they have, and how to change it.
pub(super) fn start(log: &Log) -> Result<(String, Set), Error> {
    let asked = std::env::var_os(EnvFilter::DEFAULT_ENV).filter(|asked| !asked.is_empty());
    let asked = asked.map(|asked| asked.to_string_lossy().into_owned());
    let (whose, written) = asked.as_ref().map_or(("log.level", &log.level), |asked| (EnvFilter::DEFAULT_ENV, asked));
    let wrong = |error| Error::Other(format!("{whose}: \"{written}\" is not a filter: {error}"));
    let filter = filter(written).map_err(wrong)?;
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

/// Without regular expressions: fields are compared, whoever wrote the filter.
fn filter(written: &str) -> Result<EnvFilter, String> {
    EnvFilter::builder().with_regex(false).parse(written).map_err(|error| error.to_string())
}

fn setter<S: 'static>(handle: reload::Handle<EnvFilter, S>) -> Set {
    Box::new(move |level| handle.reload(filter(level)?).map_err(|error| error.to_string()))
}
