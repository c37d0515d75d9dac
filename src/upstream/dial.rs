//! A TCP connection to an endpoint.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use super::{Error, Kind};
use crate::endpoint::Address;

/// A peer that vanished without a word is noticed after about this long, on connections that wait for it.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Connects to an endpoint.
pub async fn dial(address: &Address) -> Result<TcpStream, Error> {
    let connected = match address {
        Address::Ip(address) => TcpStream::connect(address).await,
        // The system's resolver, and each of its answers in turn.
        Address::Name(host, port) => TcpStream::connect((&**host, *port)).await,
    };
    let kind = |error: &io::Error| if is_ours(error) { Kind::Local } else { Kind::Connect };
    let stream = connected.map_err(|error| Error::connect(kind(&error), error))?;
    // Neither is worth a failed request.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream)
        .set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3));
    Ok(stream)
}

/// True if we could not even try: `ENFILE`, `EMFILE`, `ENOBUFS`; no port or no memory left.
fn is_ours(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory)
        || matches!(error.raw_os_error(), Some(23 | 24 | 105))
}
