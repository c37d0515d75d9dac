//! One downstream connection: HTTP/1.1 on it, its timeouts, and its part in a drain.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{Request, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::net::TcpStream;
use tokio::time::{sleep_until, timeout};
use tracing::debug;

use super::io::{Informer, Io};
use super::pulse::Pulse;
use super::{Client, Limits, MAX_HEAD, Service};
use crate::lifecycle::Draining;
use crate::message::Downstream;

/// A client that keeps its connection may be sending its next request just when the drain begins; closing on it would lose
/// that request. So an idle connection stays for one more, or for so long.
const LINGER: Duration = Duration::from_secs(1);

/// Serves a connection to its end.
pub(super) async fn serve<S: Service>(
    stream: TcpStream,
    address: SocketAddr,
    service: Rc<S>,
    limits: Limits,
    mut draining: Draining,
) {
    // Without it small answers wait for the client's acknowledgement; a socket that refuses works all the same.
    let _ = stream.set_nodelay(true);
    let pulse = Arc::new(Pulse::new());
    let client = Rc::new(Client { downstream: Downstream::plain(address.ip()), informer: Informer::default() });
    let io = Io::new(stream, Arc::clone(&pulse), client.informer.clone());
    let answer = service_fn(|request: Request<Incoming>| {
        let busy = Busy::new(&pulse);
        let until_close = request.version() < Version::HTTP_11;
        let answering = Rc::clone(&service).call(request, Rc::clone(&client));
        async move { Ok::<_, std::convert::Infallible>(answering.await.map(|body| Tracked { body, until_close, busy })) }
    });
    let mut http = http1::Builder::new();
    // hyper's own bound of 100 headers stays: a bound of ours would cost an allocation with each request.
    http.max_header_size(MAX_HEAD).max_buf_size(2 * MAX_HEAD);
    let mut connection = pin!(http.serve_connection(io, answer).with_upgrades());
    let leaving = draining.clone();
    let mut begun = pin!(async {
        draining.begun().await;
        // Over, or at the request that is on its way: that one is answered, with a close.
        let _ = timeout(LINGER, poll_fn(|_| pulse.poll_busy())).await;
    });
    let mut timer = pin!(sleep_until((Instant::now() + limits.idle.min(limits.request_header)).into()));
    let (mut drained, mut turns) = (false, 0_u32);
    let ended = poll_fn(|cx| {
        loop {
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(Some(ended));
            }
            // Drain and timer wait from the first turns on and wake this task; a look whether they did is cheaper than asking.
            if turns >= 2 && !leaving.has_begun() && !timer.is_elapsed() {
                return Poll::Pending;
            }
            turns = turns.saturating_add(1);
            if drained || begun.as_mut().poll(cx).is_pending() {
                break;
            }
            drained = true;
            connection.as_mut().graceful_shutdown();
        }
        while timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            // While a request is at work its own timeouts hold; look again when the next one could be due.
            let due = pulse.due(&limits).unwrap_or(now + limits.idle.min(limits.request_header));
            if due <= now {
                return Poll::Ready(None);
            }
            // The next head may begin at any moment, and has less time.
            timer.as_mut().reset(due.min(now + limits.request_header).into());
        }
        Poll::Pending
    })
    .await;
    match ended {
        Some(Ok(())) => {}
        Some(Err(error)) => debug!(client = %address, %error, "connection failed"),
        None => debug!(client = %address, reading_head = pulse.is_reading_head(), "connection timed out"),
    }
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
