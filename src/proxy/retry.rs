//! Whether a failed attempt may be followed by another, and when: decided from whose side failed, how far the attempt got, and
//! what the request is, never from guesses.

use std::time::Duration;

use http::Method;

use super::attempt::Failed;
use crate::config::{Causes, Retry};
use crate::health::Reason;
use crate::message::Upload;
use crate::upstream::{Error, Kind, Progress};

/// Nothing, or the reason why the request must not be sent again.
pub(super) fn refusal(failed: &Failed, method: &Method, body: &Upload, settings: &Retry) -> Option<&'static str> {
    let is_refused = match failed {
        Failed::Error(error) => refused(error, is_repeatable(method, settings), &settings.on),
        Failed::Answer(..) if !is_repeatable(method, settings) => Some("method"),
        Failed::Answer(..) => None,
    };
    is_refused.or((!body.can_repeat()).then_some("body"))
}

fn refused(error: &Error, is_repeatable: bool, on: &Causes) -> Option<&'static str> {
    match error.kind {
        Kind::Downstream | Kind::DownstreamTimeout => Some("downstream"),
        // Another endpoint would need the same.
        Kind::Local | Kind::Unready => Some("local"),
        Kind::Unsupported => Some("unsupported"),
        Kind::Deadline => Some("deadline"),
        Kind::Timeout | Kind::Drained => Some("timeout"),
        // Whatever the method: the endpoint has not seen it.
        _ if error.progress == Progress::NothingSent => (!on.connect).then_some("not_chosen"),
        Kind::Protocol
        | Kind::Connect
        | Kind::Tls
        | Kind::ConnectTimeout
        | Kind::Limit
        | Kind::Leaving
        | Kind::Refused => Some("answered"),
        Kind::Reset | Kind::TryTimeout if !is_repeatable => Some("method"),
        Kind::Reset => (!on.reset).then_some("not_chosen"),
        Kind::TryTimeout => (!on.timeout).then_some("not_chosen"),
    }
}

/// True if a request may be repeated after it was sent, as far as its method goes.
pub(super) fn is_repeatable(method: &Method, settings: &Retry) -> bool {
    settings.may_repeat(method)
}

/// What an error says of the endpoint; none if it is not the endpoint's fault.
pub(super) fn blame(error: &Error) -> Option<Reason> {
    match error.kind {
        Kind::Connect | Kind::ConnectTimeout | Kind::Tls => Some(Reason::Connect),
        // Cut short before there was a connection: who knows how long it would have taken.
        Kind::Deadline | Kind::TryTimeout if error.progress == Progress::NothingSent => None,
        Kind::Timeout | Kind::TryTimeout | Kind::Deadline => Some(Reason::Timeout),
        // A server may close an idle connection whenever it likes, also just when it is used again.
        Kind::Reset if error.reused && error.progress == Progress::NothingSent => None,
        Kind::Reset | Kind::Protocol => Some(Reason::Reset),
        // As good as a 503.
        Kind::Refused => Some(Reason::Gateway),
        Kind::Downstream | Kind::DownstreamTimeout | Kind::Drained => None,
        Kind::Local | Kind::Unready | Kind::Limit | Kind::Leaving | Kind::Unsupported => None,
    }
}

/// How long to wait before retry number `retries` (from 0): by chance up to a bound that doubles ("full jitter"), so that those
/// who failed together do not come back together.
pub(super) fn backoff(settings: &Retry, retries: usize, rng: &mut fastrand::Rng) -> Duration {
    let doubled = 1_u32.checked_shl(retries as u32).unwrap_or(u32::MAX);
    settings.backoff.saturating_mul(doubled).min(settings.backoff_max).mul_f64(rng.f64())
}

/// How long an endpoint asks to be left alone (RFC 9110 section 10.2.3), where it says so in seconds.
pub(super) fn retry_after(said: Option<&[u8]>) -> Option<Duration> {
    let seconds = std::str::from_utf8(said?).ok()?.trim().parse::<u32>().ok()?;
    Some(Duration::from_secs(seconds.into()))
}
