//! A connection that has switched protocols: bytes both ways until either side ends, both are silent for too long, or the
//! endpoint has left and what ran there has had its time.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use http::StatusCode;
use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http_body::Body as _;
use tracing::debug;

use super::answer::{Body, Refusal};
use super::copy::{Broken, Ferry, Side, Times, copy};
use super::forward::Guard;
use super::record::Record;
use super::{Worker, flags};
use crate::health::Outcome;
use crate::listener::Takeover;
use crate::message::{self, Answer, Fields};
use crate::upstream::{Error, Exchange, Tunnel};

/// What lasts as long as the tunnel does.
pub(super) struct Held {
    guard: Guard,
    record: Record,
    /// Bytes of the client.
    received: Cell<u64>,
    /// Bytes of the endpoint.
    sent: Cell<u64>,
    /// It has come to an end by itself.
    ended: bool,
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.ended {
            self.record.page.broke_off();
        }
        (self.record.received, self.record.sent) = (self.received.get(), self.sent.get());
    }
}

impl Held {
    pub(super) fn new(guard: Guard, record: Record) -> Self {
        Held { guard, record, received: Cell::default(), sent: Cell::default(), ended: false }
    }
}

/// Answers 101 and moves bytes from then on, as a task of the worker's.
pub(super) fn open(
    worker: &Rc<Worker>,
    fields: Fields,
    (client, exchange): (Takeover, Box<Exchange>),
    mut held: Held,
    times: Times,
) -> Answer<Body> {
    let Some((endpoint, early)) = exchange.into_tunnel() else {
        let refusal = Refusal::Upstream(Error::unexpected_answer());
        held.record.code = refusal.status().0.as_u16();
        held.record.page.flag(flags::of_refusal(&refusal));
        held.ended = true;
        let answer = refusal.answer();
        held.sent.set(answer.body().size_hint().lower());
        return answer.into();
    };
    held.record.page.is_tunnel();
    let mut answer = Answer::new(StatusCode::SWITCHING_PROTOCOLS, fields, Body::Text(None));
    held.guard.answered(&answer);
    let (draining, ferry) = (worker.draining.clone(), Rc::clone(&worker.ferry));
    worker.tunnels.borrow_mut().spawn_local(async move {
        if let Err(error) = run((client, endpoint), &early, &ferry, (times, &held)).await {
            debug!(%error, "tunnel ended");
            held.record.page.tunnel_broke(&error);
        }
        held.ended = true;
        // However it ended: the endpoint has served.
        held.guard.judge(Outcome::Success);
        drop((held, draining));
    });
    let headers = answer.fields.map();
    let protocol = headers.get(UPGRADE).cloned();
    message::end_to_end_of_answer(headers);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        headers.insert(UPGRADE, protocol);
    }
    answer
}

async fn run(
    (client, mut endpoint): (Takeover, Tunnel),
    early: &[u8],
    ferry: &Ferry,
    (times, held): (Times, &Held),
) -> Result<(), Broken> {
    let mut client = client.take().await.ok_or_else(|| Broken::Client(io::ErrorKind::NotConnected.into()))?;
    let (received, sent) = (&held.received, &held.sent);
    let client = Side { stream: &mut client, received: &|count| received.set(received.get() + count as u64) };
    let endpoint = Side { stream: &mut endpoint, received: &|count| sent.set(sent.get() + count as u64) };
    sent.set(early.len() as u64);
    copy(client, endpoint, (&[], early), ferry, (times, held.guard.attempt().endpoint())).await
}
