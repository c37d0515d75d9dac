//! Sees that a proxy does the work that it is measured for, with clients that are strict and know nothing of the load's: right
//! answers, the header added, the origins in turn.

mod http1;
mod http2;
mod websocket;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use crate::Failure;
use crate::load::{Protocol, Script};
use crate::origin::{self, Origin};

pub use http1::Visitor;

/// Requests one after another by which a proxy is checked; a multiple of the number of origins.
const REQUESTS: usize = 30;
/// How long a proxy may be silent.
const PATIENCE: Duration = Duration::from_secs(10);

/// Checks a proxy. What is not as it should be, but no failure, is returned as notes.
pub fn check(
    address: SocketAddr,
    script: &Script,
    tls: Option<&Arc<ClientConfig>>,
    origins: &[Origin],
) -> Result<Vec<String>, Failure> {
    let before = origin::counts(origins);
    origins.iter().for_each(Origin::record);
    match script.protocol {
        Protocol::Http1 => http1::ask_all(address, script, tls)?,
        Protocol::Http2 { trailers, .. } => http2::ask_all(address, script, tls, trailers)?,
        Protocol::WebSocket => websocket::ask_all(address, script)?,
    }
    // Over HTTP/2 the origins do not read heads, and leave them empty; so they do with messages over WebSocket.
    let heads: Vec<String> = origins.iter().flat_map(Origin::recorded).filter(|head| !head.is_empty()).collect();
    let counts = origin::since(&before, &origin::counts(origins));

    let mut notes = Vec::new();
    let with_header = heads.iter().filter(|head| origin::has_forwarded_for(head)).count();
    if with_header != heads.len() {
        notes.push(format!("{with_header} of {} requests reached an origin with X-Forwarded-For", heads.len()));
    }
    let even = (REQUESTS / counts.len()) as u64;
    if script.protocol != Protocol::WebSocket && counts.iter().any(|count| count.requests.abs_diff(even) > 1) {
        let shares: Vec<u64> = counts.iter().map(|count| count.requests).collect();
        notes.push(format!("{REQUESTS} requests in turn fell unevenly on the origins: {shares:?}"));
    }
    Ok(notes)
}
