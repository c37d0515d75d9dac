//! How requests go out. Each worker has its own [`Upstream`]: a stack of idle connections for each endpoint, and the code
//! that dials, sends, and takes a connection back once its answer has been read.
//!
//! There is no task for a connection. Whoever waits for its answer also drives it, so that a request costs no switch between
//! tasks, and a client that leaves takes the connection with it.

mod connection;
mod dial;
mod error;
mod exchange;
mod io;
mod pool;
mod stall;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request, Response};

use crate::endpoint::Endpoint;
use crate::message::{Activity, Upload};

pub use error::{Error, Kind, Progress};
pub use exchange::Exchange;
pub use io::Io;

use connection::Connection;
use pool::Pool;

/// One worker's connections to endpoints.
#[derive(Debug, Clone, Default)]
pub struct Upstream {
    pool: Rc<Pool>,
}

/// How long an attempt may take, and what it shares with the request it belongs to.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Until a connection stands.
    pub connect: Duration,
    /// Silence in both directions.
    pub idle: Duration,
    /// The request's end, if it has one.
    pub deadline: Option<Instant>,
    /// What moves.
    pub activity: Rc<Activity>,
    /// Set when a connection that was used before is taken for an attempt whose failure could not be repaired: it is then
    /// looked at once more, at the price of a system call.
    pub probe: Cell<bool>,
}

impl Upstream {
    /// Sends a request to an endpoint and returns the head of the answer, whose body keeps the connection until it is read.
    pub async fn send(
        &self,
        endpoint: &Arc<Endpoint>,
        request: Request<Upload>,
        limits: &Limits,
    ) -> Result<Response<Exchange>, Error> {
        let connection = self.connection(endpoint, limits).await?;
        let (response, connection) = connection.send(request, limits).await?;
        Ok(Exchange::start(response, connection, Rc::clone(&self.pool), endpoint).await)
    }

    async fn connection(&self, endpoint: &Endpoint, limits: &Limits) -> Result<Box<Connection>, Error> {
        while let Some(mut idle) = self.pool.take(endpoint.id()) {
            if idle.is_usable(limits.probe.get()).await {
                return Ok(idle);
            }
        }
        let within = limits
            .deadline
            .map_or(limits.connect, |deadline| limits.connect.min(deadline.saturating_duration_since(Instant::now())));
        Connection::open(dial::dial(endpoint.address(), within).await?).await
    }

    /// Closes connections that nobody has used for a while, and those to endpoints that have departed.
    pub fn sweep(&self, now: Instant) {
        self.pool.sweep(now);
    }
}
