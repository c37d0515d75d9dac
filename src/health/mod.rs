//! Who is out for now. Attempts end in an [`Outcome`]; a row of failures ejects the endpoint for a while; when the while is
//! over, exactly one request is its trial. The rules are pure functions of an endpoint's history and the time passed in;
//! `cluster` asks them and keeps the list of candidates in step.
//!
//! The scheme is Envoy's (consecutive failures, base time times the number of ejections, a share that may be out) with
//! linkerd's return (probation by one request), and an integer rule that is right for one to three endpoints.

use std::time::{Duration, Instant};

use crate::config;
use crate::endpoint::{Ejections, Endpoint, Standing};

/// How an attempt ended for the endpoint. None at all if the client left: then nobody is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It answered, and the answer was whole.
    Success,
    /// It did not, or said that it cannot.
    Failure(Reason),
}

/// Why an attempt counts as a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// No connection: refused, unreachable, or no name.
    Connect,
    /// No connection or no answer in time.
    Timeout,
    /// The connection broke, or the answer was not HTTP.
    Reset,
    /// 502, 503 or 504: it could not serve.
    Gateway,
}

impl Reason {
    /// The word for people and labels.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Connect => "connect",
            Reason::Timeout => "timeout",
            Reason::Reset => "reset",
            Reason::Gateway => "gateway",
        }
    }
}

/// What the head of an answer says of the endpoint. Other server errors are answers: the application ran.
pub fn judge(status: http::StatusCode) -> Outcome {
    match status.as_u16() {
        502..=504 => Outcome::Failure(Reason::Gateway),
        _ => Outcome::Success,
    }
}

/// True for an answer that says "not now" or "not by me": it comes fast, and must not make the endpoint look fast.
pub fn is_refusal(status: http::StatusCode) -> bool {
    status.is_server_error() || status == http::StatusCode::TOO_MANY_REQUESTS
}

/// How many of `usable` endpoints may be out at once: the percentage, rounded down, and never the last one.
pub fn most_ejected(rules: &config::Ejection, usable: usize) -> usize {
    (usable * rules.max_percent as usize / 100).min(usable.saturating_sub(1))
}

/// Takes an endpoint out at `now`, for longer the more often that happened in a row. `stretch`, 0 to 1, adds up to a fifth,
/// so that endpoints that failed together do not return together.
pub fn eject(rules: &config::Ejection, endpoint: &Endpoint, now: Instant, stretch: f64) -> Duration {
    let mut ejections = endpoint.ejections();
    if is_forgiven(&ejections, now) {
        ejections.times = 0;
    }
    ejections.times = ejections.times.saturating_add(1);
    ejections.length = rules.base.saturating_mul(ejections.times).min(rules.max);
    let length = ejections.length.mul_f64(1.0 + 0.2 * stretch).min(rules.max);
    ejections.until = Some(now + length);
    endpoint.stand(Standing::Ejected);
    length
}

/// An endpoint that has served since its return for as long as it was out before starts anew.
fn is_forgiven(ejections: &Ejections, now: Instant) -> bool {
    ejections.returned.is_some_and(|returned| now.saturating_duration_since(returned) >= ejections.length)
}

/// Puts an ejected endpoint whose time is over on probation. Returns when that will be, if it is not yet.
pub fn review(endpoint: &Endpoint, now: Instant) -> Option<Instant> {
    let ejections = endpoint.ejections();
    match ejections.until {
        Some(until) if until > now => Some(until),
        _ => {
            endpoint.stand(Standing::Probation);
            None
        }
    }
}

/// True if the endpoint has waited for its trial for longer than `patience`.
pub fn is_overdue(endpoint: &Endpoint, patience: Duration, now: Instant) -> bool {
    endpoint.ejections().until.is_some_and(|until| until + patience <= now)
}

/// Takes an endpoint back.
pub fn readmit(endpoint: &Endpoint, now: Instant) {
    let mut ejections = endpoint.ejections();
    ejections.returned = Some(now);
    ejections.until = None;
    endpoint.succeeded();
    endpoint.stand(Standing::Eligible);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::{Address, Ids, Ledger};

    const RULES: config::Ejection = config::Ejection {
        consecutive_failures: 3,
        base: Duration::from_secs(10),
        max: Duration::from_secs(25),
        max_percent: 50,
    };

    fn endpoint() -> Endpoint {
        Endpoint::new(Address::from(([127, 0, 0, 1], 80)), &Ids::default(), &Ledger::new(Instant::now()))
    }

    #[test]
    fn half_of_a_cluster_may_be_out_but_never_the_last_one() {
        let most: Vec<usize> = (0..=5).map(|usable| most_ejected(&RULES, usable)).collect();
        assert_eq!(most, [0, 0, 1, 1, 2, 2]);
        let all = config::Ejection { max_percent: 100, ..RULES };
        assert_eq!((most_ejected(&all, 1), most_ejected(&all, 3)), (0, 2));
    }

    #[test]
    fn each_ejection_in_a_row_is_longer_up_to_the_maximum() {
        let (endpoint, mut now) = (endpoint(), Instant::now());
        let mut lengths = Vec::new();
        for _ in 0..4 {
            let length = eject(&RULES, &endpoint, now, 0.0);
            now += length;
            readmit(&endpoint, now);
            lengths.push(length.as_secs());
        }
        assert_eq!(lengths, [10, 20, 25, 25]);
    }

    #[test]
    fn an_endpoint_that_served_as_long_as_it_was_out_starts_anew() {
        let (endpoint, now) = (endpoint(), Instant::now());
        eject(&RULES, &endpoint, now, 0.0);
        readmit(&endpoint, now + RULES.base);
        assert_eq!(eject(&RULES, &endpoint, now + RULES.base * 2, 0.0), RULES.base);
    }

    #[test]
    fn jitter_adds_at_most_a_fifth_and_stays_within_the_maximum() {
        let now = Instant::now();
        assert_eq!(eject(&RULES, &endpoint(), now, 1.0), Duration::from_secs(12));
        let tight = config::Ejection { max: Duration::from_secs(11), ..RULES };
        assert_eq!(eject(&tight, &endpoint(), now, 1.0), tight.max);
    }

    #[test]
    fn probation_begins_when_the_time_is_over_and_allows_one_trial() {
        let (endpoint, now) = (endpoint(), Instant::now());
        let length = eject(&RULES, &endpoint, now, 0.0);
        assert_eq!(review(&endpoint, now), Some(now + length));
        assert_eq!(review(&endpoint, now + length), None);
        assert!(endpoint.claim_trial());
        assert!(!endpoint.claim_trial());
        endpoint.release_trial();
        assert!(endpoint.claim_trial());
    }
}
