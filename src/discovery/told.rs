//! What we were told, by whoever has a say: the file, and parts that come from elsewhere. Put together anew when one of them changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{Config, Part};

/// Who tells a part; who stands first goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Teller {
    /// Services that announce their routes.
    Services,
    /// Applications that ask for services.
    Egress,
}

/// All of it.
#[derive(Debug)]
pub(super) struct Told {
    base: Arc<Config>,
    parts: BTreeMap<Teller, Part>,
    together: Arc<Config>,
}

impl Told {
    pub(super) fn new(base: Arc<Config>) -> Self {
        Told { together: Arc::clone(&base), base, parts: BTreeMap::new() }
    }

    /// All of it together.
    pub(super) fn config(&self) -> &Arc<Config> {
        &self.together
    }

    /// What the file says.
    pub(super) fn base(&self) -> &Arc<Config> {
        &self.base
    }

    /// Goes on with another file.
    pub(super) fn rebase(&mut self, base: Arc<Config>) {
        self.base = base;
        self.join();
    }

    /// Goes on with another part; true if it is another.
    pub(super) fn hear(&mut self, teller: Teller, part: Part) -> bool {
        let known = self.parts.entry(teller).or_default();
        if *known == part {
            return false;
        }
        *known = part.after(known);
        self.join();
        true
    }

    fn join(&mut self) {
        let is_alone = self.parts.values().all(|part| *part == Part::default());
        self.together = if is_alone { Arc::clone(&self.base) } else { Arc::new(self.base.with(self.parts.values())) };
    }
}
