//! One downstream connection, for as long as it may [`Stay`]. What it costs to speak HTTP, buffers and the future of a request, it has
//! only while it does: one that has been idle for a while is a socket and a small task, until it is readable again.

use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use http::{Uri, request};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tracing::debug;

use super::clock::Clock;
use super::h1::{self, Wire};
use super::h2;
use super::heap::on_heap;
use super::io::Io;
use super::pulse::Pulse;
use super::stay::{LINGER, Look, Stay};
use super::{Client, Desk, Service, Unread};
use crate::config::Http;
use crate::message::proxy_protocol::Ends;
use crate::message::{Pipe, Spare};
use crate::metrics::ListenerSeries;
use crate::tls::{self, Handshake, Refused, Stream};

/// What is over once a client has to go.
pub(super) type Revocation = Pin<Box<dyn Future<Output = ()>>>;

/// What all connections of a listener and worker use by turns.
#[derive(Debug, Default)]
pub(super) struct Spares {
    pub(super) inbox: Spare,
    pub(super) outbox: Spare,
    /// For long uploads.
    pub(super) pipe: Pipe,
}

/// What a connection's requests are answered with.
pub(super) struct Talk<S> {
    pub(super) service: Rc<S>,
    pub(super) client: Rc<Client>,
    pub(super) rules: Rc<Http>,
    pub(super) clock: Rc<Clock>,
    spares: Rc<Spares>,
    pub(super) pulse: Arc<Pulse>,
    pub(super) series: Arc<ListenerSeries>,
    tls: Option<tls::Entrance>,
    address: SocketAddr,
    /// A head that has done its work, and has room for the next.
    spare: Cell<Option<Box<request::Parts>>>,
    fresh: Cell<bool>,
}

impl<S> Talk<S> {
    pub(super) fn new(desk: &Desk<S>, pulse: &Arc<Pulse>, ends: Ends) -> Self {
        let address = ends.client;
        Talk {
            service: Rc::clone(&desk.service),
            client: Rc::new(Client::new(ends)),
            rules: Rc::clone(&desk.rules),
            clock: Rc::clone(&desk.clock),
            spares: Rc::clone(&desk.spares),
            pulse: Arc::clone(pulse),
            series: Arc::clone(&desk.terms.series),
            tls: desk.terms.tls.clone(),
            address,
            spare: Cell::default(),
            fresh: Cell::new(true),
        }
    }

    /// True as long as nothing has come, if it may turn out to be HTTP/2.
    pub(super) fn may_be_http2(&self) -> bool {
        self.fresh.get() && self.rules.http2
    }

    /// What has come is HTTP/1.1, or nothing.
    pub(super) fn is_http1(&self) {
        self.fresh.set(false);
    }

    /// Takes what the client said while its connection was secured.
    fn learn(&mut self, told: &Handshake) {
        self.client = Rc::new(self.client.secured(told));
        // What was agreed on is spoken, and nothing else.
        self.fresh.set(!told.is_settled);
    }

    /// Returns once the client has to go; none for those who may stay as long as they like.
    pub(super) fn revocation(&self) -> Option<Revocation> {
        self.client.admission.as_ref().map(|admission| Box::pin(admission.revoked()) as Revocation)
    }

    /// A head to be written over, if there is one.
    pub(super) fn spare(&self) -> Option<Box<request::Parts>> {
        self.spare.take()
    }

    pub(super) fn keep_spare(&self, mut spent: Option<Box<request::Parts>>) {
        if let Some(head) = &mut spent {
            // What they hold is a part of a buffer, which is not to be kept for as long as an answer may take.
            head.headers.clear();
            head.uri = Uri::default();
        }
        self.spare.set(spent);
    }
}

impl<S: Service> Talk<S> {
    /// Counts a request that is none, and has it written down.
    pub(super) fn refuse(&self, unread: Unread<'_>) {
        refuse(&*self.service, (&self.series, &self.client), unread);
    }
}

/// The same, for whoever has no more than this.
pub(super) fn refuse<S: Service>(service: &S, (series, client): (&ListenerSeries, &Rc<Client>), unread: Unread<'_>) {
    series.refused.fetch_add(1, Ordering::Relaxed);
    service.refused(client, unread);
}

/// Serves a connection to its end.
pub(super) async fn serve<S: Service>(stream: TcpStream, mut talk: Talk<S>, mut stay: Stay) {
    let stream = match talk.tls.take() {
        None => stream.into(),
        Some(tls) => match on_heap(|| secure(stream, &tls, &stay)).await {
            Ok((stream, told)) => {
                talk.learn(&told);
                if talk.client.admission.is_some() {
                    return on_heap(|| serve_admitted(stream, told.is_http2, talk, stay)).await;
                }
                if told.is_http2 {
                    let io = Io::new(stream, stay.place.take(), Arc::clone(&stay.pulse));
                    return on_heap(|| serve_http2(io, talk, stay)).await;
                }
                stream
            }
            Err(error) => return debug!(client = %talk.address, %error, "not secured"),
        },
    };
    if let Some(io) = serve_http1(stream, &talk, &mut stay).await {
        on_heap(|| serve_http2(io, talk, stay)).await;
    }
}

/// Serves a connection for as long as its client may be here.
async fn serve_admitted<S: Service>(stream: Stream, is_http2: bool, talk: Talk<S>, mut stay: Stay) {
    let (client, revocation) = (talk.address, talk.revocation());
    let revoked = async move {
        match revocation {
            Some(revocation) => revocation.await,
            None => std::future::pending().await,
        }
    };
    let serving = async move {
        let io = match is_http2 {
            true => Some(Io::new(stream, stay.place.take(), Arc::clone(&stay.pulse))),
            false => serve_http1(stream, &talk, &mut stay).await,
        };
        if let Some(io) = io {
            on_heap(|| serve_http2(io, talk, stay)).await;
        }
    };
    tokio::select! {
        biased;
        () = revoked => debug!(%client, "closed: the client may not call us any more"),
        () = serving => {}
    }
}

/// Serves a connection to its end, unless what comes first is HTTP/2: then it is given back.
async fn serve_http1<S: Service>(stream: Stream, talk: &Talk<S>, stay: &mut Stay) -> Option<Io> {
    let io = Io::new(stream, stay.place.take(), Arc::clone(&stay.pulse));
    let wire = Wire::new(io, &talk.spares);
    loop {
        match attend(on_heap(|| h1::converse(&wire, talk)), || wire.leave(), stay).await {
            End::Of(h1::End::Over) => return None,
            End::Of(h1::End::Http2) => {
                let io = wire.into_io();
                if io.is_none() {
                    debug!("the connection is somebody else's");
                }
                return io;
            }
            End::Of(h1::End::Broken(error)) => {
                debug!(client = %talk.address, %error, "connection failed");
                return None;
            }
            End::Late => {
                Box::pin(late(&wire, talk)).await;
                return None;
            }
            End::Idle => {}
        }
        wire.shrink();
        talk.spare.take();
        if !stay.rest(&wire).await {
            debug!(client = %talk.address, "idle connection closed");
            return None;
        }
    }
}

/// Serves a connection to its end whose client speaks HTTP/2.
async fn serve_http2<S: Service>(io: Io, talk: Talk<S>, mut stay: Stay) {
    let (leaving, idle) = (Cell::new(false), stay.idle());
    stay.stay_awake();
    let talking = on_heap(|| h2::converse(io, &talk, &leaving, idle));
    match attend(talking, || leaving.set(true), &mut stay).await {
        End::Of(Ok(())) | End::Idle => {}
        End::Of(Err(error)) => debug!(client = %talk.address, %error, "connection failed"),
        End::Late => debug!(client = %talk.address, "connection timed out"),
    }
}

/// The handshake. When the drain begins, it may take as long as an idle connection may stay.
pub(super) async fn secure(
    stream: TcpStream,
    tls: &tls::Entrance,
    stay: &Stay,
) -> Result<(Stream, Handshake), Refused> {
    let drained = async {
        stay.begun().await;
        sleep(LINGER).await;
    };
    // On the heap, and only as long as it takes: it is large.
    let accepting = on_heap(|| tls.accept(stream));
    tokio::select! {
        accepted = accepting => accepted,
        () = drained => Err(Refused::Timeout),
    }
}

/// A client has taken too long; if it was in the middle of a request, it is told so.
async fn late<S: Service>(wire: &Wire, talk: &Talk<S>) {
    let reading_head = talk.pulse.is_reading_head();
    debug!(client = %talk.address, reading_head, "connection timed out");
    if reading_head && wire.has_begun() {
        h1::time_out(wire, talk).await;
    }
}

/// What has become of a connection.
enum End<E> {
    Of(E),
    Late,
    /// It goes on, and has nothing to do.
    Idle,
}

/// Lets a conversation go on until it is over, or has been idle for a while. Both on the heap, so that an idle connection is small.
fn attend<'a, E: 'a>(
    mut talking: Pin<Box<dyn Future<Output = E> + 'a>>,
    leave: impl Fn() + 'a,
    stay: &'a mut Stay,
) -> Pin<Box<dyn Future<Output = End<E>> + 'a>> {
    let (mut draining, mut turns) = (Box::pin(stay.urged()), 0_u32);
    Box::pin(poll_fn(move |cx| {
        loop {
            if let Poll::Ready(ended) = talking.as_mut().poll(cx) {
                return Poll::Ready(End::Of(ended));
            }
            // Drain and timer wait from the first turns on and wake this task; a look whether they did is cheaper than asking.
            if turns >= 2 && !stay.is_pressing() {
                return Poll::Pending;
            }
            turns = turns.saturating_add(1);
            if stay.is_open() && draining.as_mut().poll(cx).is_ready() {
                // Over, or at the request that is on its way: that one is answered, with a close.
                stay.linger();
            }
            match stay.look(cx) {
                Look::Wait => return Poll::Pending,
                Look::Leave => leave(),
                Look::Late => return Poll::Ready(End::Late),
                Look::Rest => return Poll::Ready(End::Idle),
            }
        }
    }))
}
