//! The routes as JSON: which requests each takes, and what becomes of them. Field names are an interface: they are added to, not
//! changed.

use ipnet::IpNet;
use serde::Serialize;

use crate::config::{Action, Door, HashKey, Match, NewPath, Passage, Predicates, Principal, Target};
use crate::table::Table;

#[derive(Serialize)]
pub(super) struct RouteView {
    name: String,
    host: String,
    path: String,
    /// Who told it, if it is not of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    /// Where it goes if there is one cluster.
    cluster: Option<String>,
    action: ActionView,
    /// What else a request has to be, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    predicates: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mirror: Option<MirrorView>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum ActionView {
    Cluster,
    Split {
        clusters: Vec<ShareView>,
        by: Option<String>,
    },
    Redirect {
        status: u16,
        scheme: Option<&'static str>,
        host: Option<String>,
        port: Option<u16>,
        path: Option<String>,
    },
    Respond {
        status: u16,
    },
}

#[derive(Serialize)]
struct ShareView {
    cluster: String,
    weight: u32,
}

#[derive(Serialize)]
struct MirrorView {
    cluster: String,
    percent: f64,
}

pub(super) fn routes(table: &Table) -> Vec<RouteView> {
    let routes = table.routes().all().iter().map(|route| &route.settings);
    let view = routes.map(|route| {
        let forward = match &route.action {
            Action::Forward(forward) => Some(&**forward),
            Action::Redirect(_) | Action::Respond(_) => None,
        };
        RouteView {
            name: route.name.to_string(),
            host: route.host.to_string(),
            origin: route.origin.as_deref().map(str::to_owned),
            path: if route.path.is_empty() { "/".to_owned() } else { route.path.clone() },
            cluster: forward.and_then(|forward| sole(&forward.targets)),
            action: action(&route.action),
            predicates: predicates(&route.predicates),
            mirror: forward
                .and_then(|forward| forward.mirror.as_ref())
                .map(|mirror| MirrorView { cluster: mirror.target.cluster.to_string(), percent: mirror.percent }),
        }
    });
    view.chain(table.doors().iter().map(|(door, passage)| of_door(door, passage))).collect()
}

/// What services claim of connections without requests.
fn of_door(door: &Door, passage: &Passage) -> RouteView {
    let name = match door {
        Door::Port(port) => format!(":{port}"),
        Door::Name(host) => host.to_string(),
    };
    let networks = |what: &str, networks: &[IpNet]| {
        let all: Vec<String> = networks.iter().map(ToString::to_string).collect();
        (!all.is_empty()).then(|| format!("{what} {}", all.join(" or ")))
    };
    RouteView {
        name: format!("tcp {name}"),
        host: name,
        path: String::new(),
        origin: Some(passage.origin.to_string()),
        cluster: sole(&passage.targets),
        action: if passage.targets.len() == 1 { ActionView::Cluster } else { split(&passage.targets, None) },
        predicates: networks("client in", &passage.only)
            .into_iter()
            .chain(networks("client not in", &passage.but))
            .collect(),
        mirror: None,
    }
}

/// The cluster, if there is one.
fn sole(targets: &[Target]) -> Option<String> {
    match targets {
        [target] => Some(target.cluster.to_string()),
        _ => None,
    }
}

fn action(action: &Action) -> ActionView {
    match action {
        Action::Forward(forward) if forward.targets.len() == 1 => ActionView::Cluster,
        Action::Forward(forward) => split(&forward.targets, forward.split_by.as_ref()),
        Action::Redirect(redirect) => ActionView::Redirect {
            status: redirect.status.as_u16(),
            scheme: redirect.scheme,
            host: redirect.host.clone(),
            port: redirect.port,
            path: redirect.path.as_ref().map(|path| match path {
                NewPath::Whole(path) => path.clone(),
                NewPath::Prefix(prefix) => format!("{prefix}/…"),
                NewPath::Own { strip, prepend } if strip.is_empty() => format!("{prepend}/…"),
                NewPath::Own { strip, prepend } => format!("{prepend}/… without {strip}"),
                NewPath::Target(target) => target.clone(),
            }),
        },
        Action::Respond(respond) => ActionView::Respond { status: respond.status.as_u16() },
    }
}

fn split(targets: &[Target], by: Option<&HashKey>) -> ActionView {
    let share = |target: &Target| ShareView { cluster: target.cluster.to_string(), weight: target.weight };
    ActionView::Split {
        clusters: targets.iter().map(share).collect(),
        by: by.map(|by| match by {
            HashKey::Header(name) => format!("header:{name}"),
            HashKey::Cookie(name) => format!("cookie:{name}"),
            HashKey::Query(name) => format!("query:{name}"),
            HashKey::Path => "path".to_owned(),
            HashKey::ClientAddress => "client_address".to_owned(),
            HashKey::Identity => "identity".to_owned(),
        }),
    }
}

fn predicates(all: &Predicates) -> Vec<String> {
    let mut words = Vec::new();
    let mut one_of = |what: &str, values: Vec<String>| {
        if !values.is_empty() {
            words.push(format!("{what} {}", values.join(" or ")));
        }
    };
    one_of("method", all.methods.iter().map(ToString::to_string).collect());
    one_of("client in", all.client_networks.iter().map(ToString::to_string).collect());
    one_of("server name", all.server_names.iter().map(ToString::to_string).collect());
    let identity = |identity: &Principal| match identity {
        Principal::Exact(name) => name.clone(),
        Principal::Prefix(prefix) => format!("{prefix}*"),
    };
    one_of("identity", all.identities.iter().map(identity).collect());
    if let Some(spot) = &all.not_at {
        let is_scheme = spot.host.is_none() && spot.port.is_none() && spot.path.is_none();
        one_of(if is_scheme { "scheme not" } else { "not at" }, vec![spot.to_string()]);
    }
    words.extend(all.headers.iter().map(|(name, wanted)| format!("header {name} {}", word(wanted))));
    words.extend(all.query.iter().map(|(name, wanted)| format!("query {name} {}", word(wanted))));
    words
}

/// What is wanted may be a key that only some have.
fn word(wanted: &Match) -> String {
    match wanted {
        Match::Present => "present".to_owned(),
        Match::Absent => "absent".to_owned(),
        Match::Value(_) => "= <hidden>".to_owned(),
        Match::Prefix(_) => "= <hidden>…".to_owned(),
        Match::Regex(..) => "~ <hidden>".to_owned(),
    }
}
