//! How requests come in: bind, accept, and HTTP/1.1 on each connection, with the timeouts that a client is held to.
//!
//! A listener knows nothing of what its requests are for; it hands them to a [`Service`]. Both the proxy and the operator's
//! window are behind one.

mod bind;
mod connection;
mod io;
mod pulse;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinSet, yield_now};
use tracing::warn;

use crate::lifecycle::Draining;
use crate::message::Downstream;
use crate::metrics::ListenerSeries;

pub use bind::{Error, bind};
pub use io::Informer;

/// When accepting fails for want of something (file descriptors, memory), it is left alone for this long: long enough not
/// to spin, short enough that nobody notices when there is room again.
const BREATH: Duration = Duration::from_millis(100);
/// Requests' heads larger than this are answered with 431.
const MAX_HEAD: usize = 64 * 1024;

/// What answers requests, on one thread.
pub trait Service: 'static {
    /// The body of an answer.
    type Body: Body<Data = bytes::Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin + 'static;

    /// Answers one request.
    fn call(
        self: Rc<Self>,
        request: Request<Incoming>,
        client: Rc<Client>,
    ) -> impl Future<Output = Response<Self::Body>>;
}

/// Who sent a request.
#[derive(Debug, Clone)]
pub struct Client {
    /// What its connection says of it.
    pub downstream: Downstream,
    /// A way to send it interim answers.
    pub informer: Informer,
}

/// What a client is held to.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the first byte of a request's head to its last.
    pub request_header: Duration,
    /// A connection without a request, or a client that takes nothing of its answer.
    pub idle: Duration,
    /// Connections at once; more wait in the kernel.
    pub connections: usize,
}

/// Accepts connections and serves them until the drain begins, then finishes those that it has.
pub async fn serve<S: Service>(
    listener: TcpListener,
    service: Rc<S>,
    limits: Limits,
    series: Arc<ListenerSeries>,
    mut draining: Draining,
) {
    let desk = Desk { service, limits, series, draining: draining.clone() };
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let full = connections.len() >= limits.connections;
        tokio::select! {
            biased;
            () = draining.begun() => break,
            _ = connections.join_next(), if full => {}
            accepted = listener.accept(), if !full => match accepted {
                Ok(accepted) => desk.start(&mut connections, accepted),
                Err(error) => {
                    desk.series.failed.fetch_add(1, Ordering::Relaxed);
                    warn!(%error, "accept failed; trying again");
                    tokio::time::sleep(BREATH).await;
                }
            },
        }
    }
    // Connections that the kernel has accepted already would be reset: take them along, after a turn of the event loop, which
    // has to have seen them.
    yield_now().await;
    let mut waiting = Vec::new();
    while let Some(Ok(accepted)) = now_or_never(listener.accept()).await {
        waiting.push(accepted);
    }
    drop(listener);
    for accepted in waiting {
        desk.start(&mut connections, accepted);
    }
    while connections.join_next().await.is_some() {}
}

/// What each accepted connection is served with.
struct Desk<S> {
    service: Rc<S>,
    limits: Limits,
    series: Arc<ListenerSeries>,
    draining: Draining,
}

impl<S: Service> Desk<S> {
    fn start(&self, connections: &mut JoinSet<()>, (stream, address): (TcpStream, SocketAddr)) {
        self.series.accepted.fetch_add(1, Ordering::Relaxed);
        let open = Open::new(&self.series);
        let service = Rc::clone(&self.service);
        let connection = connection::serve(stream, address, service, self.limits, self.draining.clone());
        connections.spawn_local(async move {
            connection.await;
            drop(open);
        });
    }
}

/// Counts a connection for as long as it is open.
struct Open(Arc<ListenerSeries>);

impl Open {
    fn new(series: &Arc<ListenerSeries>) -> Self {
        series.open.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(series))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn now_or_never<F: Future>(future: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = std::future::ready(()) => None,
    }
}
