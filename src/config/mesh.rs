//! The `[mesh]` table: who we are among the services that know each other by certificates, and how those who call us are looked at.

use std::time::Duration;

use super::check::Problems;
use super::raw;

// Defaults; `config/reference.toml` says why each is what it is.
const RECHECK: Duration = Duration::from_secs(30);
const GRACE: Duration = Duration::from_secs(60);
/// Looking at everybody all the time would be the agent's only work.
const SHORTEST_RECHECK: Duration = Duration::from_millis(100);

/// Who we are in the mesh.
#[derive(Debug, Clone, PartialEq)]
pub struct Mesh {
    /// The service that we are: its certificate is ours, and those who call us call it.
    pub service: String,
    /// How often it is asked whether those whose connections stand may still call us.
    pub recheck: Duration,
    /// How long the last answer counts for new connections if there is no other.
    pub grace: Duration,
}

pub(super) fn check(written: raw::Mesh, problems: &mut Problems) -> Mesh {
    let service = written.service;
    // It becomes one segment of the name in our certificate, as that of everybody else.
    let is_name = |c: char| !c.is_control() && c != '/';
    if service.is_empty() || service.len() > 255 || !service.chars().all(is_name) || [".", ".."].contains(&&*service) {
        problems
            .add("mesh.service", format!("\"{service}\" is not a service; use 1 to 255 characters without a slash"));
    }
    let recheck = written.recheck.unwrap_or(RECHECK);
    if recheck < SHORTEST_RECHECK {
        let shortest = humantime::format_duration(SHORTEST_RECHECK);
        problems.add("mesh.recheck", format!("is too often to be asked about everybody; use {shortest} at least"));
    }
    Mesh { service, recheck, grace: written.grace.unwrap_or(GRACE) }
}
