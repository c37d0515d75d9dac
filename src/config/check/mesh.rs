//! What goes with the mesh and what does not.

use super::super::{Cluster, Config, Lookup, Serves, raw};
use super::Problems;

/// Whether a listener's clients have to be of the mesh.
pub(super) fn listener(key: &str, written: &raw::Listener, problems: &mut Problems) -> bool {
    let is_of_mesh = written.mesh.unwrap_or(false);
    if is_of_mesh && written.tls.as_ref().is_some_and(|tls| tls.enabled.unwrap_or(true)) {
        problems.add(format!("{key}.mesh"), "brings its own certificate, which is [mesh]'s; keep tls or mesh");
    }
    if is_of_mesh && !written.sni.is_empty() {
        let message =
            "is for TLS that clients speak with endpoints; in the mesh they speak it with lictor: use cluster";
        problems.add(format!("{key}.sni"), message);
    }
    is_of_mesh
}

/// Takes what a cluster's endpoints in the mesh cannot have, and says so where it was written for them and is not only inherited.
pub(super) fn settle(key: &str, cluster: &mut Cluster, says_tls: bool, problems: &mut Problems) {
    if !cluster.source.is_in_mesh() {
        return;
    }
    if says_tls {
        problems.add(format!("{key}.tls"), "is what connect = true brings with it; keep one of them");
    }
    cluster.tls = None;
    if cluster.proxy_protocol.is_some() {
        let message = "goes before TLS, where endpoints in the mesh expect nothing; take it out for this cluster";
        problems.add(format!("{key}.proxy_protocol"), message);
    }
}

/// Sees to it that there is a part in the mesh for whoever needs one.
pub(super) fn check_members(config: &Config, problems: &mut Problems) {
    if config.mesh.is_some() {
        return;
    }
    let missing = "needs [mesh], which says who we are: add [mesh] with service = \"…\"";
    for (index, _) in config.listeners.iter().enumerate().filter(|(_, listener)| listener.mesh) {
        problems.add(format!("listeners[{index}].mesh"), missing);
    }
    for (index, listener) in config.listeners.iter().enumerate() {
        if matches!(&listener.serves, Serves::Service(name) if name.lookup() == Lookup::Connect) {
            problems.add(format!("listeners[{index}].service"), missing);
        }
    }
    for cluster in config.clusters.iter().filter(|cluster| cluster.source.is_in_mesh()) {
        problems.add(format!("clusters.{}.consul.connect", cluster.name), missing);
    }
}
