//! What clusters are made from that are not written down: the defaults, and whatever is written for their name.

use std::collections::BTreeMap;

use super::check::{self, Problems};
use super::{Announced, Cluster, Name, Problem, Source, raw};

/// The defaults and the clusters as they are written.
#[derive(Clone, Default)]
pub struct Templates {
    defaults: raw::Policy,
    clusters: BTreeMap<String, raw::Cluster>,
}

impl Templates {
    pub(super) fn new(defaults: raw::Policy, clusters: BTreeMap<String, raw::Cluster>) -> Self {
        Templates { defaults, clusters }
    }

    /// A cluster of that name which draws on that: with what is written for `like`, and the defaults for the rest.
    pub fn cluster(&self, name: &str, like: &str, source: Source) -> Result<Cluster, Vec<Problem>> {
        let mut problems = Problems::default();
        let key = format!("clusters.{like}");
        // Its source is its own, and was looked at where it is written.
        let own = self.clusters.get(like).cloned().map(check::own).unwrap_or_default();
        let cluster = check::cluster_of((&key, name), source, (own, &self.defaults), &mut problems);
        if problems.0.is_empty() { Ok(cluster) } else { Err(problems.0) }
    }

    /// The cluster of a service that is asked for by its name: with what is written for exactly this name or else for the service,
    /// else the defaults, else what the service says itself, each key by itself.
    pub fn named(&self, name: &Name, announced: &Announced) -> Result<Cluster, Vec<Problem>> {
        let (mut problems, text) = (Problems::default(), name.to_string());
        let like = if self.clusters.contains_key(&text) { &text } else { name.service() };
        let written = self.clusters.get(like).cloned().unwrap_or_default();
        let defaults = self.defaults.clone().or(announced.policy());
        let key = format!("clusters.{like}");
        let cluster = check::cluster_by_name((&key, &text), name.source(), (written, &defaults), &mut problems);
        if problems.0.is_empty() { Ok(cluster) } else { Err(problems.0) }
    }
}

impl std::fmt::Debug for Templates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // As written there are secrets among it.
        f.debug_set().entries(self.clusters.keys()).finish()
    }
}
