//! How a request comes to a connection: which protocol it takes, an idle connection or a place on a shared one, else a new one.
//! That may take as long as a connection may take to stand, TLS and HTTP/2's greeting included.

use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::yield_now;
use tokio::time::{sleep_until, timeout_at};
use tracing::warn;

use super::connection::Connection;
use super::http2::{Hub, Place, Seat, Terms};
use super::{Call, Error, Kind, Limits, Progress, Tls, Upstream, dial};
use crate::config::Protocol;
use crate::endpoint::{Address, Connected, Endpoint};
use crate::tls::{self, Alpn, Peer, Stream};

/// What carries a request.
#[derive(Debug)]
pub(super) enum Reached {
    /// A connection of its own.
    Own(Box<Connection>),
    /// A place on one that others use as well.
    Shared(Seat),
}

/// True if a request may go out by HTTP/2 that asks for another protocol, or is one of gRPC.
pub fn may_be_shared(asks: (bool, bool), protocol: Protocol, secured: bool) -> bool {
    offer(asks, protocol, secured) != Alpn::Http1
}

/// What a request goes by.
fn offer((upgrades, grpc): (bool, bool), protocol: Protocol, secured: bool) -> Alpn {
    match protocol {
        Protocol::Http1 => Alpn::Http1,
        Protocol::Http2 => Alpn::Http2,
        // To switch protocols is HTTP/1.1's.
        Protocol::Auto if upgrades => Alpn::Http1,
        Protocol::Auto if secured => Alpn::Either,
        // In the clear nothing is agreed on: gRPC knows nothing but HTTP/2.
        Protocol::Auto if grpc => Alpn::Http2,
        Protocol::Auto => Alpn::Http1,
    }
}

impl Upstream {
    /// Something that carries the call's request.
    pub(super) async fn reach(&self, endpoint: &Arc<Endpoint>, call: &Call<'_>) -> Result<Reached, Error> {
        let offer = offer((call.upgrades, call.grpc), call.protocol, call.tls.is_some());
        let terms = Terms(call.tls.cloned());
        if offer == Alpn::Http1 {
            return match self.idle(endpoint, call, &terms) {
                Some(idle) => Ok(Reached::Own(idle)),
                None => in_time(call, self.connect(endpoint, call, &terms)).await.map(Reached::Own),
            };
        }
        let hub = self.lines.hub(endpoint);
        if offer == Alpn::Either && hub.speaks_http1(&terms) {
            return match self.idle(endpoint, call, &terms) {
                Some(idle) => Ok(Reached::Own(idle)),
                None => in_time(call, self.open((endpoint, &hub), call, (offer, &terms))).await,
            };
        }
        if call.probe {
            // What the other side has said of the connection meanwhile, its driver is to hear first.
            yield_now().await;
        }
        match hub.place(&terms, call.limits.age, call.limits.began) {
            Place::Seat(seat) => Ok(Reached::Shared(seat)),
            place => in_time(call, self.share(place, (endpoint, &hub), call, (offer, &terms))).await,
        }
    }

    /// A connection that was left open, for a call that goes by HTTP/1.1 in any case.
    pub(super) fn own(&self, endpoint: &Endpoint, call: &Call<'_>) -> Option<Box<Connection>> {
        let is_own = offer((call.upgrades, call.grpc), call.protocol, call.tls.is_some()) == Alpn::Http1;
        if is_own { self.idle(endpoint, call, &Terms(call.tls.cloned())) } else { None }
    }

    /// A connection that was left open.
    fn idle(&self, endpoint: &Endpoint, call: &Call<'_>, terms: &Terms) -> Option<Box<Connection>> {
        if call.preface.is_some() {
            return None;
        }
        let is_old =
            |connection: &Connection| call.limits.age.is_some_and(|age| connection.is_older(age, call.limits.began));
        while let Some(mut idle) = self.pool.take(endpoint.id()) {
            if !is_old(&idle) && idle.is_under(terms) && idle.is_alive(call.probe) {
                return Some(idle);
            }
        }
        None
    }

    async fn connect(
        &self,
        endpoint: &Arc<Endpoint>,
        call: &Call<'_>,
        terms: &Terms,
    ) -> Result<Box<Connection>, Error> {
        let connected = count(endpoint, &call.limits)?;
        let stream = self.dial(endpoint, (Alpn::Http1, terms), call.preface.as_ref()).await?;
        Ok(Box::new(Connection::new(stream, connected, terms.clone(), &self.pool.inbox)))
    }

    /// A place on a connection that others use as well, once there is one; or one of its own, where the endpoint prefers that.
    async fn share(
        &self,
        mut place: Place,
        (endpoint, hub): (&Arc<Endpoint>, &Rc<Hub>),
        call: &Call<'_>,
        (offer, terms): (Alpn, &Terms),
    ) -> Result<Reached, Error> {
        loop {
            match place {
                Place::Seat(seat) => return Ok(Reached::Shared(seat)),
                Place::Wait => hub.wait().await?,
                Place::Dial(_dial) => {
                    let opened = self.open((endpoint, hub), call, (offer, terms)).await;
                    return opened.inspect_err(|error| hub.failed(error));
                }
            }
            if offer == Alpn::Either && hub.speaks_http1(terms) {
                return self.open((endpoint, hub), call, (offer, terms)).await;
            }
            place = hub.place(terms, call.limits.age, Instant::now());
        }
    }

    /// A new connection, which speaks what was agreed on.
    async fn open(
        &self,
        (endpoint, hub): (&Arc<Endpoint>, &Rc<Hub>),
        call: &Call<'_>,
        (offer, terms): (Alpn, &Terms),
    ) -> Result<Reached, Error> {
        let connected = count(endpoint, &call.limits)?;
        let stream = self.dial(endpoint, (offer, terms), None).await?;
        let http1 = offer == Alpn::Either && stream.alpn() != Some(b"h2");
        hub.chose(terms, http1);
        if http1 {
            return Ok(Reached::Own(Box::new(Connection::new(stream, connected, terms.clone(), &self.pool.inbox))));
        }
        let line = self.lines.open(stream, hub, terms.clone()).await?;
        line.counts(connected);
        Ok(Reached::Shared(hub.add(line)))
    }

    /// A stream to the endpoint, secured where that is asked for.
    async fn dial(
        &self,
        endpoint: &Arc<Endpoint>,
        (offer, terms): (Alpn, &Terms),
        preface: Option<&Bytes>,
    ) -> Result<Stream, Error> {
        self.dial_secured(endpoint, (terms.0.as_ref(), offer), preface).await
    }

    /// The same, for whoever knows no terms.
    pub(super) async fn dial_secured(
        &self,
        endpoint: &Arc<Endpoint>,
        (tls, offer): (Tls<'_>, Alpn),
        preface: Option<&Bytes>,
    ) -> Result<Stream, Error> {
        let client = match tls.map(|tls| &**tls) {
            None => return self.dial_plain(endpoint.address(), preface).await.map(Stream::from),
            Some(Ok(client)) => client,
            // Said when it was found out; nobody's fault but ours.
            Some(Err(error)) => return Err(Error::connect(Kind::Unready, error.to_string())),
        };
        client.ready().map_err(|unready| {
            if self.lines.hub(endpoint).is_news(&unready.to_string()) {
                warn!(endpoint = %endpoint.address(), error = %unready, "endpoints of the mesh cannot be called");
            }
            Error::connect(Kind::Unready, unready)
        })?;
        let stream = self.dial_plain(endpoint.address(), preface).await?;
        let host = endpoint.address().host();
        let secured = client.connect(stream, Peer { host: &host, identity: endpoint.identity() }, offer).await;
        secured.map_err(|error| {
            let why = tls::explain(&error).to_string();
            if self.lines.hub(endpoint).is_news(&why) {
                warn!(endpoint = %endpoint.address(), error = why, "an endpoint could not be reached by TLS");
            }
            Error::connect(Kind::Tls, why)
        })
    }

    /// The stream under it, on which that has been said first.
    pub(super) async fn dial_plain(&self, address: &Address, preface: Option<&Bytes>) -> Result<TcpStream, Error> {
        let mut stream = match dial::dial(address).await {
            // Out of descriptors, most likely: what lies idle has some, and is worth less than a request.
            Err(error) if error.kind == Kind::Local && (self.pool.clear() | self.lines.clear()) => {
                dial::dial(address).await
            }
            dialled => dialled,
        }?;
        if self.barred.is_some_and(|barred| leads_to(&stream, barred)) {
            return Err(Error::connect(Kind::Connect, "the endpoint is lictor's own admin listener"));
        }
        if let Some(preface) = preface {
            stream.write_all(preface).await.map_err(|error| Error::connect(Kind::Connect, error))?;
        }
        Ok(stream)
    }
}

/// True if that is where a connection leads, whatever name or form of an address it was dialled by.
fn leads_to(stream: &TcpStream, place: SocketAddr) -> bool {
    let canonical = |at: SocketAddr| (at.ip().to_canonical(), at.port());
    let is_there = |peer: SocketAddr| {
        let is_here = place.ip().is_unspecified() && stream.local_addr().is_ok_and(|own| own.ip() == peer.ip());
        canonical(peer) == canonical(place) || is_here && peer.port() == place.port()
    };
    stream.peer_addr().is_ok_and(is_there)
}

fn count(endpoint: &Endpoint, limits: &Limits) -> Result<Connected, Error> {
    let counted = endpoint.connect_below(limits.connections.0, limits.connections.1);
    counted.ok_or_else(|| Error::new(Kind::Limit, Progress::NothingSent, false))
}

/// What comes of it within the time that a call has until a connection stands. Says when its patience is over.
async fn in_time<T>(call: &Call<'_>, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let Limits { connect, deadline, per_try, patience, .. } = call.limits;
    let now = Instant::now();
    let ends = [(Some(now + connect), Kind::ConnectTimeout), (per_try, Kind::TryTimeout), (deadline, Kind::Deadline)];
    let (end, kind) = ends
        .into_iter()
        .filter_map(|(end, kind)| Some((end?, kind)))
        .min_by_key(|(end, _)| *end)
        .unwrap_or((now, Kind::ConnectTimeout));
    let mut work = pin!(timeout_at(end.into(), work));
    let elapsed = |elapsed| Error::connect(kind, elapsed);
    if let Some(patience) = patience.filter(|patience| *patience < end) {
        tokio::select! {
            biased;
            done = &mut work => return done.map_err(elapsed)?,
            () = sleep_until(patience.into()) => call.late.set(true),
        }
    }
    work.await.map_err(elapsed)?
}
