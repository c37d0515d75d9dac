//! The kinds of things that are written down: as JSON, whose field names are an interface, and as a sentence for people.

use serde::Serialize;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// An endpoint was taken out.
    Ejected {
        /// Whose it is.
        cluster: String,
        /// Its address.
        endpoint: String,
        /// For what.
        reason: &'static str,
        /// For how long.
        for_seconds: f64,
    },
    /// An endpoint should have been taken out, and a rule forbade it.
    Spared {
        /// Whose it is.
        cluster: String,
        /// Its address.
        endpoint: String,
        /// What it did.
        reason: &'static str,
        /// Which rule.
        rule: &'static str,
    },
    /// An endpoint is back from its ejection.
    Returned {
        /// Whose it is.
        cluster: String,
        /// Its address.
        endpoint: String,
    },
    /// So few are eligible that all serve.
    PanicBegan {
        /// Where.
        cluster: String,
    },
    /// Only those who are eligible serve again.
    PanicEnded {
        /// Where.
        cluster: String,
    },
    /// Another of a cluster's lists serves.
    Level {
        /// Where.
        cluster: String,
        /// Its place; none if all of them serve together.
        level: Option<usize>,
        /// Its name; empty if all of them do.
        list: String,
    },
    /// Nothing good was heard of a source for longer than `consul.max_stale`.
    StaleBegan {
        /// Which.
        source: String,
        /// Whether its list is still served.
        served: bool,
    },
    /// Something good was heard of it again.
    StaleEnded {
        /// Which.
        source: String,
    },
    /// A table was published.
    Table(Box<Published>),
    /// Another configuration was taken over.
    Reloaded,
    /// A configuration was not taken over.
    ReloadFailed {
        /// What was wrong with it.
        error: String,
    },
    /// The proxy began to leave.
    Draining,
    /// What is logged is another.
    LogLevel {
        /// The filter.
        level: String,
        /// For how long; none if for good.
        for_seconds: Option<f64>,
    },
    /// An operator has asked for a change.
    Asked {
        /// Who: an address, or what was proved.
        who: String,
        /// By which method.
        method: &'static str,
        /// Where.
        path: String,
        /// What it was answered with.
        status: u16,
    },
}

/// A table as it was published.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Published {
    /// Its number, from 1.
    pub version: u64,
    /// What it was made for.
    pub causes: Vec<Cause>,
    /// Clusters that are not what they were, no more than [`Published::MOST`] of them.
    pub clusters: Vec<ClusterChange>,
    /// How many clusters are not what they were.
    pub clusters_changed: usize,
    /// Whether routes are others.
    pub routes_changed: bool,
    /// Clusters in it.
    pub clusters_total: usize,
    /// Endpoints in it.
    pub endpoints_total: usize,
}

/// Why a table was made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Cause {
    /// The process has started.
    Start,
    /// A source has given another list.
    List {
        /// What was asked for.
        source: String,
        /// By what number the source counts its changes.
        index: u64,
    },
    /// A list was taken from disk, since its source does not answer.
    FromDisk,
    /// Another configuration.
    Reload,
    /// Documents beside the file.
    Documents,
    /// What services claim or say of themselves.
    Claims,
    /// A name that somebody asked for.
    Name,
    /// Where this process stands, or how far others are.
    Place,
    /// What an operator has said of an endpoint.
    ByHand,
    /// Time alone: somebody's time was over, or a list became too old.
    Time,
}

/// How a cluster differs from what it was.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ClusterChange {
    /// Which.
    pub cluster: String,
    /// `added`, `removed`, `listed` for the first time, or `changed`: the cluster itself.
    pub change: &'static str,
    /// Endpoints that came, no more than [`Published::MOST`] of them.
    pub added: Vec<String>,
    /// Those who went, as many at most.
    pub removed: Vec<String>,
    /// Those whose weight or status is another, as many at most, each with what it was and what it is.
    pub changed: Vec<String>,
    /// How many came.
    pub added_total: usize,
    /// How many went.
    pub removed_total: usize,
    /// How many are another.
    pub changed_total: usize,
}

impl Published {
    /// What a reader takes in of a difference; the totals say the rest.
    pub const MOST: usize = 32;
}

impl Event {
    /// True for a table.
    pub fn is_table(&self) -> bool {
        matches!(self, Event::Table(_))
    }

    /// A word for the kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Event::Ejected { .. } => "ejected",
            Event::Spared { .. } => "spared",
            Event::Returned { .. } => "returned",
            Event::PanicBegan { .. } => "panic_began",
            Event::PanicEnded { .. } => "panic_ended",
            Event::Level { .. } => "level",
            Event::StaleBegan { .. } => "stale_began",
            Event::StaleEnded { .. } => "stale_ended",
            Event::Table(_) => "table",
            Event::Reloaded => "reloaded",
            Event::ReloadFailed { .. } => "reload_failed",
            Event::Draining => "draining",
            Event::LogLevel { .. } => "log_level",
            Event::Asked { .. } => "asked",
        }
    }

    /// What happened, in a sentence.
    pub fn words(&self) -> String {
        match self {
            Event::Ejected { cluster, endpoint, reason, for_seconds } => {
                format!("{cluster}: {endpoint} ejected for {for_seconds:.0} s ({reason})")
            }
            Event::Spared { cluster, endpoint, reason, rule } => {
                format!("{cluster}: {endpoint} fails ({reason}), but was not ejected ({rule})")
            }
            Event::Returned { cluster, endpoint } => format!("{cluster}: {endpoint} is back from its ejection"),
            Event::PanicBegan { cluster } => {
                format!("{cluster}: panic, too few endpoints are eligible, so all of them serve")
            }
            Event::PanicEnded { cluster } => {
                format!("{cluster}: no panic any more, only eligible endpoints serve")
            }
            Event::Level { cluster, level: Some(level), list } => {
                format!("{cluster}: {list} serves, its list number {level}")
            }
            Event::Level { cluster, level: None, .. } => format!("{cluster}: all its lists serve together"),
            Event::StaleBegan { source, served: true } => {
                format!("{source}: stale, nothing good was heard of it for too long; its last list serves")
            }
            Event::StaleBegan { source, served: false } => {
                format!("{source}: stale, nothing good was heard of it for too long; it is not served any more")
            }
            Event::StaleEnded { source } => format!("{source}: not stale any more"),
            Event::Table(published) => published.words(),
            Event::Reloaded => "another configuration was taken over".to_owned(),
            Event::ReloadFailed { error } => {
                format!("a configuration was not taken over: {}", error.lines().next().unwrap_or_default())
            }
            Event::Draining => "draining: not ready any more".to_owned(),
            Event::LogLevel { level, for_seconds: Some(seconds) } => {
                format!("the log's level is {level} for {seconds:.0} s")
            }
            Event::LogLevel { level, for_seconds: None } => format!("the log's level is {level}"),
            Event::Asked { who, method, path, status } => format!("{who} asked for {method} {path}: {status}"),
        }
    }
}

impl Published {
    fn words(&self) -> String {
        let sum = |count: fn(&ClusterChange) -> usize| self.clusters.iter().map(count).sum::<usize>();
        let endpoints = [
            (sum(|change| change.added_total), "added"),
            (sum(|change| change.removed_total), "removed"),
            (sum(|change| change.changed_total), "changed"),
        ];
        let endpoints = endpoints.iter().filter(|(count, _)| *count > 0);
        let mut parts: Vec<String> = endpoints.map(|(count, what)| format!("{count} {what}")).collect();
        if parts.is_empty() {
            parts.push("no endpoint changed".to_owned());
        }
        if self.routes_changed {
            parts.push("other routes".to_owned());
        }
        format!("table {}: {}", self.version, parts.join(", "))
    }
}
