//! What becomes of a request by its route: it goes to a cluster, or is answered here, by a redirect or a fixed answer.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use http::{Response, StatusCode, Version, request};
use http_body::Body as _;

use super::answer::{Body, Refusal};
use super::books::Page;
use super::series::Entry;
use super::{Edge, Worker, record};
use crate::account::Flag;
use crate::config::{Action, Redirect, Respond};
use crate::message::{Sender, Switch};
use crate::metrics::RequestSeries;
use crate::route::{self, Question, Route};
use crate::table::Table;
use crate::upstream::Error;

/// What becomes of a request.
pub(super) enum Taken {
    /// It is passed on, and perhaps a copy of it as well.
    Forward(Rc<Entry>, Option<Rc<Entry>>),
    /// It is answered here.
    Own(Arc<Route>, Arc<RequestSeries>),
}

/// What its route makes of a request.
pub(super) fn take(edge: &Edge, (table, route): (&Table, &Arc<Route>), asked: &Question<'_>) -> Taken {
    let worker = &edge.worker;
    let mut series = worker.series.borrow_mut();
    let Action::Forward(forward) = &route.settings.action else {
        return Taken::Own(Arc::clone(route), series.own(&worker.metrics, edge.listener, (table, route)));
    };
    let mut entry = |place| series.of(&worker.metrics, edge.listener, (table, route), place);
    let place = match &forward.targets[..] {
        [_] => 0,
        targets => {
            let point = route::point(forward, (asked.head, asked.sender), &mut worker.rng.borrow_mut());
            route::choose(targets, point, |place| {
                entry(place).is_some_and(|entry| !entry.cluster.is_hopeless() && !entry.cluster.is_expired())
            })
        }
    };
    let is_drawn = |percent: f64| percent >= 100.0 || worker.rng.borrow_mut().f64() * 100.0 < percent;
    let mirror = forward.mirror.as_ref().filter(|mirror| is_drawn(mirror.percent));
    let mirror = mirror.and_then(|_| entry(forward.targets.len()));
    match entry(place) {
        Some(entry) => Taken::Forward(entry, mirror),
        // A checked route has a target for each place.
        None => Taken::Own(Arc::clone(route), series.own(&worker.metrics, edge.listener, (table, route))),
    }
}

/// The answer of a route that gives it itself.
pub(super) fn answer(
    worker: &Worker,
    (route, series): (&Arc<Route>, &RequestSeries),
    (head, host, sender): (&request::Parts, &HeaderValue, Sender<'_>),
    (started, mut page): (Instant, Page),
) -> Response<Body> {
    let settings = &route.settings;
    let mut response = match &settings.action {
        Action::Redirect(redirect) => match route::location(redirect, &settings.path, (head, host), sender) {
            Some(location) => sent_to(redirect, location),
            None => {
                page.flag(Flag::BadTarget);
                Refusal::Target.answer()
            }
        },
        Action::Respond(respond) => said(respond),
        Action::Forward(_) => Refusal::Route.answer(),
    };
    if is_belied(head, response.status()) {
        response = Refusal::Upstream(Error::unexpected_answer()).answer();
    }
    settings.response_headers.apply(response.headers_mut());
    let sent = response.body().size_hint().lower();
    let answered = record::own(response.status().as_u16(), (started, page.trace()), (0, sent));
    series.record(worker.index, &answered);
    page.stays_at(route);
    page.close(&answered);
    response
}

/// True if a WebSocket was asked for over HTTP/2, where the client would take this for one.
fn is_belied(head: &request::Parts, status: StatusCode) -> bool {
    head.version == Version::HTTP_2 && Switch::asked(head).is_some_and(|asked| asked.is_belied_by(status))
}

fn said(respond: &Respond) -> Response<Body> {
    let mut response = Response::new(Body::Text(Some(respond.body.clone()).filter(|body| !body.is_empty())));
    *response.status_mut() = respond.status;
    if let Some(kind) = &respond.content_type {
        response.headers_mut().insert(CONTENT_TYPE, kind.clone());
    }
    response
}

fn sent_to(redirect: &Redirect, location: HeaderValue) -> Response<Body> {
    let mut response = Response::new(Body::Text(None));
    *response.status_mut() = redirect.status;
    response.headers_mut().insert(LOCATION, location);
    response
}
