//! How requests come in: bind, accept, the PROXY protocol, and HTTP/1.1 on each connection, with the timeouts that a client is
//! held to. How connections come in that are of no protocol that lictor knows.
//!
//! A listener knows nothing of what its requests are for; it hands them to a [`Service`]. Both the proxy and the operator's
//! window are behind one. Connections whole go to a [`Forward`].

mod bind;
mod client;
mod clock;
mod connection;
mod h1;
mod h2;
mod handler;
mod heap;
mod io;
mod open;
mod proxy_header;
mod pulse;
mod room;
mod screen;
mod stay;
mod taken;

use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode, request};
use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::yield_now;
use tokio::time::sleep;
use tracing::warn;

use crate::config::Http;
use crate::lifecycle::Draining;
use crate::message::proxy_protocol::Ends;
use crate::message::{Answer, Incoming, Marks, Passing};
use crate::metrics::ListenerSeries;
use crate::tls;

pub use bind::{Error, Port, adopt, bind, look};
pub use client::Client;
#[doc(hidden)]
pub use h1::fuzzing;
#[doc(hidden)]
pub use h2::fuzzing as fuzzing_h2;
pub use room::Room;
pub use taken::{Taken, Takeover};

use clock::Clock;
use connection::{Spares, Talk};
use handler::{Handler, Raw};
use open::Connections;
use room::Place;
use stay::Stay;

/// When accepting fails for want of something (file descriptors, memory), it is left alone for this long: long enough not
/// to spin, short enough that nobody notices when there is room again.
const BREATH: Duration = Duration::from_millis(100);

/// What answers requests, on one thread.
pub trait Service: 'static {
    /// The body of an answer.
    type Body: Passing<Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin + 'static;

    /// Answers one request.
    fn call(self: Rc<Self>, asked: Asked) -> impl Future<Output = Answer<Self::Body>>;

    /// Is told of a request that was refused before it was one.
    fn refused(&self, _client: &Rc<Client>, _unread: Unread<'_>) {}
}

/// A request that could not be read, or not in one way only.
#[derive(Debug, Clone, Copy)]
pub struct Unread<'a> {
    /// Its head, as far as there was one.
    pub head: Option<&'a request::Parts>,
    /// The status that it was answered with; none if it was not.
    pub status: Option<StatusCode>,
}

/// A request: with its target in origin-form, and exactly one `Host`, whatever the protocol.
pub struct Asked {
    /// Its head.
    pub head: Box<request::Parts>,
    /// What there is among its fields.
    pub marks: Marks,
    /// Its body, if there is one.
    pub body: Option<Incoming>,
    /// Who asks.
    pub client: Rc<Client>,
    /// Says interim answers.
    pub informer: Informer,
    /// The connection itself, for a request after which something else than HTTP may be spoken.
    pub takeover: Option<Takeover>,
}

/// What takes connections as they are, on one thread.
pub trait Forward: 'static {
    /// Serves one to its end.
    fn forward(self: Rc<Self>, stream: tls::Stream, from: (Ends, Rc<Client>)) -> impl Future<Output = ()>;
}

/// Sends an interim answer (1xx) before the final one. It is advice: where it does not fit, it is dropped.
pub type Informer = Rc<dyn Fn(StatusCode, &HeaderMap)>;

/// What a client is held to.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the first byte of a request's head to its last.
    pub request_header: Duration,
    /// A connection without a request, or a client that takes nothing of its answer.
    pub idle: Duration,
    /// How old a connection may get before it is ended between two requests; none: as old as it likes.
    pub age: Option<Duration>,
}

/// What a listener works with.
#[derive(Debug, Clone)]
pub struct Terms {
    /// What its clients are held to.
    pub limits: Limits,
    /// What they may send.
    pub http: Http,
    /// How many of them there may be.
    pub room: Arc<Room>,
    /// Its figures.
    pub series: Arc<ListenerSeries>,
    /// Who may connect, each with a PROXY header first; none if there is to be no such header.
    pub announced: Option<Arc<[IpNet]>>,
    /// What its connections are secured with; none if they are plain.
    pub tls: Option<tls::Entrance>,
}

/// Accepts connections and answers the requests on them until the drain begins, then finishes those that it has.
pub async fn serve<S: Service>(listener: TcpListener, service: Rc<S>, terms: Terms, draining: Draining) {
    accept(listener, service, terms, draining).await;
}

/// The same for connections that are to be passed on whole.
pub async fn forward<F: Forward>(listener: TcpListener, forward: Rc<F>, terms: Terms, draining: Draining) {
    accept(listener, Rc::new(Raw(forward)), terms, draining).await;
}

async fn accept<S: Handler>(listener: TcpListener, service: Rc<S>, terms: Terms, mut draining: Draining) {
    let mut connections = Connections::new(&terms.series);
    let rules = Rc::new(terms.http.clone());
    let local = listener.local_addr().ok().filter(|local| !local.ip().is_unspecified());
    let (clock, spares) = (Rc::default(), Rc::default());
    let desk = Rc::new(Desk { service, rules, local, clock, spares, terms, draining: draining.clone() });
    let mut waiting = Vec::new();
    let mut failing = false;
    // Both wait from connection to connection.
    let (mut begun, mut crowded) = (pin!(draining.begun()), pin!(desk.terms.room.crowded()));
    loop {
        connections.reap();
        tokio::select! {
            biased;
            () = &mut begun => break,
            () = &mut crowded => {
                crowded.set(desk.terms.room.crowded());
                connections.give_way(room::PATIENCE, Instant::now());
            }
            accepted = listener.accept() => match accepted {
                Ok(accepted) => {
                    failing = false;
                    if let Some(place) = desk.terms.room.find() {
                        desk.start(&mut connections, accepted, Some(place));
                        continue;
                    }
                    tokio::select! {
                        biased;
                        place = desk.place(&mut connections) => desk.start(&mut connections, accepted, place),
                        // It was accepted: it is served like those that still wait.
                        () = &mut begun => { waiting.push(accepted); break }
                    }
                    // What was said meanwhile was said for the one that has its place now.
                    crowded.set(desk.terms.room.crowded());
                }
                Err(error) => {
                    desk.terms.series.failed.fetch_add(1, Ordering::Relaxed);
                    if !std::mem::replace(&mut failing, true) {
                        warn!(%error, "accept failed; trying again until it succeeds");
                    }
                    connections.give_way(room::PATIENCE, Instant::now());
                    sleep(BREATH).await;
                }
            },
        }
    }
    // Connections that the kernel has accepted already would be reset: take them along, after a turn of the event loop, which
    // has to have seen them.
    yield_now().await;
    while let Some(Ok(accepted)) = now_or_never(listener.accept()).await {
        waiting.push(accepted);
    }
    drop(listener);
    for accepted in waiting {
        desk.start(&mut connections, accepted, None);
    }
    connections.finish().await;
}

/// What each accepted connection is served with.
struct Desk<S> {
    service: Rc<S>,
    rules: Rc<Http>,
    /// The address that all its clients connect to, if there is one only.
    local: Option<SocketAddr>,
    clock: Rc<Clock>,
    spares: Rc<Spares>,
    terms: Terms,
    draining: Draining,
}

impl<S: Handler> Desk<S> {
    /// A place for somebody who was accepted when none was free, which takes as long as it takes.
    async fn place(&self, connections: &mut Connections) -> Option<Place> {
        let room = &self.terms.room;
        self.terms.series.held_back.fetch_add(1, Ordering::Relaxed);
        let mut waiting = pin!(room.wait());
        loop {
            room.call_out();
            connections.give_way(room::PATIENCE, Instant::now());
            tokio::select! {
                place = &mut waiting => return place,
                () = sleep(room::LOOK) => {}
            }
        }
    }

    fn start(
        self: &Rc<Self>,
        connections: &mut Connections,
        (stream, address): (TcpStream, SocketAddr),
        place: Option<Place>,
    ) {
        let stay = Stay::new(place, self.terms.limits, self.draining.clone());
        let local = self.local.or_else(|| stream.local_addr().ok());
        let ends = Ends { client: address, local: local.unwrap_or(address) };
        let pulse = Arc::clone(&stay.pulse);
        if self.terms.announced.is_none() {
            return connections.start(pulse, S::handle(self, stream, ends, stay));
        }
        let (desk, mut stream) = (Rc::clone(self), stream);
        connections.start(pulse, async move {
            if let Some(ends) = proxy_header::receive(&mut stream, ends, &desk.terms).await {
                S::handle(&desk, stream, ends, stay).await;
            }
        });
    }
}

async fn now_or_never<F: Future>(future: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = std::future::ready(()) => None,
    }
}
