//! Traces: which requests are recorded, and what of them goes to a collector, by OpenTelemetry's protocol. A request that belongs to a
//! trace is recorded if whoever called us records it and is believed; of others a share is drawn, and each begins a trace (W3C Trace
//! Context, "sampled"). A recorded request has a span for itself and one for each attempt at an endpoint, which is told the latter as its
//! parent.
//!
//! Requests are handed over whole, by way of a queue with an end; what does not fit is counted and not recorded. Spans are made and sent by
//! the control thread.

#[cfg_attr(not(feature = "otlp"), path = "without.rs")]
mod export;
#[cfg(feature = "otlp")]
mod span;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::account::{Account, Facts, Trace};
use crate::metrics::TraceSeries;

pub use export::Exporter;

/// Why nothing can be exported.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What TLS needs.
    #[error("tracing: {0}")]
    Tls(#[from] crate::tls::Error),
    /// The client cannot be made.
    #[error("tracing: {0}")]
    Client(#[from] reqwest::Error),
    /// It is not in this build.
    #[error("tracing: this lictor was built without the feature \"otlp\"")]
    Missing,
}

/// Where workers have their side from.
#[derive(Debug, Clone)]
pub struct Tap {
    sample: f64,
    queue: mpsc::Sender<Box<Finished>>,
    series: Arc<TraceSeries>,
}

/// One worker's side: draws, numbers, and hands over.
#[derive(Debug)]
pub struct Tracer {
    tap: Tap,
    rng: RefCell<fastrand::Rng>,
}

/// What whoever called us says of the trace that a request belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The trace.
    pub id: u128,
    /// The caller's span.
    pub span: u64,
    /// Whether it is recorded.
    pub is_recorded: bool,
}

/// A recorded request that is over, apart from the worker that it was on.
#[derive(Debug)]
#[cfg_attr(not(feature = "otlp"), expect(dead_code, reason = "nobody exports it in this build"))]
pub struct Finished {
    pub(crate) account: Account,
    pub(crate) started: Instant,
    pub(crate) listener: Box<str>,
    pub(crate) route: Box<str>,
    pub(crate) cluster: Box<str>,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) scheme: Box<str>,
    pub(crate) tls: Option<(Box<str>, Box<str>)>,
    pub(crate) identity: Option<Box<str>>,
    pub(crate) status: u16,
    pub(crate) took: Duration,
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

impl Tap {
    /// One worker's side.
    pub fn tracer(&self) -> Tracer {
        Tracer { tap: self.clone(), rng: RefCell::default() }
    }
}

impl Tracer {
    /// Where a request stands, by what somebody who is believed says of it; none if it is in no trace.
    pub fn begin(&self, caller: Option<Caller>) -> Option<Trace> {
        let mut rng = self.rng.borrow_mut();
        // None of these numbers may be zero.
        match caller {
            Some(Caller { id, span, is_recorded }) => {
                let own = if is_recorded { rng.u64(1..) } else { 0 };
                Some(Trace { id, parent: span, span: own })
            }
            None if self.tap.sample >= 1.0 || rng.f64() < self.tap.sample => {
                Some(Trace { id: rng.u128(1..), parent: 0, span: rng.u64(1..) })
            }
            None => None,
        }
    }

    /// A number for one more span.
    pub fn span(&self) -> u64 {
        self.rng.borrow_mut().u64(1..)
    }

    /// Hands a recorded request over.
    pub fn record(&self, facts: &Facts<'_>) {
        let spans = 1 + facts.account.tries.len() as u64;
        let queue = &self.tap.queue;
        // Whatever it costs to copy is not for the floor.
        if queue.capacity() == 0 || queue.try_send(Box::new(Finished::of(facts))).is_err() {
            self.tap.series.dropped(spans);
        }
    }
}

impl Finished {
    fn of(facts: &Facts<'_>) -> Self {
        Finished {
            account: facts.account.clone(),
            started: facts.started,
            listener: facts.listener.into(),
            route: facts.route.into(),
            cluster: facts.cluster.into(),
            peer: facts.peer,
            scheme: facts.scheme.into(),
            tls: facts.security.map(|with| (with.version.into(), with.cipher.into())),
            identity: facts.security.and_then(|with| with.identity).map(Box::from),
            status: facts.status,
            took: facts.took,
            received: facts.received,
            sent: facts.sent,
        }
    }
}
