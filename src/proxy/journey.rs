//! One request from head to answer.

use std::rc::Rc;
use std::time::Instant;

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, request, response};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tracing::debug;

use super::affinity::Affinity;
use super::answer::{Body, Refusal};
use super::forward::{Forward, Guard, Record};
use super::series::Entry;
use super::{Edge, Worker, outgoing, retry, tunnel};
use crate::cluster;
use crate::endpoint::Id;
use crate::health::{self, Outcome};
use crate::listener::Client;
use crate::message::{self, Upload};
use crate::metrics::RequestSeries;
use crate::upstream::{Call, Error, Exchange, Limits};

/// Answers a request, and sees to it that it is counted.
pub(super) async fn answer(edge: &Edge, request: Request<Incoming>, client: Rc<Client>) -> Response<Body> {
    let started = Instant::now();
    let worker = &edge.worker;
    let (head, body) = request.into_parts();
    let (host, entry) = match find(edge, &head) {
        Ok(found) => found,
        Err(refusal) => {
            let series = worker.series.borrow_mut().nowhere(&worker.metrics, edge.listener);
            return refuse(&refusal, worker, &series, started);
        }
    };
    let affinity = Affinity::of(&head, &client.downstream, &entry.cluster);
    let journey = Journey { worker, entry, started, client, affinity };
    match journey.go(head, body, host).await {
        Ok((response, guard)) => journey.pass_on(response, guard),
        Err(refusal) => refuse(&refusal, worker, &journey.entry.request, started),
    }
}

/// The host, and what the request needs of the route that it takes.
fn find(edge: &Edge, head: &request::Parts) -> Result<(HeaderValue, Rc<Entry>), Refusal> {
    if head.method == Method::CONNECT {
        return Err(Refusal::Connect);
    }
    let host = message::host(&head.uri, &head.headers).ok_or(Refusal::Host)?;
    let name = host.to_str().map_err(|_| Refusal::Host)?;
    let worker = &edge.worker;
    let mut reader = worker.reader.borrow_mut();
    let table = reader.load();
    let route = table.routes().find(name, head.uri.path()).ok_or(Refusal::Route)?;
    let entry = worker.series.borrow_mut().of(&worker.metrics, edge.listener, (table, route));
    Ok((host, entry))
}

fn refuse(refusal: &Refusal, worker: &Worker, series: &RequestSeries, started: Instant) -> Response<Body> {
    let response = refusal.answer();
    debug!(?refusal, "refused");
    series.record(worker.index, response.status().as_u16(), started.elapsed());
    response
}

/// What stays the same over a request's attempts.
struct Journey<'a> {
    worker: &'a Rc<Worker>,
    // Of the table at the start, for all attempts: a request sees one truth.
    entry: Rc<Entry>,
    started: Instant,
    client: Rc<Client>,
    affinity: Affinity,
}

/// An answer's head, or the tunnel that it opened.
enum Answer {
    Body(Response<Box<Exchange>>),
    Switched(Response<Box<Exchange>>, OnUpgrade),
}

impl Journey<'_> {
    /// Attempts until one is answered or there is no point in another.
    async fn go(
        &self,
        mut head: request::Parts,
        body: Incoming,
        host: HeaderValue,
    ) -> Result<(Answer, Guard), Refusal> {
        let speaks_interim = head.version == Version::HTTP_11;
        let mut upload = Upload::new(body);
        let (way, upgrading) =
            outgoing::prepare(&mut head, &upload, host, &self.client.downstream, &mut self.worker.rng.borrow_mut());
        let can_repeat = retry::can_repeat(&head.method, &upload);
        self.entry.cluster.request(self.worker.index, self.started);
        let mut tried = Vec::new();
        let mut now = self.started;
        loop {
            let mut guard = self.begin(&tried, now, can_repeat)?;
            let mut call = Call {
                head: &mut head,
                way: &way,
                upload: &mut upload,
                limits: self.limits(now),
                // Where one idle connection was stale, others may be.
                probe: !can_repeat || !tried.is_empty(),
                interim: &mut |status, headers| self.relay_interim(speaks_interim, status, headers),
            };
            let error = match self.worker.upstream.send(guard.attempt().endpoint(), &mut call).await {
                Ok(response) if response.status() != StatusCode::SWITCHING_PROTOCOLS => {
                    judge_head(&mut guard, response.status());
                    return Ok((Answer::Body(response), guard));
                }
                Ok(response) => match upgrading {
                    Some(client) => return Ok((Answer::Switched(response, client), guard)),
                    // Nobody asked for another protocol.
                    None => Error::unexpected_answer(),
                },
                Err(error) => error,
            };
            guard.fail(&error);
            debug!(cluster = %self.entry.cluster.name(), endpoint = %guard.attempt().endpoint().address(), %error, "attempt failed");
            now = Instant::now();
            self.may_retry(&error, &head.method, &upload, (tried.len(), now)).map_err(|()| Refusal::Upstream(error))?;
            tried.push(guard.attempt().endpoint().id());
        }
    }

    fn limits(&self, began: Instant) -> Limits {
        let timeouts = &self.entry.cluster.settings().timeouts;
        Limits {
            began,
            connect: timeouts.connect,
            idle: timeouts.idle,
            deadline: timeouts.request.map(|request| self.started + request),
        }
    }

    fn begin(&self, tried: &[Id], now: Instant, can_retry: bool) -> Result<Guard, Refusal> {
        let mut rng = self.worker.rng.borrow_mut();
        let request = cluster::Request {
            now,
            worker: self.worker.index,
            tried,
            can_retry: can_retry && self.entry.cluster.settings().retry.attempts > 0,
            key: self.affinity.key,
            session: self.affinity.session.as_deref(),
        };
        match self.entry.cluster.begin(&request, &mut rng) {
            Some(attempt) => Ok(Guard::new(attempt, &self.entry, self.worker.index)),
            None => {
                self.entry.attempts.no_endpoint();
                Err(if self.entry.cluster.list().is_some() { Refusal::NoEndpoint } else { Refusal::NoList })
            }
        }
    }

    /// Passes an interim answer on, but for 100, which hyper gives itself, and to clients that do not know any.
    fn relay_interim(&self, speaks_interim: bool, status: StatusCode, headers: &HeaderMap) {
        if speaks_interim && status != StatusCode::CONTINUE {
            let mut headers = headers.clone();
            message::end_to_end(&mut headers);
            // A message without a body must not name the length of one (RFC 9110 section 8.6).
            headers.remove(CONTENT_LENGTH);
            self.client.informer.inform(status, &headers);
        }
    }

    /// Whether to make another attempt after this error; counts the decision.
    fn may_retry(
        &self,
        error: &Error,
        method: &Method,
        body: &Upload,
        (retries, now): (usize, Instant),
    ) -> Result<(), ()> {
        let settings = self.entry.cluster.settings();
        let is_late = settings.timeouts.request.is_some_and(|request| now >= self.started + request);
        let refusal = match retry::refusal(error, method, body) {
            Some(why) => Some(why),
            None if retries >= settings.retry.attempts as usize => Some("attempts"),
            None if is_late => Some("deadline"),
            None if !self.entry.cluster.may_retry(now) => Some("budget"),
            None => None,
        };
        match refusal {
            Some(why) => {
                self.entry.attempts.no_retry(why);
                Err(())
            }
            None => {
                self.entry.attempts.retry(retry::blame(error).map_or("stale_connection", health::Reason::name));
                Ok(())
            }
        }
    }

    /// Binds the client to the endpoint that serves it, where clients are bound at all. Not to one that says that it cannot.
    fn bind(&self, head: &mut response::Parts, guard: &Guard) {
        if health::judge(head.status) != Outcome::Success {
            return;
        }
        let endpoint = guard.attempt().endpoint();
        if let Some(session) = self.affinity.bind(&mut head.headers, endpoint, &self.entry.cluster) {
            self.entry.attempts.session(self.worker.index, session);
        }
    }

    /// The endpoint's answer as the client is to see it.
    fn pass_on(&self, answer: Answer, guard: Guard) -> Response<Body> {
        let (response, client) = match answer {
            Answer::Body(response) => (response, None),
            Answer::Switched(response, client) => (response, Some(client)),
        };
        let (mut head, exchange) = response.into_parts();
        self.bind(&mut head, &guard);
        let record = Record {
            entry: Rc::clone(&self.entry),
            worker: self.worker.index,
            code: head.status.as_u16(),
            started: self.started,
        };
        let Some(client) = client else {
            message::end_to_end(&mut head.headers);
            // hyper speaks the client's version.
            head.version = Version::HTTP_11;
            return Response::from_parts(head, Body::Forward(Forward::new(exchange, guard, record)));
        };
        let idle = self.entry.cluster.settings().timeouts.idle;
        tunnel::open(self.worker, head, (client, exchange), tunnel::Held::new(guard, record), idle)
    }
}

/// What the status says of the endpoint; a good one is confirmed when the body has come whole.
fn judge_head(guard: &mut Guard, status: StatusCode) {
    match health::judge(status) {
        Outcome::Success => guard.answered(status),
        failure => guard.judge(failure),
    }
}
