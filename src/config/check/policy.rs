//! The keys that a cluster and the defaults share: a cluster's own over the defaults' over the built-in ones, key by key.

use super::super::text::nearest;
use super::super::{
    Balancing, ClusterTls, Ejection, Hedge, Limits, Policy, Probe, Protocol, ProxyProtocol, Retry, Timeouts, raw,
};
use super::{Problems, balancing, probe, protection, tcp, tls};

/// All that a cluster can be told besides its name and its source.
pub(super) struct Policies {
    pub(super) policy: Policy,
    pub(super) balancing: Balancing,
    pub(super) ejection: Ejection,
    pub(super) probe: Option<Probe>,
    pub(super) retry: Retry,
    pub(super) hedge: Hedge,
    pub(super) limits: Limits,
    pub(super) timeouts: Timeouts,
    pub(super) protocol: Protocol,
    pub(super) tls: Option<ClusterTls>,
    pub(super) proxy_protocol: Option<ProxyProtocol>,
}

/// What is written, with the built-in defaults for the rest.
pub(super) fn check(key: &str, written: raw::Policy, problems: &mut Problems) -> Policies {
    let policy = written.policy.as_deref().map_or(Policy::P2c, |name| named_policy(key, name, problems));
    let mut protocol = written.protocol.as_deref().map_or(Protocol::Auto, |name| protocol(key, name, problems));
    let proxy_protocol = tcp::proxy_protocol(key, written.proxy_protocol.as_deref(), &mut protocol, problems);
    let mut probe = written.probe.clone().and_then(|probe| self::probe::check(key, probe, problems));
    if let Some(probe) = probe.as_mut().filter(|probe| probe.port.is_none()) {
        probe.proxy_protocol = proxy_protocol;
    }
    Policies {
        policy,
        ejection: protection::ejection(key, written.ejection.clone().unwrap_or_default(), problems),
        probe,
        retry: protection::retry(key, written.retry.clone().unwrap_or_default(), problems),
        hedge: protection::hedge(key, written.hedge.clone().unwrap_or_default(), problems),
        limits: protection::limits(key, written.limits.clone().unwrap_or_default(), problems),
        protocol,
        timeouts: protection::timeouts(key, written.timeouts.clone().unwrap_or_default(), problems),
        tls: tls::check(key, written.tls.clone(), problems),
        proxy_protocol,
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

fn protocol(key: &str, name: &str, problems: &mut Problems) -> Protocol {
    match name {
        "auto" => Protocol::Auto,
        "http1" => Protocol::Http1,
        "h2" => Protocol::Http2,
        other => {
            let advice = "use \"auto\", \"http1\" or \"h2\"";
            problems.add(format!("{key}.protocol"), format!("\"{other}\" is no protocol; {advice}"));
            Protocol::Auto
        }
    }
}

/// What is written here, and for the rest what is written there.
pub(super) trait Or {
    fn or(self, defaults: &Self) -> Self;
}

impl raw::Policy {
    /// A cluster's own keys over those of the defaults.
    pub(in crate::config) fn or(self, defaults: &raw::Policy) -> Self {
        raw::Policy {
            policy: self.policy.or_else(|| defaults.policy.clone()),
            ewma: table(self.ewma, &defaults.ewma),
            hash: table(self.hash, &defaults.hash),
            slow_start: table(self.slow_start, &defaults.slow_start),
            locality: table(self.locality, &defaults.locality),
            failover_when: table(self.failover_when, &defaults.failover_when),
            panic_percent: self.panic_percent.or(defaults.panic_percent),
            subset_size: self.subset_size.or(defaults.subset_size),
            sticky: table(self.sticky, &defaults.sticky),
            ejection: table(self.ejection, &defaults.ejection),
            probe: table(self.probe, &defaults.probe),
            retry: table(self.retry, &defaults.retry),
            hedge: table(self.hedge, &defaults.hedge),
            limits: table(self.limits, &defaults.limits),
            timeouts: table(self.timeouts, &defaults.timeouts),
            protocol: self.protocol.or_else(|| defaults.protocol.clone()),
            tls: table(self.tls, &defaults.tls),
            proxy_protocol: self.proxy_protocol.or_else(|| defaults.proxy_protocol.clone()),
        }
    }
}

/// A table's own keys over those of another, where there are both.
pub(super) fn table<T: Or + Clone>(own: Option<T>, defaults: &Option<T>) -> Option<T> {
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

impl Or for raw::FailoverWhen {
    fn or(self, defaults: &Self) -> Self {
        raw::FailoverWhen {
            below_percent: self.below_percent.or(defaults.below_percent),
            return_percent: self.return_percent.or(defaults.return_percent),
            return_after: self.return_after.or(defaults.return_after),
        }
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
            maintenance: self.maintenance.or(defaults.maintenance),
        }
    }
}

impl Or for raw::Ejection {
    fn or(self, defaults: &Self) -> Self {
        raw::Ejection {
            consecutive_failures: self.consecutive_failures.or(defaults.consecutive_failures),
            failures: self.failures.or_else(|| defaults.failures.clone()),
            window: self.window.or(defaults.window),
            min_requests: self.min_requests.or(defaults.min_requests),
            min_endpoints: self.min_endpoints.or(defaults.min_endpoints),
            outlier_percent: self.outlier_percent.or(defaults.outlier_percent),
            failure_percent: self.failure_percent.or(defaults.failure_percent),
            latency_factor: self.latency_factor.or(defaults.latency_factor),
            base: self.base.or(defaults.base),
            max: self.max.or(defaults.max),
            max_percent: self.max_percent.or(defaults.max_percent),
            min_available: self.min_available.or(defaults.min_available),
            dry_run: self.dry_run.or(defaults.dry_run),
        }
    }
}

impl Or for raw::Retry {
    fn or(self, defaults: &Self) -> Self {
        raw::Retry {
            attempts: self.attempts.or(defaults.attempts),
            on: self.on.or_else(|| defaults.on.clone()),
            non_idempotent: self.non_idempotent.or(defaults.non_idempotent),
            buffer: self.buffer.or(defaults.buffer),
            backoff: self.backoff.or(defaults.backoff),
            backoff_max: self.backoff_max.or(defaults.backoff_max),
            budget: self.budget.or(defaults.budget),
        }
    }
}

impl Or for raw::Hedge {
    fn or(self, defaults: &Self) -> Self {
        raw::Hedge { percentile: self.percentile.or(defaults.percentile), min: self.min.or(defaults.min) }
    }
}

impl Or for raw::Limits {
    fn or(self, defaults: &Self) -> Self {
        raw::Limits {
            in_flight: self.in_flight.or(defaults.in_flight),
            endpoint_in_flight: self.endpoint_in_flight.or(defaults.endpoint_in_flight),
            connections: self.connections.or(defaults.connections),
            endpoint_connections: self.endpoint_connections.or(defaults.endpoint_connections),
            queue: self.queue.or(defaults.queue),
            queue_timeout: self.queue_timeout.or(defaults.queue_timeout),
            adaptive: table(self.adaptive, &defaults.adaptive),
        }
    }
}

impl Or for raw::Adaptive {
    fn or(self, defaults: &Self) -> Self {
        raw::Adaptive {
            // A table of its own turns it on, whatever the defaults say.
            enabled: self.enabled.or(Some(true)),
            min: self.min.or(defaults.min),
            max: self.max.or(defaults.max),
            tolerance: self.tolerance.or(defaults.tolerance),
        }
    }
}

impl Or for raw::Timeouts {
    fn or(self, defaults: &Self) -> Self {
        raw::Timeouts {
            connect: self.connect.or(defaults.connect),
            request: self.request.or(defaults.request),
            per_try: self.per_try.or(defaults.per_try),
            first_byte: self.first_byte.or(defaults.first_byte),
            idle: self.idle.or(defaults.idle),
            connection_age: self.connection_age.or(defaults.connection_age),
            drain: self.drain.or(defaults.drain),
        }
    }
}
