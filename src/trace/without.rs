//! What stands in for the export in a build without it. A configuration that asks for it is refused before.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Error, Tap};
use crate::config::Tracing;
use crate::metrics::TraceSeries;

/// Nothing that could be.
#[derive(Debug)]
pub enum Exporter {}

impl Exporter {
    /// Fails.
    pub fn new(_: &Tracing, _: Arc<TraceSeries>) -> Result<Self, Error> {
        Err(Error::Missing)
    }

    /// Where workers have their side from.
    pub fn tap(&self) -> Tap {
        match *self {}
    }

    /// Never runs.
    pub async fn run(self, _: watch::Receiver<bool>) {
        match self {}
    }
}
