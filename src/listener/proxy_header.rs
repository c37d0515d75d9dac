//! The PROXY header that a connection begins with, where one is expected: only from those who are trusted, whole within the time of
//! a request's head, and nothing of what stands behind it is taken from the socket.

use std::io;
use std::sync::atomic::Ordering;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::debug;

use super::Terms;
use crate::message::proxy_protocol::{Ends, LONGEST, Parsed, parse};
use crate::metrics::Unannounced;

/// The ends that the header speaks of, or the connection's own if it is the other proxy's own; none if the connection is to be closed.
pub(super) async fn receive(stream: &mut TcpStream, own: Ends, terms: &Terms) -> Option<Ends> {
    let peer = own.client.ip().to_canonical();
    let mut trusted = terms.announced.iter().flat_map(|networks| networks.iter());
    let received = if trusted.any(|network| network.contains(&peer)) {
        timeout(terms.limits.request_header, read(stream)).await.unwrap_or(Err((Unannounced::Late, "not in time")))
    } else {
        Err((Unannounced::Untrusted, "not from trusted_networks"))
    };
    match received {
        Ok(told) => Some(told.unwrap_or(own)),
        Err((reason, why)) => {
            terms.series.unannounced[reason as usize].fetch_add(1, Ordering::Relaxed);
            debug!(client = %own.client, why, "no PROXY header");
            None
        }
    }
}

async fn read(stream: &mut TcpStream) -> Result<Option<Ends>, (Unannounced, &'static str)> {
    let closed = |_: io::Error| (Unannounced::Closed, "the connection broke");
    let mut bytes = Vec::new();
    // On the heap, and gone with the header: the task lasts as long as the connection.
    let mut waiting = vec![0; LONGEST];
    loop {
        let count = stream.peek(&mut waiting).await.map_err(closed)?;
        if count == 0 {
            return Err((Unannounced::Closed, "closed before"));
        }
        let had = bytes.len();
        bytes.extend_from_slice(&waiting[..count]);
        match parse(&bytes) {
            // All that is there belongs to it.
            Parsed::Partial => drop(stream.read_exact(&mut waiting[..count]).await.map_err(closed)?),
            Parsed::Complete(length, told) => {
                // Parsed anew with each piece: it was not complete without some of these.
                stream.read_exact(&mut waiting[..length - had]).await.map_err(closed)?;
                return Ok(told);
            }
            Parsed::Malformed(why) => return Err((Unannounced::Malformed, why)),
        }
    }
}
