//! What becomes of requests, on its way out of the process: who writes it down, and each worker's side of that.

use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::watch;

use super::Error;
use crate::access::{Reopening, Scribe, Writer};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::proxy::Books;
use crate::trace::{Exporter, Tap, Tracer};

/// Who writes down what becomes of requests. Dropped once no worker is left, it has written all that there was.
pub(super) struct Records {
    log: Option<Writer>,
    tap: Option<Tap>,
}

/// One worker's side, on its way there.
pub(super) struct Record {
    scribe: Option<Scribe>,
    tracer: Option<Tracer>,
}

impl Records {
    /// What is configured, and what sends spans, for whoever runs it.
    pub(super) fn start(config: &Config, metrics: &Metrics) -> Result<(Self, Option<Exporter>), Error> {
        let log = config.access_log.as_ref().map(|settings| Writer::start(settings, metrics.access()));
        let exporter = config.tracing.as_ref().map(|settings| Exporter::new(settings, metrics.traces()));
        let exporter = exporter.transpose()?;
        Ok((Records { log: log.transpose()?, tap: exporter.as_ref().map(Exporter::tap) }, exporter))
    }

    /// What has the access log's file opened anew; none if there is no log.
    pub(super) fn reopening(&self) -> Option<Reopening> {
        self.log.as_ref().map(Writer::reopening)
    }

    /// One worker's side.
    pub(super) fn of_worker(&self) -> Record {
        let scribe = self.log.as_ref().map(Writer::scribe);
        Record { scribe, tracer: self.tap.as_ref().map(Tap::tracer) }
    }
}

impl Record {
    /// Its books, with these listeners in them; `stopped` as in [`Books::new`].
    pub(super) fn books(self, listeners: &[Arc<str>], stopped: watch::Receiver<bool>) -> Option<Rc<Books>> {
        Books::new(listeners, (self.scribe, self.tracer), stopped)
    }
}
