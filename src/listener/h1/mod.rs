//! HTTP/1.1 towards clients (RFC 9112), written here for what no library gives: a request is read in one way or refused, an answer
//! begun is told from one that is not, interim answers go out, and nothing is left behind that a next request could be mixed up
//! with. The body of a request is read by whoever sends it on, from the same buffer.

mod answer;
#[doc(hidden)]
pub mod fuzzing;
mod head;
mod wire;

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use http::{HeaderMap, Method, StatusCode, Version, request};
use tokio::time::timeout;

use super::screen::{Refused, bad};
use super::{Asked, Informer, Service, Taken, Takeover, Talk};
use crate::config::Http;
use crate::message::{self, Incoming, Marks};
use answer::{Answer, Question};
use head::Head;
pub(super) use wire::Wire;
use wire::{State, Upload};

/// How a client begins who knows that HTTP/2 is spoken here (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long is waited for a client to take an answer to what it did not say.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// What is read of further requests while one is being answered.
const MAX_AHEAD: usize = 64 * 1024;

/// How a conversation has ended.
pub(super) enum End {
    /// In peace.
    Over,
    /// The client left, or the answer broke off.
    Broken(io::Error),
    /// The client speaks HTTP/2; not a byte of it has been used.
    Http2,
}

/// What comes next on a connection.
enum Next {
    Head(Head),
    Refused(Refused),
    Over,
    Http2,
}

/// Answers requests one after the other, for as long as the connection may stay.
pub(super) async fn converse<S: Service>(wire: &Wire, talk: &Talk<S>) -> End {
    let inform: Informer = {
        let wire = wire.clone();
        Rc::new(move |status, headers: &HeaderMap| wire.inform(status, headers))
    };
    loop {
        let ended = match next(wire, talk).await {
            Ok(Next::Head(head)) => {
                talk.is_http1();
                talk.pulse.busy();
                exchange(wire, talk, head, &inform).await
            }
            Ok(Next::Refused(refused)) => {
                talk.pulse.busy();
                answer::refuse(wire, talk, refused).await
            }
            Ok(Next::Over) => Ok(false),
            Ok(Next::Http2) => return End::Http2,
            Err(error) => Err(error),
        };
        talk.pulse.idle();
        match ended {
            Ok(true) => {}
            Ok(false) => return End::Over,
            Err(error) => return End::Broken(error),
        }
    }
}

/// Reads up to the end of the next head.
async fn next<S>(wire: &Wire, talk: &Talk<S>) -> io::Result<Next> {
    {
        let mut state = wire.0.borrow_mut();
        state.turn_to_heads();
        if !state.buffer.is_empty() {
            // It began to come behind the one before it.
            talk.pulse.received();
        }
    }
    let mut reading = Reading::new(talk.may_be_http2());
    poll_fn(|cx| reading.poll(&mut wire.0.borrow_mut(), cx, talk)).await
}

/// How far the reading of a head has got.
struct Reading {
    /// Bytes that were there the last time.
    looked: usize,
    /// Bytes that were there when they were last parsed.
    parsed: usize,
    /// An empty line was skipped: some clients send one behind a body (RFC 9112 section 2.2).
    blank: bool,
    may_be_http2: bool,
}

impl Reading {
    fn new(may_be_http2: bool) -> Self {
        Reading { looked: 0, parsed: 0, blank: false, may_be_http2 }
    }

    fn poll<S>(&mut self, state: &mut State, cx: &mut Context<'_>, talk: &Talk<S>) -> Poll<io::Result<Next>> {
        loop {
            if state.buffer.len() > self.looked
                && let Some(next) = self.look(&mut state.buffer, &talk.rules, || talk.spare())
            {
                return Poll::Ready(Ok(next));
            }
            if state.leaving && state.buffer.is_empty() {
                return Poll::Ready(Ok(Next::Over));
            }
            let Poll::Ready(count) = state.poll_fill(cx) else {
                if !state.buffer.is_empty() {
                    // Only now that it is waited for: a head that comes in one piece needs no time.
                    talk.pulse.received();
                }
                return Poll::Pending;
            };
            if count? == 0 {
                let whole = state.buffer.is_empty();
                return Poll::Ready(Ok(if whole {
                    Next::Over
                } else {
                    Next::Refused(bad("its head, which is cut off"))
                }));
            }
        }
    }

    /// What the bytes that are there begin with, if that can be said already.
    fn look(
        &mut self,
        buffer: &mut BytesMut,
        rules: &Http,
        spare: impl FnOnce() -> Option<Box<request::Parts>>,
    ) -> Option<Next> {
        if self.may_be_http2 {
            let known = buffer.len().min(PREFACE.len());
            match buffer[..known] == PREFACE[..known] {
                true if known == PREFACE.len() => return Some(Next::Http2),
                // Three bytes of it are no method that anybody else uses.
                true if known >= 3 => return None,
                _ => {}
            }
        }
        if !self.blank && buffer.starts_with(b"\r\n") {
            buffer.advance(2);
            // A preface stands at the very beginning, whether or not the line came in one piece with it.
            (self.blank, self.looked, self.may_be_http2) = (true, 0, false);
        }
        // Only when there is a new line, or twice as much: so that byte by byte costs no more than all at once.
        let is_new = buffer[self.looked.min(buffer.len())..].contains(&b'\n');
        self.looked = buffer.len();
        if buffer.is_empty() || self.parsed > 0 && !is_new && self.looked < 2 * self.parsed {
            return None;
        }
        self.parsed = self.looked;
        match head::take(buffer, rules, spare()) {
            Ok(head) => head.map(Next::Head),
            Err(refused) => Some(Next::Refused(refused)),
        }
    }
}

/// Answers one request; true if another may follow.
async fn exchange<S: Service>(wire: &Wire, talk: &Talk<S>, head: Head, inform: &Informer) -> io::Result<bool> {
    let Head { parts, framing, keep_alive, expects } = head;
    let body = (!framing.has_ended()).then(|| Box::pin(Upload(wire.clone())) as Incoming);
    {
        let mut state = wire.0.borrow_mut();
        (state.framing, state.expects, state.answering, state.unwanted) = (framing, expects, false, false);
    }
    let marks = Marks::of(&parts.headers);
    let trailers = marks.te && message::accepts_trailers(&parts.headers);
    let (method, version) = (parts.method.clone(), parts.version);
    let question = Question { method, version, keep_alive, trailers };
    let (give, takeover) = may_be_taken(&parts, marks).then(Takeover::new).unzip();
    let (client, informer) = (Rc::clone(&talk.client), Rc::clone(inform));
    let asked = Asked { head: parts, marks, body, client, informer, takeover };
    let mut answering = pin!(Rc::clone(&talk.service).call(asked));
    let response = poll_fn(|cx| match answering.as_mut().poll(cx) {
        Poll::Ready(response) => Poll::Ready(Ok(response)),
        Poll::Pending => poll_meanwhile(&mut wire.0.borrow_mut(), cx).map(Err),
    })
    .await?;
    let message::Answer { status, mut fields, body, spent } = response;
    poll_fn(|cx| {
        wire.0.borrow_mut().skim(cx);
        Poll::Ready(())
    })
    .await;
    let answer = Answer::begin(wire, talk, (status, &mut fields), &question, &body);
    drop(fields);
    talk.keep_spare(spent);
    let ended = answer.send(wire, body).await;
    if let (Some(give), true, Ok(())) = (give, answer.switches, &ended) {
        // Nobody takes it if the tunnel's task is gone, and then it is closed.
        let _ = give.send(Taken::wire(wire.clone(), talk.revocation()));
        return Ok(false);
    }
    if let (Err(_), true) = (&ended, answer.ends_with_close()) {
        talk.pulse.cut();
    }
    ended?;
    if !answer.keep {
        answer::close(wire).await;
    }
    Ok(answer.keep)
}

/// Tells a client that its request took too long to come.
pub(super) async fn time_out<S: Service>(wire: &Wire, talk: &Talk<S>) {
    let refused = Refused { status: StatusCode::REQUEST_TIMEOUT, what: "its head took too long" };
    // Who does not take this is let go all the same.
    let _ = timeout(LAST_WORDS, answer::refuse(wire, talk, refused)).await;
}

/// True for a request after which something else than HTTP may be spoken on its connection.
fn may_be_taken(head: &request::Parts, marks: Marks) -> bool {
    head.method == Method::CONNECT
        || marks.upgrade && head.version == Version::HTTP_11 && message::upgrade(&head.headers).is_some()
}

/// While an answer is awaited: lets interim ones out, and looks whether the client is still there. Ready when it is not.
fn poll_meanwhile(state: &mut State, cx: &mut Context<'_>) -> Poll<io::Error> {
    if (state.leaves || !state.out.is_empty())
        && let Poll::Ready(Err(error)) = state.poll_flush(cx)
    {
        return Poll::Ready(error);
    }
    // Until its body has come, whoever reads that will notice.
    while state.framing.has_ended() && state.buffer.len() < MAX_AHEAD {
        match ready!(state.poll_fill(cx)) {
            Ok(0) => return Poll::Ready(io::Error::new(io::ErrorKind::UnexpectedEof, "the client has left")),
            Ok(_) => {}
            Err(error) => return Poll::Ready(error),
        }
    }
    Poll::Pending
}
