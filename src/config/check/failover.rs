//! What a cluster draws on in Consul: the list that serves first, and those that serve in its place.

use std::time::Duration;

use super::super::{Draw, FailoverWhen, Lookup, Selection, Source, raw};
use super::Problems;

// Defaults; `config/reference.toml` says why each is what it is.
const BELOW_PERCENT: u32 = 50;
const RETURN_PERCENT: u32 = 75;
const RETURN_AFTER: Duration = Duration::from_secs(30);
/// Each is a query of its own; who needs more of them means something else.
const MOST: usize = 7;

/// When levels give way to each other.
pub(super) fn when(key: &str, written: &raw::FailoverWhen, problems: &mut Problems) -> FailoverWhen {
    let below_percent = written.below_percent.unwrap_or(BELOW_PERCENT);
    let return_percent = written.return_percent.unwrap_or(RETURN_PERCENT.max(below_percent));
    for (name, percent) in [("below_percent", below_percent), ("return_percent", return_percent)] {
        if !(1..=100).contains(&percent) {
            problems.add(format!("{key}.failover_when.{name}"), format!("{percent} is not a share; use 1 to 100"));
        }
    }
    if return_percent < below_percent {
        problems.add(
            format!("{key}.failover_when.return_percent"),
            format!(
                "{return_percent} would return to what is left below {below_percent}; use {below_percent} at least"
            ),
        );
    }
    FailoverWhen { below_percent, return_percent, return_after: written.return_after.unwrap_or(RETURN_AFTER) }
}

/// Adds those who serve in place of the first.
pub(super) fn extend(
    key: &str,
    (source, consul): (&mut Source, Option<&raw::Selection>),
    failover: Option<Vec<raw::Selection>>,
    problems: &mut Problems,
) {
    let Some(failover) = failover else { return };
    let (Source::Followed(draws), Some(consul)) = (source, consul) else {
        problems.add(
            format!("{key}.failover"),
            "needs a first choice that it can take the place of; add consul = { service = \"…\" }",
        );
        return;
    };
    if failover.is_empty() || failover.len() > MOST {
        let advice = format!("is {} lists; use 1 to {MOST}, or leave the key out", failover.len());
        problems.add(format!("{key}.failover"), advice);
    }
    for (place, written) in failover.into_iter().enumerate() {
        let key = format!("{key}.failover[{place}]");
        let selection = selected(&key, inherited(written, consul), problems);
        if draws.iter().any(|draw| draw.selection == selection) {
            let advice = "is a list that has failed by then; name another datacenter, peer, service or filter";
            problems.add(key, advice);
        }
        draws.push(selection.into());
    }
}

/// The same for a service that is asked for by its name, who carries the same tag wherever that is.
pub(super) fn extend_named(
    key: &str,
    source: &mut Source,
    failover: Option<Vec<raw::Selection>>,
    problems: &mut Problems,
) {
    let first = source.draws().first().cloned();
    let consul = first.as_ref().map(|Draw { selection, .. }| {
        let (service, query) = match selection.lookup {
            Lookup::Query => (None, Some(selection.service.clone())),
            Lookup::Service | Lookup::Connect => (Some(selection.service.clone()), None),
        };
        let Selection { filter, datacenter, peer, .. } = selection.clone();
        let connect = Some(selection.lookup == Lookup::Connect);
        raw::Selection { service, query, filter, datacenter, peer, connect }
    });
    extend(key, (&mut *source, consul.as_ref()), failover, problems);
    if let (Source::Followed(draws), Some(first)) = (source, first) {
        for draw in draws.iter_mut().skip(1) {
            draw.tag.clone_from(&first.tag);
        }
    }
}

/// What is left out is as it is in `consul`; but a filter is about its service, and another cluster has datacenters of its own.
fn inherited(written: raw::Selection, consul: &raw::Selection) -> raw::Selection {
    let is_named = written.service.is_some() || written.query.is_some();
    let names = if is_named { (None, None) } else { (consul.service.clone(), consul.query.clone()) };
    let (service, query) = (written.service.or(names.0), written.query.or(names.1));
    let is_elsewhere = written.datacenter.is_some() || written.peer.is_some();
    let place = if is_elsewhere { (None, None) } else { (consul.datacenter.clone(), consul.peer.clone()) };
    let filter = written.filter.or_else(|| consul.filter.clone().filter(|_| !is_named));
    raw::Selection {
        service,
        query,
        filter,
        datacenter: written.datacenter.or(place.0),
        peer: written.peer.or(place.1),
        connect: written.connect.or(consul.connect),
    }
}

/// What is asked for, by this key.
pub(super) fn selected(key: &str, written: raw::Selection, problems: &mut Problems) -> Selection {
    let connect = written.connect.unwrap_or(false);
    if connect && (written.query.is_some() || written.peer.is_some()) {
        let message = "is for services of our own mesh: what a query or a peer names could be anybody there";
        problems.add(format!("{key}.connect"), message);
    }
    let (name, lookup) = match (written.service, written.query) {
        (Some(service), None) if connect => (service, Lookup::Connect),
        (Some(service), None) => (service, Lookup::Service),
        (None, Some(query)) => (query, Lookup::Query),
        (None, None) => {
            problems.add(key, "names nobody; add service = \"…\", or query = \"…\" for a prepared query");
            return Selection::of("");
        }
        (Some(service), Some(_)) => {
            problems.add(format!("{key}.query"), "stands beside service; keep one of them");
            (service, Lookup::Service)
        }
    };
    // Consul answers a lookup of any length; a name that long is a mistake here. Dots alone would be taken for a path.
    let is_path = [".", ".."].contains(&name.as_str());
    if name.is_empty() || name.len() > 255 || name.chars().any(char::is_control) || is_path {
        let word = lookup.name();
        problems.add(
            format!("{key}.{word}"),
            format!("the name of a {word} has 1 to 255 visible characters, and not only dots"),
        );
    }
    let blank = |text: &Option<String>| text.as_ref().is_some_and(|text| text.trim().is_empty());
    let (filter, datacenter, peer) = (written.filter, written.datacenter, written.peer);
    for (name, value) in [("filter", &filter), ("datacenter", &datacenter), ("peer", &peer)] {
        if blank(value) {
            problems.add(format!("{key}.{name}"), "is empty; leave the key out");
        }
    }
    if peer.is_some() && datacenter.is_some() {
        problems
            .add(format!("{key}.peer"), "is another cluster, which is asked whatever its datacenter; keep one of them");
    }
    if lookup == Lookup::Query && (filter.is_some() || peer.is_some()) {
        problems.add(format!("{key}.query"), "has a filter and a peer of its own, in Consul; leave them out here");
    }
    Selection { service: name, filter, datacenter, peer, lookup }
}
