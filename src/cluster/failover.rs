//! A cluster whose lists serve in turn: what each of its levels has, which of them serves, and what is said when that changes.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use tracing::{info, warn};

use super::levels::Turn;
use super::locality::Strength;
use super::{Candidates, Cluster, Member};
use crate::config;
use crate::endpoint::{List, Standing};
use crate::journal::Event;

/// The lists that a cluster's list is put together from, in their order.
pub type Drawn = Box<[Option<List>]>;

/// What of a level may serve.
#[derive(Debug, Clone, PartialEq)]
pub struct LevelShare {
    /// The list that it is made of.
    pub name: String,
    /// How many are on it.
    pub endpoints: usize,
    /// Share of its weight that may serve, 0 to 100.
    pub percent: f64,
}

impl Cluster {
    /// The same, and what its list was put together from.
    pub fn with_drawn(self, drawn: Drawn) -> Self {
        Cluster { drawn, ..self }
    }

    /// True if one with these settings would have the same list if that were put together from these.
    pub fn is_drawn_from(&self, settings: &Arc<config::Cluster>, drawn: &[Option<List>]) -> bool {
        let same = |(a, b): (&Option<List>, &Option<List>)| match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        let has_same_source = || Arc::ptr_eq(&self.settings, settings) || self.settings.source == settings.source;
        !drawn.is_empty()
            && self.drawn.len() == drawn.len()
            && self.drawn.iter().zip(drawn).all(same)
            && has_same_source()
    }

    /// The level that serves, where lists serve in turn; none if none has enough, so that all of them do.
    pub fn level(&self) -> Option<usize> {
        self.candidates.load().level
    }

    /// The levels in their order, where lists serve in turn.
    pub fn levels(&self) -> Vec<LevelShare> {
        if !self.settings.in_turn {
            return Vec::new();
        }
        let is_eligible = |member: &Member| member.is_usable() && member.endpoint.standing() == Standing::Eligible;
        let serving = self.members.iter().filter(|member| is_eligible(member));
        let strengths = self.strengths(serving).into_iter().enumerate();
        let share = |(level, strength): (usize, Strength)| LevelShare {
            name: self.level_name(level),
            endpoints: self.members.iter().filter(|member| member.level == level).count(),
            percent: if strength.whole > 0.0 { 100.0 * strength.serving / strength.whole } else { 0.0 },
        };
        strengths.map(share).collect()
    }

    /// Which level serves from now on. A `stamp` of 0 is of an older table, which has no say.
    pub(super) fn turn(&self, eligible: &[usize], stamp: u64, now: Instant) -> Turn {
        if !self.settings.in_turn {
            return Turn { serving: None, review: None };
        }
        let strengths = self.strengths(eligible.iter().map(|place| &self.members[*place]));
        let mut levels = self.lasting.levels.lock().unwrap_or_else(PoisonError::into_inner);
        let when = &self.settings.balancing.failover;
        if stamp == 0 { levels.clone().decide(when, &strengths, now) } else { levels.decide(when, &strengths, now) }
    }

    /// Forgets who served if the levels are others than those of the cluster before, and has those counted that there are now. With the
    /// book open.
    pub(super) fn keep_levels(&self, previous: Option<&Cluster>) {
        if self.settings.in_turn {
            self.series().has_levels(self.settings.source.draws().len());
        }
        if previous.is_some_and(|previous| previous.settings.source != self.settings.source) {
            self.lasting.levels.lock().unwrap_or_else(PoisonError::into_inner).forget();
        }
    }

    /// Says when another level serves than before; none is known before the first list.
    pub(super) fn report_level(&self, before: Option<Option<usize>>, candidates: &Candidates) {
        let level = candidates.level;
        if !self.settings.in_turn || self.list.is_none() || before.unwrap_or(Some(0)) == level {
            return;
        }
        let cluster = &self.settings.name;
        let count = self.settings.source.draws().len();
        self.series().failover(level.unwrap_or(count));
        let list = level.map(|level| self.level_name(level)).unwrap_or_default();
        self.note(Event::Level { cluster: cluster.to_string(), level, list });
        let Some(level) = level else {
            warn!(%cluster, "failover: no list has enough who may serve, so all of them serve together");
            return;
        };
        let (list, before) = (self.level_name(level), before.unwrap_or(Some(0)).unwrap_or(count));
        if level > before {
            warn!(%cluster, %list, level, "failover: too few of the list before may serve");
        } else {
            info!(%cluster, %list, level, "requests are back at an earlier list");
        }
    }

    /// What of each level's weight there is, and what of it these are. Who is in maintenance is missed too, on purpose or not; who
    /// is suspected to be gone is not there.
    fn strengths<'a>(&self, serving: impl Iterator<Item = &'a Member>) -> Vec<Strength> {
        let mut strengths = vec![Strength::default(); self.settings.source.draws().len()];
        let mut add = |member: &Member, add: fn(&mut Strength, f64)| {
            if let Some(strength) = strengths.get_mut(member.level).filter(|_| !member.is_suspect()) {
                add(strength, f64::from(member.weight));
            }
        };
        self.members.iter().for_each(|member| add(member, |strength, weight| strength.whole += weight));
        serving.for_each(|member| add(member, |strength, weight| strength.serving += weight));
        strengths
    }

    fn level_name(&self, level: usize) -> String {
        self.settings.source.draws().get(level).map(|draw| draw.selection.to_string()).unwrap_or_default()
    }
}
