//! What a cluster's connections are secured with. It lasts as long as the setting does, so that sessions are resumed across lists.

use std::sync::Arc;

use super::Cluster;
use crate::{config, tls};

/// What connections to endpoints are secured with, or why they cannot be.
pub type Secured = Arc<Result<tls::Client, tls::Error>>;

impl Cluster {
    /// What its endpoints are spoken to with; none if that is in the clear. The same as long as the setting and its files are.
    pub fn tls(&self) -> Option<&Secured> {
        self.tls.as_ref()
    }
}

pub(super) fn with(
    settings: &config::Cluster,
    previous: Option<&Cluster>,
    mesh: Option<&Arc<tls::Mesh>>,
) -> Option<Secured> {
    let (told, is_in_mesh) = (settings.tls.as_ref(), settings.source.is_in_mesh());
    if told.is_none() && !is_in_mesh {
        return None;
    }
    let is_same = |previous: &&Cluster| {
        let previous = &previous.settings;
        previous.source.is_in_mesh() == is_in_mesh && (is_in_mesh || previous.tls.as_ref() == told)
    };
    previous.filter(is_same).and_then(|previous| previous.tls.clone()).or_else(|| {
        let client = match told {
            Some(told) if !is_in_mesh => tls::Client::new(told),
            _ => mesh.ok_or(tls::Error::NoMesh).and_then(tls::Client::of_mesh),
        };
        if let Err(error) = &client {
            tracing::error!(cluster = %settings.name, %error, "TLS to its endpoints cannot be spoken");
        }
        Some(Arc::new(client))
    })
}
