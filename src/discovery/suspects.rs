//! Who was on a list until a moment ago. When most of a list goes at once, that is more often an agent which restarts, a state
//! that was restored, or a right that was lost than so many instances that end in the same second. So they stay for a while,
//! as the last to be asked, and are gone for good with the end of their time. Pure: time is passed in.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::endpoint::{Address, List, Listed, Status};

/// The suspects of one list.
#[derive(Debug)]
pub(super) struct Suspects {
    hold: Duration,
    held: BTreeMap<Address, Held>,
}

#[derive(Debug)]
struct Held {
    listed: Listed,
    until: Instant,
}

/// How a list came to be shorter than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// One by one, or not at all: taken at its word.
    Plain,
    /// All at once: believed, but only after a second look.
    Mass,
}

impl Suspects {
    /// None yet; each is held for so long.
    pub(super) fn new(hold: Duration) -> Self {
        Suspects { hold, held: BTreeMap::new() }
    }

    /// Follows from one list to the next. Whoever is on it is no suspect any more; whoever went with the mass is one, if it
    /// could serve.
    pub(super) fn follow(&mut self, before: &[Listed], list: &[Listed], loss: Loss, now: Instant) {
        if loss == Loss::Mass && !self.hold.is_zero() {
            let serves =
                |listed: &&Listed| listed.weight > 0 && matches!(listed.status, Status::Passing | Status::Warning);
            for listed in before.iter().filter(serves) {
                let suspect = Listed { status: Status::Suspect, ..listed.clone() };
                let until = now + self.hold;
                self.held.entry(listed.address.clone()).or_insert(Held { listed: suspect, until });
            }
        }
        for listed in list {
            self.held.remove(&listed.address);
        }
    }

    /// Lets go of those whose time is over; true if there were any.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let before = self.held.len();
        self.held.retain(|_, held| held.until > now);
        self.held.len() < before
    }

    /// When the next one's time is over.
    pub(super) fn next(&self) -> Option<Instant> {
        self.held.values().map(|held| held.until).min()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// The list with its suspects, in the order of addresses.
    pub(super) fn join(&self, list: &List) -> List {
        if self.held.is_empty() {
            return list.clone();
        }
        let mut joined: Vec<Listed> = list.to_vec();
        joined.extend(self.held.values().map(|held| held.listed.clone()));
        joined.sort_by(|a, b| a.address.cmp(&b.address));
        joined.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: Duration = Duration::from_secs(120);

    fn list(ports: &[u16]) -> List {
        ports.iter().map(|port| Listed::new(Address::from(([127, 0, 0, 1], *port)))).collect()
    }

    fn shown(suspects: &Suspects, list: &List) -> Vec<(String, &'static str)> {
        let show = |listed: &Listed| (listed.address.to_string(), listed.status.name());
        suspects.join(list).iter().map(show).collect()
    }

    fn suspected(suspects: &Suspects) -> Vec<u16> {
        let ports = suspects.held.keys().map(|address| match address {
            Address::Ip(address) => address.port(),
            Address::Name(_, port) => *port,
        });
        ports.collect()
    }

    #[test]
    fn who_goes_with_the_mass_stays_for_its_time_and_in_its_place() {
        let (mut suspects, now) = (Suspects::new(HOLD), Instant::now());
        let rest = list(&[2]);
        suspects.follow(&list(&[1, 2, 3]), &rest, Loss::Mass, now);
        let at = |port: u16, status| (format!("127.0.0.1:{port}"), status);
        assert_eq!(shown(&suspects, &rest), [at(1, "suspect"), at(2, "passing"), at(3, "suspect")]);
        assert_eq!(suspects.next(), Some(now + HOLD));
        assert!(!suspects.expire(now + HOLD - Duration::from_millis(1)));
        assert!(suspects.expire(now + HOLD));
        assert_eq!(shown(&suspects, &rest), [at(2, "passing")]);
        assert_eq!(suspects.next(), None);
    }

    #[test]
    fn who_leaves_alone_is_gone_at_once() {
        let (mut suspects, now) = (Suspects::new(HOLD), Instant::now());
        suspects.follow(&list(&[1, 2, 3]), &list(&[1, 2]), Loss::Plain, now);
        assert!(suspected(&suspects).is_empty());
    }

    #[test]
    fn who_comes_back_is_what_the_list_says_and_may_leave_like_anybody() {
        let (mut suspects, now) = (Suspects::new(HOLD), Instant::now());
        suspects.follow(&list(&[1, 2, 3]), &list(&[]), Loss::Mass, now);
        suspects.follow(&list(&[]), &list(&[2]), Loss::Plain, now);
        assert_eq!(suspected(&suspects), [1, 3]);
        suspects.follow(&list(&[2]), &list(&[]), Loss::Plain, now);
        assert_eq!(suspected(&suspects), [1, 3]);
    }

    #[test]
    fn a_second_mass_does_not_lengthen_the_first_ones_time() {
        let (mut suspects, now) = (Suspects::new(HOLD), Instant::now());
        suspects.follow(&list(&[1, 2]), &list(&[3, 4]), Loss::Mass, now);
        let later = now + HOLD / 2;
        suspects.follow(&list(&[3, 4]), &list(&[]), Loss::Mass, later);
        assert_eq!(suspected(&suspects), [1, 2, 3, 4]);
        assert!(suspects.expire(now + HOLD));
        assert_eq!(suspected(&suspects), [3, 4]);
    }

    #[test]
    fn who_could_not_serve_is_not_kept() {
        let (mut suspects, now) = (Suspects::new(HOLD), Instant::now());
        let mut before = list(&[1, 2, 3, 4]).to_vec();
        before[0].status = Status::Critical;
        before[1].status = Status::Maintenance;
        before[2].weight = 0;
        suspects.follow(&before, &[], Loss::Mass, now);
        assert_eq!(suspected(&suspects), [4]);
    }

    #[test]
    fn a_hold_of_nothing_keeps_nobody() {
        let mut suspects = Suspects::new(Duration::ZERO);
        suspects.follow(&list(&[1, 2]), &list(&[]), Loss::Mass, Instant::now());
        assert!(suspected(&suspects).is_empty());
    }
}
