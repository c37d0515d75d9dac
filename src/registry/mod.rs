//! A small in-memory registry that speaks the part of Consul's HTTP API that lictor uses.
//!
//! It is for `lictor demo`, where a newcomer has nothing installed, and for tests. It is never the answer for production: one
//! process, nothing kept, no one asked who they are. It behaves as a single `consul agent -dev` of version 1.8.7 would, down to
//! the indexes by which watchers sleep and the words in which mistakes are refused.
//!
//! One pure `Store` is behind one lock in `Api`; each family of paths has a file (`agent`, `catalog`, `health`, `kv`); `blocking`
//! makes reads wait and `checks` makes time pass.
//!
//! Not here: sessions and locks, transactions, ACLs, the mesh, prepared queries, DNS, anti-entropy, and checks by script, gRPC
//! or https.

mod agent;
mod answer;
mod api;
mod base64;
mod blocking;
mod call;
mod catalog;
mod catalog_write;
mod checks;
mod definition;
mod duration;
mod fields;
mod filter;
mod health;
mod kv;
mod model;
mod probe;
mod status;
mod store;

use api::Api;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tracing::{debug, warn};

/// Connections open at once; one more is closed at once, as Consul does with its own limit.
const MAX_CONNECTIONS: usize = 256;
/// How long a connection may take to send a request's head, or stay idle between two.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest head of a request, in bytes: filters live in it.
const MAX_HEAD: usize = 64 * 1024;
/// How long to leave a listener alone that failed, which mostly means that there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves the registry's API on `listener` until `until` completes.
///
/// It begins empty but for itself. Nothing that it started goes on when it returns: open connections are cut.
pub async fn serve(listener: TcpListener, until: impl Future<Output = ()>) {
    let api = Arc::new(Api::new());
    let mut connections = JoinSet::new();
    let mut probes = JoinSet::new();
    tokio::select! {
        () = until => {}
        () = accept(&listener, &api, &mut connections) => {}
        () = checks::run(&api, &mut probes) => {}
    }
    connections.shutdown().await;
    probes.shutdown().await;
}

async fn accept(listener: &TcpListener, api: &Arc<Api>, connections: &mut JoinSet<()>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        // All that have ended make room, not only the one that was noticed.
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok(_) if connections.len() >= MAX_CONNECTIONS => {
                debug!(limit = MAX_CONNECTIONS, "one connection too many: closed");
            }
            Ok((stream, _)) => {
                connections.spawn(connection(stream, Arc::clone(api)));
            }
            Err(error) => {
                warn!(%error, "the registry cannot accept; trying on");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, api: Arc<Api>) {
    // Answers are small and awaited; a failure here only makes them later.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let api = Arc::clone(&api);
        async move { Ok::<_, Infallible>(api.serve(request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        // Go writes header names so, and a demo is read by people.
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        debug!(%error, "a connection to the registry ended badly");
    }
}

#[cfg(test)]
mod tests;
