//! Today's truth: which routes there are and who is in which cluster. Made by a pure function out of the configuration, the
//! lists and the table before it, and swapped whole: one [`Publisher`], many [`Reader`]s.
//!
//! A table is never changed. Clusters whose settings and list are the same are taken over as they are, so an update costs in
//! proportion to what it changes.

mod beside;
mod demand;
mod drawn;
mod order;
mod retired;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use arc_swap::{ArcSwap, cache::Cache};
use tokio::sync::watch;

pub use crate::cluster::SLOT;
use crate::cluster::{Cluster, New, Own};
use crate::config::{self, Config, Door, Passage, Selection, Shown, Source};
use crate::endpoint::{Address, Age, Freshness, Ids, List, Listed, Locality, Measures, Vantage};
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::route::Routes;
use crate::tls;
pub use beside::Beside;

pub use demand::{Absent, Answer, Demand, Demands, Wanted, demand};
pub use drawn::takes;
pub use order::{Deed, Hand, Order, Orders, Refused, hand};
use retired::Retired;

/// Routes and clusters as of one moment.
pub struct Table {
    /// Counts publications, from 0 for the empty table before the first.
    pub version: u64,
    /// When it was built.
    pub built: Instant,
    routes: Arc<Routes>,
    doors: Arc<BTreeMap<Door, Arc<Passage>>>,
    clusters: Vec<Arc<Cluster>>,
    beside: Option<Arc<Beside>>,
    measures: Arc<ByCluster>,
    awaits_routes: bool,
    configuration: Arc<Shown>,
}

/// The lists that sources have given so far.
pub type Lists = HashMap<Selection, List>;

/// What operators have done by hand about endpoints, by cluster: whether that is there or not.
pub type ByCluster = BTreeMap<Arc<str>, Arc<Measures>>;

/// What building needs besides the facts.
#[derive(Debug)]
pub struct Builder {
    ids: Ids,
    workers: usize,
    own: Own,
    metrics: Arc<Metrics>,
    journal: Arc<Journal>,
    mesh: Option<Arc<tls::Mesh>>,
}

/// What is known besides the configuration.
#[derive(Debug, Default)]
pub struct Facts {
    /// What sources have said.
    pub lists: Lists,
    /// How far that can be relied on, where it is not fresh.
    pub freshness: HashMap<Selection, Freshness>,
    /// Sources that have been asked in vain, and have said nothing yet.
    pub silent: HashSet<Selection>,
    /// Where we stand.
    pub vantage: Arc<Vantage>,
    /// What stands beside the file, if there is a place for it.
    pub beside: Option<Arc<Beside>>,
    /// True while routes are still to come that there are, as far as is known.
    pub awaits_routes: bool,
    /// What operators have done by hand.
    pub measures: Arc<ByCluster>,
}

/// The only way to write. Not `Clone`: discovery owns the one there is.
pub struct Publisher {
    current: Arc<ArcSwap<Table>>,
    version: watch::Sender<u64>,
    retired: Retired,
}

/// A way to read.
#[derive(Clone)]
pub struct Reader {
    current: Arc<ArcSwap<Table>>,
    version: watch::Receiver<u64>,
}

/// A reader for one thread, which keeps the table at hand and asks only whether it is still the one.
pub struct LocalReader(Cache<Arc<ArcSwap<Table>>, Arc<Table>>);

impl Table {
    /// Everybody on the way to its route.
    pub fn routes(&self) -> &Arc<Routes> {
        &self.routes
    }

    /// Where connections without requests go that services claim.
    pub fn doors(&self) -> &BTreeMap<Door, Arc<Passage>> {
        &self.doors
    }

    /// In the order of their names.
    pub fn clusters(&self) -> &[Arc<Cluster>] {
        &self.clusters
    }

    /// The cluster of that name.
    pub fn find_cluster(&self, name: &str) -> Option<&Arc<Cluster>> {
        let mut place = usize::MAX;
        self.find_near(&mut place, name)
    }

    /// The same, which is looked for at that place first, and leaves its own there: who asks for one after the other, or for the same in
    /// table after table, mostly has it at once.
    pub fn find_near(&self, place: &mut usize, name: &str) -> Option<&Arc<Cluster>> {
        if self.clusters.get(*place).is_none_or(|cluster| **cluster.name() != *name) {
            *place = self.clusters.binary_search_by(|cluster| (**cluster.name()).cmp(name)).ok()?;
        }
        self.clusters.get(*place)
    }

    /// The cluster of a target of one of this table's routes.
    pub fn cluster(&self, target: &config::Target) -> Option<&Arc<Cluster>> {
        self.find_cluster(&target.cluster)
    }

    /// What stands beside the file, if there is a place for it.
    pub fn beside(&self) -> Option<&Beside> {
        self.beside.as_deref()
    }

    /// What operators have done by hand about endpoints, of whatever cluster.
    pub fn measures(&self) -> &ByCluster {
        &self.measures
    }

    /// What it was built from, as far as that is shown.
    pub fn configuration(&self) -> &Arc<Shown> {
        &self.configuration
    }

    /// When the route of that name was last in use, if ever: now, while anything runs in the cluster of that name.
    pub fn last_use(&self, name: &str, now: Instant) -> Option<Instant> {
        let is_running =
            |cluster: &Arc<Cluster>| cluster.members().iter().any(|member| member.endpoint.in_flight() > 0);
        if self.find_cluster(name).is_some_and(is_running) { Some(now) } else { self.routes.used(name) }
    }

    /// Has every cluster look at its endpoints side by side. To be called once every [`SLOT`].
    pub fn examine(&self, now: Instant) {
        self.clusters.iter().for_each(|cluster| cluster.examine(now));
    }

    /// True if some cluster's list is too old.
    pub fn is_stale(&self) -> bool {
        self.clusters.iter().any(|cluster| cluster.freshness().age != Age::Fresh)
    }

    /// True once all routes are there that are to be expected, every cluster has its first list, and it is known what stands beside
    /// the file.
    pub fn is_complete(&self) -> bool {
        let is_told = self.beside.as_ref().is_none_or(|beside| beside.is_known()) && !self.awaits_routes;
        self.version > 0 && is_told && self.clusters.iter().all(|cluster| cluster.list().is_some())
    }

    fn empty() -> Self {
        Table {
            version: 0,
            built: Instant::now(),
            routes: Arc::default(),
            doors: Arc::default(),
            clusters: Vec::new(),
            beside: None,
            measures: Arc::default(),
            awaits_routes: false,
            configuration: Arc::default(),
        }
    }
}

impl Builder {
    /// A builder of tables that `workers` will read, with a character of its own; none if the system has no randomness to
    /// give.
    pub fn draw(workers: usize, metrics: &Arc<Metrics>) -> Option<Self> {
        Some(Builder::new(workers, Own::draw()?, metrics))
    }

    /// The builder of that character.
    pub fn new(workers: usize, own: Own, metrics: &Arc<Metrics>) -> Self {
        Builder { ids: Ids::default(), workers, own, metrics: Arc::clone(metrics), journal: Arc::default(), mesh: None }
    }

    /// The same, whose clusters write down what happens in them there.
    pub fn with_journal(self, journal: &Arc<Journal>) -> Self {
        Builder { journal: Arc::clone(journal), ..self }
    }

    /// Where it is written down what happens.
    pub fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    /// The same, with a part in the mesh.
    pub fn in_mesh(self, mesh: Option<Arc<tls::Mesh>>) -> Self {
        Builder { mesh, ..self }
    }

    /// The table of a configuration and the facts known, which inherits from `previous` what stays the same.
    pub fn build(&self, config: &Config, facts: &Facts, previous: &Table, now: Instant) -> Table {
        let mut place = 0;
        let cluster = |settings: &Arc<config::Cluster>| {
            let known = previous.find_near(&mut place, &settings.name);
            place += usize::from(known.is_some());
            self.cluster(settings, facts, known, now)
        };
        let clusters = config.clusters.iter().map(cluster).collect();
        let same = previous.routes.is_of(config);
        let routes =
            if same { Arc::clone(&previous.routes) } else { Arc::new(Routes::after(config, &previous.routes)) };
        Table {
            version: previous.version + 1,
            built: now,
            routes,
            doors: Arc::clone(&config.doors),
            clusters,
            beside: facts.beside.clone(),
            measures: Arc::clone(&facts.measures),
            awaits_routes: facts.awaits_routes,
            configuration: Arc::clone(config.shown()),
        }
    }

    fn cluster(
        &self,
        settings: &Arc<config::Cluster>,
        facts: &Facts,
        previous: Option<&Arc<Cluster>>,
        now: Instant,
    ) -> Arc<Cluster> {
        let freshness = drawn::freshness(settings, facts);
        let measures = facts.measures.get(&settings.name);
        let drawn = drawn::of(settings, facts);
        let list = match (&settings.source, previous) {
            // Putting lists together costs more than seeing that they are the same ones.
            (_, Some(previous)) if previous.is_drawn_from(settings, &drawn) => previous.list().cloned(),
            // One that draws on something else from now on serves what it had until that is known.
            (Source::Followed(draws), _) => {
                drawn::join(draws, &drawn).or_else(|| previous.and_then(|previous| previous.list().cloned()))
            }
            (Source::Static(endpoints), _) => Some(static_list(endpoints)),
        };
        if let Some(previous) = previous
            && (Arc::ptr_eq(previous.settings(), settings) || previous.settings() == settings)
            && same_list(previous.list(), list.as_ref())
            && previous.freshness() == freshness
            && !previous.depends_on(&facts.vantage)
            && previous.measures() == measures
        {
            return Arc::clone(previous);
        }
        let Builder { ids, workers, own, metrics, journal, mesh } = self;
        let (workers, vantage) = (*workers, &facts.vantage);
        let new = New { workers, now, ids, vantage, own, metrics, journal, mesh: mesh.as_ref(), measures };
        let cluster = Cluster::build(settings, list, previous.map(|previous| &**previous), &new);
        Arc::new(cluster.with_freshness(freshness).with_drawn(drawn))
    }
}

fn same_list(a: Option<&List>, b: Option<&List>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
        (None, None) => true,
        _ => false,
    }
}

fn static_list(endpoints: &[config::Endpoint]) -> List {
    let listed = |endpoint: &config::Endpoint| Listed {
        weight: endpoint.weight,
        locality: Locality { zone: endpoint.zone.as_deref().map(Box::from), ..Locality::default() },
        ..Listed::new(Address::new(&endpoint.address.0, endpoint.address.1))
    };
    endpoints.iter().map(listed).collect()
}

/// A publisher and a reader of the same, for now empty, table.
pub fn channel() -> (Publisher, Reader) {
    let current = Arc::new(ArcSwap::from_pointee(Table::empty()));
    let (sender, receiver) = watch::channel(0);
    let publisher = Publisher { current: Arc::clone(&current), version: sender, retired: Retired::default() };
    (publisher, Reader { current, version: receiver })
}

impl Publisher {
    /// The table that is read now.
    pub fn current(&self) -> Arc<Table> {
        self.current.load_full()
    }

    /// Makes `table` the one that is read from now on, and marks who is on no list any more.
    pub fn publish(&mut self, table: Table) {
        let table = Arc::new(table);
        let old = self.current.swap(Arc::clone(&table));
        let mut place = 0;
        for cluster in old.clusters() {
            let next = table.find_near(&mut place, cluster.name());
            place += usize::from(next.is_some());
            if next.is_none_or(|next| !Arc::ptr_eq(next, cluster)) {
                cluster.depart(next.map(|next| &**next), table.built);
                self.retired.cluster(cluster);
            }
        }
        self.retired.table(old);
        // Whoever is told looks for the marks.
        self.version.send_replace(table.version);
        self.sweep(table.built);
    }

    /// Frees what of tables before nobody reads any more, here and not on the thread of whoever read it last.
    pub fn sweep(&mut self, now: Instant) {
        self.retired.sweep(now);
    }

    /// When that is due again, if there is anything left to free.
    pub fn next(&self) -> Option<Instant> {
        self.retired.next()
    }
}

impl Reader {
    /// The table as of now.
    pub fn load(&self) -> Arc<Table> {
        self.current.load_full()
    }

    /// A reader for this thread.
    pub fn local(&self) -> LocalReader {
        LocalReader(Cache::new(Arc::clone(&self.current)))
    }

    /// Returns when a table was published that this reader has not waited for; false if there will be none.
    pub async fn changed(&mut self) -> bool {
        self.version.changed().await.is_ok()
    }

    /// Waits for a table that fits; false if there will be none.
    pub async fn wait_for(&mut self, fits: impl Fn(&Table) -> bool) -> bool {
        loop {
            if fits(&self.load()) {
                return true;
            }
            if !self.changed().await {
                return false;
            }
        }
    }
}

impl LocalReader {
    /// The table as of now.
    pub fn load(&mut self) -> &Arc<Table> {
        self.0.load()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        let text = format!("[[listeners]]\nname='a'\nbind='127.0.0.1:0'\n{text}");
        config::parse(&text, &config::Environment::default()).unwrap()
    }

    fn list(ports: &[u16]) -> List {
        ports.iter().map(|port| Listed::new(Address::from(([127, 0, 0, 1], *port)))).collect()
    }

    fn builder() -> Builder {
        Builder::new(1, Own { seed: 1, secret: [0; 32] }, &Arc::new(Metrics::new(1)))
    }

    #[test]
    fn an_update_rebuilds_only_what_it_changes_and_keeps_known_endpoints() {
        let config = config("[clusters.a]\nconsul={service='a'}\n[clusters.b]\nconsul={service='b'}");
        let selection = Selection::of;
        let builder = builder();
        let mut facts = Facts { lists: Lists::from([(selection("a"), list(&[1, 2]))]), ..Facts::default() };
        let first = builder.build(&config, &facts, &Table::empty(), Instant::now());
        assert!(!first.is_complete());
        facts.lists.insert(selection("b"), list(&[3]));
        let second = builder.build(&config, &facts, &first, Instant::now());
        assert!(second.is_complete());
        assert!(Arc::ptr_eq(&first.clusters()[0], &second.clusters()[0]));
        facts.lists.insert(selection("a"), list(&[2, 4]));
        let third = builder.build(&config, &facts, &second, Instant::now());
        let endpoint = |table: &Table, index: usize| Arc::clone(&table.clusters()[0].members()[index].endpoint);
        assert!(Arc::ptr_eq(&endpoint(&second, 1), &endpoint(&third, 0)), "what was learned of a known endpoint stays");
        assert!(Arc::ptr_eq(second.routes(), third.routes()));
    }

    #[tokio::test]
    async fn readers_see_what_is_published() {
        let (mut publisher, mut reader) = channel();
        let mut local = reader.local();
        assert_eq!(local.load().version, 0);
        let config = config("[clusters.a]\nendpoints=['127.0.0.1:1']");
        publisher.publish(builder().build(&config, &Facts::default(), &publisher.current(), Instant::now()));
        assert!(reader.wait_for(Table::is_complete).await);
        assert_eq!(local.load().version, 1);
        drop(publisher);
        assert!(!reader.wait_for(|table| table.version == 2).await);
    }

    #[test]
    fn who_is_on_no_list_any_more_has_departed_until_it_is_back() {
        let config = config("[clusters.a]\nconsul={service='a'}");
        let selection = || Selection::of("a");
        let (builder, (mut publisher, reader)) = (builder(), channel());
        let mut publish = |config: &Config, ports: &[u16]| {
            let facts = Facts { lists: Lists::from([(selection(), list(ports))]), ..Facts::default() };
            let table = builder.build(config, &facts, &publisher.current(), Instant::now());
            let built = table.built;
            publisher.publish(table);
            built
        };
        publish(&config, &[1, 2]);
        let endpoint = |place: usize| Arc::clone(&reader.load().clusters()[0].members()[place].endpoint);
        let [one, two] = [endpoint(0), endpoint(1)];
        let left = publish(&config, &[1]);
        assert_eq!((one.departed(), two.departed()), (None, Some(left)));
        // Somebody still holds it, such as an attempt that runs: it is the same one.
        publish(&config, &[1, 2]);
        assert!(Arc::ptr_eq(&endpoint(1), &two) && two.departed().is_none());
        publish(&config, &[2]);
        let (id, _) = (one.id(), drop(one));
        publish(&config, &[1, 2]);
        assert_ne!(endpoint(0).id(), id, "nobody held it, so it is somebody new");
        // The whole cluster is gone.
        let without = super::tests::config("[clusters.b]\nendpoints=['127.0.0.1:1']");
        let left = publish(&without, &[]);
        assert_eq!(two.departed(), Some(left));
    }

    #[test]
    fn a_reader_never_frees_a_table_or_its_clusters() {
        let config = config("[clusters.a]\nconsul={service='a'}\n[clusters.b]\nendpoints=['127.0.0.1:9']");
        let (builder, (mut publisher, reader)) = (builder(), channel());
        let publish = |publisher: &mut Publisher, ports: &[u16]| {
            let facts = Facts { lists: Lists::from([(Selection::of("a"), list(ports))]), ..Facts::default() };
            let table = builder.build(&config, &facts, &publisher.current(), Instant::now());
            publisher.publish(table);
        };
        publish(&mut publisher, &[1]);
        let mut local = reader.local();
        let (table, kept) = (Arc::downgrade(local.load()), Arc::clone(&local.load().clusters()[0]));
        let cluster = Arc::downgrade(&kept);
        publish(&mut publisher, &[2]);
        let due = publisher.next().unwrap();
        local.load();
        assert!(table.strong_count() == 1, "the reader has let go of it, and it is still there");
        publisher.sweep(due);
        assert!(table.strong_count() == 0 && cluster.strong_count() == 2, "the reader still has the cluster");
        drop(kept);
        assert!(cluster.strong_count() == 1 && publisher.next().is_some());
        publisher.sweep(due);
        assert!(cluster.strong_count() == 0 && publisher.next().is_none());
    }

    #[test]
    fn a_cluster_whose_selection_changes_serves_its_old_list_until_the_new_one_comes() {
        let old = config("[clusters.a]\nconsul={service='a'}");
        let new = config("[clusters.a]\nconsul={service='a',filter='\"x\" in Service.Tags'}");
        let selection = Selection::of("a");
        let builder = builder();
        let facts = Facts { lists: Lists::from([(selection, list(&[1, 2]))]), ..Facts::default() };
        let first = builder.build(&old, &facts, &Table::empty(), Instant::now());
        let second = builder.build(&new, &Facts::default(), &first, Instant::now());
        assert!(second.is_complete());
        assert_eq!(second.clusters()[0].members().len(), 2);
    }
}
