//! The room `endpoint` as far as it has no lock: how many attempts are in flight, who has the one trial, how soon it answers.

pub mod atomic;
#[path = "../../../src/endpoint/latency.rs"]
mod latency;
#[path = "../../../src/endpoint/load.rs"]
mod load;
#[path = "../../../src/endpoint/row.rs"]
mod row;
#[path = "../../../src/endpoint/standing.rs"]
mod standing;

mod average;
mod counting;
mod trial;

pub use standing::Standing;

/// Of an endpoint, what hangs on an attempt's verdict: the product's `Endpoint` passes it on in the same way.
#[derive(Debug, Default)]
pub struct Endpoint {
    failures: row::Row,
    standing: standing::Cell,
}

impl Endpoint {
    pub fn standing_as(standing: Standing) -> Self {
        let endpoint = Endpoint::default();
        endpoint.stand(standing);
        endpoint
    }

    pub fn failed(&self) -> u32 {
        self.failures.failed()
    }

    pub fn succeeded(&self) {
        self.failures.succeeded();
    }

    pub fn standing(&self) -> Standing {
        self.standing.load()
    }

    pub fn claim_trial(&self) -> bool {
        self.standing.exchange(Standing::Probation, Standing::Trial)
    }

    pub fn release_trial(&self) {
        self.standing.exchange(Standing::Trial, Standing::Probation);
    }

    pub fn stand(&self, standing: Standing) {
        self.standing.store(standing);
    }
}
