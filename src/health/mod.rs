//! Who is out for now. Attempts end in an [`Outcome`]; a row of failures ejects the endpoint for a while; when the while is
//! over, exactly one request is its trial. The rules are pure functions of an endpoint's history and the time passed in;
//! `cluster` asks them and keeps the list of candidates in step.
//!
//! The scheme is Envoy's (consecutive failures, base time times the number of ejections, a share that may be out) with
//! linkerd's return (probation by one request), and an integer rule that is right for one to three endpoints.

mod outlier;

use std::time::{Duration, Instant};

use crate::config::{self, Failures};
use crate::endpoint::{Ejections, Endpoint, Standing};

pub use outlier::{SLOT, Window, compares, outliers};

/// How an attempt ended for the endpoint. None at all if the client left: then nobody is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It answered, and the answer was whole.
    Success,
    /// It did not, or said that it cannot.
    Failure(Reason),
}

/// Why an attempt counts as a failure, or an endpoint as failing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// No connection: refused, unreachable, no name, or not in time.
    Connect,
    /// No answer in time.
    Timeout,
    /// The connection broke, or the answer was not HTTP.
    Reset,
    /// 502, 503 or 504: it could not serve.
    Gateway,
    /// Another 5xx: the application failed.
    Server,
    /// Its share of errors is too high.
    FailurePercent,
    /// Its share of errors is higher than that of the others.
    SuccessRate,
    /// It takes longer than the others.
    Latency,
}

impl Reason {
    /// The word for people and labels.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Connect => "connect",
            Reason::Timeout => "timeout",
            Reason::Reset => "reset",
            Reason::Gateway => "gateway",
            Reason::Server => "5xx",
            Reason::FailurePercent => "failure_percent",
            Reason::SuccessRate => "success_rate",
            Reason::Latency => "latency",
        }
    }

    /// True if it is part of a row of failures; else it is an answer like any other.
    pub fn counts(self, failures: Failures) -> bool {
        let class = match self {
            Reason::Connect => Failures::Connect,
            Reason::Server => Failures::Server,
            _ => Failures::Gateway,
        };
        class <= failures
    }
}

/// What the head of an answer says of the endpoint.
pub fn judge(status: http::StatusCode) -> Outcome {
    match status.as_u16() {
        502..=504 => Outcome::Failure(Reason::Gateway),
        500..=599 => Outcome::Failure(Reason::Server),
        _ => Outcome::Success,
    }
}

/// What gRPC's own status says, by the HTTP status that the specification's mapping goes with: UNAVAILABLE is a 503, whatever
/// the head of the answer was.
pub fn judge_grpc(code: &[u8]) -> Outcome {
    match code {
        // DEADLINE_EXCEEDED, UNAVAILABLE
        b"4" | b"14" => Outcome::Failure(Reason::Gateway),
        // UNKNOWN, INTERNAL, DATA_LOSS
        b"2" | b"13" | b"15" => Outcome::Failure(Reason::Server),
        _ => Outcome::Success,
    }
}

/// True for an answer that says "not now" or "not by me": it comes fast, and must not make the endpoint look fast.
pub fn is_refusal(status: http::StatusCode) -> bool {
    status.is_server_error() || status == http::StatusCode::TOO_MANY_REQUESTS
}

/// Why nobody more of `usable` endpoints may be ejected with so many out already; none if one may. The percentage is rounded
/// up, so that of three two can go, and then `min_available` keeps what has to stay.
pub fn forbids(rules: &config::Ejection, usable: usize, out: usize) -> Option<&'static str> {
    if out >= (usable * rules.max_percent as usize).div_ceil(100) {
        Some("max_percent")
    } else if usable.saturating_sub(out + 1) < rules.min_available as usize {
        Some("min_available")
    } else {
        None
    }
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

/// Takes an endpoint back, for now: it has begun to answer, and until it has answered something whole the next failure is
/// one too many.
pub fn readmit(rules: &config::Ejection, endpoint: &Endpoint, now: Instant) {
    let mut ejections = endpoint.ejections();
    ejections.returned = Some(now);
    ejections.until = None;
    endpoint.presume(rules.consecutive_failures.saturating_sub(1));
    endpoint.stand(Standing::Eligible);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::{Address, Ids, Ledger};

    pub(super) const RULES: config::Ejection = config::Ejection {
        consecutive_failures: 3,
        failures: Failures::Gateway,
        window: Duration::from_secs(10),
        min_requests: 20,
        min_endpoints: 2,
        outlier_percent: 10,
        failure_percent: 0,
        latency_factor: 0.0,
        base: Duration::from_secs(10),
        max: Duration::from_secs(25),
        max_percent: 50,
        min_available: 1,
        dry_run: false,
    };

    fn endpoint() -> Endpoint {
        Endpoint::new(Address::from(([127, 0, 0, 1], 80)), &Ids::default(), &Ledger::new(Instant::now()))
    }

    #[test]
    fn half_of_a_cluster_may_be_out_but_never_the_last_one() {
        let most = |rules: &config::Ejection, usable| {
            (0..usable).take_while(|out| forbids(rules, usable, *out).is_none()).count()
        };
        assert_eq!((0..=6).map(|usable| most(&RULES, usable)).collect::<Vec<_>>(), [0, 0, 1, 2, 2, 3, 3]);
        let all = config::Ejection { max_percent: 100, ..RULES };
        assert_eq!((most(&all, 1), most(&all, 3)), (0, 2));
        let two_stay = config::Ejection { min_available: 2, ..all };
        assert_eq!((1..=4).map(|usable| most(&two_stay, usable)).collect::<Vec<_>>(), [0, 0, 1, 2]);
        let nobody = config::Ejection { max_percent: 0, ..RULES };
        assert_eq!(forbids(&nobody, 3, 0), Some("max_percent"));
        assert_eq!(forbids(&RULES, 1, 0), Some("min_available"));
    }

    #[test]
    fn what_counts_for_a_row_is_chosen() {
        let counted =
            |failures| [Reason::Connect, Reason::Reset, Reason::Gateway, Reason::Server].map(|r| r.counts(failures));
        assert_eq!(counted(Failures::Connect), [true, false, false, false]);
        assert_eq!(counted(Failures::Gateway), [true, true, true, false]);
        assert_eq!(counted(Failures::Server), [true, true, true, true]);
    }

    #[test]
    fn grpc_says_by_itself_how_it_went() {
        assert_eq!(judge_grpc(b"0"), Outcome::Success);
        assert_eq!(judge_grpc(b"14"), Outcome::Failure(Reason::Gateway));
        assert_eq!(judge_grpc(b"13"), Outcome::Failure(Reason::Server));
        assert_eq!(judge_grpc(b"5"), Outcome::Success, "NOT_FOUND is an answer");
    }

    #[test]
    fn each_ejection_in_a_row_is_longer_up_to_the_maximum() {
        let (endpoint, mut now) = (endpoint(), Instant::now());
        let mut lengths = Vec::new();
        for _ in 0..4 {
            let length = eject(&RULES, &endpoint, now, 0.0);
            now += length;
            readmit(&RULES, &endpoint, now);
            lengths.push(length.as_secs());
        }
        assert_eq!(lengths, [10, 20, 25, 25]);
    }

    #[test]
    fn an_endpoint_that_served_as_long_as_it_was_out_starts_anew() {
        let (endpoint, now) = (endpoint(), Instant::now());
        eject(&RULES, &endpoint, now, 0.0);
        readmit(&RULES, &endpoint, now + RULES.base);
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
