//! All that is known, from the sources and from before the start, and what time makes of it: the facts that tables are built
//! from. Whatever time alone changes has one timer, [`Memory::next`].

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tracing::{info, warn};

use super::disk::{Catalogue, Content, Kept};
use super::keeper::{self, Keeper};
use super::said::Said;
use super::suspects::Loss;
use crate::config::{Consul, Documents, Selection};
use crate::endpoint::{Age, List, Vantage};
use crate::journal::{Event, Journal};
use crate::metrics::Metrics;
use crate::table::{Beside, ByCluster, Facts};

/// How long the first answer may take before a list from disk serves in its place.
const GRACE: Duration = Duration::from_secs(1);
/// With a limit to staleness, the file is to be no older than this part of it.
const FILE_AGE: u32 = 4;

/// All that is known.
pub(super) struct Memory {
    settings: Consul,
    metrics: Arc<Metrics>,
    journal: Arc<Journal>,
    said: HashMap<Selection, Said>,
    facts: Facts,
    keeper: Option<Keeper>,
    /// The documents beside the file that counted last, be it before the start.
    documents: Option<Arc<Documents>>,
    /// The route commands that counted last, be it before the start.
    commands: Option<Arc<Documents>>,
    /// When lists from disk serve where nothing has been heard; none once they do.
    fall_back: Option<Instant>,
}

impl Memory {
    /// What was known before the start, if that was kept.
    pub(super) fn new(settings: &Consul, (metrics, journal): (&Arc<Metrics>, &Arc<Journal>), vantage: Vantage) -> Self {
        let (now, wall, catalogue) = (Instant::now(), SystemTime::now(), Catalogue::of(settings));
        let kept = settings.last_lists.as_ref().map(|path| keeper::recall(path, &catalogue)).unwrap_or_default();
        let Content { lists, documents, commands } = kept;
        let recalled = |kept: Kept| {
            let mut said = Said::new(settings, now);
            let age = wall.duration_since(kept.heard).unwrap_or_default();
            said.recall(kept.list, now.checked_sub(age).unwrap_or(now));
            (kept.selection, said)
        };
        Memory {
            fall_back: (!lists.is_empty() || documents.is_some()).then_some(now + GRACE),
            documents,
            commands,
            said: lists.into_iter().map(recalled).collect(),
            facts: Facts { vantage: Arc::new(vantage), ..Facts::default() },
            keeper: settings.last_lists.as_ref().and_then(|path| Keeper::new(path, catalogue, metrics)),
            settings: settings.clone(),
            metrics: Arc::clone(metrics),
            journal: Arc::clone(journal),
        }
    }

    /// What tables are built from.
    pub(super) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// All lists that are known, from before the start where nothing else is.
    pub(super) fn known(&self) -> HashMap<Selection, List> {
        let mut known = self.recalled();
        known.extend(self.facts.lists.iter().map(|(selection, list)| (selection.clone(), list.clone())));
        known
    }

    /// The lists from before the start that nothing has been heard of.
    pub(super) fn recalled(&self) -> HashMap<Selection, List> {
        let recalled = |(selection, said): (&Selection, &Said)| Some((selection.clone(), said.kept()?.0));
        self.said.iter().filter_map(recalled).collect()
    }

    /// These are asked for from now on, and nothing else is worth knowing.
    pub(super) fn follow(&mut self, selections: &BTreeSet<Selection>, now: Instant) {
        self.said.retain(|selection, _| selections.contains(selection));
        self.facts.lists.retain(|selection, _| selections.contains(selection));
        self.facts.freshness.retain(|selection, _| selections.contains(selection));
        self.facts.silent.retain(|selection| selections.contains(selection));
        for selection in selections {
            self.said.entry(selection.clone()).or_insert_with(|| Said::new(&self.settings, now));
        }
    }

    /// Whether routes are still to come.
    pub(super) fn await_routes(&mut self, awaits: bool) {
        self.facts.awaits_routes = awaits;
    }

    /// What operators have done by hand.
    pub(super) fn heed(&mut self, measures: &Arc<ByCluster>) {
        self.facts.measures = Arc::clone(measures);
    }

    /// Where we stand.
    pub(super) fn stand(&mut self, vantage: Arc<Vantage>) {
        self.facts.vantage = vantage;
    }

    /// The documents from before the start.
    pub(super) fn documents(&self) -> Option<&Arc<Documents>> {
        self.documents.as_ref()
    }

    /// How documents beside the file are, and which count.
    pub(super) fn stand_beside(&mut self, beside: Option<&Arc<Beside>>, good: Option<&Arc<Documents>>) {
        self.facts.beside = beside.cloned();
        if beside.is_none() {
            self.documents = None;
        }
        if let Some(good) = good
            && self.documents.as_ref().is_none_or(|known| !Arc::ptr_eq(known, good))
        {
            let is_news = self.documents.as_deref() != Some(&**good);
            self.documents = Some(Arc::clone(good));
            if is_news {
                self.changed(Instant::now());
            }
        }
    }

    /// The route commands from before the start, or those that counted last.
    pub(super) fn commands(&self) -> Option<&Arc<Documents>> {
        self.commands.as_ref()
    }

    /// Which route commands count; none if nobody may give any.
    pub(super) fn obey(&mut self, commands: Option<&Arc<Documents>>) {
        if self.commands.as_ref() != commands {
            self.commands = commands.cloned();
            self.changed(Instant::now());
        }
    }

    /// True if what is known from before the start is to be gone by now, where nothing was heard.
    pub(super) fn falls_back(&self, now: Instant) -> bool {
        self.fall_back.is_some_and(|at| at <= now)
    }

    /// A source has given another list. One that is not asked for any more may have been on its way.
    pub(super) fn hear(&mut self, selection: Selection, list: List, loss: Loss, now: Instant) {
        let Some(said) = self.said.get_mut(&selection) else { return };
        said.hear(list, loss, now);
        let suspects = said.suspects();
        if loss == Loss::Mass && suspects > 0 {
            warn!(
                service = %selection,
                suspects,
                "most of the list went at once: who could serve is kept for a while, as the last to be asked"
            );
        }
        self.serve(&selection);
        self.changed(now);
    }

    /// A source stands by its list.
    pub(super) fn confirm(&mut self, selection: &Selection, now: Instant) {
        let Some(said) = self.said.get_mut(selection) else { return };
        said.confirm(now);
        let most = self.settings.staleness.max.map(|max| max / FILE_AGE);
        let written = self.keeper.as_ref().and_then(Keeper::written);
        if most.zip(written).is_some_and(|(most, written)| now.saturating_duration_since(written) > most) {
            self.changed(now);
        }
    }

    /// A source could not be asked; true if a list from disk serves now, or nothing is known of it so that others are not to wait.
    pub(super) fn miss(&mut self, selection: &Selection) -> bool {
        let is_asked = self.said.contains_key(selection);
        let falls_back = self.fall_back(selection);
        let is_unknown = is_asked && !self.facts.lists.contains_key(selection);
        falls_back || is_unknown && self.facts.silent.insert(selection.clone())
    }

    fn fall_back(&mut self, selection: &Selection) -> bool {
        let falls_back = self.said.get_mut(selection).is_some_and(Said::fall_back);
        if falls_back {
            self.serve(selection);
            warn!(service = %selection, "the source does not answer: its last list from before the start serves");
        }
        falls_back
    }

    /// Brings all in step with time; true if that changes any fact.
    pub(super) fn pass(&mut self, now: Instant) -> bool {
        let mut changed = false;
        if self.fall_back.take_if(|at| *at <= now).is_some() {
            let all: Vec<Selection> = self.said.keys().cloned().collect();
            changed |= all.iter().filter(|selection| self.fall_back(selection)).count() > 0;
        }
        let mut older = Vec::new();
        for (selection, said) in &mut self.said {
            let passed = said.pass(now);
            if passed.freshness {
                let (freshness, series) = (said.freshness(), self.metrics.watch(&selection.to_string()));
                self.facts.freshness.insert(selection.clone(), freshness);
                series.from_disk(freshness.from_disk);
                let was_stale = series.stale(freshness.age != Age::Fresh);
                tell(&self.journal, selection, freshness.age, was_stale);
            }
            if passed.list {
                older.push(selection.clone());
            }
            changed |= passed.freshness || passed.list;
            if passed.overdue {
                changed |= self.facts.silent.insert(selection.clone());
            }
        }
        for selection in older {
            self.serve(&selection);
            self.changed(now);
        }
        if self.keeper.as_ref().and_then(Keeper::due).is_some_and(|due| due <= now) {
            self.keep(now);
        }
        changed
    }

    /// When time will next change anything.
    pub(super) fn next(&self) -> Option<Instant> {
        let due = self.keeper.as_ref().and_then(Keeper::due);
        self.said.values().filter_map(Said::next).chain(self.fall_back).chain(due).min()
    }

    fn serve(&mut self, selection: &Selection) {
        if let Some(list) = self.said.get(selection).and_then(Said::served) {
            self.facts.silent.remove(selection);
            self.facts.lists.insert(selection.clone(), list);
        }
    }

    fn changed(&mut self, now: Instant) {
        if let Some(keeper) = &mut self.keeper {
            keeper.changed(now);
        }
    }

    /// Has the last lists written down: where nothing has been heard yet, those of before the start stay.
    fn keep(&mut self, now: Instant) {
        let wall = SystemTime::now();
        let kept = |(selection, said): (&Selection, &Said)| {
            let (list, heard) = said.kept()?;
            let heard = wall.checked_sub(now.saturating_duration_since(heard))?;
            Some(Kept { selection: selection.clone(), list, heard })
        };
        if let Some(keeper) = &mut self.keeper {
            let lists = self.said.iter().filter_map(kept).collect();
            let (documents, commands) = (self.documents.clone(), self.commands.clone());
            keeper.keep(Content { lists, documents, commands }, now);
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.keeper.as_ref().and_then(Keeper::due).is_some() {
            self.keep(Instant::now());
        }
    }
}

/// Says when a list becomes too old, and when it no longer is.
fn tell(journal: &Journal, selection: &Selection, age: Age, was_stale: bool) {
    let source = || selection.to_string();
    match (age, was_stale) {
        (Age::Fresh, true) => {
            info!(service = %selection, "not stale any more");
            journal.note(Event::StaleEnded { source: source() });
        }
        (Age::Stale, false) => {
            warn!(service = %selection, "stale: nothing good was heard of it for longer than consul.max_stale");
            journal.note(Event::StaleBegan { source: source(), served: true });
        }
        (Age::Expired, false) => {
            warn!(service = %selection, "stale: nothing good was heard of it for longer than consul.max_stale, so it is not served");
            journal.note(Event::StaleBegan { source: source(), served: false });
        }
        _ => {}
    }
}
