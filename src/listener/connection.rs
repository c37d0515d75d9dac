//! One downstream connection: HTTP/1.1 on it, for as long as it may [`Stay`]. hyper holds two buffers of 8 KiB and the future of a
//! request for each connection, so one that has been idle for a while is taken from it: it then costs a socket and a small task.
//! Whatever comes next makes a new beginning.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1::{self, UpgradeableConnection};
use hyper::service::service_fn;
use tokio::net::TcpStream;
use tracing::debug;

use super::io::{Informer, Io};
use super::pulse::Pulse;
use super::stay::{Look, Stay};
use super::{Client, MAX_HEAD, Service};
use crate::message::{self, Broken, Downstream};

/// Serves a connection to its end.
pub(super) async fn serve<S: Service>(stream: TcpStream, address: SocketAddr, service: Rc<S>, mut stay: Stay) {
    // Without it small answers wait for the client's acknowledgement; a socket that refuses works all the same.
    let _ = stream.set_nodelay(true);
    let pulse = Arc::clone(&stay.pulse);
    let client = Rc::new(Client { downstream: Downstream::plain(address.ip()), informer: Informer::default() });
    let mut io = Io::new(stream, stay.place.take(), Arc::clone(&pulse), client.informer.clone());
    let answer = service_fn(|request: Request<Incoming>| {
        let busy = Busy::new(&pulse);
        let until_close = request.version() < Version::HTTP_11;
        let request = request.map(|body| (!body.is_end_stream()).then(|| incoming(body)));
        let answering = Rc::clone(&service).call(request, Rc::clone(&client));
        async move { Ok::<_, Infallible>(answering.await.map(|body| Tracked { body, until_close, busy })) }
    });
    let mut http = http1::Builder::new();
    // hyper's own bound of 100 headers stays: a bound of ours would cost an allocation with each request.
    http.max_header_size(MAX_HEAD).max_buf_size(2 * MAX_HEAD);
    loop {
        match attend(|| http.serve_connection(io, &answer).with_upgrades(), &mut stay).await {
            End::Over(Ok(())) => return,
            End::Over(Err(error)) => return debug!(client = %address, %error, "connection failed"),
            End::Late => {
                return debug!(client = %address, reading_head = pulse.is_reading_head(), "connection timed out");
            }
            End::Idle(idle) => io = idle,
        }
        if !io.has_early() && !stay.rest(io.stream()).await {
            return debug!(client = %address, "idle connection closed");
        }
    }
}

fn incoming(body: Incoming) -> message::Incoming {
    Box::pin(body.map_err(|error| Broken(error.into())))
}

/// What has become of a connection.
enum End {
    Over(hyper::Result<()>),
    Late,
    /// It goes on, and has nothing to do.
    Idle(Io),
}

/// Lets hyper work until the connection is over, or has been idle for a while. On the heap, so that an idle connection is small.
fn attend<'a, S, B>(
    connect: impl FnOnce() -> UpgradeableConnection<Io, S>,
    stay: &'a mut Stay,
) -> Pin<Box<dyn Future<Output = End> + 'a>>
where
    S: hyper::service::Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + 'a,
    B: Body<Data: 'a, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + 'static,
{
    let mut connection = Some(connect());
    let (mut draining, mut turns) = (Box::pin(stay.begun()), 0_u32);
    Box::pin(poll_fn(move |cx| {
        let Some(working) = &mut connection else { return Poll::Ready(End::Late) };
        loop {
            if let Poll::Ready(ended) = Pin::new(&mut *working).poll(cx) {
                return Poll::Ready(End::Over(ended));
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
                Look::Leave => Pin::new(&mut *working).graceful_shutdown(),
                Look::Late => return Poll::Ready(End::Late),
                Look::Rest => break,
            }
        }
        let parts = connection.take().and_then(UpgradeableConnection::into_parts);
        // Only what was upgraded has none, and that is over.
        Poll::Ready(parts.map_or(End::Over(Ok(())), |parts| End::Idle(parts.io.with_early(parts.read_buf))))
    }))
}

/// Held by whoever is at work on a request.
struct Busy(Arc<Pulse>);

impl Busy {
    fn new(pulse: &Arc<Pulse>) -> Self {
        pulse.busy();
        Busy(Arc::clone(pulse))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.idle();
    }
}

/// A body whose end is the end of the request.
struct Tracked<B> {
    body: B,
    // The client knows no chunks, so that only the close may tell it the end.
    until_close: bool,
    busy: Busy,
}

impl<B: Body + Unpin> Body for Tracked<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if self.until_close && matches!(polled, Poll::Ready(Some(Err(_)))) {
            self.busy.0.cut();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
