//! Sockets that listen already when the process starts: whoever started it has opened them, keeps them open while it is replaced, and
//! hands them over by number, as sd_listen_fds(3) says. Connections that come in between wait in their queues; none is refused.
//!
//! Whose they are is said by their names (systemd's `FileDescriptorName=`), or else by their addresses. Nothing is left over: a
//! socket that nobody accepts on would have its clients wait for ever.

use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;

/// Sockets that were handed over and that nobody has taken yet.
#[derive(Debug, Default)]
pub struct Sockets(Vec<Handed>);

#[derive(Debug)]
struct Handed {
    name: String,
    socket: TcpListener,
    address: SocketAddr,
}

/// Why sockets that were handed over are not served.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// What stands in `LISTEN_FDS` and its kin does not go with what is open.
    #[error("LISTEN_FDS, LISTEN_FDNAMES: {0}")]
    Environment(std::io::Error),
    /// Something else than a TCP socket.
    #[error("the socket {name:?}, which was handed over, is none that accepts TCP connections: {source}")]
    Unusable {
        /// As it was handed over.
        name: String,
        /// What is wrong with it.
        source: std::io::Error,
    },
    /// The file and whoever opened the socket do not agree.
    #[error("the socket {name:?} was handed over on {address}, but the listener of that name has bind = \"{bind}\"")]
    Elsewhere {
        /// The listener.
        name: String,
        /// Where the socket is.
        address: SocketAddr,
        /// Where it should be.
        bind: SocketAddr,
    },
    /// Nobody has that name or address.
    #[error("the socket {name:?} was handed over on {address}, but no listener has that name or address for its bind")]
    Unwanted {
        /// As it was handed over.
        name: String,
        /// Where it is.
        address: SocketAddr,
    },
}

impl Sockets {
    /// Those of this process; none where nobody hands any over. To be asked once, before there are threads.
    pub fn of_process() -> Result<Self, SocketError> {
        let named = sd_notify::listen_fds_with_names().map_err(SocketError::Environment)?;
        let names: Vec<String> = named.map(|(_, name)| name).collect();
        if names.is_empty() {
            return Ok(Sockets::default());
        }
        let mut descriptors = ListenFd::from_env();
        let handed = names.into_iter().enumerate().map(|(place, name)| {
            let gone = || std::io::Error::from(std::io::ErrorKind::NotFound);
            let taken = descriptors.take_tcp_listener(place).and_then(|socket| socket.ok_or_else(gone));
            let found = taken.and_then(|socket| Ok((socket.local_addr()?, socket)));
            match found {
                Ok((address, socket)) => Ok(Handed { name, socket, address }),
                Err(source) => Err(SocketError::Unusable { name, source }),
            }
        });
        handed.collect::<Result<_, _>>().map(Sockets)
    }

    /// The one for a listener of that name which is told to bind there, if there is one.
    pub fn take(&mut self, name: &str, bind: SocketAddr) -> Result<Option<TcpListener>, SocketError> {
        // A port of its own choice is whichever it was given.
        let fits = |at: SocketAddr| at == bind || (bind.port() == 0 && at.ip() == bind.ip());
        let find = |is: &dyn Fn(&Handed) -> bool| self.0.iter().position(is);
        let is_named = |handed: &Handed| handed.name == name;
        // Sockets of one unit have one name, unless somebody gives them others.
        let place = find(&|handed| is_named(handed) && fits(handed.address));
        let Some(place) = place.or_else(|| find(&is_named)).or_else(|| find(&|handed| handed.address == bind)) else {
            return Ok(None);
        };
        let Handed { name, socket, address } = self.0.swap_remove(place);
        if fits(address) { Ok(Some(socket)) } else { Err(SocketError::Elsewhere { name, address, bind }) }
    }

    /// An error if anything is left that nobody has taken.
    pub fn finish(&self) -> Result<(), SocketError> {
        match self.0.first() {
            Some(Handed { name, address, .. }) => Err(SocketError::Unwanted { name: name.clone(), address: *address }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handed(names: &[&str]) -> (Sockets, Vec<SocketAddr>) {
        let handed = names.iter().map(|name| {
            let socket = TcpListener::bind("127.0.0.1:0").unwrap();
            Handed { name: (*name).to_owned(), address: socket.local_addr().unwrap(), socket }
        });
        let sockets = Sockets(handed.collect());
        let addresses = sockets.0.iter().map(|handed| handed.address).collect();
        (sockets, addresses)
    }

    #[test]
    fn a_socket_belongs_to_the_listener_of_its_name_or_else_of_its_address() {
        let (mut sockets, addresses) = handed(&["edge", "lictor.socket"]);
        assert!(sockets.take("other", "127.0.0.1:1".parse().unwrap()).unwrap().is_none());
        let edge = sockets.take("edge", addresses[0]).unwrap().unwrap();
        assert_eq!(edge.local_addr().unwrap(), addresses[0]);
        assert!(sockets.finish().is_err());
        let inner = sockets.take("inner", addresses[1]).unwrap().unwrap();
        assert_eq!(inner.local_addr().unwrap(), addresses[1]);
        sockets.finish().unwrap();
    }

    #[test]
    fn of_sockets_with_one_name_each_belongs_to_the_listener_of_its_address() {
        let (mut sockets, addresses) = handed(&["edge", "edge", "edge"]);
        // One bears its name, and the others what else they are called.
        for (name, place) in [("edge", 1), ("edge-admin", 2), ("edge-inner", 0)] {
            let taken = sockets.take(name, addresses[place]).unwrap().unwrap();
            assert_eq!(taken.local_addr().unwrap(), addresses[place]);
        }
        sockets.finish().unwrap();
    }

    #[test]
    fn a_socket_of_the_name_at_another_address_is_no_secret() {
        let (mut sockets, addresses) = handed(&["edge"]);
        let error = sockets.take("edge", "0.0.0.0:80".parse().unwrap()).unwrap_err().to_string();
        let place = addresses[0];
        assert_eq!(
            error,
            format!(
                "the socket \"edge\" was handed over on {place}, but the listener of that name has bind = \"0.0.0.0:80\""
            )
        );
        let (mut sockets, _) = handed(&["edge"]);
        assert!(sockets.take("edge", "127.0.0.1:0".parse().unwrap()).unwrap().is_some(), "any port is fine");
    }

    #[test]
    fn who_was_handed_nothing_has_nothing() {
        let mut none = Sockets::of_process().unwrap();
        assert!(none.take("edge", "127.0.0.1:0".parse().unwrap()).unwrap().is_none());
        none.finish().unwrap();
    }
}
