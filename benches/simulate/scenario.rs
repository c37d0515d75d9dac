//! The clusters that are looked at: who is in them, and whether lictor ejects.

use crate::Options;
use crate::origin::{Health, MEAN_WORK, WORKERS};

/// Endpoints, each of weight 1: an even share is 5 %.
pub const ENDPOINTS: usize = 20;

/// One cluster and the load on it.
#[derive(Debug)]
pub struct Scenario {
    /// What it is called.
    pub title: &'static str,
    /// The endpoints, in the order of their addresses.
    pub endpoints: [Health; ENDPOINTS],
    /// How lictor ejects.
    pub ejection: Ejection,
    /// What has to come out.
    pub claim: Claim,
    /// Requests a second, on average.
    pub rate: f64,
}

/// Whether endpoints that fail are taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ejection {
    /// By the rules that lictor is shipped with.
    Default,
    /// Never, so that the policy is all there is.
    Off,
}

/// What has to come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Policies that look at the load keep clear of the slow one, and whoever fails gets no more than its share.
    KeepsClear,
    /// The failing one cannot attract `ewma`.
    FailureDoesNotAttract,
    /// Chance alone does what queueing theory says: the simulation is right.
    AgreesWithTheory,
    /// Nothing: to compare with.
    None,
}

impl Scenario {
    /// All of them.
    pub fn all(options: &Options) -> [Scenario; 4] {
        // Apart from each other, so that nobody is a neighbour of another who is ill.
        let mut ill = [Health::Well; ENDPOINTS];
        (ill[3], ill[9], ill[15]) = (Health::Slow, Health::Failing, Health::Cold);
        let mut waiting = [Health::Well; ENDPOINTS];
        waiting[3] = Health::Waiting;
        let new = |title, endpoints: [Health; ENDPOINTS], ejection, claim| {
            let well = endpoints.iter().filter(|health| **health == Health::Well).count();
            let capacity = well as f64 * f64::from(WORKERS) / MEAN_WORK.as_secs_f64();
            Scenario { title, endpoints, ejection, claim, rate: capacity * f64::from(options.load) / 100.0 }
        };
        [
            new("one slow, one failing, one cold", ill, Ejection::Default, Claim::KeepsClear),
            new("the same, ejection off", ill, Ejection::Off, Claim::FailureDoesNotAttract),
            new("one slow, which can bear its share", waiting, Ejection::Default, Claim::None),
            new("all are well", [Health::Well; ENDPOINTS], Ejection::Default, Claim::AgreesWithTheory),
        ]
    }

    /// The place of the first endpoint with one of these ailments.
    pub fn place(&self, ailments: &[Health]) -> Option<usize> {
        self.endpoints.iter().position(|health| ailments.contains(health))
    }
}
