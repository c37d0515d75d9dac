//! One stream: a request, and its answer as fast as the client takes it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, DATE, EXPECT, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::time::timeout;

use super::super::connection;
use super::super::heap::on_heap;
use super::super::pulse::Pulse;
use super::super::screen::{Refused, SERVED};
use super::super::{Asked, Client, Clock, Informer, Service, Taken, Takeover, Talk, Unread};
use super::guard::Guard;
use super::head::{self, Asking, Wrong};
use super::serving::Work;
use crate::config::Http;
use crate::message::{Broken, Duplex, Incoming, Marks, Passing};
use crate::metrics::ListenerSeries;

/// What the streams of a connection have in common.
pub(super) struct Streams<S> {
    service: Rc<S>,
    client: Rc<Client>,
    series: Arc<ListenerSeries>,
    rules: Rc<Http>,
    clock: Rc<Clock>,
    guard: Rc<Guard>,
    open: Rc<Open>,
    /// How long a client may take nothing of an answer.
    idle: Duration,
}

/// How many streams there are, for the connection's timeouts.
#[derive(Debug)]
struct Open {
    count: Cell<usize>,
    pulse: Arc<Pulse>,
}

/// Why a stream is not brought to its end.
#[derive(Debug)]
enum Broke {
    /// The client has given it up.
    Reset,
    /// We do.
    With(Reason),
}

impl From<h2::Error> for Broke {
    fn from(_: h2::Error) -> Self {
        Broke::Reset
    }
}

impl<S: Service> Streams<S> {
    pub(super) fn new(talk: &Talk<S>, guard: &Rc<Guard>, idle: Duration) -> Self {
        Streams {
            service: Rc::clone(&talk.service),
            client: Rc::clone(&talk.client),
            series: Arc::clone(&talk.series),
            rules: Rc::clone(&talk.rules),
            clock: Rc::clone(&talk.clock),
            guard: Rc::clone(guard),
            open: Rc::new(Open { count: Cell::new(0), pulse: Arc::clone(&talk.pulse) }),
            idle,
        }
    }

    /// True once the client has to go.
    pub(super) fn are_over(&self) -> bool {
        self.guard.verdict().is_some()
    }

    /// Answers one request.
    pub(super) fn serve(self: Rc<Self>, request: Request<RecvStream>, respond: SendResponse<Bytes>) -> Work {
        // Counted from now on, and not from when it is first polled.
        self.open.begin();
        let ending = Ending(Rc::clone(&self.open));
        on_heap(|| self.answer(request, respond, ending))
    }

    async fn answer(self: Rc<Self>, request: Request<RecvStream>, respond: SendResponse<Bytes>, ending: Ending) {
        let respond = Rc::new(RefCell::new(respond));
        match self.exchange(request, &respond, ending).await {
            Ok(()) => self.guard.answered(),
            Err(Broke::Reset) => {}
            Err(Broke::With(reason)) => respond.borrow_mut().send_reset(reason),
        }
    }

    async fn exchange(
        &self,
        request: Request<RecvStream>,
        respond: &Rc<RefCell<SendResponse<Bytes>>>,
        ending: Ending,
    ) -> Result<(), Broke> {
        let (mut head, received) = request.into_parts();
        let asking = match head::receive(&mut head, &self.rules) {
            Ok(asking) => asking,
            Err(Wrong::Malformed) => {
                self.refused(Unread { head: Some(&head), status: None });
                return Err(Broke::With(Reason::PROTOCOL_ERROR));
            }
            Err(Wrong::Refused(refused)) => {
                self.refused(Unread { head: Some(&head), status: Some(refused.status) });
                return self.refuse(refused, &head.method, respond).await;
            }
        };
        let method = head.method.clone();
        let tunnels = asking.is_for_websocket() || method == Method::CONNECT;
        let answered = Rc::new(Cell::new(false));
        let informer = inform(respond, &answered);
        let (body, tunnel) =
            if tunnels { (None, Some(received)) } else { (incoming(received, &head.headers, &informer), None) };
        let (give, takeover) = tunnels.then(Takeover::new).unzip();
        let (head, client) = (Box::new(head), Rc::clone(&self.client));
        let marks = Marks::of(&head.headers);
        let asked = Asked { head, marks, body, client, informer, takeover };
        let mut answering = pin!(Rc::clone(&self.service).call(asked));
        let response = poll_fn(|cx| match answering.as_mut().poll(cx) {
            Poll::Ready(response) => Poll::Ready(Ok(response)),
            // Whoever has given it up wants no answer, and what works on one is dropped.
            Poll::Pending => respond.borrow_mut().poll_reset(cx).map(|_| Err(Broke::Reset)),
        })
        .await?;
        let (mut answer, body) = response.into_response().into_parts();
        let Some(switches) = asking.answer(&mut answer, &method) else {
            let what = "the endpoint's answer to it is none";
            return self.refuse(Refused { status: StatusCode::BAD_GATEWAY, what }, &method, respond).await;
        };
        // What a tunnel carries is no content, and has no length.
        let is_empty = !switches && is_empty(&mut answer, (&method, &asking), &body);
        answered.set(true);
        let sending = self.begin(answer, is_empty, respond)?;
        if let (true, Some(give), Some(received)) = (switches, give, tunnel) {
            // Nobody takes it if the tunnel's task is gone, and then the stream is reset.
            let _ = give.send(Taken::stream(Duplex::new(sending, received), ending));
            return Ok(());
        }
        if is_empty { Ok(()) } else { self.send(sending, body).await }
    }

    fn refused(&self, unread: Unread<'_>) {
        connection::refuse(&*self.service, (&self.series, &self.client), unread);
    }

    /// Sends a head.
    fn begin(
        &self,
        mut head: http::response::Parts,
        is_end: bool,
        respond: &RefCell<SendResponse<Bytes>>,
    ) -> Result<SendStream<Bytes>, Broke> {
        if !head.headers.contains_key(DATE)
            && let Ok(now) = HeaderValue::from_bytes(&self.clock.now())
        {
            head.headers.insert(DATE, now);
        }
        Ok(respond.borrow_mut().send_response(Response::from_parts(head, ()), is_end)?)
    }

    /// Sends a body, as the client takes it.
    async fn send<B>(&self, mut sending: SendStream<Bytes>, body: B) -> Result<(), Broke>
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    {
        let mut body = pin!(body);
        loop {
            let frame = poll_fn(|cx| match body.as_mut().poll_frame(cx) {
                Poll::Ready(frame) => Poll::Ready(Ok(frame)),
                Poll::Pending => sending.poll_reset(cx).map(|_| Err(Broke::Reset)),
            });
            let Some(frame) = frame.await? else { return Ok(sending.send_data(Bytes::new(), true)?) };
            let frame = frame.map_err(|_| Broke::With(Reason::INTERNAL_ERROR))?;
            match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => {
                    let is_end = body.is_end_stream();
                    self.guard.gave();
                    self.send_data(&mut sending, data, is_end).await?;
                    if is_end {
                        return Ok(());
                    }
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        return Ok(sending.send_trailers(trailers)?);
                    }
                }
            }
        }
    }

    async fn send_data(&self, sending: &mut SendStream<Bytes>, mut data: Bytes, is_end: bool) -> Result<(), Broke> {
        while !data.is_empty() {
            sending.reserve_capacity(data.len());
            let room = match sending.capacity() {
                // A window that never opens holds the answer, and an endpoint's connection with it.
                0 => timeout(self.idle, poll_fn(|cx| poll_room(sending, cx)))
                    .await
                    .map_err(|_| Broke::With(Reason::CANCEL))??,
                room => room,
            };
            let piece = data.split_to(room.min(data.len()));
            let is_last = is_end && data.is_empty();
            sending.send_data(piece, is_last)?;
        }
        Ok(())
    }

    /// Answers a request that is not taken.
    async fn refuse(
        &self,
        refused: Refused,
        method: &Method,
        respond: &RefCell<SendResponse<Bytes>>,
    ) -> Result<(), Broke> {
        let (mut head, ()) = Response::new(()).into_parts();
        head.status = refused.status;
        head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if refused.status == StatusCode::METHOD_NOT_ALLOWED {
            head.headers.insert(ALLOW, HeaderValue::from_static(SERVED));
        }
        let text = Bytes::from(format!("the request cannot be read: {}\n", refused.what));
        let is_empty = *method == Method::HEAD;
        let mut sending = self.begin(head, is_empty, respond)?;
        if is_empty { Ok(()) } else { self.send_data(&mut sending, text, true).await }
    }
}

/// True if there is no body to send. Says the length of one, where it is known.
fn is_empty<B: Body>(head: &mut http::response::Parts, (method, asking): (&Method, &Asking), body: &B) -> bool {
    if *method == Method::HEAD && !asking.is_for_websocket() || head.status == StatusCode::NOT_MODIFIED {
        if let Some(length @ 1..) = body.size_hint().exact().filter(|_| *method == Method::HEAD) {
            head.headers.insert(CONTENT_LENGTH, length.into());
        }
        return true;
    }
    if head.status == StatusCode::NO_CONTENT {
        return true;
    }
    match body.size_hint().exact() {
        Some(length) => {
            head.headers.insert(CONTENT_LENGTH, length.into());
        }
        None => {
            head.headers.remove(CONTENT_LENGTH);
        }
    }
    body.is_end_stream()
}

/// Ready with what the client takes.
fn poll_room(sending: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Poll<Result<usize, Broke>> {
    loop {
        if sending.capacity() > 0 {
            return Poll::Ready(Ok(sending.capacity()));
        }
        match ready!(sending.poll_capacity(cx)) {
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Poll::Ready(Err(Broke::Reset)),
        }
    }
}

/// Sends interim answers until the answer itself has begun: behind its head they would be malformed, which the library lets pass.
fn inform(respond: &Rc<RefCell<SendResponse<Bytes>>>, answered: &Rc<Cell<bool>>) -> Informer {
    let (respond, answered) = (Rc::clone(respond), Rc::clone(answered));
    Rc::new(move |status, headers: &HeaderMap| {
        if answered.get() {
            return;
        }
        let mut response = Response::new(());
        *response.status_mut() = status;
        *response.headers_mut() = headers.clone();
        // Advice: where it does not fit any more, it is dropped.
        let _ = respond.borrow_mut().send_informational(response);
    })
}

impl Open {
    fn begin(&self) {
        self.count.set(self.count.get() + 1);
        self.pulse.busy();
    }

    fn end(&self) {
        self.count.set(self.count.get() - 1);
        if self.count.get() == 0 {
            self.pulse.idle();
        }
    }
}

/// A stream that is being served, by whoever: as long as one is, its connection is not idle.
#[derive(Debug)]
pub(in crate::listener) struct Ending(Rc<Open>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A request's body.
struct Upload {
    received: RecvStream,
    /// Handed out, and not yet given back to the client's window.
    taken: usize,
    data_ended: bool,
    /// Bytes to come, where that was said. The library sees to it that so many come.
    left: Option<u64>,
    /// Tells a client that waits for it to go on; none if nobody waits, or no longer.
    awaited: Option<Informer>,
}

fn incoming(received: RecvStream, headers: &HeaderMap, informer: &Informer) -> Option<Incoming> {
    if received.is_end_stream() {
        return None;
    }
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    // Another expectation was refused.
    let awaited = headers.contains_key(EXPECT).then(|| Rc::clone(informer));
    Some(Box::pin(Upload { received, taken: 0, data_ended: false, left: length, awaited }))
}

impl Passing for Upload {}

impl Body for Upload {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        // Whoever asks for more is done with what it had.
        let taken = std::mem::take(&mut self.taken);
        // Of a stream that has ended, nothing has to be given back.
        let _ = self.received.flow_control().release_capacity(taken);
        if !self.data_ended {
            let data = self.received.poll_data(cx);
            // Now that somebody wants the body; one that is on its way needs no word.
            if let Some(tell) = self.awaited.take()
                && data.is_pending()
            {
                tell(StatusCode::CONTINUE, &HeaderMap::new());
            }
            match ready!(data) {
                Some(Ok(data)) => {
                    self.taken = data.len();
                    self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(Broken(error.into())))),
                None => self.data_ended = true,
            }
        }
        let trailers = ready!(self.received.poll_trailers(cx)).map_err(|error| Broken(error.into()));
        Poll::Ready(trailers.transpose().map(|trailers| trailers.map(Frame::trailers)))
    }

    fn is_end_stream(&self) -> bool {
        self.received.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
