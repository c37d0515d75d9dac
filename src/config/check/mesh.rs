//! What goes with the mesh and what does not.

use super::super::{Cluster, Config, Lookup, Serves, raw};
use super::Problems;

const NO_MESH: &str = "needs [mesh], which says who we are: add [mesh] with service = \"…\"";

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
    check_native(config, problems);
    if config.mesh.is_some() {
        return;
    }
    let missing = NO_MESH;
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

/// Whoever is found in the mesh has to show the name that it is looked up by, where it is found.
fn check_native(config: &Config, problems: &mut Problems) {
    let own = config.registration.as_ref().and_then(|registration| registration.own.as_ref());
    let Some(own) = own.filter(|own| own.service.connect_native) else { return };
    let key = "registration.connect_native";
    let Some(mesh) = &config.mesh else { return problems.add(key, NO_MESH) };
    if mesh.service != own.service.name {
        let (name, service) = (&own.service.name, &mesh.service);
        let message = format!("those who look up \"{name}\" refuse [mesh]'s certificate, which is for \"{service}\"");
        problems.add(key, format!("{message}: name both alike"));
    }
    let listener = config.listeners.iter().find(|listener| Some(&listener.name) == own.listener.as_ref());
    if let Some(plain) = listener.filter(|listener| !listener.mesh) {
        problems
            .add(key, format!("the listener \"{}\" that is entered is not of the mesh; add mesh = true", plain.name));
    }
}
