//! What is said of a request that did not go as it should: one function for each way in which that shows.

use super::answer::Refusal;
use super::copy::Broken;
use crate::account::Flag;
use crate::config::Retry;
use crate::upstream::Kind;

/// Of a request that is answered here because it cannot be passed on.
pub(super) fn of_refusal(refusal: &Refusal) -> Flag {
    match refusal {
        Refusal::Host => Flag::Malformed,
        Refusal::NoTunnel => Flag::Unsupported,
        Refusal::Path => Flag::OddPath,
        Refusal::Route | Refusal::Nameless(_) => Flag::NoRoute,
        Refusal::Barred => Flag::Barred,
        Refusal::Absent(_) => Flag::NoService,
        Refusal::Target => Flag::BadTarget,
        Refusal::Loop => Flag::Loop,
        Refusal::NoEndpoint => Flag::NoEndpoint,
        Refusal::Overload => Flag::Overload,
        Refusal::NoList => Flag::NoList,
        Refusal::Stale => Flag::Stale,
        Refusal::Upstream(error) => of_error(error.kind),
    }
}

/// Of an attempt that failed.
pub(super) fn of_error(kind: Kind) -> Flag {
    match kind {
        Kind::Connect | Kind::Tls => Flag::ConnectFailure,
        Kind::ConnectTimeout => Flag::ConnectTimeout,
        Kind::Local | Kind::Unready | Kind::Limit => Flag::LocalResources,
        Kind::Leaving | Kind::Refused | Kind::Drained => Flag::UpstreamLeaving,
        Kind::Unsupported => Flag::Unsupported,
        Kind::Reset => Flag::UpstreamReset,
        Kind::Protocol => Flag::UpstreamProtocol,
        Kind::Timeout | Kind::TryTimeout => Flag::UpstreamTimeout,
        Kind::Deadline => Flag::Deadline,
        Kind::Downstream => Flag::ClientBroke,
        Kind::DownstreamTimeout => Flag::ClientLate,
    }
}

/// Of a tunnel that broke off.
pub(super) fn of_broken(broken: &Broken) -> Flag {
    match broken {
        Broken::Silent => Flag::Silence,
        Broken::Departed => Flag::UpstreamLeaving,
        Broken::Client(_) => Flag::ClientLeft,
        Broken::Endpoint(_) => Flag::UpstreamReset,
    }
}

/// Of what failed and is not tried again, for that reason.
pub(super) fn of_no_retry(why: &str, settings: &Retry) -> Option<Flag> {
    match why {
        "attempts" if settings.attempts > 0 => Some(Flag::AttemptsSpent),
        "budget" => Some(Flag::BudgetSpent),
        _ => None,
    }
}
