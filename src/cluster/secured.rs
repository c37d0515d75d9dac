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

pub(super) fn with(settings: &config::Cluster, previous: Option<&Cluster>) -> Option<Secured> {
    let told = settings.tls.as_ref()?;
    let same = previous.filter(|previous| previous.settings.tls.as_ref() == Some(told));
    same.and_then(|previous| previous.tls.clone()).or_else(|| {
        let client = tls::Client::new(told);
        if let Err(error) = &client {
            tracing::error!(cluster = %settings.name, %error, "TLS to its endpoints cannot be spoken");
        }
        Some(Arc::new(client))
    })
}
