//! Whoever started this process and wants to hear how it goes: sd_notify(3), which systemd speaks and others with it. Where nobody
//! does, all of this is silent. What is said is hardly waited for, and never an error: the proxy serves whether anybody listens or not.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;
use tracing::debug;

/// How long a word may wait for the service manager to take those before it: signals wait as long.
const PATIENCE: Duration = Duration::from_secs(1);

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
    let Some(place) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let text: String = states.iter().map(|state| format!("{state}\n")).collect();
    if let Err(error) = send(&place, &text) {
        debug!(%error, "the service manager was not told");
    }
}

/// As sd_notify(3) does it, but that a service manager which takes nothing is waited for no longer than [`PATIENCE`].
fn send(place: &OsStr, text: &str) -> io::Result<()> {
    let address = match place.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(place)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    // A datagram goes whole or not at all.
    socket.send_to_addr(text.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_say_more_than_itself() {
        assert_eq!(line("no cluster \"a\nREADY=1\""), "no cluster \"a");
        assert_eq!(line(""), "");
    }

    #[test]
    fn a_manager_is_told_wherever_it_is_and_not_waited_for_without_an_end() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("notify");
        let by_path = UnixDatagram::bind(&path).unwrap();
        let hear = |socket: &UnixDatagram| {
            let mut heard = [0; 16];
            let length = socket.recv(&mut heard).unwrap();
            heard[..length].to_vec()
        };
        send(path.as_os_str(), "READY=1\n").unwrap();
        assert_eq!(hear(&by_path), b"READY=1\n");
        let name = format!("lictor-test-{}", std::process::id());
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        send(OsStr::new(&format!("@{name}")), "STOPPING=1\n").unwrap();
        assert_eq!(hear(&by_name), b"STOPPING=1\n");
        // It reads nothing any more, and its queue ends somewhere.
        let given_up = std::iter::repeat_with(|| send(path.as_os_str(), "WATCHDOG=1\n")).find_map(Result::err);
        assert_eq!(given_up.unwrap().kind(), io::ErrorKind::WouldBlock);
    }
}
