//! From all that is claimed to routes and clusters. Which clusters there are follows from who carries which tags: claims that the same
//! instances make share a cluster, so that what is learned of an endpoint is learned once; as a rule a service has one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use super::Place;
use super::board::{Board, From, Group, shares};
use super::terms::{Access, Proto};
use crate::config::{
    Action, Cluster, Config, Door, Draw, Endpoint, Ends, Forward, HeaderRules, Host, Part, Passage, Predicates,
    Respond, Rewrite, Route, Source, Speech, Target,
};
use crate::table::{self, Lists};

/// Claimants that are named where a route is shown.
const NAMED: usize = 8;

/// Something that somebody wants and does not get.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rejected {
    /// Who wants it.
    pub(super) origin: Arc<str>,
    /// Why not.
    pub(super) why: String,
}

impl Rejected {
    /// An option that means nothing here.
    pub(super) fn option(origin: &Arc<str>, option: &str) -> Self {
        Rejected {
            origin: Arc::clone(origin),
            why: format!("its option \"{option}\" means nothing here; the rest is served"),
        }
    }
}

/// What routes and clusters are made in the light of.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    /// Of the file.
    pub(super) base: &'a Config,
    pub(super) lists: &'a Lists,
}

/// What endpoints are spoken to in, as a key.
type Way = (Proto, Speech);
/// What a cluster is wanted for: a service, how it is spoken to, and who of it.
type Want = (Arc<str>, Way, Members);

/// Clusters as they were made for a service and how it is spoken to, apart from their names and members: making one reads files.
#[derive(Debug, Default)]
pub(super) struct Stock(BTreeMap<(Arc<str>, Speech), Result<Arc<Cluster>, String>>);

/// Who is in a cluster: of a service's list, or at fixed addresses for a place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Members {
    Listed(String, Vec<usize>),
    Fixed(String, Vec<(String, u16)>),
}

/// The clusters that are needed, each once.
struct Clusters<'a> {
    given: Given<'a>,
    /// By service, way and members: what it draws on, and the claim that it is named for.
    wanted: BTreeMap<Want, (Source, String)>,
}

impl Stock {
    /// The cluster of that name for a service, which draws on that.
    fn cluster(
        &mut self,
        base: &Config,
        (name, service): (&str, &Arc<str>),
        source: Source,
        speech: &Speech,
    ) -> Result<Arc<Cluster>, String> {
        let make = || {
            let made = base.templates.spoken(service, service, Source::Static(Vec::new()), speech);
            made.map(Arc::new).map_err(|problems| problems.first().map(ToString::to_string).unwrap_or_default())
        };
        let made = self.0.entry((Arc::clone(service), speech.clone())).or_insert_with(make).clone()?;
        Ok(Arc::new(Cluster { name: name.into(), source, ..(*made).clone() }))
    }

    /// Forgets what was not wanted.
    fn keep<'a>(&mut self, wanted: impl Iterator<Item = &'a Want>) {
        let wanted: BTreeSet<(&Arc<str>, &Speech)> =
            wanted.map(|(service, (_, speech), _)| (service, speech)).collect();
        self.0.retain(|(service, speech), _| wanted.contains(&(service, speech)));
    }
}

/// What a place's requests or connections go by.
struct Settled {
    groups: Vec<(Group, u32)>,
    rejected: Vec<Rejected>,
}

/// All that is claimed, as clusters and routes; and what is not given.
pub(super) fn part(board: Board, given: Given<'_>, stock: &mut Stock) -> (Part, Vec<Rejected>) {
    let mut rejected = Vec::new();
    let mut settled: BTreeMap<Place, Vec<(Group, u32)>> = BTreeMap::new();
    let taken: BTreeSet<(String, &str)> = given.base.routes.iter().filter_map(|route| whole(route)).collect();
    let exact: Vec<(&str, &str)> = given.base.routes.iter().filter_map(|route| exact(route)).collect();
    for (place, groups) in board.places() {
        let is_taken = match &place {
            // It would go before all that the file has for this host.
            Place::Web { host: Host::At(name, _), path } => {
                let path = path.trim_end_matches('/');
                exact.iter().any(|(host, taken)| host == name && taken.starts_with(path))
            }
            Place::Web { host, path } => taken.contains(&(host.to_string(), path.trim_end_matches('/'))),
            Place::Name(_) | Place::Port(_) => false,
        };
        if is_taken {
            let why = format!("{place} has a route in the configuration file, which goes first");
            rejected.extend(groups.into_iter().map(|group| Rejected { origin: group.origin, why: why.clone() }));
            continue;
        }
        let one = settle(&place, groups, given.lists);
        rejected.extend(one.rejected);
        settled.insert(place, one.groups);
    }
    by_name(&mut settled, given.base);
    let mut clusters = Clusters { given, wanted: BTreeMap::new() };
    for (place, groups) in &settled {
        groups.iter().for_each(|(group, _)| clusters.want(place, group));
    }
    let (names, made) = clusters.make(stock, &mut rejected);
    let mut part = Part { clusters: made, ..Part::default() };
    for (place, groups) in settled {
        let targets = groups.iter().filter_map(|(group, weight)| {
            let name = names.get(&(Arc::clone(&group.service), way(group), members(&place, group, given.lists)))?;
            Some(target(name, *weight, &group.terms.rewrite))
        });
        let targets: Vec<Target> = targets.collect();
        match place {
            Place::Web { host, path } => part.routes.extend(routes((host, path), &groups, targets)),
            Place::Name(host) => part.doors.extend(passage(Door::Name(host), &groups, targets)),
            Place::Port(port) => part.doors.extend(passage(Door::Port(port), &groups, targets)),
        }
    }
    (part, rejected)
}

/// Where a route takes all requests of its host and path.
fn whole(route: &Route) -> Option<(String, &str)> {
    (route.predicates.count() == 0).then(|| (route.host.to_string(), route.path.as_str()))
}

/// Host and path of a route for one host.
fn exact(route: &Route) -> Option<(&str, &str)> {
    let Host::Exact(host) = &route.host else { return None };
    Some((host, &route.path))
}

/// Who shares a place: those who agree with the first of them on what is no matter of single instances.
fn settle(place: &Place, groups: Vec<Group>, lists: &Lists) -> Settled {
    let first = groups.first().cloned();
    let (agreed, others): (Vec<Group>, Vec<Group>) = groups.into_iter().partition(|group| {
        first.as_ref().is_some_and(|first| {
            group.terms.access == first.terms.access && group.terms.elsewhere == first.terms.elsewhere
        })
    });
    let against = first.map(|first| first.origin).unwrap_or_default();
    let reject = |group: Group| Rejected {
        origin: group.origin,
        why: format!("{against} claims {place} as well, with another redirect, allow or deny"),
    };
    let counted: Vec<(f64, usize)> = agreed.iter().map(|group| (group.each, group.count(lists))).collect();
    let weighed = agreed.into_iter().zip(shares(&counted));
    let groups = weighed.filter_map(|(group, weight)| Some((group, weight?))).collect();
    Settled { groups, rejected: others.into_iter().map(reject).collect() }
}

/// Where a listener goes by names, claims of a whole host are about its connections as well.
fn by_name(settled: &mut BTreeMap<Place, Vec<(Group, u32)>>, base: &Config) {
    if !base.listeners.iter().any(|listener| listener.accepts.goes_by_claimed_names()) {
        return;
    }
    let mut implied = Vec::new();
    for (place, groups) in settled.iter() {
        let Place::Web { host: host @ (Host::Exact(_) | Host::Below(_)), path } = place else { continue };
        let is_plain =
            |(group, _): &(Group, u32)| group.terms.elsewhere.is_none() && group.terms.rewrite == Rewrite::default();
        if path == "/" && groups.iter().all(is_plain) && !settled.contains_key(&Place::Name(host.clone())) {
            let as_tcp = |(group, weight): &(Group, u32)| {
                let mut group = group.clone();
                (group.terms.proto, group.terms.speech) =
                    (Proto::Tcp, Speech { tls: Some(false), ..Speech::default() });
                (group, *weight)
            };
            implied.push((Place::Name(host.clone()), groups.iter().map(as_tcp).collect()));
        }
    }
    settled.extend(implied);
}

fn way(group: &Group) -> Way {
    (group.terms.proto, group.terms.speech.clone())
}

fn members(place: &Place, group: &Group, lists: &Lists) -> Members {
    match &group.from {
        From::Followed(draw) => {
            let list = lists.get(&draw.selection).map(|list| &list[..]).unwrap_or_default();
            let taken =
                list.iter().enumerate().filter(|(_, listed)| table::takes(draw, listed)).map(|(index, _)| index);
            Members::Listed(draw.selection.to_string(), taken.collect())
        }
        From::Fixed(addresses, _) => Members::Fixed(place.to_string(), addresses.clone()),
        From::Nowhere(_) => Members::Fixed(place.to_string(), Vec::new()),
    }
}

impl Clusters<'_> {
    fn want(&mut self, place: &Place, group: &Group) {
        let source = match &group.from {
            _ if group.terms.elsewhere.is_some() => return,
            From::Followed(draw) => Source::Followed(vec![draw.clone()]),
            From::Fixed(addresses, _) => {
                let endpoint = |address: &(String, u16)| Endpoint { address: address.clone(), weight: 1, zone: None };
                Source::Static(addresses.iter().map(endpoint).collect())
            }
            From::Nowhere(_) => return,
        };
        let key = (Arc::clone(&group.service), way(group), members(place, group, self.given.lists));
        let label = label(place, group);
        // Places come in order, so that it is the same one every time.
        self.wanted.entry(key).or_insert((source, label));
    }

    /// Makes them; by what they are wanted for, their names.
    fn make(self, stock: &mut Stock, rejected: &mut Vec<Rejected>) -> (BTreeMap<Want, Arc<str>>, Vec<Arc<Cluster>>) {
        let mut largest: BTreeMap<(&Arc<str>, &Way), usize> = BTreeMap::new();
        for (service, way, members) in self.wanted.keys() {
            if let Members::Listed(_, carriers) = members {
                let most = largest.entry((service, way)).or_default();
                *most = carriers.len().max(*most);
            }
        }
        let (mut names, mut clusters, mut used) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
        for (key, (source, label)) in &self.wanted {
            let (service, way, members) = key;
            let suffix = suffix(way.0);
            let is_whole = matches!(members, Members::Listed(_, carriers) if largest.get(&(service, way)) == Some(&carriers.len()));
            let plain = format!("{service}.routes{suffix}");
            let particular = format!("{plain}:{label}");
            let numbered = (2..).map(|number| format!("{particular}#{number}"));
            let candidates = Some(plain).filter(|_| is_whole).into_iter().chain([particular.clone()]).chain(numbered);
            let Some(name) = candidates.into_iter().find(|name| used.insert(name.clone())) else { continue };
            match stock.cluster(self.given.base, (&name, service), source.clone(), &way.1) {
                Ok(cluster) => {
                    names.insert(key.clone(), Arc::clone(&cluster.name));
                    clusters.push(cluster);
                }
                Err(why) => rejected.push(Rejected { origin: format!("{service}: {label}").into(), why }),
            }
        }
        stock.keep(self.wanted.keys());
        (names, clusters)
    }
}

/// What sets a group apart from others of its service.
fn label(place: &Place, group: &Group) -> String {
    let mut label = place.to_string();
    if let From::Followed(Draw { only: Some(only), .. }) = &group.from {
        label.extend(only.with.iter().skip(1).map(|tag| format!(" {tag}")));
        label.extend(only.without.iter().map(|tags| format!(" not {}", tags.join(","))));
    }
    label
}

fn suffix(proto: Proto) -> &'static str {
    match proto {
        Proto::Http => "",
        Proto::Https => ".https",
        Proto::Grpc => ".grpc",
        Proto::Grpcs => ".grpcs",
        Proto::Tcp => ".tcp",
    }
}

fn target(cluster: &Arc<str>, weight: u32, rewrite: &Rewrite) -> Target {
    let rewrite = (*rewrite != Rewrite::default()).then(|| Box::new(rewrite.clone()));
    Target { cluster: Arc::clone(cluster), weight, terms: None, rewrite }
}

fn origin(groups: &[(Group, u32)]) -> Arc<str> {
    let all: BTreeSet<&str> = groups.iter().map(|(group, _)| &*group.origin).collect();
    let mut named: Vec<&str> = all.iter().copied().take(NAMED).collect();
    if all.len() > NAMED {
        named.push("…");
    }
    named.join("; ").into()
}

/// The routes of a place: what becomes of its requests, and the refusal of those who must not send any.
fn routes((host, path): (Host, String), groups: &[(Group, u32)], targets: Vec<Target>) -> Vec<Arc<Route>> {
    let Some((first, _)) = groups.first() else { return Vec::new() };
    let action = match &first.terms.elsewhere {
        Some(elsewhere) => Action::Redirect(elsewhere.redirect()),
        None if targets.is_empty() => return Vec::new(),
        None => Action::Forward(Arc::new(Forward {
            targets,
            split_by: None,
            replace_prefix: None,
            host_header: None,
            request_headers: HeaderRules::default(),
            mirror: None,
        })),
    };
    let name = Place::Web { host: host.clone(), path: path.clone() }.to_string();
    let not_at = first.terms.elsewhere.as_ref().and_then(|elsewhere| elsewhere.spot(&host));
    let (path, ends) = if path == "/" { (String::new(), Ends::Segment) } else { (path, Ends::Anywhere) };
    let origin = origin(groups);
    let route = |name: &str, networks: &[ipnet::IpNet], action: Action| {
        let not_at = not_at.clone().filter(|_| matches!(action, Action::Redirect(_)));
        let predicates = Predicates { client_networks: networks.to_vec(), not_at, ..Predicates::default() };
        Arc::new(Route {
            name: name.into(),
            host: host.clone(),
            path: path.clone(),
            ends,
            predicates,
            action,
            response_headers: HeaderRules::default(),
            origin: Some(Arc::clone(&origin)),
        })
    };
    let refused = format!("{name}#refused");
    match &first.terms.access {
        Access::Everybody => vec![route(&name, &[], action)],
        Access::Only(networks) => vec![route(&name, networks, action), route(&refused, &[], refusal())],
        Access::AllBut(networks) => vec![route(&refused, networks, refusal()), route(&name, &[], action)],
    }
}

fn refusal() -> Action {
    Action::Respond(Respond {
        status: StatusCode::FORBIDDEN,
        body: Bytes::from_static(b"not for this address\n"),
        content_type: Some(HeaderValue::from_static("text/plain; charset=utf-8")),
    })
}

fn passage(door: Door, groups: &[(Group, u32)], targets: Vec<Target>) -> Option<(Door, Arc<Passage>)> {
    let (first, _) = groups.first()?;
    let (only, but) = match &first.terms.access {
        Access::Everybody => (Vec::new(), Vec::new()),
        Access::Only(networks) => (networks.clone(), Vec::new()),
        Access::AllBut(networks) => (Vec::new(), networks.clone()),
    };
    let origin = origin(groups);
    (!targets.is_empty()).then(|| (door, Arc::new(Passage { targets, only, but, origin })))
}

#[cfg(test)]
mod tests;
