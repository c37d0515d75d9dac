//! When endpoints are taken out, requests repeated, and how much and how long anything may be.

use std::time::Duration;

use super::super::text::nearest;
use super::super::{Adaptive, Causes, Ejection, Failures, Hedge, Limits, Retry, Statuses, Timeouts, raw};
use super::{Problems, positive};

// Defaults; `config/reference.toml` says why each is what it is.
const EJECTION: Ejection = Ejection {
    consecutive_failures: 3,
    failures: Failures::Gateway,
    window: Duration::from_secs(10),
    min_requests: 20,
    min_endpoints: 2,
    outlier_percent: 10,
    failure_percent: 0,
    latency_factor: 0.0,
    base: Duration::from_secs(10),
    max: Duration::from_secs(300),
    max_percent: 50,
    min_available: 1,
    dry_run: false,
};
/// The window is kept in slots of this length.
const SLOT: Duration = Duration::from_secs(1);
const LONGEST_WINDOW: Duration = Duration::from_secs(600);
pub(super) const ATTEMPTS: u32 = 2;
const MAX_ATTEMPTS: u32 = 10;
const BUFFER: usize = 64 * 1024;
const MAX_BUFFER: usize = 64 * 1024 * 1024;
const BACKOFF: Duration = Duration::from_millis(10);
const BACKOFF_MAX: Duration = Duration::from_millis(250);
const BUDGET: f64 = 0.2;
const STATUSES: [u16; 4] = [500, 502, 503, 504];
const HEDGE: Hedge = Hedge { percentile: 99.0, min: Duration::from_secs(1) };
const QUEUE_TIMEOUT: Duration = Duration::from_secs(1);
const ADAPTIVE: Adaptive = Adaptive { min: 4, max: 1000, tolerance: 1.5 };
const LARGEST_FACTOR: f64 = 1000.0;
const CONNECT: Duration = Duration::from_millis(500);
const IDLE: Duration = Duration::from_secs(60);
const DRAIN: Duration = Duration::from_secs(30);

pub(super) fn ejection(key: &str, written: raw::Ejection, problems: &mut Problems) -> Ejection {
    let key = &format!("{key}.ejection");
    positive(&format!("{key}.base"), written.base, problems);
    let failures = written.failures.as_deref().map(|name| failures(key, name, problems));
    let ejection = Ejection {
        consecutive_failures: written.consecutive_failures.unwrap_or(EJECTION.consecutive_failures),
        failures: failures.unwrap_or(EJECTION.failures),
        window: written.window.unwrap_or(EJECTION.window),
        min_requests: written.min_requests.unwrap_or(EJECTION.min_requests),
        min_endpoints: written.min_endpoints.unwrap_or(EJECTION.min_endpoints),
        outlier_percent: written.outlier_percent.unwrap_or(EJECTION.outlier_percent),
        failure_percent: written.failure_percent.unwrap_or(EJECTION.failure_percent),
        latency_factor: written.latency_factor.unwrap_or(EJECTION.latency_factor),
        base: written.base.unwrap_or(EJECTION.base),
        max: written.max.unwrap_or(EJECTION.max),
        max_percent: written.max_percent.unwrap_or(EJECTION.max_percent),
        min_available: written.min_available.unwrap_or(EJECTION.min_available),
        dry_run: written.dry_run.unwrap_or(EJECTION.dry_run),
    };
    if ejection.max < ejection.base {
        problems.add(format!("{key}.max"), "is shorter than base; make it at least as long");
    }
    if !(SLOT..=LONGEST_WINDOW).contains(&ejection.window) {
        problems.add(format!("{key}.window"), "is not a window; use \"1s\" to \"10m\"");
    }
    for (name, percent) in [
        ("max_percent", ejection.max_percent),
        ("outlier_percent", ejection.outlier_percent),
        ("failure_percent", ejection.failure_percent),
    ] {
        percentage(&format!("{key}.{name}"), percent, problems);
    }
    for (name, number) in [
        ("min_requests", ejection.min_requests),
        ("min_endpoints", ejection.min_endpoints),
        ("min_available", ejection.min_available),
    ] {
        if number == 0 {
            problems.add(format!("{key}.{name}"), "0 is too few; use 1 at least");
        }
    }
    factor(&format!("{key}.latency_factor"), ejection.latency_factor, problems);
    ejection
}

fn failures(key: &str, name: &str, problems: &mut Problems) -> Failures {
    match name {
        "connect" => Failures::Connect,
        "gateway" => Failures::Gateway,
        "5xx" => Failures::Server,
        other => {
            let advice = "use \"connect\", \"gateway\" or \"5xx\"";
            problems.add(format!("{key}.failures"), format!("\"{other}\" is no class of failures; {advice}"));
            Failures::Gateway
        }
    }
}

fn percentage(key: &str, percent: u32, problems: &mut Problems) {
    if percent > 100 {
        problems.add(key, format!("{percent} is not a percentage; use 0 to 100"));
    }
}

fn factor(key: &str, factor: f64, problems: &mut Problems) {
    if factor != 0.0 && !(1.0..=LARGEST_FACTOR).contains(&factor) {
        problems.add(key, format!("{factor} is not a factor; use 1 to {LARGEST_FACTOR}, such as 3, or 0 for none"));
    }
}

pub(super) fn retry(key: &str, written: raw::Retry, problems: &mut Problems) -> Retry {
    let key = &format!("{key}.retry");
    let retry = Retry {
        attempts: written.attempts.unwrap_or(ATTEMPTS),
        on: written.on.map_or_else(as_shipped, |on| causes(key, &on, problems)),
        non_idempotent: written.non_idempotent.unwrap_or(false),
        buffer: written.buffer.unwrap_or(BUFFER),
        backoff: written.backoff.unwrap_or(BACKOFF),
        backoff_max: written.backoff_max.unwrap_or(BACKOFF_MAX),
        budget: written.budget.unwrap_or(BUDGET),
    };
    if retry.attempts > MAX_ATTEMPTS {
        problems.add(format!("{key}.attempts"), format!("{} is too many; use 0 to {MAX_ATTEMPTS}", retry.attempts));
    }
    if !(0.0..=1.0).contains(&retry.budget) {
        problems
            .add(format!("{key}.budget"), format!("{} is not a share of the requests; use 0.0 to 1.0", retry.budget));
    }
    if retry.buffer > MAX_BUFFER {
        problems.add(format!("{key}.buffer"), format!("{} is too much; use 0 to {MAX_BUFFER} bytes", retry.buffer));
    }
    if retry.backoff_max < retry.backoff {
        problems.add(format!("{key}.backoff_max"), "is shorter than backoff; make it at least as long");
    }
    retry
}

fn as_shipped() -> Causes {
    Causes { connect: true, reset: true, timeout: true, statuses: STATUSES.into_iter().collect() }
}

fn causes(key: &str, written: &[String], problems: &mut Problems) -> Causes {
    let mut causes = Causes { connect: false, reset: false, timeout: false, statuses: Statuses::default() };
    for (index, word) in written.iter().enumerate() {
        match word.as_str() {
            "connect" => causes.connect = true,
            "reset" => causes.reset = true,
            "timeout" => causes.timeout = true,
            "5xx" => (500..=599).for_each(|status| causes.statuses.add(status)),
            other => match other.parse() {
                Ok(status) if Statuses::fits(status) => causes.statuses.add(status),
                _ => {
                    let known = ["connect", "reset", "timeout", "5xx"];
                    let meant = nearest(other, known.into_iter()).map(|word| format!("did you mean \"{word}\"?"));
                    let advice =
                        meant.unwrap_or_else(|| "use \"connect\", \"reset\", \"timeout\", \"503\" or \"5xx\"".into());
                    problems.add(format!("{key}.on[{index}]"), format!("\"{other}\" is no cause of a retry; {advice}"));
                }
            },
        }
    }
    causes
}

pub(super) fn hedge(key: &str, written: raw::Hedge, problems: &mut Problems) -> Hedge {
    let percentile = written.percentile.unwrap_or(HEDGE.percentile);
    if percentile != 0.0 && !(50.0..100.0).contains(&percentile) {
        problems.add(
            format!("{key}.hedge.percentile"),
            format!("{percentile} is not a percentile to go by; use 50 to 99.9, or 0 to turn hedging off"),
        );
    }
    Hedge { percentile, min: written.min.unwrap_or(HEDGE.min) }
}

pub(super) fn limits(key: &str, written: raw::Limits, problems: &mut Problems) -> Limits {
    let key = &format!("{key}.limits");
    positive(&format!("{key}.queue_timeout"), written.queue_timeout, problems);
    let limits = Limits {
        in_flight: written.in_flight.unwrap_or_default(),
        endpoint_in_flight: written.endpoint_in_flight.unwrap_or_default(),
        connections: written.connections.unwrap_or_default(),
        endpoint_connections: written.endpoint_connections.unwrap_or_default(),
        queue: written.queue.unwrap_or_default(),
        queue_timeout: written.queue_timeout.unwrap_or(QUEUE_TIMEOUT),
        adaptive: written.adaptive.and_then(|adaptive| self::adaptive(key, adaptive, problems)),
    };
    if limits.queue > 0 && !limits.has_gate() {
        problems.add(
            format!("{key}.queue"),
            "nobody would ever wait: there is no limit on requests; give in_flight, endpoint_in_flight or adaptive as well",
        );
    }
    limits
}

fn adaptive(key: &str, written: raw::Adaptive, problems: &mut Problems) -> Option<Adaptive> {
    let key = &format!("{key}.adaptive");
    let adaptive = Adaptive {
        min: written.min.unwrap_or(ADAPTIVE.min),
        max: written.max.unwrap_or(ADAPTIVE.max),
        tolerance: written.tolerance.unwrap_or(ADAPTIVE.tolerance),
    };
    if adaptive.min == 0 {
        problems.add(format!("{key}.min"), "0 would let nobody in; use 1 at least");
    }
    if adaptive.max < adaptive.min {
        problems.add(format!("{key}.max"), "is lower than min; make it at least as high");
    }
    if !(1.0..=LARGEST_FACTOR).contains(&adaptive.tolerance) {
        problems.add(format!("{key}.tolerance"), format!("{} is not a factor; use 1.0 to 3.0", adaptive.tolerance));
    }
    written.enabled.unwrap_or(true).then_some(adaptive)
}

pub(super) fn timeouts(key: &str, written: raw::Timeouts, problems: &mut Problems) -> Timeouts {
    for (name, duration) in [
        ("connect", written.connect),
        ("request", written.request),
        ("per_try", written.per_try),
        ("first_byte", written.first_byte),
        ("idle", written.idle),
        ("connection_age", written.connection_age),
    ] {
        positive(&format!("{key}.timeouts.{name}"), duration, problems);
    }
    Timeouts {
        connect: written.connect.unwrap_or(CONNECT),
        request: written.request,
        per_try: written.per_try,
        first_byte: written.first_byte,
        idle: written.idle.unwrap_or(IDLE),
        connection_age: written.connection_age,
        drain: written.drain.unwrap_or(DRAIN),
    }
}
