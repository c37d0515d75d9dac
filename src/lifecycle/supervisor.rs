//! Whoever started this process and wants to hear how it goes: sd_notify(3), which systemd speaks and others with it. Where nobody
//! does, all of this is silent. What is said is never waited for, and never an error: the proxy serves whether anybody listens or not.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::debug;

/// The service manager, if there is one.
#[derive(Debug, Clone, Copy)]
pub struct Supervisor {
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// The one of this process.
    pub fn of_process() -> Self {
        Supervisor { watchdog: sd_notify::watchdog_enabled().filter(|every| !every.is_zero()) }
    }

    /// After how long without a word it takes us for dead, if it does so at all.
    pub fn watchdog(self) -> Option<Duration> {
        self.watchdog
    }

    /// A start or a reload is over, whether it came to something or not.
    pub fn ready(self, status: &str) {
        say(&[NotifyState::Ready, NotifyState::Status(&line(status))]);
    }

    /// A reload has begun; it is over with [`Supervisor::ready`].
    pub fn reloading(self) {
        // The time tells this reload from one before, whose end may still be on its way.
        let Ok(now) = NotifyState::monotonic_usec_now() else { return };
        say(&[NotifyState::Reloading, now, NotifyState::Status("reading the configuration again")]);
    }

    /// We are about to end, and need no longer than that.
    pub fn stopping(self, within: Duration, status: &str) {
        // Its own patience may be shorter than the drain that the operator asked for.
        let patience = format!("EXTEND_TIMEOUT_USEC={}", within.as_micros());
        say(&[NotifyState::Stopping, NotifyState::Custom(&patience), NotifyState::Status(&line(status))]);
    }

    /// How it goes, for people.
    pub fn status(self, status: &str) {
        say(&[NotifyState::Status(&line(status))]);
    }

    /// We are well.
    pub fn alive(self) {
        say(&[NotifyState::Watchdog]);
    }
}

/// A message's lines are its fields, so a text has to be one.
fn line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

fn say(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "the service manager was not told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_say_more_than_itself() {
        assert_eq!(line("no cluster \"a\nREADY=1\""), "no cluster \"a");
        assert_eq!(line(""), "");
    }
}
