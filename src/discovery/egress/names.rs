//! Which names are followed, which are asked for, and which are known not to be there. Pure: time is passed in, and nobody is asked.
//!
//! All of it is bounded, since any application may ask for anything: names that are followed by `max_services`, names that are looked
//! for and those who wait for them, and what is remembered of names that are not there. Names that nobody has cost a look each; there
//! may be so many of those at once, and after that so many a second.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{Egress, Name};
use crate::table::{Absent, Answer};

/// Names that are looked for at once: enough for an application that starts and greets everybody, and little for the agent.
const LOOKS: usize = 32;
/// Requests that wait for a table at once, over all names.
const WAITING: usize = 4096;
/// Names that are remembered not to be there.
const REMEMBERED: usize = 1024;
/// Looks in vain at once, and each second after that.
const IN_VAIN: f64 = 256.0;
const IN_VAIN_A_SECOND: f64 = 32.0;
/// Where there is no room, a name that was not asked for in this time has to go for one that is.
const SPARE: Duration = Duration::from_secs(60);

/// How long it is remembered that a name is not there, and why.
fn memory(absent: Absent) -> Duration {
    match absent {
        // Whoever registers it wants to be found.
        Absent::Unknown => Duration::from_secs(2),
        // These are for people to mend.
        Absent::Hidden | Absent::Refused => Duration::from_secs(10),
        Absent::Unheard | Absent::Full | Absent::Busy | Absent::Late => Duration::from_secs(1),
    }
}

/// The names.
#[derive(Debug)]
pub(super) struct Names {
    most: usize,
    idle: Duration,
    known: BTreeMap<Arc<str>, Known>,
    sought: HashMap<Arc<str>, Vec<Answer>>,
    /// Who waits for a table with a name that is known by now.
    waiting: Vec<(Arc<str>, Answer)>,
    absent: HashMap<Arc<str>, (Absent, Instant)>,
    in_vain: Allowance,
}

/// A name that is followed.
#[derive(Debug)]
struct Known {
    name: Name,
    /// Whether it is followed for good.
    stays: bool,
    since: Instant,
}

/// What is to be done about a name that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing: it is followed, or looked for.
    Wait,
    /// It is to be looked for.
    Look,
}

/// So many at once, and so many a second.
#[derive(Debug)]
struct Allowance {
    left: f64,
    filled: Instant,
}

impl Names {
    pub(super) fn new(settings: &Egress, now: Instant) -> Self {
        Names {
            most: settings.max_services,
            idle: settings.idle,
            known: BTreeMap::new(),
            sought: HashMap::new(),
            waiting: Vec::new(),
            absent: HashMap::new(),
            in_vain: Allowance { left: IN_VAIN, filled: now },
        }
    }

    /// Follows a name for good.
    pub(super) fn keep(&mut self, name: Name, now: Instant) {
        self.known.insert(name.to_string().into(), Known { name, stays: true, since: now });
    }

    /// Hears who asks for a name. `used` says when a name that is followed was asked for last, where that is known.
    pub(super) fn want(
        &mut self,
        (name, answer): (&Name, Answer),
        used: impl Fn(&str) -> Option<Instant>,
        now: Instant,
    ) -> Option<Next> {
        let text: Arc<str> = name.to_string().into();
        self.waiting.retain(|(_, answer)| !answer.is_closed());
        let absent = self.absent.get(&text).filter(|(_, until)| *until > now).map(|(absent, _)| *absent);
        let next = match absent {
            _ if self.waiters() >= WAITING => Err(Absent::Busy),
            Some(absent) => Err(absent),
            None if self.known.contains_key(&text) || self.sought.contains_key(&text) => Ok(Next::Wait),
            None if self.sought.len() >= LOOKS || !self.in_vain.allows(now) => Err(Absent::Busy),
            None if self.known.len() + self.sought.len() < self.most => Ok(Next::Look),
            None => self.spare(used, now).map(|_| Next::Look).ok_or(Absent::Full),
        };
        let next = match next {
            Ok(next) => next,
            Err(absent) => {
                // Whoever asked may be gone.
                let _ = answer.send(Err(absent));
                return None;
            }
        };
        if self.known.contains_key(&text) {
            self.waiting.push((text, answer));
        } else {
            self.sought.entry(text).or_default().push(answer);
        }
        Some(next)
    }

    /// A name was found: it is followed from now on, in place of another if there is no room; false if there is none at all.
    pub(super) fn found(&mut self, name: Name, used: impl Fn(&str) -> Option<Instant>, now: Instant) -> bool {
        let text: Arc<str> = name.to_string().into();
        let answers = self.sought.remove(&text).unwrap_or_default();
        if let Some(known) = self.known.get_mut(&text) {
            known.since = now;
            self.waiting.extend(answers.into_iter().map(|answer| (Arc::clone(&text), answer)));
            return true;
        }
        if self.known.len() >= self.most {
            let Some(other) = self.spare(used, now) else {
                for answer in answers {
                    let _ = answer.send(Err(Absent::Full));
                }
                return false;
            };
            self.known.remove(&other);
        }
        self.waiting.extend(answers.into_iter().map(|answer| (Arc::clone(&text), answer)));
        self.known.insert(text, Known { name, stays: false, since: now });
        true
    }

    /// A name was not found.
    pub(super) fn missed(&mut self, name: &Name, absent: Absent, now: Instant) {
        let text: Arc<str> = name.to_string().into();
        for answer in self.sought.remove(&text).unwrap_or_default() {
            let _ = answer.send(Err(absent));
        }
        self.in_vain.take(now);
        if self.absent.len() >= REMEMBERED {
            self.absent.retain(|_, (_, until)| *until > now);
        }
        // What is not remembered is looked for again, and that is bounded as well.
        if self.absent.len() < REMEMBERED {
            self.absent.insert(text, (absent, now + memory(absent)));
        }
    }

    /// Tells those who wait for names that a table has them.
    pub(super) fn published(&mut self, has: impl Fn(&str) -> bool) {
        for (name, answer) in std::mem::take(&mut self.waiting) {
            if has(&name) {
                let _ = answer.send(Ok(()));
            } else if !answer.is_closed() {
                self.waiting.push((name, answer));
            }
        }
    }

    /// Forgets names that were not asked for in a long time; returns which.
    pub(super) fn pass(&mut self, used: impl Fn(&str) -> Option<Instant>, now: Instant) -> Vec<Arc<str>> {
        let is_idle = |name: &Arc<str>, known: &Known| {
            let last = used(name).map_or(known.since, |used| used.max(known.since));
            !known.stays && now.saturating_duration_since(last) >= self.idle
        };
        let idle: Vec<Arc<str>> =
            self.known.iter().filter(|(name, known)| is_idle(name, known)).map(|(name, _)| Arc::clone(name)).collect();
        for name in &idle {
            self.known.remove(name);
        }
        idle
    }

    /// How often to look for names that are idle.
    pub(super) fn round(&self) -> Duration {
        (self.idle / 8).clamp(Duration::from_millis(100), Duration::from_secs(30))
    }

    /// Those that are followed, in order.
    pub(super) fn known(&self) -> impl Iterator<Item = (&Arc<str>, &Name)> {
        self.known.iter().map(|(text, known)| (text, &known.name))
    }

    fn waiters(&self) -> usize {
        self.waiting.len() + self.sought.values().map(Vec::len).sum::<usize>()
    }

    /// The name that has not been asked for longest, if that is long enough.
    fn spare(&self, used: impl Fn(&str) -> Option<Instant>, now: Instant) -> Option<Arc<str>> {
        let last = |(name, known): (&Arc<str>, &Known)| {
            let last = used(name).map_or(known.since, |used| used.max(known.since));
            (!known.stays).then(|| (last, Arc::clone(name)))
        };
        let (last, name) = self.known.iter().filter_map(last).min()?;
        (now.saturating_duration_since(last) >= SPARE.min(self.idle)).then_some(name)
    }
}

impl Allowance {
    fn allows(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled);
        self.left = (self.left + passed.as_secs_f64() * IN_VAIN_A_SECOND).min(IN_VAIN);
        self.filled = now;
        self.left >= 1.0
    }

    fn take(&mut self, now: Instant) {
        self.allows(now);
        self.left = (self.left - 1.0).max(0.0);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::{self, Receiver, error::TryRecvError};

    use super::*;
    use crate::config::{Environment, parse};

    fn names(more: &str, now: Instant) -> Names {
        let text = format!("[[listeners]]\nname='a'\nbind='127.0.0.1:0'\negress=true\n[egress]\n{more}");
        Names::new(&parse(&text, &Environment::default()).unwrap().egress, now)
    }

    fn name(host: &str) -> Name {
        Name::parse(host, "consul").unwrap()
    }

    fn want(names: &mut Names, host: &str, now: Instant) -> (Option<Next>, Receiver<Result<(), Absent>>) {
        let (answer, answered) = oneshot::channel();
        (names.want((&name(host), answer), |_| None, now), answered)
    }

    fn refusal(names: &mut Names, host: &str, now: Instant) -> Option<Absent> {
        let (next, mut answered) = want(names, host, now);
        if next.is_some() { None } else { answered.try_recv().unwrap().err() }
    }

    #[test]
    fn who_asks_first_has_it_looked_for_and_all_are_told_when_a_table_has_it() {
        let now = Instant::now();
        let mut names = names("", now);
        let (next, mut first) = want(&mut names, "web", now);
        assert_eq!(next, Some(Next::Look));
        let (next, mut second) = want(&mut names, "WEB.service.consul:80", now);
        assert_eq!(next, Some(Next::Wait), "it is the same");
        assert!(names.found(name("web"), |_| None, now));
        let (next, mut third) = want(&mut names, "web", now);
        assert_eq!(next, Some(Next::Wait));
        names.published(|_| false);
        for answered in [&mut first, &mut second, &mut third] {
            assert_eq!(answered.try_recv(), Err(TryRecvError::Empty));
        }
        names.published(|name| name == "web");
        for mut answered in [first, second, third] {
            assert_eq!(answered.try_recv(), Ok(Ok(())));
        }
        assert_eq!(names.known().count(), 1);
    }

    #[test]
    fn a_name_that_is_not_there_is_remembered_for_a_while() {
        let now = Instant::now();
        let mut names = names("", now);
        let (_, mut answered) = want(&mut names, "nobody", now);
        names.missed(&name("nobody"), Absent::Unknown, now);
        assert_eq!(answered.try_recv(), Ok(Err(Absent::Unknown)));
        assert_eq!(refusal(&mut names, "nobody", now + Duration::from_millis(1900)), Some(Absent::Unknown));
        assert_eq!(want(&mut names, "nobody", now + Duration::from_secs(2)).0, Some(Next::Look));
    }

    #[test]
    fn names_that_nobody_has_do_not_grow_without_bound_and_leave_known_ones_alone() {
        let mut now = Instant::now();
        let mut names = names("max_services=2000", now);
        let _ = want(&mut names, "web", now);
        assert!(names.found(name("web"), |_| None, now));
        let mut looks = 0;
        for number in 0..5000 {
            let asked = format!("n{number}");
            if want(&mut names, &asked, now).0 == Some(Next::Look) {
                looks += 1;
                names.missed(&name(&asked), Absent::Unknown, now);
            }
        }
        assert_eq!(looks, IN_VAIN as usize);
        assert_eq!(refusal(&mut names, "another", now), Some(Absent::Busy));
        assert_eq!(want(&mut names, "web", now).0, Some(Next::Wait));
        for _ in 0..100 {
            now += Duration::from_secs(1);
            for number in 0..40 {
                let asked = format!("m{number}-{looks}");
                if want(&mut names, &asked, now).0 == Some(Next::Look) {
                    looks += 1;
                    names.missed(&name(&asked), Absent::Unknown, now);
                }
            }
        }
        assert!(looks <= IN_VAIN as usize + 100 * IN_VAIN_A_SECOND as usize, "{looks}");
        assert!(names.absent.len() <= REMEMBERED);
    }

    #[test]
    fn only_so_many_are_looked_for_at_once_and_only_so_many_wait() {
        let now = Instant::now();
        let mut names = names("", now);
        for number in 0..LOOKS {
            assert_eq!(want(&mut names, &format!("n{number}"), now).0, Some(Next::Look));
        }
        assert_eq!(refusal(&mut names, "more", now), Some(Absent::Busy));
        let mut waiting: Vec<_> = (LOOKS..WAITING).map(|_| want(&mut names, "n0", now)).collect();
        assert!(waiting.iter().all(|(next, _)| *next == Some(Next::Wait)));
        assert_eq!(refusal(&mut names, "n0", now), Some(Absent::Busy));
        assert!(names.found(name("n0"), |_| None, now));
        waiting.clear();
        assert_eq!(want(&mut names, "n0", now).0, Some(Next::Wait), "who has left waits no more");
    }

    #[test]
    fn where_there_is_no_room_a_name_that_is_not_used_has_to_go() {
        let now = Instant::now();
        let mut names = names("max_services=2", now);
        names.keep(name("kept"), now);
        let _ = want(&mut names, "web", now);
        assert!(names.found(name("web"), |_| None, now));
        assert_eq!(refusal(&mut names, "db", now + Duration::from_secs(59)), Some(Absent::Full));
        let now = now + SPARE;
        assert_eq!(want(&mut names, "nobody", now).0, Some(Next::Look));
        names.missed(&name("nobody"), Absent::Unknown, now);
        let known = |names: &Names| names.known().map(|(text, _)| text.to_string()).collect::<Vec<_>>();
        assert_eq!(known(&names), ["kept", "web"], "who is not there takes nobody's place");
        let (next, mut answered) = want(&mut names, "db", now);
        assert_eq!(next, Some(Next::Look));
        assert!(!names.found(name("db"), |_| Some(now), now), "it is in use again by now");
        assert_eq!(answered.try_recv(), Ok(Err(Absent::Full)));
        let _ = want(&mut names, "db", now);
        assert!(names.found(name("db"), |_| None, now));
        assert_eq!(known(&names), ["db", "kept"]);
    }

    #[test]
    fn a_name_is_forgotten_when_nobody_has_asked_for_it_for_long() {
        let now = Instant::now();
        let mut names = names("idle='10m'", now);
        names.keep(name("kept"), now);
        for host in ["web", "db"] {
            let _ = want(&mut names, host, now);
            assert!(names.found(name(host), |_| None, now));
        }
        assert!(names.found(name("kept"), |_| None, now), "as if it had been in use before the start");
        let idle = Duration::from_secs(600);
        let used = |name: &str| (name == "db").then(|| now + Duration::from_secs(1));
        assert_eq!(names.pass(used, now + idle - Duration::from_secs(1)), Vec::<Arc<str>>::new());
        assert_eq!(names.pass(used, now + idle), ["web".into()]);
        assert_eq!(names.pass(used, now + idle + Duration::from_secs(1)), ["db".into()]);
        assert_eq!(names.known().count(), 1);
    }
}
