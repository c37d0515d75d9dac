//! What an operator does about an endpoint by hand. What holds for a while is in the table (`Measure`) and comes with each list;
//! only what ends our own judgement is done here.

use std::sync::Arc;
use std::time::Instant;

use tracing::info;

use super::Cluster;
use crate::endpoint::{Endpoint, Measures, Standing};
use crate::health;
use crate::journal::Event;

impl Cluster {
    /// What an operator has done about endpoints of it, whether they are on the list or not.
    pub fn measures(&self) -> Option<&Arc<Measures>> {
        self.measures.as_ref()
    }

    /// Takes an endpoint back because somebody who knows says so: what it did before is forgotten, and not held against it when
    /// it fails next. False if it was not out.
    pub fn pardon(&self, endpoint: &Endpoint, now: Instant) -> bool {
        let _book = self.lasting.book.open();
        self.lasting.windows.forget(endpoint);
        let was_out = endpoint.standing() != Standing::Eligible;
        if was_out {
            health::readmit(&self.settings.ejection, endpoint, now);
            self.sort_with_book(now);
            info!(cluster = %self.settings.name, endpoint = %endpoint.address(), "taken back by hand");
            let (cluster, endpoint) = (self.settings.name.to_string(), endpoint.address().to_string());
            self.lasting.journal.note(Event::Returned { cluster, endpoint });
        }
        endpoint.ejections().times = 0;
        endpoint.succeeded();
        was_out
    }
}
