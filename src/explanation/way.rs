//! From a request to its clusters: the route, the part of a split, what is changed on the way.

use std::sync::Arc;
use std::time::Instant;

use http::HeaderValue;
use http::header::{HOST, HeaderName};
use serde::Serialize;

use super::cluster::{self, has_somebody};
use super::{Explanation, Ground, Request};
use crate::config::{Action, Forward, Host, Paths, Serves, Target};
use crate::message::path;
use crate::route::{self, Question, Route};
use crate::table::Table;

/// Routes that are explained besides the one that is taken: as many as anybody reads.
const OTHERS: usize = 20;
/// How often a split that goes by chance is asked.
const DRAWS: u32 = 4_000;

/// The status and the words of a refusal.
pub(super) type Refused = (u16, String);

#[derive(Debug, Serialize)]
pub(super) struct RouteView {
    name: String,
    host: String,
    path: String,
    /// Who told it, if it is not of the file.
    origin: Option<String>,
    /// `forward`, `redirect` or `respond`.
    action: &'static str,
}

#[derive(Debug, Serialize)]
pub(super) struct OtherView {
    name: String,
    host: String,
    path: String,
    why: String,
}

#[derive(Debug, Serialize)]
pub(super) struct TargetView {
    pub(super) cluster: String,
    weight: u32,
    /// False if nobody there may serve, or its list is too old: others make up for it.
    can_serve: bool,
    /// The share of such requests that go there as things are, 0 to 1.
    share: f64,
}

/// A request as an endpoint sees it, as far as the route has changed it.
#[derive(Debug, Serialize)]
pub(super) struct SentView {
    method: String,
    /// Path and query.
    target: String,
    /// Its `Host`; none if it is the endpoint's own.
    host: Option<String>,
    /// Names of headers that the route takes away, sets and adds.
    removed: Vec<String>,
    set: Vec<String>,
    added: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct MirrorView {
    cluster: String,
    percent: f64,
}

/// The route that the request takes, or why it takes none.
pub(super) fn find(
    table: &Table,
    ground: Ground<'_>,
    request: &Request<'_>,
    explanation: &mut Explanation,
) -> Result<Arc<Route>, Refused> {
    let (rules, path) = (&request.listener.http, request.head.uri.path());
    let is_strict = rules.paths == Paths::Strict;
    if is_strict && path::reading(path) == path::Reading::Wrong {
        return Err((400, "the path can be read in more than one way (listeners.paths)".to_owned()));
    }
    let name = match &request.listener.serves {
        Serves::Routes => return by_routes(table, request, explanation, is_strict),
        Serves::Service(name) => name.clone(),
        Serves::Names => {
            let name = ground
                .egress
                .name(&request.host)
                .map_err(|_| (404, "the host is not the name of a service".to_owned()))?;
            if !ground.egress.allows(&name) {
                return Err((403, format!("{name} must not be asked for here (egress)")));
            }
            name
        }
    };
    let route = table.routes().peek(&name.to_string()).ok_or_else(|| {
        (
            503,
            format!("{name} is not followed: the first request that asks for it has it looked for, and waits for that"),
        )
    })?;
    explanation.route = Some(RouteView::of(route));
    Ok(Arc::clone(route))
}

fn by_routes(
    table: &Table,
    request: &Request<'_>,
    explanation: &mut Explanation,
    is_strict: bool,
) -> Result<Arc<Route>, Refused> {
    let question = Question { head: &request.head, sender: request.sender() };
    let (host, path) = (request.host.as_str(), request.head.uri.path());
    let explained = table.routes().explain(host, path, &question, OTHERS);
    let other = |(route, miss): &(&Arc<Route>, route::Miss<'_>)| {
        let RouteView { name, host, path, .. } = RouteView::of(route);
        OtherView { name, host, path, why: miss.to_string() }
    };
    explanation.others = explained.others.iter().map(other).collect();
    explanation.others_left_out = explained.left_out;
    if is_strict && table.routes().find_strictly(host, path, &question).is_err() {
        return Err((400, "the path has slashes that may lead to another route (listeners.paths)".to_owned()));
    }
    let route = explained.route.ok_or_else(|| (404, "no route takes it".to_owned()))?;
    explanation.route = Some(RouteView::of(route));
    Ok(Arc::clone(route))
}

/// What becomes of the request by its route.
pub(super) fn follow(
    table: &Table,
    now: Instant,
    (request, route): (&Request<'_>, Arc<Route>),
    explanation: &mut Explanation,
) {
    let name = &route.settings.name;
    match &route.settings.action {
        Action::Forward(forward) => pass_on(table, now, (request, &route, forward), explanation),
        Action::Redirect(redirect) => {
            let host = HeaderValue::from_str(&request.host).unwrap_or(HeaderValue::from_static(""));
            let sender = request.sender();
            match route::location(redirect, &route.settings.path, (&request.head, &host), sender) {
                Some(location) => {
                    let location = String::from_utf8_lossy(location.as_bytes()).into_owned();
                    explanation.status = Some(redirect.status.as_u16());
                    explanation.summary = format!("route {name}: sent to {location} with {}", redirect.status.as_u16());
                    explanation.location = Some(location);
                }
                None => explanation.refuse(400, "what the route makes of its target is none".to_owned()),
            }
        }
        Action::Respond(respond) => {
            let status = respond.status.as_u16();
            explanation.status = Some(status);
            explanation.summary = format!("route {name}: answered here with {status}");
        }
    }
}

fn pass_on(
    table: &Table,
    now: Instant,
    (request, route, forward): (&Request<'_>, &Arc<Route>, &Forward),
    explanation: &mut Explanation,
) {
    let asked = (&request.head, request.sender());
    explanation.tied = forward.targets.len() > 1 && route::cohort(forward, asked).is_some();
    let draws = if explanation.tied || forward.targets.len() == 1 { 1 } else { DRAWS };
    let can_serve: Vec<bool> = forward.targets.iter().map(|target| can_serve(table, target)).collect();
    let mut counts = vec![0_u32; forward.targets.len()];
    let mut rng = fastrand::Rng::with_seed(0);
    for _ in 0..draws {
        let place = match &forward.targets[..] {
            [_] => 0,
            targets => route::choose(targets, route::point(forward, asked, &mut rng), |place| can_serve[place]),
        };
        counts[place] += 1;
    }
    let share = |count: &u32| f64::from(*count) / f64::from(draws);
    let view = |((target, can_serve), count): ((&Target, &bool), &u32)| TargetView {
        cluster: target.cluster.to_string(),
        weight: target.weight,
        can_serve: *can_serve,
        share: share(count),
    };
    explanation.targets = forward.targets.iter().zip(&can_serve).zip(&counts).map(view).collect();
    explanation.mirror = forward
        .mirror
        .as_ref()
        .map(|mirror| MirrorView { cluster: mirror.target.cluster.to_string(), percent: mirror.percent });
    let mut chosen: Vec<(&Target, u32)> =
        forward.targets.iter().zip(counts.iter().copied()).filter(|(_, count)| *count > 0).collect();
    chosen.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    if let Some((target, _)) = chosen.first() {
        match sent(request, (route, forward, target)) {
            Some(sent) => explanation.sent = Some(sent),
            None => return explanation.refuse(400, "what the route makes of its target is none".to_owned()),
        }
    }
    let found = chosen.iter().filter_map(|(target, _)| table.cluster(target));
    explanation.clusters = found.map(|cluster| cluster::view(cluster, asked, now)).collect();
    let name = &route.settings.name;
    let ways: Vec<String> = explanation.clusters.iter().map(cluster::ClusterView::summary).collect();
    explanation.summary = format!("route {name} → {}", ways.join("; or "));
}

/// True if the target's cluster can take requests.
fn can_serve(table: &Table, target: &Target) -> bool {
    table.cluster(target).is_some_and(|cluster| has_somebody(cluster) && !cluster.is_expired())
}

/// The request as it goes there; none if what comes of it is no request.
fn sent(request: &Request<'_>, (route, forward, target): (&Arc<Route>, &Forward, &Target)) -> Option<SentView> {
    let mut head = http::Request::new(()).into_parts().0;
    (head.method, head.uri, head.headers) =
        (request.head.method.clone(), request.head.uri.clone(), request.head.headers.clone());
    route::rewrite(&mut head, route, Some(target)).ok()?;
    let names = |names: &[(HeaderName, HeaderValue)]| names.iter().map(|(name, _)| name.to_string()).collect();
    let is_endpoints = forward.host_header.is_none()
        && target.rewrite.as_ref().is_some_and(|rewrite| rewrite.host == crate::config::NewHost::Endpoint);
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
    let rules = &forward.request_headers;
    Some(SentView {
        method: head.method.to_string(),
        target: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        host: host.filter(|_| !is_endpoints),
        removed: rules.remove.iter().map(ToString::to_string).collect(),
        set: names(&rules.set),
        added: names(&rules.add),
    })
}

impl RouteView {
    fn of(route: &Route) -> Self {
        let settings = &route.settings;
        RouteView {
            name: settings.name.to_string(),
            host: if settings.host == Host::Any { "*".to_owned() } else { settings.host.to_string() },
            path: if settings.path.is_empty() { "/".to_owned() } else { settings.path.clone() },
            origin: settings.origin.as_deref().map(str::to_owned),
            action: match &settings.action {
                Action::Forward(_) => "forward",
                Action::Redirect(_) => "redirect",
                Action::Respond(_) => "respond",
            },
        }
    }
}
