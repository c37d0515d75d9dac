//! `lictor check`: whether a configuration would be taken, without doing anything.

use std::path::Path;

use super::Error;
use crate::app;
use crate::config::{self, Environment};
use crate::discovery::consul;

pub(super) fn check(file: &Path) -> Result<(), Error> {
    let config = config::load(file, &Environment::process())?;
    consul::check(&config.consul).map_err(app::Error::from)?;
    println!(
        "{}: good: {} listeners, {} routes, {} clusters",
        file.display(),
        config.listeners.len(),
        config.routes.len(),
        config.clusters.len()
    );
    Ok(())
}
