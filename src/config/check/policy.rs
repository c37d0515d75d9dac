//! The keys that a cluster and the defaults share: a cluster's own over the defaults' over the built-in ones, key by key.

use std::time::Duration;

use super::super::text::nearest;
use super::super::{Balancing, Ejection, Policy, Retry, Timeouts, raw};
use super::{Problems, balancing, positive};

// Defaults; `config/reference.toml` says why each is what it is.
const EJECTION: Ejection =
    Ejection { consecutive_failures: 3, base: Duration::from_secs(10), max: Duration::from_secs(300), max_percent: 50 };
pub(super) const RETRY: Retry = Retry { attempts: 2, budget: 0.2 };
const MAX_ATTEMPTS: u32 = 10;
const CONNECT: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_secs(60);

/// All that a cluster can be told besides its name and its source.
pub(super) struct Policies {
    pub(super) policy: Policy,
    pub(super) balancing: Balancing,
    pub(super) ejection: Ejection,
    pub(super) retry: Retry,
    pub(super) timeouts: Timeouts,
}

/// What is written, with the built-in defaults for the rest.
pub(super) fn check(key: &str, written: raw::Policy, problems: &mut Problems) -> Policies {
    let policy = written.policy.as_deref().map_or(Policy::P2c, |name| named_policy(key, name, problems));
    Policies {
        policy,
        ejection: ejection(key, written.ejection.clone().unwrap_or_default(), problems),
        retry: retry(key, written.retry.clone().unwrap_or_default(), problems),
        timeouts: timeouts(key, written.timeouts.clone().unwrap_or_default(), problems),
        balancing: balancing::check(key, policy, written, problems),
    }
}

fn named_policy(key: &str, name: &str, problems: &mut Problems) -> Policy {
    let known = || Policy::NAMES.iter().map(|(name, _)| *name);
    if let Some((_, policy)) = Policy::NAMES.iter().find(|(known, _)| *known == name) {
        return *policy;
    }
    let advice = match nearest(name, known()) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None => format!("there are {}", known().collect::<Vec<_>>().join(", ")),
    };
    problems.add(format!("{key}.policy"), format!("no policy \"{name}\"; {advice}"));
    Policy::P2c
}

fn ejection(key: &str, written: raw::Ejection, problems: &mut Problems) -> Ejection {
    positive(&format!("{key}.ejection.base"), written.base, problems);
    let ejection = Ejection {
        consecutive_failures: written.consecutive_failures.unwrap_or(EJECTION.consecutive_failures),
        base: written.base.unwrap_or(EJECTION.base),
        max: written.max.unwrap_or(EJECTION.max),
        max_percent: written.max_percent.unwrap_or(EJECTION.max_percent),
    };
    if ejection.max < ejection.base {
        problems.add(format!("{key}.ejection.max"), "is shorter than base; make it at least as long");
    }
    if ejection.max_percent > 100 {
        problems.add(
            format!("{key}.ejection.max_percent"),
            format!("{} is not a percentage; use 0 to 100", ejection.max_percent),
        );
    }
    ejection
}

fn retry(key: &str, written: raw::Retry, problems: &mut Problems) -> Retry {
    let retry =
        Retry { attempts: written.attempts.unwrap_or(RETRY.attempts), budget: written.budget.unwrap_or(RETRY.budget) };
    if retry.attempts > MAX_ATTEMPTS {
        problems
            .add(format!("{key}.retry.attempts"), format!("{} is too many; use 0 to {MAX_ATTEMPTS}", retry.attempts));
    }
    if !(0.0..=1.0).contains(&retry.budget) {
        problems.add(
            format!("{key}.retry.budget"),
            format!("{} is not a share of the requests; use 0.0 to 1.0", retry.budget),
        );
    }
    retry
}

fn timeouts(key: &str, written: raw::Timeouts, problems: &mut Problems) -> Timeouts {
    positive(&format!("{key}.timeouts.connect"), written.connect, problems);
    positive(&format!("{key}.timeouts.request"), written.request, problems);
    positive(&format!("{key}.timeouts.idle"), written.idle, problems);
    Timeouts {
        connect: written.connect.unwrap_or(CONNECT),
        request: written.request,
        idle: written.idle.unwrap_or(IDLE),
    }
}

/// What is written here, and for the rest what is written there.
trait Or {
    fn or(self, defaults: &Self) -> Self;
}

impl raw::Policy {
    /// A cluster's own keys over those of the defaults.
    pub(super) fn or(self, defaults: &raw::Policy) -> Self {
        raw::Policy {
            policy: self.policy.or_else(|| defaults.policy.clone()),
            ewma: table(self.ewma, &defaults.ewma),
            hash: table(self.hash, &defaults.hash),
            slow_start: table(self.slow_start, &defaults.slow_start),
            locality: table(self.locality, &defaults.locality),
            panic_percent: self.panic_percent.or(defaults.panic_percent),
            subset_size: self.subset_size.or(defaults.subset_size),
            sticky: table(self.sticky, &defaults.sticky),
            ejection: table(self.ejection, &defaults.ejection),
            retry: table(self.retry, &defaults.retry),
            timeouts: table(self.timeouts, &defaults.timeouts),
        }
    }
}

fn table<T: Or + Clone>(own: Option<T>, defaults: &Option<T>) -> Option<T> {
    match (own, defaults) {
        (Some(own), Some(defaults)) => Some(own.or(defaults)),
        (own, defaults) => own.or_else(|| defaults.clone()),
    }
}

impl Or for raw::Ewma {
    fn or(self, defaults: &Self) -> Self {
        raw::Ewma { decay: self.decay.or(defaults.decay), penalty: self.penalty.or(defaults.penalty) }
    }
}

impl Or for raw::Hash {
    fn or(self, defaults: &Self) -> Self {
        raw::Hash {
            keys: self.keys.or_else(|| defaults.keys.clone()),
            load_factor: self.load_factor.or(defaults.load_factor),
        }
    }
}

impl Or for raw::SlowStart {
    fn or(self, defaults: &Self) -> Self {
        raw::SlowStart {
            window: self.window.or(defaults.window),
            start_percent: self.start_percent.or(defaults.start_percent),
        }
    }
}

impl Or for raw::Locality {
    fn or(self, defaults: &Self) -> Self {
        // Two ways to say one thing: whoever says it in one way does not mean the other.
        let says = self.prefer.is_some() || self.prefer_rtt.is_some();
        let inherited = if says { raw::Locality::default() } else { defaults.clone() };
        raw::Locality {
            prefer: self.prefer.or(inherited.prefer),
            prefer_rtt: self.prefer_rtt.or(inherited.prefer_rtt),
            overprovisioning: self.overprovisioning.or(defaults.overprovisioning),
        }
    }
}

impl Or for raw::Sticky {
    fn or(self, defaults: &Self) -> Self {
        let says = self.secret.is_some() || self.secret_file.is_some();
        let inherited = if says { raw::Sticky::default() } else { defaults.clone() };
        raw::Sticky {
            // A table of its own turns it on, whatever the defaults say.
            enabled: self.enabled.or(Some(true)),
            cookie: self.cookie.or_else(|| defaults.cookie.clone()),
            secret: self.secret.or(inherited.secret),
            secret_file: self.secret_file.or(inherited.secret_file),
            path: self.path.or_else(|| defaults.path.clone()),
            domain: self.domain.or_else(|| defaults.domain.clone()),
            max_age: self.max_age.or(defaults.max_age),
            secure: self.secure.or(defaults.secure),
            http_only: self.http_only.or(defaults.http_only),
            same_site: self.same_site.or_else(|| defaults.same_site.clone()),
        }
    }
}

impl Or for raw::Ejection {
    fn or(self, defaults: &Self) -> Self {
        raw::Ejection {
            consecutive_failures: self.consecutive_failures.or(defaults.consecutive_failures),
            base: self.base.or(defaults.base),
            max: self.max.or(defaults.max),
            max_percent: self.max_percent.or(defaults.max_percent),
        }
    }
}

impl Or for raw::Retry {
    fn or(self, defaults: &Self) -> Self {
        raw::Retry { attempts: self.attempts.or(defaults.attempts), budget: self.budget.or(defaults.budget) }
    }
}

impl Or for raw::Timeouts {
    fn or(self, defaults: &Self) -> Self {
        raw::Timeouts {
            connect: self.connect.or(defaults.connect),
            request: self.request.or(defaults.request),
            idle: self.idle.or(defaults.idle),
        }
    }
}
