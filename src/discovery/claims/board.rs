//! All claims, place by place, and what route commands make of them: Fabio's own rules, which are about single instances, applied to groups of
//! instances of which the same is true.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::command::{Command, Ordered, Who};
use super::terms::Terms;
use super::{Claim, Place};
use crate::config::{Draw, MAX_WEIGHT, Only, Selection};
use crate::endpoint::{Listed, Status};
use crate::table::{self, Lists};

/// Shares are counted in this many parts, as Fabio counts them.
const PARTS: f64 = 10_000.0;

/// Instances that make the same claim, and of which the same is true.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    pub(super) service: Arc<str>,
    /// Who says so, for people.
    pub(super) origin: Arc<str>,
    pub(super) from: From,
    pub(super) terms: Terms,
    /// The share of each; 0 for an equal part of what is left.
    pub(super) each: f64,
}

/// Who they are.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum From {
    /// Those of a list who carry a tag.
    Followed(Draw),
    /// These, with the tags of each of them.
    Fixed(Vec<(String, u16)>, Vec<Arc<str>>),
    /// Nobody: what is asked for needs no endpoint.
    Nowhere(Vec<Arc<str>>),
}

/// All claims.
#[derive(Debug, Default)]
pub(super) struct Board(BTreeMap<Place, Vec<Group>>);

impl Group {
    /// The instances of that service who make this claim by a tag.
    pub(super) fn of_tag((service, selection): (&Arc<str>, &Selection), tag: &Arc<str>, claim: &Claim) -> Self {
        // Not by the draw's own tag, which is for names that do not know capitals: paths do.
        let only = Only { with: vec![Arc::clone(tag)], ..Only::default() };
        let draw = Draw { only: Some(Arc::new(only)), ..selection.clone().into() };
        Group {
            service: Arc::clone(service),
            origin: format!("{service}: {tag}").into(),
            from: From::Followed(draw),
            terms: claim.terms.clone(),
            each: claim.weight,
        }
    }

    /// How many of them can serve.
    pub(super) fn count(&self, lists: &Lists) -> usize {
        match &self.from {
            From::Followed(draw) => {
                let list = lists.get(&draw.selection).map(|list| &list[..]).unwrap_or_default();
                list.iter().filter(|listed| serves(listed) && table::takes(draw, listed)).count()
            }
            From::Fixed(addresses, _) => addresses.len(),
            From::Nowhere(_) => 1,
        }
    }

    /// Those of it who are meant, and those who are not.
    fn part(self, who: &Who, lists: &Lists) -> [Option<Group>; 2] {
        if who.service.as_ref().is_some_and(|service| **service != *self.service) {
            return [None, Some(self)];
        }
        if who.tags.is_empty() {
            return [Some(self), None];
        }
        match &self.from {
            From::Fixed(_, tags) | From::Nowhere(tags) => {
                let is_meant = who.tags.iter().all(|tag| tags.contains(tag));
                if is_meant { [Some(self), None] } else { [None, Some(self)] }
            }
            From::Followed(draw) => {
                let only = draw.only.as_deref().cloned().unwrap_or_default();
                let mut meant = only.clone();
                meant.with.extend(who.tags.iter().cloned());
                let mut others = only;
                others.without.push(who.tags.clone());
                [meant, others].map(|only| Some(self.narrowed(only)).filter(|group| group.exists(lists)))
            }
        }
    }

    fn narrowed(&self, only: Only) -> Group {
        let From::Followed(draw) = &self.from else { return self.clone() };
        Group { from: From::Followed(Draw { only: Some(Arc::new(only)), ..draw.clone() }), ..self.clone() }
    }

    /// True if there is anybody in it, whether they can serve or not.
    fn exists(&self, lists: &Lists) -> bool {
        let From::Followed(draw) = &self.from else { return true };
        lists.get(&draw.selection).is_some_and(|list| list.iter().any(|listed| table::takes(draw, listed)))
    }

    /// The same without whoever is at that address.
    fn without(mut self, address: &(String, u16), lists: &Lists) -> Option<Group> {
        match &mut self.from {
            From::Fixed(own, _) => {
                own.retain(|own| own != address);
                if own.is_empty() { None } else { Some(self) }
            }
            From::Nowhere(_) => Some(self),
            From::Followed(draw) => {
                let mut only = draw.only.as_deref().cloned().unwrap_or_default();
                only.except.push(address.clone());
                Some(self.narrowed(only)).filter(|group| group.exists(lists))
            }
        }
    }
}

pub(super) fn serves(listed: &Listed) -> bool {
    listed.weight > 0 && matches!(listed.status, Status::Passing | Status::Warning)
}

impl Board {
    /// Adds a claim's group.
    pub(super) fn add(&mut self, place: Place, group: Group) {
        let groups = self.0.entry(place).or_default();
        if !groups.contains(&group) {
            groups.push(group);
        }
    }

    /// Does what is ordered; false if that changes nothing.
    pub(super) fn obey(&mut self, ordered: &Ordered, lists: &Lists) -> bool {
        match &ordered.command {
            Command::Add { service, claim, address, tags } => {
                let from = match address {
                    Some(address) => From::Fixed(vec![address.clone()], tags.clone()),
                    None => From::Nowhere(tags.clone()),
                };
                let (service, origin) = (service.as_str().into(), Arc::clone(&ordered.origin));
                let group = Group { service, origin, from, terms: claim.terms.clone(), each: claim.weight };
                self.add(claim.place.clone(), group);
                true
            }
            Command::Del { who, place, address } => {
                let is_meant = |at: &Place| place.as_ref().is_none_or(|(web, tcp)| at == web || at == tcp);
                let mut changed = false;
                for (_, groups) in self.0.iter_mut().filter(|(at, _)| is_meant(at)) {
                    changed |= delete(groups, (who, address.as_ref()), lists);
                }
                self.0.retain(|_, groups| !groups.is_empty());
                changed
            }
            Command::Weigh { who, place: (web, tcp), weight } => {
                let places = if web == tcp { vec![web] } else { vec![web, tcp] };
                let weighed = places.into_iter().filter_map(|place| {
                    let groups = self.0.get_mut(place)?;
                    Some(weigh(groups, (who, *weight), lists))
                });
                weighed.fold(false, |some, weighed| some | weighed)
            }
        }
    }

    /// All of it, in the order of places.
    pub(super) fn places(self) -> impl Iterator<Item = (Place, Vec<Group>)> {
        self.0.into_iter().map(|(place, groups)| (place, joined(groups)))
    }
}

/// Single instances that differ in nothing but where they are become one group.
fn joined(groups: Vec<Group>) -> Vec<Group> {
    let mut joined: Vec<Group> = Vec::with_capacity(groups.len());
    for group in groups {
        if let From::Fixed(more, _) = &group.from {
            let is_like = |other: &&mut Group| {
                let is_fixed =
                    matches!(&other.from, From::Fixed(known, _) if known.iter().all(|known| !more.contains(known)));
                is_fixed && other.service == group.service && other.terms == group.terms && other.each == group.each
            };
            if let Some(Group { from: From::Fixed(addresses, _), .. }) = joined.iter_mut().find(is_like) {
                addresses.extend(more.iter().cloned());
                continue;
            }
        }
        joined.push(group);
    }
    joined
}

fn delete(groups: &mut Vec<Group>, (who, address): (&Who, Option<&(String, u16)>), lists: &Lists) -> bool {
    let is_concerned = |group: &Group| who.service.as_ref().is_none_or(|service| **service == *group.service);
    // Orders may be many, and so may places.
    if !groups.iter().any(is_concerned) {
        return false;
    }
    let before = groups.clone();
    *groups = before
        .iter()
        .cloned()
        .flat_map(|group| {
            let [meant, others] = group.part(who, lists);
            let meant = meant.and_then(|meant| address.and_then(|address| meant.without(address, lists)));
            meant.into_iter().chain(others)
        })
        .collect();
    *groups != before
}

/// Gives those who are meant that share together, each the same; false if there is nobody.
fn weigh(groups: &mut Vec<Group>, (who, weight): (&Who, f64), lists: &Lists) -> bool {
    let parts: Vec<[Option<Group>; 2]> = groups.drain(..).map(|group| group.part(who, lists)).collect();
    let count: usize = parts.iter().filter_map(|[meant, _]| meant.as_ref()).map(|group| group.count(lists)).sum();
    let is_anybody = parts.iter().any(|[meant, _]| meant.is_some());
    // Where none of them can serve now, they keep the share for when they can.
    let each = weight / count.max(1) as f64;
    for [meant, others] in parts {
        groups.extend(meant.map(|meant| Group { each, ..meant }));
        groups.extend(others);
    }
    is_anybody
}

/// What each group of a place gets, as weights for a split. First come those who have a share of their own, scaled if they have more than
/// all, or less while nobody has anything else; the others have equal parts of what is left. Who gets nothing beside others who do is
/// not among the targets: none.
pub(super) fn shares(groups: &[(f64, usize)]) -> Vec<Option<u32>> {
    let count: usize = groups.iter().map(|(_, count)| count).sum();
    let fixed = || groups.iter().filter(|(each, _)| *each > 0.0);
    let (sum, of_them) =
        (fixed().map(|(each, count)| each * *count as f64).sum::<f64>(), fixed().map(|(_, n)| n).sum::<usize>());
    let scale = if sum > 1.0 || (sum > 0.0 && of_them == count) { 1.0 / sum } else { 1.0 };
    let left = (1.0 - sum).max(0.0) / (count - of_them).max(1) as f64;
    let share = |(each, count): &(f64, usize)| if *each > 0.0 { each * scale } else { left } * *count as f64;
    let weights: Vec<Option<u32>> = groups
        .iter()
        .map(|group| {
            let share = share(group);
            // Somebody who cannot serve now may be all there is in a moment.
            let is_out = share <= 0.0 && group.1 > 0;
            (!is_out).then(|| if share > 0.0 { ((share * PARTS).round() as u32).clamp(1, MAX_WEIGHT) } else { 0 })
        })
        .collect();
    let is_nobodys = weights.iter().flatten().all(|weight| *weight == 0);
    if is_nobodys { groups.iter().map(|_| Some(1)).collect() } else { weights }
}

#[cfg(test)]
mod tests;
