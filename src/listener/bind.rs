//! Sockets that listen. Each worker has one of its own on the same address (`SO_REUSEPORT`); the kernel spreads connections
//! over them. One that was handed over is shared by all workers instead: connections wait in its one queue, which outlives
//! this process, and whichever worker comes first takes them.

use std::net::SocketAddr;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Connections that the kernel keeps until a worker takes them; it caps this by `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct Error {
    address: SocketAddr,
    source: std::io::Error,
}

/// As many sockets as there are `workers`, all on the same address; port 0 takes a free port for all of them.
pub fn bind(address: SocketAddr, workers: usize) -> Result<Vec<std::net::TcpListener>, Error> {
    // One socket without the option first: it fails if anybody else listens there, who would else share the port with us.
    let fail = |source| Error { address, source };
    drop(open(address, false).map_err(fail)?);
    let first = open(address, true).map_err(fail)?;
    let bound = first.local_addr().map_err(fail)?;
    let mut sockets = vec![first];
    for _ in 1..workers {
        sockets.push(open(bound, true).map_err(fail)?);
    }
    Ok(sockets)
}

/// The same socket for all `workers`, made as [`bind`] would have made it.
pub fn adopt(socket: std::net::TcpListener, workers: usize) -> Result<Vec<std::net::TcpListener>, Error> {
    let address = socket.local_addr().unwrap_or_else(|_| SocketAddr::from(([0; 4], 0)));
    let fail = |source| Error { address, source };
    let settings = SockRef::from(&socket);
    settings.set_tcp_nodelay(true).map_err(fail)?;
    settings.set_nonblocking(true).map_err(fail)?;
    // Whoever opened it may have had a shorter queue in mind; its connections stay as they are.
    settings.listen(BACKLOG).map_err(fail)?;
    let mut sockets = Vec::with_capacity(workers);
    for _ in 1..workers {
        sockets.push(socket.try_clone().map_err(fail)?);
    }
    sockets.push(socket);
    Ok(sockets)
}

/// How an address is, for somebody who would listen there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// Nobody listens there.
    Free,
    /// Somebody of the same user does who shares it (`SO_REUSEPORT`), as lictor's workers do among themselves.
    Shared,
}

/// Looks whether an address could be listened on, without listening: whoever does goes on undisturbed.
pub fn look(address: SocketAddr) -> Result<Port, Error> {
    let claim = |share| {
        let claimed = claim(address, share);
        claimed.map_err(|source| Error { address, source })
    };
    match claim(false) {
        Ok(_) => Ok(Port::Free),
        Err(Error { source, .. }) if source.kind() == std::io::ErrorKind::AddrInUse => {
            claim(true).map(|_| Port::Shared)
        }
        Err(error) => Err(error),
    }
}

fn open(address: SocketAddr, share: bool) -> std::io::Result<std::net::TcpListener> {
    let socket = claim(address, share)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn claim(address: SocketAddr, share: bool) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share)?;
    if address.is_ipv6() {
        // "[::]" takes IPv4 as well, whatever the system's default is.
        socket.set_only_v6(false)?;
    }
    // What is accepted inherits it: without it small answers, and whoever speaks by small messages, wait for an acknowledgement.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_a_port_that_nobody_else_can_take() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let sockets = bind(any, 3).unwrap();
        let address = sockets[0].local_addr().unwrap();
        assert!(sockets.iter().all(|socket| socket.local_addr().unwrap() == address));
        assert!(bind(address, 1).unwrap_err().to_string().contains(&address.to_string()));
    }

    #[test]
    fn a_look_at_an_address_tells_who_is_there_and_disturbs_nobody() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let ours = bind(any, 1).unwrap();
        let address = ours[0].local_addr().unwrap();
        assert_eq!(look(address).unwrap(), Port::Shared);
        let strict = std::net::TcpListener::bind(any).unwrap();
        let error = look(strict.local_addr().unwrap()).unwrap_err().to_string();
        assert!(error.starts_with("cannot listen on 127.0.0.1:"), "{error}");
        drop(ours);
        assert_eq!(look(address).unwrap(), Port::Free);
    }

    #[test]
    fn workers_share_a_socket_that_was_handed_over() {
        let handed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = handed.local_addr().unwrap();
        let sockets = adopt(handed, 3).unwrap();
        assert_eq!(sockets.len(), 3);
        let _client = std::net::TcpStream::connect(address).unwrap();
        let accepted: Vec<_> = sockets.iter().filter_map(|socket| socket.accept().ok()).collect();
        assert_eq!(accepted.len(), 1, "one takes it, the others do not wait");
        assert!(accepted[0].0.nodelay().unwrap());
    }

    #[test]
    fn what_is_accepted_sends_small_messages_at_once() {
        let sockets = bind(SocketAddr::from(([127, 0, 0, 1], 0)), 1).unwrap();
        let _client = std::net::TcpStream::connect(sockets[0].local_addr().unwrap()).unwrap();
        sockets[0].set_nonblocking(false).unwrap();
        assert!(sockets[0].accept().unwrap().0.nodelay().unwrap());
    }
}
