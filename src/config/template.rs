//! What clusters are made from that are not written down: the defaults, and whatever is written for their name.

use std::collections::BTreeMap;

use super::check::{self, Problems};
use super::{Cluster, Problem, Source, raw};

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
        let own = match self.clusters.get(like) {
            // Its source was reported where it is written.
            Some(written) => check::parts(&key, written.clone(), &mut Problems::default()).1,
            None => raw::Policy::default(),
        };
        let cluster = check::cluster_of((&key, name), source, (own, &self.defaults), &mut problems);
        if problems.0.is_empty() { Ok(cluster) } else { Err(problems.0) }
    }
}

impl std::fmt::Debug for Templates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // As written there are secrets among it.
        f.debug_set().entries(self.clusters.keys()).finish()
    }
}
