//! Those of a cluster that may be picked, kept ready: made when the list changes or someone is ejected or returns, so that
//! a pick never filters, and costs the same with five endpoints and with five thousand.

use std::sync::Arc;
use std::time::Instant;

use super::locality::{self, Strength};
use super::{Cluster, Member, member, slow_start};
use crate::balance::{Ask, Balancer, Candidate, Context, balancer};
use crate::config::Policy;
use crate::endpoint::{Endpoint, Id, InFlight, Standing};
use crate::health;

/// One state of the list.
#[derive(Default)]
pub(super) struct Candidates {
    /// Those who may be picked, nearest first; none if there is nobody.
    tiers: Box<[Tier]>,
    /// Those who wait for their trial request, or have it.
    pub(super) probation: Box<[Arc<Endpoint>]>,
    /// When the next ejection ends, the next step of somebody's slow start, or the time of somebody's clients in maintenance.
    pub(super) review: Option<Instant>,
    /// When all this was so.
    pub(super) sorted: Option<Instant>,
    /// True if too few were eligible: then all serve.
    pub(super) panic: bool,
    /// True if those serve who are off the list, for want of anybody who is on it.
    pub(super) doubtful: bool,
    /// The level that they are of; none if all levels serve together, or there are none.
    pub(super) level: Option<usize>,
}

/// Those who are equally near.
struct Tier {
    /// Requests drawn below this, of 2^32, and not below that of the tier before, are for this one.
    below: u64,
    eligible: Arc<[Candidate]>,
    balancer: Box<dyn Balancer>,
}

/// A member that may serve, and how much of its share it has.
struct Serving {
    place: usize,
    percent: u32,
}

impl Candidates {
    /// Sorts the members by their standing at `now`; ejections that are over become probation. `stamp` grows with each list of
    /// the cluster's newest table, and is 0 in an older one.
    pub(super) fn sort(cluster: &Cluster, stamp: u64, now: Instant) -> Self {
        let settings = &cluster.settings.balancing;
        let mut standings = Standings::read(&cluster.members, now);
        let turn = cluster.turn(&standings.eligible, stamp, now);
        if let Some(level) = turn.serving {
            standings.keep(&cluster.members, level);
        }
        // A level with enough is no reason to panic; without one, all of them are looked at together.
        let panic = turn.serving.is_none() && standings.is_panic(settings.panic_percent);
        // In a panic all serve, but those who were eligible before still say where to go.
        let eligible = std::mem::take(&mut standings.eligible);
        let serving = if panic { &standings.possible } else { &eligible };
        let leading = if eligible.is_empty() { serving } else { &eligible };
        let doubtful = !panic && eligible.first().is_some_and(|place| cluster.members[*place].is_suspect());
        let percent = |place: usize| slow_start::percent(&settings.slow_start, &cluster.members[place], now);
        let serving = serving.iter().map(|place| Serving { place: *place, percent: percent(*place) });
        let serving: Vec<Serving> = serving.collect();
        let strengths = strengths(&cluster.members, leading, percent);
        if serving.iter().any(|serving| serving.percent < 100) {
            let step = now + slow_start::step(&settings.slow_start);
            standings.review = Some(standings.review.map_or(step, |review| review.min(step)));
        }
        let endpoint = |place: &usize| Arc::clone(&cluster.members[*place].endpoint);
        let probation = if panic { Box::default() } else { standings.probation.iter().map(endpoint).collect() };
        let review = [standings.review, resting(cluster, now), turn.review].into_iter().flatten().min();
        let (tiers, sorted) = (tiers(cluster, &serving, &strengths, stamp), Some(now));
        Candidates { tiers, probation, review, sorted, panic, doubtful, level: turn.serving }
    }

    /// True if time or a judgement has overtaken this state.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        self.review.is_some_and(|at| at <= now)
            || self.probation.iter().any(|endpoint| endpoint.standing() == Standing::Eligible)
    }

    /// The balancer's choice in the tier that the request is drawn for; for a retry, in the nearest tier where there is somebody
    /// who was not tried, if there is one.
    pub(super) fn pick(&self, ask: &mut Ask<'_>) -> Option<InFlight> {
        let drawn = self.draw(ask)?;
        let tier = if ask.tried.is_empty() || drawn.has_untried(ask.tried) {
            drawn
        } else {
            self.tiers.iter().find(|tier| tier.has_untried(ask.tried)).unwrap_or(drawn)
        };
        Some(tier.balancer.pick(ask))
    }

    /// Whom a pick would come to, and nothing is begun.
    pub(super) fn foresee(&self, ask: &mut Ask<'_>) -> Option<&Arc<Endpoint>> {
        Some(self.draw(ask)?.balancer.foresee(ask))
    }

    /// The share of requests that each tier takes, with how many are in it.
    pub(super) fn tiers(&self) -> impl Iterator<Item = (f64, usize)> {
        let mut before = 0;
        self.tiers.iter().map(move |tier| {
            let share = tier.below.saturating_sub(before) as f64 / (1_u64 << 32) as f64;
            before = tier.below;
            (share, tier.eligible.len())
        })
    }

    /// How many they are.
    pub(super) fn count(&self) -> usize {
        self.tiers.iter().map(|tier| tier.eligible.len()).sum()
    }

    /// True if there is somebody among them who was not tried.
    pub(super) fn has_untried(&self, tried: &[Id]) -> bool {
        self.tiers.iter().any(|tier| tier.has_untried(tried))
    }

    /// All of them, nearest first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.tiers.iter().flat_map(|tier| tier.eligible.iter()).map(|candidate| &candidate.endpoint)
    }

    fn draw(&self, ask: &mut Ask<'_>) -> Option<&Tier> {
        if self.tiers.len() < 2 {
            return self.tiers.first();
        }
        // Who goes by a key goes on only if the one who has it there is out: so that nobody's keys move but that one's.
        if let Some(key) = ask.key {
            return self.tiers.iter().find(|tier| tier.balancer.has_home(key)).or(self.tiers.first());
        }
        let number = ask.rng.u64(..) >> 32;
        self.tiers.iter().find(|tier| number < tier.below).or(self.tiers.first())
    }
}

impl Tier {
    fn has_untried(&self, tried: &[Id]) -> bool {
        self.eligible.len() > tried.len()
            || self.eligible.iter().any(|candidate| !tried.contains(&candidate.endpoint.id()))
    }
}

/// Members by what may be asked of them, as places in the list.
#[derive(Default)]
struct Standings {
    eligible: Vec<usize>,
    possible: Vec<usize>,
    usable: Vec<usize>,
    /// Those who are off the list and serve for want of others.
    suspects: Vec<usize>,
    probation: Vec<usize>,
    review: Option<Instant>,
}

impl Standings {
    fn read(members: &[Member], now: Instant) -> Self {
        let mut standings = Standings::default();
        for (place, member) in members.iter().enumerate().filter(|(_, member)| member.is_possible()) {
            if member.is_suspect() {
                standings.suspect(place, standing(&member.endpoint, now));
                continue;
            }
            standings.possible.push(place);
            if !member.is_usable() {
                continue;
            }
            standings.usable.push(place);
            match standing(&member.endpoint, now) {
                Ok(()) => standings.eligible.push(place),
                Err(Some(until)) => standings.review = Some(standings.review.map_or(until, |at| at.min(until))),
                Err(None) => standings.probation.push(place),
            }
        }
        standings
    }

    /// One that is off the list is no loss: while it is out it is gone, and no request is risked to find out more.
    fn suspect(&mut self, place: usize, standing: Result<(), Option<Instant>>) {
        match standing {
            Ok(()) => {
                self.possible.push(place);
                self.suspects.push(place);
            }
            Err(until) => self.review = [self.review, until].into_iter().flatten().min(),
        }
    }

    /// Only those of this level; but on probation are those of earlier ones too, or requests could never return to them.
    fn keep(&mut self, members: &[Member], level: usize) {
        let is_of = |place: &usize| members[*place].level == level;
        for places in [&mut self.eligible, &mut self.possible, &mut self.usable, &mut self.suspects] {
            places.retain(is_of);
        }
        self.probation.retain(|place| members[*place].level <= level);
    }

    /// True if so few are eligible that all must serve.
    fn is_panic(&mut self, percent: u32) -> bool {
        if self.eligible.is_empty() {
            // Better somebody who was well a moment ago than somebody who is not.
            self.eligible = std::mem::take(&mut self.suspects);
        }
        if self.eligible.is_empty() && percent == 0 {
            // Our own doubts must never leave nobody, whatever else is asked.
            self.possible = std::mem::take(&mut self.usable);
        }
        let share_is_below = self.eligible.len() * 100 < self.possible.len() * percent as usize;
        !self.possible.is_empty() && (share_is_below || self.eligible.is_empty())
    }
}

/// When clients next have to leave somebody who is in maintenance, where clients stay with theirs.
fn resting(cluster: &Cluster, now: Instant) -> Option<Instant> {
    let patience = cluster.settings.balancing.sticky.as_ref()?.maintenance;
    cluster.members.iter().filter_map(|member| member.rests_until(patience)).filter(|until| *until > now).min()
}

/// Eligible; or out until then; or on probation.
fn standing(endpoint: &Endpoint, now: Instant) -> Result<(), Option<Instant>> {
    match endpoint.standing() {
        Standing::Eligible => Ok(()),
        Standing::Ejected => Err(health::review(endpoint, now)),
        Standing::Probation | Standing::Trial => Err(None),
    }
}

/// What each group has, and what of it can be relied on now: of whoever is only beginning, the part that it has.
fn strengths(members: &[Member], leading: &[usize], percent: impl Fn(usize) -> u32) -> Vec<Strength> {
    let mut strengths = vec![Strength::default(); member::groups(members)];
    for member in members {
        strengths[member.group].whole += f64::from(member.weight);
    }
    for place in leading {
        let member = &members[*place];
        strengths[member.group].serving += f64::from(member.weight) * f64::from(percent(*place)) / 100.0;
    }
    strengths
}

fn tiers(cluster: &Cluster, serving: &[Serving], strengths: &[Strength], stamp: u64) -> Box<[Tier]> {
    let members = &cluster.members;
    let mut groups: Vec<Vec<&Serving>> = strengths.iter().map(|_| Vec::new()).collect();
    for one in serving {
        groups[members[one.place].group].push(one);
    }
    let shares = locality::spill(strengths, cluster.settings.balancing.locality.overprovisioning);
    let mut upto = 0.0;
    let mut tiers = Vec::new();
    for (group, (serving, share)) in groups.into_iter().zip(shares).enumerate() {
        upto += share;
        let eligible = candidates(cluster, subset(members, serving, cluster.settings.balancing.subset_size));
        let context = Context {
            settings: &cluster.settings,
            cursors: &cluster.lasting.cursors,
            ledger: &cluster.lasting.ledger,
            ring: cluster.rings.get(group),
            group,
            stamp,
        };
        // Sums of shares are right to a few binary places; the first tier takes what falls between.
        let below = (upto * (1_u64 << 32) as f64).round() as u64;
        tiers.extend(balancer(&eligible, &context).map(|balancer| Tier { below, eligible, balancer }));
    }
    tiers.into()
}

/// The few of a tier that this process prefers. Each process has an order of its own, drawn anew for each endpoint, so that
/// together they spread evenly; an endpoint that comes or goes changes a subset by one (gRPC's A68, "random subsetting").
fn subset<'a>(members: &[Member], mut serving: Vec<&'a Serving>, size: usize) -> Vec<&'a Serving> {
    if size > 0 && serving.len() > size {
        serving.select_nth_unstable_by_key(size, |one| members[one.place].rank);
        serving.truncate(size);
        serving.sort_unstable_by_key(|one| one.place);
    }
    serving
}

fn candidates(cluster: &Cluster, serving: Vec<&Serving>) -> Arc<[Candidate]> {
    let least = serving.iter().map(|one| one.percent).min().unwrap_or(100);
    // Where all have the same part of their shares, they have the same shares as ever.
    let is_even = serving.iter().all(|one| one.percent == least);
    // But whose keys are whose must not depend on how far the others are.
    let is_hashed = cluster.settings.policy == Policy::ConsistentHash;
    let candidate = |one: &Serving| {
        let member = &cluster.members[one.place];
        let weight = member.weight.saturating_mul(if is_even { 1 } else { one.percent });
        let percent = if is_even && !is_hashed { 100 } else { one.percent };
        Candidate { endpoint: Arc::clone(&member.endpoint), weight, percent, place: one.place as u32 }
    };
    serving.into_iter().map(candidate).collect()
}
