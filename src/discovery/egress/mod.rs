//! Services that applications ask for by their names: what is followed because somebody asks for it, and how it is treated. `names`
//! says which; here they become clusters and routes, a part of what we were told.
//!
//! How a service is treated is said by what is written down, else by its instances, else by Consul's configuration entries.

mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::consul::{About, Entries, Kind, Looked};
use crate::config::{
    self, Action, Announced, Cluster, Config, Ends, Forward, HeaderRules, Host, Name, Part, Predicates, Route,
    Selection, Serves, Target,
};
use crate::endpoint::List;
use crate::metrics::{EgressSeries, Metrics};
use crate::table::{Facts, Table, Wanted};
use names::{Names, Next};

/// What is asked for by its name.
#[derive(Debug)]
pub(super) struct Egress {
    names: Names,
    settings: config::Egress,
    /// What was made of the names that are followed, by which file.
    made: BTreeMap<Arc<str>, Made>,
    base: Arc<Config>,
    /// What instances say, of every service that is followed for whatever reason.
    about: BTreeMap<Selection, About>,
    entries: BTreeMap<Kind, Entries>,
    /// Somebody has said something since that was last put together.
    is_said: bool,
    series: Arc<EgressSeries>,
    round: Instant,
}

/// What was made of a name.
#[derive(Debug)]
struct Made {
    route: Arc<Route>,
    /// None where a cluster of that name is written down.
    cluster: Option<Arc<Cluster>>,
    /// By which words.
    words: BTreeMap<String, String>,
}

impl Egress {
    pub(super) fn new(base: &Arc<Config>, metrics: &Metrics, now: Instant) -> Self {
        let mut names = Names::new(&base.egress, now);
        for listener in &base.listeners {
            if let Serves::Service(name) = &listener.serves {
                names.keep(name.clone(), now);
            }
        }
        Egress {
            names,
            settings: base.egress.clone(),
            made: BTreeMap::new(),
            base: Arc::clone(base),
            about: BTreeMap::new(),
            entries: BTreeMap::new(),
            is_said: false,
            series: metrics.egress(),
            round: now,
        }
    }

    /// Goes on with the services that were followed before the start, where they may be asked for by their names: whoever used one
    /// then will do so again, and where nobody can be asked, their last lists are at hand.
    pub(super) fn recall<'a>(&mut self, selections: impl Iterator<Item = &'a Selection>, now: Instant) {
        if self.base.listeners.iter().all(|listener| listener.serves != Serves::Names) {
            return;
        }
        for name in selections.filter_map(Name::of).filter(|name| self.settings.allows(name)) {
            self.names.found(name, |_| Some(now), now);
        }
    }

    /// How long a look may take.
    pub(super) fn patience(&self) -> Duration {
        self.settings.wait
    }

    /// Hears who asks for a name; returns it if it is to be looked for.
    pub(super) fn want(&mut self, wanted: Wanted, table: &Table, now: Instant) -> Option<Name> {
        let Wanted { name, answer } = wanted;
        let next = self.names.want((&name, answer), |name| table.last_use(name, now), now)?;
        // It may have come while the question was on its way.
        self.published(table);
        (next == Next::Look).then_some(name)
    }

    /// True if nobody has to look for a name: the cluster of that name is written down, or who has it is known already.
    pub(super) fn is_at_hand(&self, name: &Name, facts: &Facts) -> bool {
        let carries = |list: &List| name.tag().is_none_or(|tag| list.iter().any(|listed| listed.carries(tag)));
        written(&self.base, &name.to_string())
            || facts.lists.get(&name.selection()).is_some_and(|list| !list.is_empty() && carries(list))
    }

    /// A name was found; true if it is followed from now on.
    pub(super) fn found(&mut self, name: Name, table: &Table, now: Instant) -> bool {
        let is_followed = self.names.found(name.clone(), |name| table.last_use(name, now), now);
        if is_followed {
            info!(%name, "followed, as it is asked for");
        }
        is_followed
    }

    /// A look has shown something; the list of a name that is followed from now on.
    pub(super) fn looked(&mut self, looked: Looked, table: &Table, now: Instant) -> Option<(Selection, List)> {
        let Looked { name, found } = looked;
        match found {
            Ok((list, about)) => {
                let selection = name.selection();
                self.is_said |= !about.words.is_empty();
                self.about.entry(selection.clone()).or_insert(about);
                self.found(name, table, now).then_some((selection, list))
            }
            Err(absent) => {
                self.names.missed(&name, absent, now);
                None
            }
        }
    }

    /// Instances say something else of their service.
    pub(super) fn hear(&mut self, selection: Selection, about: About) {
        self.about.insert(selection, about);
        self.is_said = true;
    }

    /// Entries say something else.
    pub(super) fn enter(&mut self, kind: Kind, entries: Entries) {
        self.entries.insert(kind, entries);
        self.is_said = true;
    }

    /// Nothing else is followed any more, for whatever reason.
    pub(super) fn keep(&mut self, selections: &BTreeSet<Selection>) {
        self.about.retain(|selection, _| selections.contains(selection));
    }

    /// Tells whoever waits for a name that this table has.
    pub(super) fn published(&mut self, table: &Table) {
        self.names.published(|name| {
            table.routes().has(name) && table.find_cluster(name).is_some_and(|cluster| cluster.list().is_some())
        });
    }

    /// When there is next something to forget, perhaps.
    pub(super) fn next(&self) -> Option<Instant> {
        self.names.known().next().map(|_| self.round + self.names.round())
    }

    /// Forgets names that nobody asks for any more; true if there were any.
    pub(super) fn pass(&mut self, table: &Table, now: Instant) -> bool {
        if self.next().is_none_or(|next| next > now) {
            return false;
        }
        self.round = now;
        let forgotten = self.names.pass(|name| table.last_use(name, now), now);
        for name in &forgotten {
            info!(%name, "not asked for any more, and not followed any more");
        }
        !forgotten.is_empty()
    }

    /// What all of it comes to beside this file.
    pub(super) fn part(&mut self, base: &Arc<Config>) -> Part {
        let mut before = std::mem::take(&mut self.made);
        if !Arc::ptr_eq(base, &self.base) {
            self.base = Arc::clone(base);
            before.clear();
        }
        let mut part = Part::default();
        let is_said = std::mem::take(&mut self.is_said);
        for (text, name) in self.names.known() {
            let one = match before.remove(text) {
                Some(one) if !is_said => one,
                other => {
                    let words = self.words(name);
                    match other {
                        Some(one) if one.words == words => one,
                        other => self.make((text, name), words, other.map(|other| other.route)),
                    }
                }
            };
            part.clusters.extend(one.cluster.clone());
            part.egress.insert(Arc::clone(text), Arc::clone(&one.route));
            self.made.insert(Arc::clone(text), one);
        }
        self.series.followed(part.egress.len());
        part
    }

    /// What is said of how a service is to be treated, besides what is written down.
    fn words(&self, name: &Name) -> BTreeMap<String, String> {
        let mut words = BTreeMap::new();
        let of_entries = self.entries.values().filter_map(|entries| entries.get(name.service()));
        for said in of_entries.chain(self.about.get(&name.selection()).map(|about| &about.words)) {
            words.extend(said.iter().map(|(word, text)| (word.clone(), text.clone())));
        }
        words
    }

    fn make(
        &self,
        (text, name): (&Arc<str>, &Name),
        words: BTreeMap<String, String>,
        route: Option<Arc<Route>>,
    ) -> Made {
        let route = route.unwrap_or_else(|| Arc::new(self::route(text)));
        if written(&self.base, text) {
            return Made { route, cluster: None, words };
        }
        let (announced, wrong) = Announced::read(&words);
        for problem in &wrong {
            warn!(%name, word = %problem.key, "what its instances say of it means nothing: {}", problem.message);
        }
        self.series.ignored(wrong.len());
        let cluster = |announced: &Announced| self.base.templates.named(name, announced);
        // What is right by itself may not go with what is written.
        let cluster = cluster(&announced).or_else(|problems| {
            for problem in &problems {
                warn!(%name, key = %problem.key, "what its instances say of it does not go with what is written: {}", problem.message);
            }
            self.series.ignored(problems.len());
            cluster(&Announced::default())
        });
        // Checked with the file, so there is one.
        Made { route, cluster: cluster.ok().map(Arc::new), words }
    }
}

fn written(base: &Config, name: &str) -> bool {
    base.clusters.binary_search_by(|cluster| (*cluster.name).cmp(name)).is_ok()
}

/// The route of a name: all of its requests go to the cluster of that name.
fn route(name: &Arc<str>) -> Route {
    let target = Target { cluster: Arc::clone(name), weight: 1, terms: None, rewrite: None };
    let forward = Forward {
        targets: vec![target],
        split_by: None,
        replace_prefix: None,
        host_header: None,
        request_headers: HeaderRules::default(),
        mirror: None,
    };
    Route {
        name: Arc::clone(name),
        host: Host::Exact(name.to_string()),
        path: String::new(),
        ends: Ends::Segment,
        predicates: Predicates::default(),
        action: Action::Forward(Arc::new(forward)),
        response_headers: HeaderRules::default(),
        origin: None,
    }
}
