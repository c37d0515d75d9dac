//! What keeps requests from failing with an endpoint and endpoints from falling under requests, as it is meant: ejection,
//! retries, hedging, limits and timeouts.

use std::time::Duration;

use http::Method;

/// When an endpoint is taken out, and for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct Ejection {
    /// Failures in a row; 0 never ejects for those.
    pub consecutive_failures: u32,
    /// What of an attempt's ends counts for that row.
    pub failures: Failures,
    /// What is looked at for the rules on shares and on latency.
    pub window: Duration,
    /// Attempts that an endpoint must have ended in the window before those rules judge it.
    pub min_requests: u32,
    /// Endpoints that must have so many before any is compared with the others.
    pub min_endpoints: u32,
    /// By how many points, 0 to 100, the share of errors may exceed that of the others together; 0 does not compare.
    pub outlier_percent: u32,
    /// The share of errors, 0 to 100, that is too much whatever the others do; 0 for none.
    pub failure_percent: u32,
    /// How many times as long as the others an endpoint may take to answer; 0 does not compare.
    pub latency_factor: f64,
    /// Length of the first ejection; the n-th in a row is n times as long.
    pub base: Duration,
    /// Length that no ejection exceeds.
    pub max: Duration,
    /// Share of a cluster, 0 to 100, that may be out.
    pub max_percent: u32,
    /// Endpoints that stay in whatever the share is.
    pub min_available: u32,
    /// Only counts what would have been ejected.
    pub dry_run: bool,
}

/// What counts as a failure in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failures {
    /// That there is no connection.
    Connect,
    /// Also no whole answer, not in time, and 502 to 504.
    Gateway,
    /// Also every other 5xx.
    Server,
}

/// When another attempt is made.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// Attempts after the first.
    pub attempts: u32,
    /// After what.
    pub on: Causes,
    /// Also for methods that are not idempotent, after they were sent.
    pub non_idempotent: bool,
    /// Bytes of a request's body that are kept so that it can be sent again.
    pub buffer: usize,
    /// Most that is waited before the first retry; twice as much before each further one.
    pub backoff: Duration,
    /// Most that is waited before any.
    pub backoff_max: Duration,
    /// Share of requests, 0 to 1, that may be retried, on top of ten a second.
    pub budget: f64,
}

impl Retry {
    /// True if a request may be repeated after it was sent, as far as its method goes (RFC 9110 section 9.2.2).
    pub fn may_repeat(&self, method: &Method) -> bool {
        const IDEMPOTENT: [Method; 6] =
            [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::PUT, Method::DELETE];
        self.non_idempotent || IDEMPOTENT.contains(method)
    }
}

/// After what a request is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Causes {
    /// Nothing of it was sent.
    pub connect: bool,
    /// The connection broke before the head of an answer.
    pub reset: bool,
    /// An attempt's own time was over before the head of an answer.
    pub timeout: bool,
    /// These answers.
    pub statuses: Statuses,
}

/// A set of statuses from 400 to 599.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statuses([u64; 4]);

/// When a second attempt is begun beside one that takes long.
#[derive(Debug, Clone, PartialEq)]
pub struct Hedge {
    /// Begun when an attempt takes longer than this share of answers did, 0 to 100; 0 never.
    pub percentile: f64,
    /// And not before this.
    pub min: Duration,
}

/// How much a cluster takes at once; 0 is no limit.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Requests in the cluster.
    pub in_flight: u32,
    /// Attempts at one endpoint.
    pub endpoint_in_flight: u32,
    /// Connections to the cluster's endpoints.
    pub connections: u32,
    /// Connections to one endpoint.
    pub endpoint_connections: u32,
    /// Requests that may wait for room.
    pub queue: u32,
    /// How long.
    pub queue_timeout: Duration,
    /// Finds the limit of requests by itself, if given.
    pub adaptive: Option<Adaptive>,
}

/// How a limit finds itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Adaptive {
    /// The lowest.
    pub min: u32,
    /// The highest.
    pub max: u32,
    /// How much longer answers may take than in the long run before the limit goes down.
    pub tolerance: f64,
}

/// How long anything may take.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeouts {
    /// Until a connection to an endpoint stands.
    pub connect: Duration,
    /// The whole request, to the last byte of the answer; none if absent.
    pub request: Option<Duration>,
    /// One attempt, to the head of its answer; none if absent.
    pub per_try: Option<Duration>,
    /// From the last byte of a request to the head of its answer; none if absent.
    pub first_byte: Option<Duration>,
    /// Silence in both directions.
    pub idle: Duration,
    /// Age at which a connection to an endpoint takes no further request; none if absent.
    pub connection_age: Option<Duration>,
    /// What still runs at an endpoint that has left the list.
    pub drain: Duration,
}

impl Statuses {
    const FIRST: u16 = 400;

    /// True if the set can hold it.
    pub fn fits(status: u16) -> bool {
        (400..=599).contains(&status)
    }

    /// Adds one; those that do not fit are left out.
    pub fn add(&mut self, status: u16) {
        if Self::fits(status) {
            let place = status - Self::FIRST;
            self.0[usize::from(place / 64)] |= 1 << (place % 64);
        }
    }

    /// True if it is in the set.
    pub fn has(&self, status: u16) -> bool {
        let place = status.wrapping_sub(Self::FIRST);
        self.0.get(usize::from(place / 64)).is_some_and(|word| word >> (place % 64) & 1 == 1)
    }
}

impl FromIterator<u16> for Statuses {
    fn from_iter<I: IntoIterator<Item = u16>>(statuses: I) -> Self {
        let mut set = Statuses::default();
        statuses.into_iter().for_each(|status| set.add(status));
        set
    }
}

impl Limits {
    /// True if requests have to ask for room at all.
    pub fn has_gate(&self) -> bool {
        self.in_flight > 0 || self.endpoint_in_flight > 0 || self.adaptive.is_some()
    }
}
