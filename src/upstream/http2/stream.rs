//! One request and its answer as a stream. Dropped before its end, it is reset with CANCEL, and the connection goes on.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, Response, StatusCode};
use http_body::Frame;

use super::head::{self, Asked};
use super::line::Seat;
use super::outflow::{Fault, Outflow};
use crate::message::framing::length;
use crate::message::{Duplex, Upload};
use crate::upstream::stall::Stall;
use crate::upstream::tunnel::Tunnel;
use crate::upstream::watch::{Sent, Watch};
use crate::upstream::{Call, Error, Kind, Progress};

#[derive(Debug)]
pub(in crate::upstream) struct Http2 {
    // None once both sides have ended, or one has failed.
    live: Option<Live>,
    sending: Outflow,
    /// The request was of this method.
    method: Method,
    /// What the answer's Content-Length leaves to come.
    left: Option<u64>,
    /// Another protocol.
    asked: Option<Asked>,
    /// Has come, and is to be passed on.
    trailers: Option<HeaderMap>,
    reused: bool,
    /// What the connection had taken before the request.
    mark: u64,
}

/// The stream itself.
#[derive(Debug)]
struct Live {
    sending: SendStream<Bytes>,
    receiving: Receiving,
    /// Passed on, and not yet given back to the endpoint as room for more.
    held: usize,
    stall: Stall,
    // Last: the place is free when the stream has ended.
    seat: Seat,
}

#[derive(Debug)]
enum Receiving {
    Head(ResponseFuture),
    Body(RecvStream),
}

impl Http2 {
    /// Sends the head of a call's request.
    pub(in crate::upstream) fn new(seat: Seat, call: &mut Call<'_>) -> Result<Self, Error> {
        let (reused, mark) = (seat.reused, seat.written());
        let refused = |kind: Kind| Error::new(kind, Progress::NothingSent, reused);
        let head = call.head.borrow();
        let request = head::request(&head, call.way, seat.is_secured());
        let mut request = request.map_err(|malformed| refused(Kind::Unsupported).caused_by(malformed))?;
        if let Some(parent) = &call.parent {
            request.headers_mut().insert("traceparent", parent.clone());
        }
        let asked = Asked::of(&head.headers);
        if asked.is_some() && !seat.sender().is_extended_connect_protocol_enabled() {
            return Err(refused(Kind::Unsupported).caused_by("it takes no other protocols inside HTTP/2"));
        }
        let announced = head.headers.get(CONTENT_LENGTH).and_then(|value| length(value.as_bytes()));
        let (head, sending) = seat
            .sender()
            .send_request(request, call.upload.is_empty() && asked.is_none())
            .map_err(|error| refused(kind(&error)).caused_by(error))?;
        let (method, stall) = (call.head.borrow().method.clone(), Stall::new());
        let live = Some(Live { sending, receiving: Receiving::Head(head), held: 0, stall, seat });
        let sending = Outflow::new(std::mem::take(call.upload), announced);
        Ok(Http2 { live, sending, method, left: None, asked, trailers: None, reused, mark })
    }

    /// Sees to it that the time is looked at by then.
    pub(in crate::upstream) fn arm(&mut self, due: std::time::Instant) {
        if let Some(live) = &mut self.live {
            live.stall.arm(due);
        }
    }

    /// Moves both directions until a head is there.
    pub(in crate::upstream) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        watch: &mut Watch,
    ) -> Poll<Result<(StatusCode, HeaderMap), Error>> {
        self.poll_send(cx, watch)?;
        let Some(Live { receiving: Receiving::Head(head), .. }) = &mut self.live else {
            return Poll::Ready(Err(self.error(Kind::Reset)));
        };
        if let Poll::Ready(Some(interim)) = head.poll_informational(cx) {
            watch.stir();
            return Poll::Ready(interim.map_err(|error| self.fault(error)).and_then(|interim| self.interim(interim)));
        }
        match std::pin::Pin::new(head).poll(cx) {
            Poll::Ready(Ok(answer)) => {
                watch.stir();
                Poll::Ready(self.answer(answer))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.fault(error))),
            Poll::Pending => Poll::Ready(Err(ready!(self.poll_expired(cx, watch)))),
        }
    }

    fn interim(&self, interim: Response<()>) -> Result<(StatusCode, HeaderMap), Error> {
        let (head, ()) = interim.into_parts();
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(self.error(Kind::Protocol).caused_by("HTTP/2 has no 101"));
        }
        Ok((head.status, head.headers))
    }

    fn answer(&mut self, answer: Response<RecvStream>) -> Result<(StatusCode, HeaderMap), Error> {
        let (mut head, body) = answer.into_parts();
        if let Some(asked) = self.asked.as_ref().filter(|_| head.status.is_success()) {
            head::switched(asked, &mut head);
            if let Some(live) = &mut self.live {
                live.receiving = Receiving::Body(body);
            }
            return Ok((head.status, head.headers));
        }
        let announced = head::announced(head.status, &head.headers, &self.method);
        self.left = announced.map_err(|malformed| self.error(Kind::Protocol).caused_by(malformed))?;
        let is_bodiless = self.left == Some(0) && head.headers.get(CONTENT_LENGTH).is_none_or(|length| length != "0");
        let has_ended = is_bodiless || body.is_end_stream();
        if let Some(live) = &mut self.live {
            live.receiving = Receiving::Body(body);
        }
        if has_ended {
            self.finish();
        }
        Ok((head.status, head.headers))
    }

    /// The next piece of the answer, while both directions move.
    pub(in crate::upstream) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        watch: &mut Watch,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(trailers) = self.trailers.take() {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        if let Err(error) = self.poll_send(cx, watch) {
            return Poll::Ready(Some(Err(error)));
        }
        let polled = loop {
            let Some(Live { receiving: Receiving::Body(body), held, .. }) = &mut self.live else {
                return Poll::Ready(None);
            };
            // What was passed on has been taken by now. A stream that has ended needs no more room.
            let _ = body.flow_control().release_capacity(std::mem::take(held));
            match body.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => {
                    *held = data.len();
                    watch.stir();
                    if !data.is_empty() {
                        break Poll::Ready(self.piece(cx, data, watch));
                    }
                }
                Poll::Ready(Some(Err(error))) => break Poll::Ready(Err(self.fault(error))),
                Poll::Ready(None) => return self.poll_trailers(cx, watch),
                Poll::Pending => break Poll::Pending,
            }
        };
        match polled {
            Poll::Ready(piece) => Poll::Ready(Some(piece)),
            Poll::Pending => self.poll_expired(cx, watch).map(|error| Some(Err(error))),
        }
    }

    fn piece(&mut self, cx: &mut Context<'_>, data: Bytes, watch: &mut Watch) -> Result<Frame<Bytes>, Error> {
        watch.gave().map_err(|kind| self.error(kind))?;
        if let Some(left) = &mut self.left {
            match left.checked_sub(data.len() as u64) {
                Some(rest) => *left = rest,
                None => return Err(self.error(Kind::Protocol).caused_by("it is longer than its Content-Length")),
            }
        }
        // Whoever counts will not ask for more: the end belongs to the last piece, if it is there already.
        if self.left == Some(0)
            && let Some(Live { receiving: Receiving::Body(body), .. }) = &mut self.live
            && !body.is_end_stream()
            && let Poll::Ready(None) = body.poll_data(cx)
            && let Poll::Ready(Ok(trailers)) = body.poll_trailers(cx)
        {
            self.trailers = trailers.map(head::trailers);
            self.finish();
        } else if let Some(Live { receiving: Receiving::Body(body), .. }) = &self.live
            && body.is_end_stream()
        {
            self.finish();
        }
        Ok(Frame::data(data))
    }

    fn poll_trailers(&mut self, cx: &mut Context<'_>, watch: &mut Watch) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(Live { receiving: Receiving::Body(body), .. }) = &mut self.live else { return Poll::Ready(None) };
        let trailers = match body.poll_trailers(cx) {
            Poll::Ready(Ok(trailers)) => trailers,
            Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(self.fault(error)))),
            Poll::Pending => return self.poll_expired(cx, watch).map(|error| Some(Err(error))),
        };
        if self.left.is_some_and(|left| left > 0) {
            let short = self.error(Kind::Protocol).caused_by("it is shorter than its Content-Length");
            return Poll::Ready(Some(Err(short)));
        }
        watch.stir();
        self.finish();
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(head::trailers(trailers)))))
    }

    /// Sends what can be sent.
    fn poll_send(&mut self, cx: &mut Context<'_>, watch: &mut Watch) -> Result<(), Error> {
        let Some(live) = self.live.as_mut().filter(|_| !self.sending.is_done()) else { return Ok(()) };
        match self.sending.poll(&mut live.sending, cx) {
            Ok(true) => watch.stir(),
            Ok(false) => {}
            Err(fault @ Fault::Broken(_)) => return Err(self.error(Kind::Downstream).caused_by(fault)),
            Err(fault @ Fault::Length) => return Err(self.error(Kind::Downstream).caused_by(fault)),
        }
        Ok(())
    }

    fn poll_expired(&mut self, cx: &mut Context<'_>, watch: &mut Watch) -> Poll<Error> {
        let sent = Sent { whole: self.sending.is_done(), awaits_sender: self.sending.upload.awaits_sender() };
        let Some(live) = &mut self.live else { return Poll::Pending };
        watch.poll_expired(cx, &mut live.stall, sent).map(|kind| self.error(kind))
    }

    /// Both sides have said all. A request that was not needed to its end is broken off by this.
    fn finish(&mut self) {
        self.left = Some(0);
        self.live = None;
    }

    /// What is left when HTTP is over.
    pub(in crate::upstream) fn into_tunnel(self) -> Option<Tunnel> {
        let Live { sending, receiving, seat, .. } = self.live?;
        match receiving {
            Receiving::Body(body) => Some(Tunnel::shared(Duplex::new(sending, body), seat)),
            Receiving::Head(_) => None,
        }
    }

    /// Ends it whatever it has come to.
    pub(in crate::upstream) fn fail(&mut self) {
        self.live = None;
    }

    pub(in crate::upstream) fn error(&self, kind: Kind) -> Error {
        Error::new(kind, self.progress(), self.reused)
    }

    /// What an error of the stream or its connection means for the request.
    fn fault(&self, error: h2::Error) -> Error {
        let kind = kind(&error);
        let untouched = matches!(kind, Kind::Refused | Kind::Leaving);
        let progress = if untouched { Progress::NothingSent } else { self.progress() };
        Error::new(kind, progress, self.reused).caused_by(error)
    }

    fn progress(&self) -> Progress {
        let untouched = self.live.as_ref().is_some_and(|live| live.seat.written() == self.mark);
        if untouched { Progress::NothingSent } else { Progress::Sent }
    }

    pub(in crate::upstream) fn upload(&self) -> &Upload {
        &self.sending.upload
    }

    pub(in crate::upstream) fn give_up(&mut self) -> Upload {
        self.sending.give_up()
    }

    /// True once the stream is over.
    pub(in crate::upstream) fn has_ended(&self) -> bool {
        self.live.is_none() && self.trailers.is_none()
    }

    /// What the body's length says is still to come.
    pub(in crate::upstream) fn left(&self) -> Option<u64> {
        self.left
    }
}

/// What kind of failure it is. Whoever is leaving has not looked at the streams that it says so of, and whoever refuses one
/// neither (RFC 9113 sections 6.8 and 8.7).
fn kind(error: &h2::Error) -> Kind {
    if error.is_remote() && error.is_go_away() {
        Kind::Leaving
    } else if error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM) {
        Kind::Refused
    } else if error.is_library() && error.is_reset() {
        // The endpoint broke the rules on this very stream.
        Kind::Protocol
    } else {
        Kind::Reset
    }
}
