//! What clusters are made from that are not written down: the defaults, and whatever is written for their name.

use std::collections::BTreeMap;

use super::check::{self, Problems};
use super::{Announced, Cluster, Name, Problem, Source, raw};

/// What endpoints are spoken to in, where they say it themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Speech {
    /// With TLS, or without; as it is written if absent.
    pub tls: Option<bool>,
    /// The name to expect in certificates; as it is written if absent.
    pub server_name: Option<String>,
    /// HTTP/2, even without TLS.
    pub http2: bool,
    /// A PROXY header, version 1, before everything else.
    pub proxy_protocol: bool,
    /// Certificates go unchecked.
    pub skip_verify: bool,
}

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
        self.spoken(name, like, source, &Speech::default())
    }

    /// The same, of endpoints that say themselves what they are to be spoken to in.
    pub fn spoken(&self, name: &str, like: &str, source: Source, speech: &Speech) -> Result<Cluster, Vec<Problem>> {
        let mut problems = Problems::default();
        let key = format!("clusters.{like}");
        // Its source is its own, and was looked at where it is written.
        let mut own = self.clusters.get(like).cloned().map(check::own).unwrap_or_default();
        speech.over(&mut own);
        let mut cluster = check::cluster_of((&key, name), source, (own, &self.defaults), &mut problems);
        if let Some(tls) = &mut cluster.tls {
            tls.verify = !speech.skip_verify;
        }
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

impl Speech {
    /// Says it in the words of the file, over what stands there.
    fn over(&self, written: &mut raw::Policy) {
        if self.tls.is_some() || self.server_name.is_some() {
            let tls = written.tls.get_or_insert_default();
            tls.enabled = self.tls.or(tls.enabled);
            tls.server_name = self.server_name.clone().or_else(|| tls.server_name.take());
        }
        if self.http2 {
            written.protocol = Some("h2".to_owned());
        }
        if self.proxy_protocol {
            written.proxy_protocol = Some("v1".to_owned());
        }
    }
}
