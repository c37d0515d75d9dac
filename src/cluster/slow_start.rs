//! How much of its share an endpoint has that is new or has just returned: a part at first, which grows evenly to the whole. An
//! empty cache, a cold runtime and a pool without connections make the first seconds the worst ones to be treated like
//! everybody else.

use std::time::{Duration, Instant};

use super::Member;
use crate::config::SlowStart;

/// Shares change in this many steps: each costs a new list of candidates.
const STEPS: u32 = 50;

/// A member's share in hundredths of its whole one.
pub(super) fn percent(settings: &SlowStart, member: &Member, now: Instant) -> u32 {
    if settings.window.is_zero() {
        return 100;
    }
    let returned = member.endpoint.ejections().returned;
    let Some(since) = member.since.max(returned) else { return 100 };
    let passed = now.saturating_duration_since(since).as_secs_f64() / settings.window.as_secs_f64();
    let rest = f64::from(100 - settings.start_percent);
    settings.start_percent + (rest * passed.min(1.0)) as u32
}

/// How long shares stay as they are.
pub(super) fn step(settings: &SlowStart) -> Duration {
    settings.window / STEPS
}
