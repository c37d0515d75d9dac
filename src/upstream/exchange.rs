//! One request and its answer, by whatever protocol. While its head is awaited and while its body is read, both directions move:
//! an endpoint may answer before it has taken the whole request. Dropping the exchange before its end is how an endpoint learns
//! that nobody listens any more.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use tokio::net::TcpStream;

use super::connection::Connection;
use super::http1::Http1;
use super::http2::{Http2, Seat};
use super::pool::Pool;
use super::tunnel::Tunnel;
use super::watch::Watch;
use super::{Call, Error, Kind};
use crate::endpoint::Endpoint;
use crate::message::{Answer, Fields, Framing, Moved, Passing, Upload};

/// Interim answers to one request; an endpoint that gives more does not mean to answer.
const MAX_INTERIM: usize = 32;

/// An answer's body, and all that it hangs on.
#[derive(Debug)]
pub struct Exchange {
    carrier: Carrier,
    watch: Watch,
    /// Its connection had served before.
    reused: bool,
}

/// What carries it.
#[derive(Debug)]
enum Carrier {
    Http1(Http1),
    Http2(Http2),
}

/// A request on an HTTP/1.1 connection, of which nothing has been sent.
pub(super) fn begin(
    mut connection: Box<Connection>,
    call: &mut Call<'_>,
    (pool, endpoint): (&Rc<Pool>, &Arc<Endpoint>),
) -> Box<Exchange> {
    // A dial has taken its time; an idle connection was at hand.
    let reused = connection.is_reused();
    let moved = if reused { call.limits.began } else { Instant::now() };
    connection.stall.arm(call.limits.first_due(moved));
    let watch = Watch::new(call.limits, endpoint, moved);
    // Boxed at once: it is moved a few times on its way to the client.
    Box::new(Exchange { carrier: Carrier::Http1(Http1::new(connection, call, pool)), watch, reused })
}

/// Sends a request on a stream of an HTTP/2 connection and waits for the head of its answer.
pub(super) async fn open_stream(
    seat: Seat,
    call: &mut Call<'_>,
    endpoint: &Arc<Endpoint>,
) -> Result<Answer<Box<Exchange>>, Error> {
    let reused = seat.reused;
    let moved = if reused { call.limits.began } else { Instant::now() };
    let mut carrier = Http2::new(seat, call)?;
    carrier.arm(call.limits.first_due(moved));
    let watch = Watch::new(call.limits, endpoint, moved);
    Box::new(Exchange { carrier: Carrier::Http2(carrier), watch, reused }).answer(call).await
}

/// All of 1xx but 101, which is final.
pub(super) fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

impl Exchange {
    /// The final answer; tells of interim ones on the way. Gives the body back where there is none.
    pub async fn answer(mut self: Box<Self>, call: &mut Call<'_>) -> Result<Answer<Box<Exchange>>, Error> {
        let mut interim = 0;
        match poll_fn(|cx| self.poll_final_head(cx, call, &mut interim)).await {
            Ok((status, fields)) => {
                self.watch.answered = true;
                Ok(Answer::new(status, fields, self))
            }
            Err(error) => {
                *call.upload = self.take_upload();
                Err(error)
            }
        }
    }

    fn poll_final_head(
        &mut self,
        cx: &mut Context<'_>,
        call: &mut Call<'_>,
        interim: &mut usize,
    ) -> Poll<Result<(StatusCode, Fields), Error>> {
        loop {
            let (status, fields) = ready!(self.poll_head(cx, call))?;
            if !is_interim(status) {
                return Poll::Ready(Ok((status, fields)));
            }
            if *interim == MAX_INTERIM {
                return Poll::Ready(Err(self.error(Kind::Protocol)));
            }
            *interim += 1;
            (call.interim)(status, &fields.into_map());
        }
    }

    fn poll_head(&mut self, cx: &mut Context<'_>, call: &mut Call<'_>) -> Poll<Result<(StatusCode, Fields), Error>> {
        let polled = match &mut self.carrier {
            Carrier::Http1(carrier) => carrier.poll_head(cx, call, &mut self.watch),
            Carrier::Http2(carrier) => {
                carrier.poll_head(cx, &mut self.watch).map_ok(|(status, headers)| (status, headers.into()))
            }
        };
        if polled.is_pending() {
            call.late.set(call.late.get() || call.limits.patience.is_some() && self.watch.limits.patience.is_none());
        }
        polled
    }

    /// The request's body, as far as it is left, for an answer that is not passed on.
    pub fn upload(&self) -> &Upload {
        match &self.carrier {
            Carrier::Http1(carrier) => carrier.upload(),
            Carrier::Http2(carrier) => carrier.upload(),
        }
    }

    /// Takes the body out; nothing more of it is sent here.
    pub fn take_upload(&mut self) -> Upload {
        match &mut self.carrier {
            Carrier::Http1(carrier) => carrier.sending.give_up(),
            Carrier::Http2(carrier) => carrier.give_up(),
        }
    }

    /// True if its connection had served before.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// How long the head of the answer took, for whom has just got it.
    pub fn answered_after(&self) -> Duration {
        self.watch.answered_after()
    }

    /// When the head of the answer came, or whatever moved last.
    pub fn moved(&self) -> Instant {
        self.watch.moved
    }

    fn error(&self, kind: Kind) -> Error {
        match &self.carrier {
            Carrier::Http1(carrier) => carrier.error(kind),
            Carrier::Http2(carrier) => carrier.error(kind),
        }
    }

    /// True once all that the answer's length announced has come. Trailers may still follow.
    pub fn is_whole(&self) -> bool {
        match &self.carrier {
            Carrier::Http1(carrier) => carrier.framing.has_ended(),
            Carrier::Http2(carrier) => carrier.has_ended() || carrier.left() == Some(0),
        }
    }

    /// What is left when HTTP is over, and what was read beyond the head: for an answer that switched protocols.
    pub fn into_tunnel(self) -> Option<(Tunnel, Bytes)> {
        match self.carrier {
            Carrier::Http1(carrier) => carrier.into_tunnel(),
            Carrier::Http2(carrier) => carrier.into_tunnel().map(|tunnel| (tunnel, Bytes::new())),
        }
    }
}

impl Passing for Exchange {
    fn poll_pass(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: &TcpStream) -> Poll<Option<Result<Moved, Error>>> {
        let Exchange { carrier, watch, .. } = &mut *self;
        let Carrier::Http1(carrier) = carrier else { return Poll::Ready(None) };
        let polled = carrier.poll_pass(cx, watch, to);
        if let Poll::Ready(Some(Err(_))) = polled {
            carrier.connection = None;
        }
        polled.map_err(Error::after_the_head)
    }
}

impl Body for Exchange {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Exchange { carrier, watch, .. } = &mut *self;
        let polled = match carrier {
            Carrier::Http1(carrier) => {
                let polled = carrier.poll_body(cx, watch);
                if let Poll::Ready(Some(Err(_))) = polled {
                    carrier.connection = None;
                }
                polled
            }
            Carrier::Http2(carrier) => {
                let polled = carrier.poll_body(cx, watch);
                if let Poll::Ready(Some(Err(_))) = polled {
                    carrier.fail();
                }
                polled
            }
        };
        polled.map_err(Error::after_the_head)
    }

    fn is_end_stream(&self) -> bool {
        match &self.carrier {
            Carrier::Http1(carrier) => carrier.framing.has_ended(),
            Carrier::Http2(carrier) => carrier.has_ended(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.carrier {
            Carrier::Http1(carrier) => match carrier.framing {
                Framing::Length(left) => SizeHint::with_exact(left),
                _ => SizeHint::default(),
            },
            Carrier::Http2(carrier) => carrier.left().map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}
