//! Probation's one trial: never two at once, and never lost.

// For what the test notes; loom runs one thread at a time, so it needs no orders of its own.
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Endpoint, Standing};
use crate::in_every_order;

/// An endpoint on probation, and how many have its trial.
struct Shared {
    endpoint: Endpoint,
    trials: AtomicU32,
    claims: AtomicU32,
}

fn probation() -> Shared {
    let endpoint = Endpoint::standing_as(Standing::Probation);
    Shared { endpoint, trials: AtomicU32::new(0), claims: AtomicU32::new(0) }
}

impl Shared {
    /// A request that asks for the trial, and ends it like this if it has it.
    fn request(&self, end: fn(&Endpoint)) {
        if self.endpoint.claim_trial() {
            assert_eq!(self.trials.fetch_add(1, Ordering::Relaxed), 0, "the only trial");
            self.claims.fetch_add(1, Ordering::Relaxed);
            // Here the others have their turn.
            assert_ne!(self.endpoint.standing(), Standing::Probation);
            self.trials.fetch_sub(1, Ordering::Relaxed);
            end(&self.endpoint);
        }
    }

    fn claims(&self) -> u32 {
        self.claims.load(Ordering::Relaxed)
    }
}

#[test]
fn a_trial_that_is_given_back_is_anothers() {
    let request: fn(&Shared) = |shared| shared.request(Endpoint::release_trial);
    in_every_order(probation, &[request; 2], |shared| {
        assert!((1..=2).contains(&shared.claims()));
        assert_eq!(shared.endpoint.standing(), Standing::Probation);
        assert!(shared.endpoint.claim_trial(), "there is one for whoever comes next");
    });
}

#[test]
fn a_trial_that_ends_well_is_the_last_one() {
    let request: fn(&Shared) = |shared| shared.request(|endpoint| endpoint.stand(Standing::Eligible));
    in_every_order(probation, &[request; 3], |shared| {
        assert_eq!((shared.claims(), shared.endpoint.standing()), (1, Standing::Eligible));
    });
}

#[test]
fn an_ejection_beside_a_trial_stays_whatever_the_trial_does() {
    // A late failure of an attempt that was under way.
    let steps: [fn(&Shared); 2] =
        [|shared| shared.endpoint.stand(Standing::Ejected), |shared| shared.request(Endpoint::release_trial)];
    in_every_order(probation, &steps, |shared| {
        assert_eq!(shared.endpoint.standing(), Standing::Ejected);
        assert!(!shared.endpoint.claim_trial(), "its time is not over");
    });
}
