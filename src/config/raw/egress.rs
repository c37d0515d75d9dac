//! `[egress]` as it is written.

use std::time::Duration;

use serde::Deserialize;

use super::duration;

/// `[egress]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Egress {
    /// What names of services end with.
    pub domain: Option<String>,
    /// Which services may be asked for.
    pub services: Option<Vec<String>>,
    /// In which datacenters.
    pub datacenters: Option<Vec<String>>,
    /// How many names are followed at once.
    pub max_services: Option<usize>,
    /// How long a name is followed that nobody asks for.
    #[serde(default, deserialize_with = "duration")]
    pub idle: Option<Duration>,
    /// How long the first request for a name waits.
    #[serde(default, deserialize_with = "duration")]
    pub wait: Option<Duration>,
}
