//! One request from head to answer.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, request};
use http_body::Body as _;
use tracing::debug;

use super::action::{self, Taken};
use super::affinity::Affinity;
use super::answer::{Body, Refusal};
use super::attempt::{Failed, Outgoing, Sent};
use super::books::Page;
use super::copy::Times;
use super::forward::{Forward, Guard};
use super::mirror::{self, Copied, Copy, From};
use super::record::{self, Record};
use super::series::Entry;
use super::{Edge, Worker, connect, deadline, flags, outgoing, retry, tunnel};
use crate::cluster::{self, Permit, Purpose};
use crate::config;
use crate::endpoint::Id;
use crate::health::{self, Outcome, Reason};
use crate::listener::{Asked, Client, Informer, Takeover};
use crate::message::{self, Answer, Fields, Incoming, Marks, Sender, Switch, Trusted, Upload, Way};
use crate::metrics::RequestSeries;
use crate::route::{self, Question};
use crate::upstream::{self, Error, Exchange};

/// Through more lictors than these nothing leads but a circle, such as of a service that has registered lictor's own address.
const MOST_HOPS: usize = 10;

/// Answers a request, and sees to it that it is counted.
pub(super) async fn answer(edge: &Edge, asked: Asked) -> Answer<Body> {
    let started = Instant::now();
    let worker = &edge.worker;
    let Asked { head, marks, body, client, informer, takeover } = asked;
    let sender = Sender::new(&client.downstream, &edge.trusted);
    let mut page = Page::of(worker.books.as_ref(), (edge.listener, started), (&client, sender), &head);
    let is_grpc = marks.grpc;
    let found = match &edge.names {
        None => find(edge, &head, sender),
        Some(names) => names.find(edge, (&head, sender), started).await,
    };
    let (host, taken) = match found {
        Ok(found) => found,
        Err(refusal) => {
            let series = worker.series.borrow_mut().nowhere(&worker.metrics, edge.listener);
            return refuse(&refusal, (worker, &series), page, (started, is_grpc, 0));
        }
    };
    let (entry, mirror) = match taken {
        Taken::Forward(entry, mirror) => (entry, mirror),
        Taken::Own(route, series) => {
            return action::answer(worker, (&route, &series), (&head, &host, sender), (started, page)).into();
        }
    };
    page.goes_to(&entry);
    if head.method == Method::CONNECT {
        return connect::open(edge, &entry, (&client, takeover), (started, page)).await.into();
    }
    let affinity = Affinity::of(&head, sender, &entry.cluster);
    let told = if edge.trust_deadline { deadline::read(&head.headers) } else { None };
    let given = entry.timeouts.request;
    let within = given.into_iter().chain(told).min();
    let deadline = within.map(|within| started + within);
    let is_short = told.is_some_and(|told| given.is_none_or(|given| told < given));
    let (told, trusted) = (told.is_some(), &edge.trusted);
    let journey = Journey {
        worker,
        entry,
        marks,
        mirror,
        started,
        deadline,
        told,
        is_short,
        client,
        trusted,
        informer,
        affinity,
        received: Cell::default(),
        page: RefCell::new(page),
    };
    match journey.go(head, (body, takeover), host).await {
        Ok(arrived) => journey.pass_on(arrived),
        Err(refusal) => {
            let (series, page) = (&journey.entry.request, journey.page.take());
            refuse(&refusal, (worker, series), page, (started, is_grpc, journey.received.get()))
        }
    }
}

/// The host, and what becomes of the request by the route that it takes.
fn find(edge: &Edge, head: &request::Parts, sender: Sender<'_>) -> Result<(HeaderValue, Taken), Refusal> {
    // Seen to by the listener.
    let host = head.headers.get(HOST).cloned().ok_or(Refusal::Host)?;
    let name = host.to_str().map_err(|_| Refusal::Host)?;
    let mut reader = edge.worker.reader.borrow_mut();
    let table = reader.load();
    let question = Question { head, sender };
    let route = match edge.strict {
        true => {
            table.routes().find_strictly(name, head.uri.path(), &question).map_err(|route::Ambiguous| Refusal::Path)?
        }
        false => table.routes().find(name, head.uri.path(), &question),
    };
    let route = route.ok_or(Refusal::Route)?;
    let taken = action::take(edge, (table, route), &question);
    Ok((host, taken))
}

fn refuse(
    refusal: &Refusal,
    (worker, series): (&Worker, &RequestSeries),
    mut page: Page,
    (started, is_grpc, received): (Instant, bool, u64),
) -> Answer<Body> {
    debug!(?refusal, "refused");
    let answer = if is_grpc { refusal.grpc_answer() } else { refusal.answer() };
    // To gRPC's clients everything is a 200: it counts as what it is.
    let (code, sent) = (refusal.status().0.as_u16(), answer.body().size_hint().lower());
    let answered = record::own(code, (started, page.trace()), (received, sent));
    series.record(worker.index, &answered);
    page.flag(flags::of_refusal(refusal));
    page.close(&answered);
    answer.into()
}

/// What stays the same over a request's attempts.
pub(super) struct Journey<'a> {
    pub(super) worker: &'a Rc<Worker>,
    // Of the table at the start, for all attempts: a request sees one truth.
    pub(super) entry: Rc<Entry>,
    /// What there was among its fields when it came.
    pub(super) marks: Marks,
    /// Where a copy of it goes.
    mirror: Option<Rc<Entry>>,
    pub(super) started: Instant,
    /// The request's end, if it has one.
    pub(super) deadline: Option<Instant>,
    /// Whether the request says itself how long it can wait.
    pub(super) told: bool,
    /// Whether that is less than it would have otherwise.
    is_short: bool,
    pub(super) client: Rc<Client>,
    trusted: &'a Trusted,
    informer: Informer,
    pub(super) affinity: Affinity,
    /// Bytes of its body, where there is no answer.
    pub(super) received: Cell<u64>,
    /// Where it is written down.
    pub(super) page: RefCell<Page>,
}

/// The head of an answer, what its body comes by, and who gives it.
pub(super) type Answered = (Answer<Box<Exchange>>, Guard);

/// A request that has its answer.
struct Arrived {
    answer: Answer<Box<Exchange>>,
    /// The client's side, if protocols have been switched.
    switched: Option<Takeover>,
    guard: Guard,
    permit: Option<Permit>,
    /// What is left of the request's head.
    spent: Box<request::Parts>,
}

impl Journey<'_> {
    /// Attempts until one is answered or there is no point in another.
    async fn go(
        &self,
        mut head: Box<request::Parts>,
        (body, takeover): (Option<Incoming>, Option<Takeover>),
        host: HeaderValue,
    ) -> Result<Arrived, Refusal> {
        if self.entry.cluster.is_expired() {
            return Err(Refusal::nobody(&self.entry.cluster));
        }
        // What only some requests need is boxed, here and below: so all others carry none of it.
        let permit = if self.settings().limits.has_gate() { Box::pin(self.enter()).await? } else { None };
        let settings = &self.entry.retry;
        let speaks_interim = head.version >= Version::HTTP_11;
        let repeatable = retry::is_repeatable(&head.method, settings);
        let upgrading = takeover;
        let protocol = upgrading.as_ref().and_then(|_| Switch::asked(&head));
        let (way, mut upload) = self.prepare(&mut head, (body, upgrading.is_some()), host, repeatable)?;
        // Two attempts at once cannot each have a Host of their own.
        let hedged = repeatable && upload.is_empty() && upgrading.is_none() && !self.entry.names_endpoint();
        let method = head.method.clone();
        let outgoing = Outgoing { method, head: RefCell::new(head), way, speaks_interim, repeatable, hedged, protocol };
        self.entry.cluster.request(self.worker.index, self.started);
        let began = if permit.is_some() { Instant::now() } else { self.started };
        let can_retry = repeatable && settings.attempts > 0 && (upload.is_empty() || settings.buffer > 0);
        let guard = self.begin(can_retry, began)?;
        let (first, mut tried) = (guard.attempt().endpoint().id(), Vec::new());
        let (sent, guard) = self.attempt(guard, &outgoing, &mut upload, (&mut tried, began)).await;
        let (answer, mut guard) = match self.conclude(sent, guard, &outgoing) {
            Ok(done) => {
                self.count_retried(tried.len(), true);
                done
            }
            Err(failed) => {
                if tried.is_empty() {
                    // Only now: most requests never need to know.
                    tried.push(first);
                }
                Box::pin(self.again(*failed, (&outgoing, upload), (tried, began), permit.as_ref())).await?
            }
        };
        if outgoing.protocol.as_ref().is_some_and(|asked| asked.is_belied_by(answer.status)) {
            // The endpoint has served what it took for a request like any other.
            guard.judge(Outcome::Success);
            return Err(Refusal::Upstream(Error::unexpected_answer()));
        }
        let switched = upgrading.filter(|_| answer.status == StatusCode::SWITCHING_PROTOCOLS);
        Ok(Arrived { answer, switched, guard, permit, spent: outgoing.head.into_inner() })
    }

    pub(super) fn settings(&self) -> &Arc<config::Cluster> {
        self.entry.cluster.settings()
    }

    /// Makes the head what an endpoint is to see, and sends a copy of it if one goes somewhere. Returns the headers of its way and
    /// the body as it is to be sent.
    fn prepare(
        &self,
        head: &mut request::Parts,
        (body, upgrading): (Option<Incoming>, bool),
        host: HeaderValue,
        repeatable: bool,
    ) -> Result<(Way, Upload), Refusal> {
        let settings = &self.entry.retry;
        // Over HTTP/2 an endpoint may say that it has not looked at a request of which much was sent.
        let may_return = repeatable && settings.attempts > 0 || self.may_be_shared();
        let room = if may_return { settings.buffer } else { 0 };
        let (body, copy) = match body {
            Some(body) if self.mirror.is_some() => mirror::copied(body),
            body => (body, Copied::Nothing),
        };
        let upload = Upload::new(body, room).telling(|| self.page.borrow_mut().tally());
        let sender = Sender::new(&self.client.downstream, self.trusted);
        let mut rng = self.worker.rng.borrow_mut();
        let way = outgoing::prepare((head, self.marks), (&upload, upgrading), host, sender, &mut rng);
        self.page.borrow_mut().prepared(&mut head.headers, &way);
        if way.hops() > MOST_HOPS {
            return Err(Refusal::Loop);
        }
        route::rewrite(head, &self.entry.route, self.entry.target()).map_err(|route::Unfit| Refusal::Target)?;
        if let Some(entry) = self.mirror.as_ref().filter(|_| !upgrading) {
            let key = Affinity::of(head, sender, &entry.cluster).key;
            let copy = Copy { head: Box::new(head.clone()), way: way.clone(), key, body: copy };
            let from = From { upstream: self.worker.upstream.clone(), worker: self.worker.index, rng: rng.fork() };
            self.worker.mirrors.send(copy, Rc::clone(entry), from);
        }
        Ok((way, upload))
    }

    fn may_be_shared(&self) -> bool {
        let settings = self.settings();
        let Marks { upgrade, grpc, .. } = self.marks;
        upstream::may_be_shared((upgrade, grpc), settings.protocol, settings.tls.is_some())
    }

    /// Waits for the request's turn, where there is a limit.
    async fn enter(&self) -> Result<Option<Permit>, Refusal> {
        if !self.settings().limits.has_gate() {
            return Ok(None);
        }
        if self.entry.cluster.is_hopeless() {
            // Whoever waits, waits in vain.
            return Err(Refusal::nobody(&self.entry.cluster));
        }
        self.entry.cluster.enter(self.started, self.deadline).await.map_err(|overload| {
            self.entry.attempts.overload(overload.name());
            Refusal::Overload
        })
    }

    /// What an attempt came to: an answer to pass on, or something after which another might follow.
    pub(super) fn conclude(&self, sent: Sent, mut guard: Guard, outgoing: &Outgoing) -> Result<Answered, Box<Failed>> {
        self.page.borrow_mut().tried(guard.attempt(), &sent);
        let error = match sent {
            Ok(answer)
                if answer.status == StatusCode::SWITCHING_PROTOCOLS
                    && outgoing.protocol.as_ref().is_some_and(|asked| asked.is_met_by(&answer.fields)) =>
            {
                return Ok((answer, guard));
            }
            // Nobody asked for that protocol.
            Ok(answer) if answer.status == StatusCode::SWITCHING_PROTOCOLS => Error::unexpected_answer(),
            Ok(answer) => {
                guard.answered(&answer);
                let is_bad = self.is_bad(answer.status);
                return if is_bad { Err(Box::new(Failed::Answer(answer, guard))) } else { Ok((answer, guard)) };
            }
            Err(error) => error,
        };
        guard.fail(&error);
        let (cluster, endpoint) = (self.entry.cluster.name(), guard.attempt().endpoint().address());
        debug!(%cluster, %endpoint, %error, "attempt failed");
        Err(Box::new(Failed::Error(error)))
    }

    fn begin(&self, can_retry: bool, now: Instant) -> Result<Guard, Refusal> {
        self.pick_for(&[], now, Purpose::First, can_retry).ok_or_else(|| Refusal::nobody(&self.entry.cluster))
    }

    /// Begins an attempt at somebody.
    pub(super) fn pick(&self, tried: &[Id], now: Instant, purpose: Purpose) -> Option<Guard> {
        self.pick_for(tried, now, purpose, true)
    }

    fn pick_for(&self, tried: &[Id], now: Instant, purpose: Purpose, can_retry: bool) -> Option<Guard> {
        let mut rng = self.worker.rng.borrow_mut();
        let request = cluster::Request {
            now,
            worker: self.worker.index,
            tried,
            purpose,
            can_retry,
            key: self.affinity.key,
            session: self.affinity.session.as_deref(),
        };
        let attempt = self.entry.cluster.begin(&request, &mut rng)?;
        self.page.borrow_mut().tries(&attempt, now, purpose);
        let is_hurried = self.deadline.is_some_and(|deadline| self.is_hurried(deadline, now));
        Some(Guard::new(attempt, &self.entry, self.worker.index, is_hurried))
    }

    /// True if an attempt that begins now could not help it that the time is over too soon: the request gives little itself,
    /// or has lost most of what it had in a queue or at others.
    fn is_hurried(&self, deadline: Instant, now: Instant) -> bool {
        let left = deadline.saturating_duration_since(now);
        self.is_short || left < deadline.saturating_duration_since(self.started) / 2
    }

    /// Passes an interim answer on, but for 100, which the listener gives itself, and to clients that do not know any.
    pub(super) fn relay_interim(&self, speaks_interim: bool, status: StatusCode, headers: &HeaderMap) {
        if speaks_interim && status != StatusCode::CONTINUE {
            let mut headers = headers.clone();
            message::end_to_end_of_answer(&mut headers);
            // A message without a body must not name the length of one (RFC 9110 section 8.6).
            headers.remove(CONTENT_LENGTH);
            (self.informer)(status, &headers);
        }
    }

    /// Binds the client to the endpoint that serves it, where clients are bound at all. Not to one that says that it cannot.
    fn bind(&self, status: StatusCode, fields: &mut Fields, guard: &Guard) {
        if health::judge(status) == Outcome::Failure(Reason::Gateway) {
            return;
        }
        let endpoint = guard.attempt().endpoint();
        if let Some(session) = self.affinity.bind(fields, endpoint, &self.entry.cluster) {
            self.entry.attempts.session(self.worker.index, session);
        }
    }

    /// The endpoint's answer as the client is to see it.
    fn pass_on(&self, arrived: Arrived) -> Answer<Body> {
        let Arrived { answer, switched, guard, permit, spent } = arrived;
        let Answer { status, mut fields, body: exchange, .. } = answer;
        self.learn(&exchange, &guard, permit.as_ref());
        self.bind(status, &mut fields, &guard);
        let changes = &self.entry.route.settings.response_headers;
        let mut page = self.page.take();
        page.answered(&fields);
        let record = Record {
            entry: Rc::clone(&self.entry),
            worker: self.worker.index,
            code: status.as_u16(),
            started: self.started,
            first_byte: exchange.moved().saturating_duration_since(self.started),
            received: 0,
            sent: 0,
            page,
            _permit: permit,
        };
        let Some(client) = switched else {
            fields.end_to_end();
            if !changes.is_empty() {
                changes.apply(fields.map());
            }
            let body = Body::Forward(Forward::new(exchange, guard, record));
            return Answer { spent: Some(spent), ..Answer::new(status, fields, body) };
        };
        let timeouts = &self.entry.timeouts;
        changes.apply(fields.map());
        let times = Times { idle: timeouts.idle, drain: timeouts.drain };
        tunnel::open(self.worker, fields, (client, exchange), tunnel::Held::new(guard, record), times)
    }

    /// Takes how long the answer took to begin.
    fn learn(&self, exchange: &Exchange, guard: &Guard, permit: Option<&Permit>) {
        if guard.has_failed() {
            return;
        }
        let took = exchange.answered_after();
        self.entry.typical.observe(took, &self.settings().hedge);
        if let Some(permit) = permit {
            permit.answered(took, exchange.moved());
        }
    }
}
