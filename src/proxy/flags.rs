//! What is said of a request that did not go as it should: one function for each way in which that shows.

use super::answer::Refusal;
use super::copy::Broken;
use crate::account::Flag;
use crate::metrics::TcpEnd;
use crate::upstream::Kind;

/// Of a request that is answered here because it cannot be passed on.
pub(super) fn of_refusal(refusal: &Refusal) -> Flag {
    match refusal {
        Refusal::Host => Flag::Malformed,
        Refusal::Unreachable => Flag::ConnectFailure,
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
        Broken::Late => Flag::UpstreamTimeout,
        Broken::Client(_) => Flag::ClientLeft,
        Broken::Endpoint(_) => Flag::UpstreamReset,
    }
}

/// Of a connection without requests, or of a tunnel.
pub(super) fn of_end(end: TcpEnd) -> Option<Flag> {
    match end {
        TcpEnd::Completed => None,
        TcpEnd::Client => Some(Flag::ClientLeft),
        TcpEnd::Endpoint => Some(Flag::UpstreamReset),
        TcpEnd::Timeout => Some(Flag::UpstreamTimeout),
        TcpEnd::Connect => Some(Flag::ConnectFailure),
        TcpEnd::NoEndpoint => Some(Flag::NoEndpoint),
        TcpEnd::Overload => Some(Flag::Overload),
        TcpEnd::NoGreeting => Some(Flag::Malformed),
        TcpEnd::NoCluster => Some(Flag::NoRoute),
        TcpEnd::Refused => Some(Flag::Barred),
    }
}
