//! What listeners are secured with: certificates of their own, or the mesh's.

use std::sync::Arc;

use crate::config::{self, Config};
use crate::mesh::Ends;
use crate::metrics::Metrics;
use crate::tls::{self, Entrance};

/// What listeners are secured with, in their order; none where they are plain.
pub(super) fn entrances(
    config: &Config,
    mesh: Option<&Ends>,
    metrics: &Metrics,
) -> Result<Vec<Option<Entrance>>, tls::Error> {
    let secure = |listener: &config::Listener| {
        let series = metrics.tls(&listener.name);
        if !listener.mesh {
            return tls::Server::new(listener, series).map(|server| server.map(Entrance::Own));
        }
        let (mesh, gate) = mesh.ok_or(tls::Error::NoMesh)?;
        tls::MeshServer::new(listener, (mesh, gate), series).map(|server| Some(Entrance::Mesh(server)))
    };
    config.listeners.iter().map(secure).collect()
}

/// The certificates of its own that a listener is secured with.
pub(super) fn own(entrance: &Option<Entrance>) -> Option<Arc<tls::Server>> {
    match entrance {
        Some(Entrance::Own(server)) => Some(Arc::clone(server)),
        _ => None,
    }
}
