//! One try at an endpoint, and a second one beside it if it takes long (Dean and Barroso, "The tail at scale"): the first
//! answer wins, and the other attempt is given up.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};

use http::header::{HOST, HeaderValue};
use http::{HeaderMap, Method, StatusCode, request};
use http_body::Body as _;

use super::forward::Guard;
use super::journey::Journey;
use super::series::Entry;
use super::{deadline, preface, retry};
use crate::cluster::{Permit, Purpose};
use crate::endpoint::Id;
use crate::health::{self, Outcome, Reason};
use crate::message::{Answer, Switch, Upload, Way};
use crate::upstream::{Call, Error, Exchange, Kind, Limits};

/// How many times as long as half of the answers something takes that is not of their kind.
const UNUSUAL: u32 = 4;
/// Pieces of an answer that are read for the sake of its connection.
const FRAMES: usize = 16;

/// A request as it goes out, the same for all of its attempts.
pub(super) struct Outgoing {
    pub(super) method: Method,
    pub(super) head: RefCell<Box<request::Parts>>,
    pub(super) way: Way,
    /// Whether the client knows interim answers.
    pub(super) speaks_interim: bool,
    /// Whether it may be sent again once it was sent, as far as its method goes.
    pub(super) repeatable: bool,
    /// Whether another attempt may run beside the first.
    pub(super) hedged: bool,
    /// What the client wants to switch to.
    pub(super) protocol: Option<Box<Switch>>,
}

/// What came of an attempt.
pub(super) type Sent = Result<Answer<Box<Exchange>>, Error>;

/// What came of two attempts, one beside the other.
enum Raced {
    /// What the first came to.
    First(Sent),
    /// What the second came to, and what the first did meanwhile.
    Second { sent: Sent, by: Guard, first: First },
}

/// What an attempt did that was overtaken.
enum First {
    Failed(Sent),
    /// It had far more time.
    Late,
    Unlucky,
}

/// An attempt that another one could follow.
pub(super) enum Failed {
    /// There is no answer.
    Error(Error),
    /// There is one, of a status after which a request is tried again; and who gave it, where it is in flight until it is given up.
    Answer(Answer<Box<Exchange>>, Guard),
}

impl Journey<'_> {
    /// Sends the request where the guard says, and perhaps to one more beside it. Returns whichever counts. Of those tried it
    /// notes none, or both.
    pub(super) async fn attempt(
        &self,
        mut guard: Guard,
        outgoing: &Outgoing,
        upload: &mut Upload,
        (tried, began): (&mut Vec<Id>, Instant),
    ) -> (Sent, Guard) {
        self.say_deadline(outgoing, began);
        if self.entry.names_endpoint() {
            say_host(outgoing, &guard);
        }
        let late = Cell::new(false);
        let limits = self.limits(outgoing, began);
        let raced = {
            let mut first = pin!(self.send(&guard, outgoing, upload, (limits, &late)));
            let in_time = poll_fn(|cx| match first.as_mut().poll(cx) {
                Poll::Ready(sent) => Poll::Ready(Some(sent)),
                Poll::Pending if late.get() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            });
            match in_time.await {
                Some(sent) => Raced::First(sent),
                // Rare, so it does not lie in every request's way.
                None => {
                    tried.push(guard.attempt().endpoint().id());
                    Box::pin(self.hedge(first, outgoing, (tried, began))).await
                }
            }
        };
        match raced {
            Raced::First(sent) => (sent, guard),
            Raced::Second { sent, by, first } => {
                let mut page = self.page.borrow_mut();
                match first {
                    First::Failed(failed) => {
                        page.outdone(guard.attempt(), &failed);
                        guard.note(&failed);
                    }
                    First::Late => {
                        page.gave_up(guard.attempt());
                        guard.judge(Outcome::Failure(Reason::Timeout));
                    }
                    First::Unlucky => page.gave_up(guard.attempt()),
                }
                (sent, by)
            }
        }
    }

    async fn send(
        &self,
        guard: &Guard,
        outgoing: &Outgoing,
        upload: &mut Upload,
        (limits, late): (Limits, &Cell<bool>),
    ) -> Sent {
        let speaks_interim = outgoing.speaks_interim;
        let mut call = Call {
            head: &outgoing.head,
            way: &outgoing.way,
            parent: self.page.borrow().parent(guard.attempt()),
            upload,
            limits,
            protocol: self.settings().protocol,
            upgrades: outgoing.protocol.is_some(),
            grpc: self.marks.grpc,
            tls: self.entry.cluster.tls(),
            preface: preface::of(self.settings(), self.client.downstream.ends()),
            // Where one idle connection was stale, others may be.
            probe: !outgoing.repeatable || limits.began != self.started,
            late,
            interim: &mut |status: StatusCode, headers: &HeaderMap| {
                self.relay_interim(speaks_interim, status, headers);
            },
        };
        let (upstream, endpoint) = (&self.worker.upstream, guard.attempt().endpoint());
        match upstream.at_hand(endpoint, &mut call) {
            Some(exchange) => exchange.answer(&mut call).await,
            // Boxed, so that whoever finds a connection carries nothing of what it takes to make one.
            None => Box::pin(upstream.send(endpoint, &mut call)).await,
        }
    }

    /// Waits for an attempt that takes long and, if there is somebody else and the budget has one, for another.
    async fn hedge<F: Future<Output = Sent>>(
        &self,
        mut first: Pin<&mut F>,
        outgoing: &Outgoing,
        (tried, began): (&mut Vec<Id>, Instant),
    ) -> Raced {
        let now = Instant::now();
        let Some(mut other) = self.begin_hedge(tried, now) else { return Raced::First(first.await) };
        tried.push(other.attempt().endpoint().id());
        let (late, limits) = (Cell::new(true), Limits { patience: None, ..self.limits(outgoing, now) });
        let mut upload = Upload::default();
        let second = self.send(&other, outgoing, &mut upload, (limits, &late));
        let ([one, two], is_second) = self.race(first.as_mut(), pin!(second)).await;
        let count = |result| self.entry.attempts.hedge(result);
        match (one, two) {
            (one, Some(sent)) if is_second => {
                let is_good = self.is_final(&sent);
                count(if is_good { "won" } else { "failed" });
                let first = match one {
                    Some(failed) => First::Failed(failed),
                    // Whoever was overtaken by far is late, unless such requests often take that long: both may wait for one event.
                    None if is_good && now.elapsed() < now - began && self.is_unusual(now - began) => First::Late,
                    None => First::Unlucky,
                };
                Raced::Second { sent, by: other, first }
            }
            (one, two) => {
                count("lost");
                match two {
                    Some(failed) => {
                        self.page.borrow_mut().outdone(other.attempt(), &failed);
                        other.note(&failed);
                    }
                    None => self.page.borrow_mut().gave_up(other.attempt()),
                }
                match one {
                    Some(sent) => Raced::First(sent),
                    None => Raced::First(first.await),
                }
            }
        }
    }

    /// Polls both until one is answered well or both have ended. Returns what has ended, and whether the second decides.
    async fn race<A: Future<Output = Sent>, B: Future<Output = Sent>>(
        &self,
        mut first: Pin<&mut A>,
        mut second: Pin<&mut B>,
    ) -> ([Option<Sent>; 2], bool) {
        let (mut one, mut two) = (None, None);
        let is_second = poll_fn(|cx| {
            if one.is_none()
                && let Poll::Ready(sent) = first.as_mut().poll(cx)
            {
                let decides = two.is_some() || self.is_final(&sent);
                one = Some(sent);
                if decides {
                    return Poll::Ready(false);
                }
            }
            if two.is_none()
                && let Poll::Ready(sent) = second.as_mut().poll(cx)
            {
                let decides = one.is_some() || self.is_final(&sent);
                two = Some(sent);
                if decides {
                    return Poll::Ready(true);
                }
            }
            Poll::Pending
        })
        .await;
        ([one, two], is_second)
    }

    /// An attempt at somebody else, if there is one and the budget allows it.
    fn begin_hedge(&self, tried: &[Id], now: Instant) -> Option<Guard> {
        let cluster = &self.entry.cluster;
        let refused = if tried.len() > self.entry.retry.attempts as usize {
            Some("attempts")
        } else if !cluster.has_untried(tried) {
            Some("no_endpoint")
        } else if !cluster.may_retry(now) {
            Some("budget")
        } else {
            None
        };
        if let Some(why) = refused {
            self.entry.attempts.hedge(why);
            return None;
        }
        self.pick(tried, now, Purpose::Hedge)
    }

    /// True for a time that answers to this route's requests hardly ever take.
    fn is_unusual(&self, took: Duration) -> bool {
        self.entry.typical.median().is_some_and(|median| took >= median * UNUSUAL)
    }

    /// True unless another attempt could still do better.
    fn is_final(&self, sent: &Sent) -> bool {
        matches!(sent, Ok(answer) if !self.is_bad(answer.status))
    }

    /// True for an answer after which such a request is tried again, if it can be.
    pub(super) fn is_bad(&self, status: StatusCode) -> bool {
        let is_chosen = self.entry.retry.on.statuses.has(status.as_u16());
        // The application's own error, of the one that has the client's session: elsewhere the session would be lost.
        let is_own = self.affinity.session.is_some() && health::judge(status) == Outcome::Failure(Reason::Server);
        is_chosen && !is_own
    }

    fn limits(&self, outgoing: &Outgoing, began: Instant) -> Limits {
        let patience = outgoing.hedged.then(|| self.entry.typical.patience(&self.settings().hedge)).flatten();
        Limits {
            per_try: self.entry.timeouts.per_try.map(|per_try| began + per_try),
            deadline: self.deadline,
            patience: patience.map(|patience| began + patience),
            ..limits(&self.entry, began)
        }
    }

    /// Tells the endpoint what is left of the time that the request was given with it.
    fn say_deadline(&self, outgoing: &Outgoing, now: Instant) {
        if let Some(deadline) = self.deadline.filter(|_| self.told) {
            let left = deadline.saturating_duration_since(now);
            deadline::write(&mut outgoing.head.borrow_mut().headers, left);
        }
    }
}

/// Has an endpoint see its own address as `Host`.
fn say_host(outgoing: &Outgoing, guard: &Guard) {
    // An address has only characters that a header may have.
    if let Ok(host) = HeaderValue::from_str(&guard.attempt().endpoint().address().to_string()) {
        outgoing.head.borrow_mut().headers.insert(HOST, host);
    }
}

/// What an attempt is held to by its route and cluster, however long its request may take.
pub(super) fn limits(entry: &Entry, began: Instant) -> Limits {
    let (timeouts, limits) = (&entry.timeouts, &entry.cluster.settings().limits);
    Limits {
        began,
        connect: timeouts.connect,
        first_byte: timeouts.first_byte,
        idle: timeouts.idle,
        per_try: None,
        deadline: None,
        patience: None,
        drain: timeouts.drain,
        age: timeouts.connection_age,
        connections: (limits.endpoint_connections, limits.connections),
    }
}

impl Failed {
    /// The request's body, as far as it is left.
    pub(super) fn upload<'a>(&'a self, mine: &'a Upload) -> &'a Upload {
        match self {
            Failed::Error(_) => mine,
            Failed::Answer(response, _) => response.body.upload(),
        }
    }

    /// Gives up an answer that is not passed on, together with the request's body. If its own body has come already, the
    /// connection is as good as before.
    pub(super) async fn give_up(self, upload: &mut Upload) {
        let Failed::Answer(mut response, _guard) = self else { return };
        let mut exchange = Pin::new(&mut response.body);
        *upload = exchange.take_upload();
        poll_fn(|cx| {
            // As far as it is there; a long one is not worth it.
            for _ in 0..FRAMES {
                if !matches!(exchange.as_mut().poll_frame(cx), Poll::Ready(Some(Ok(_)))) {
                    break;
                }
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Tells a limit that finds itself what it did not get an answer in.
    pub(super) fn teach(&self, permit: Option<&Permit>, began: Instant) {
        let is_late = matches!(self, Failed::Error(error) if [Kind::Timeout, Kind::TryTimeout, Kind::Deadline].contains(&error.kind));
        if let Some(permit) = permit.filter(|_| is_late) {
            permit.answered(began.elapsed(), Instant::now());
        }
    }

    /// What to count it under.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Failed::Error(error) => retry::blame(error).map_or("stale_connection", Reason::name),
            Failed::Answer(response, _) => match health::judge(response.status) {
                Outcome::Failure(reason) => reason.name(),
                Outcome::Success => "status",
            },
        }
    }
}
