//! `lictor check`: whether a configuration would be taken, without doing anything.

use std::path::Path;
use std::sync::Arc;

use super::Error;
use crate::app;
use crate::config::{self, Environment};
use crate::consul;
use crate::tls;

pub(super) fn check(file: &Path) -> Result<(), Error> {
    let config = config::load(file, &Environment::process())?;
    consul::Agent::new(&config.consul).map_err(app::Error::from)?;
    for listener in &config.listeners {
        tls::Server::new(listener, Arc::default()).map_err(app::Error::from)?;
    }
    println!(
        "{}: good: {} listeners, {} routes, {} clusters",
        file.display(),
        config.listeners.len(),
        config.routes.len(),
        config.clusters.len()
    );
    Ok(())
}
