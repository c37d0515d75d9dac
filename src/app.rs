//! Where everything starts and stops: the only file that knows every room.
//!
//! Sockets are bound first, so that one that cannot be is an error at the start and nothing else. Then come the threads: one
//! for control (discovery, the operator's window), and the workers, which accept as soon as there is a truth to serve.

mod bound;
mod entrances;
mod error;
mod records;
mod space;
mod stuck;
mod window;
mod withdrawing;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::LocalRuntime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, timeout};
use tracing::{info, warn};

use crate::access::Reopening;
use crate::config::{self, Accepts, Config};
use crate::consul;
use crate::discovery::consul::Certificates;
use crate::discovery::{Discovery, Reload};
use crate::journal::{Event, Journal};
use crate::lifecycle::{Drain, Draining, LogLevel, Readiness, Sockets, Withdrawal, descriptors};
use crate::listener::{self, Limits, Room, Terms};
use crate::mesh::Membership;
use crate::metrics::Metrics;
use crate::probe::Probes;
use crate::proxy::{Edge, Naming, Tcp, Worker};
use crate::registration::{Here, Presence, Registrar};
use crate::table::{self, Builder, Reader, SLOT, Table};
use crate::tls::{self, Entrance};
use crate::trace::Exporter;

pub use error::{Error, ReloadError};

use bound::Bound;
use entrances::{entrances, own};
use records::{Record, Records};
use space::room;
use window::Window;

/// Before anything is known, clients wait in the listeners' queues; after this long they are better told so.
const FIRST_TRUTH: Duration = Duration::from_secs(5);
/// How long the agent has to take us out of the catalogue before a drain goes on without that.
const LEAVE: Duration = Duration::from_secs(2);
/// The same where there is no drain, or no more of it.
const FAREWELL: Duration = Duration::from_secs(1);

/// A running proxy. Dropped, it ends at once; [`App::drain`] ends it in peace.
pub struct App {
    config: Arc<Config>,
    /// Of listeners with TLS of their own, in their order.
    secured: Vec<Arc<tls::Server>>,
    addresses: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
    readiness: Readiness,
    presence: Presence,
    metrics: Arc<Metrics>,
    journal: Arc<Journal>,
    log_level: LogLevel,
    reloads: mpsc::Sender<Reload>,
    drain: Option<Drain>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
    // Dropped when all threads have ended, so that nothing of theirs is missing.
    records: Records,
}

impl App {
    /// Binds, starts all threads, and returns while the first lists are still being awaited.
    pub fn start(config: Config) -> Result<App, Error> {
        App::start_on(config, Sockets::default())
    }

    /// The same with sockets that listen already, for those listeners that they belong to.
    pub fn start_on(config: Config, handed: Sockets) -> Result<App, Error> {
        let config = Arc::new(config);
        let metrics = Arc::new(Metrics::new(config.workers));
        let room = room(&config, descriptors::raise());
        metrics.may_be_open(room.most());
        let journal = Arc::new(Journal::default());
        let readiness = Readiness::default();
        let (ends, membership) = Membership::of(&config, &metrics)?.unzip();
        let entrances = entrances(&config, ends.as_ref(), &metrics)?;
        let mesh = ends.map(|(mesh, _)| mesh);
        readiness.unproven(config.registration.as_ref().is_some_and(config::Registration::is_in_mesh));
        let (records, exporter) = Records::start(&config, &metrics)?;
        let secured = window::secured(&config, &metrics)?;
        let Bound { sockets, addresses, window: place, admin } = Bound::to(&config, handed)?;

        let (publisher, reader) = table::channel();
        let (reloads, reload) = mpsc::channel(1);
        let (demand, demands) = table::demand(metrics.egress());
        let naming = Naming::new(&config.egress, demand);
        let (hand, orders) = table::hand();
        let (stop, stopped) = watch::channel(false);
        let drain = Drain::new();
        let builder = Builder::draw(config.workers, &metrics).ok_or(Error::Randomness)?.in_mesh(mesh.clone());
        let builder = builder.with_journal(&journal);
        let asked = (reload, demands, orders);
        let discovery = Discovery::new(Arc::clone(&config), (builder, publisher), readiness.clone(), &metrics, asked)?;
        let named = config.listeners.iter().map(|listener| Arc::clone(&listener.name));
        let here = Here::new(named.zip(addresses.iter().copied()).collect(), admin);
        let (registrar, presence) = Registrar::new(&config, here, readiness.clone(), &metrics)?;
        let mut app = App {
            config,
            secured: entrances.iter().filter_map(own).collect(),
            addresses,
            admin,
            readiness: readiness.clone(),
            presence: presence.clone(),
            metrics: Arc::clone(&metrics),
            journal,
            log_level: LogLevel::default(),
            reloads,
            drain: None,
            stop,
            threads: Vec::new(),
            records,
        };
        let proof = mesh.clone().zip(Some(readiness));
        let servers = app.secured.iter().chain(&secured).cloned().collect();
        let window = Window::of(&app, reader.clone(), (hand, drain.withdrawal()), (place, secured));
        let probes = Probes::new(reader.clone(), Arc::clone(&metrics));
        let certificates = followed(&app.config, &app.secured)?;
        let registering = (registrar, presence, drain.withdrawal(), exporter);
        let readers = (reader.clone(), metrics);
        let members = (membership, proof);
        let part = Control { discovery, probes, registering, servers, certificates, members, window, readers };
        let (control_stopped, stopped) = (stopped.clone(), stopped);
        app.spawn("control".to_owned(), move || control(part, control_stopped))?;
        let shared = Shared { entrances, mesh, reader, room, naming, window: admin };
        app.hire(sockets, &shared, &drain, &stopped)?;
        app.drain = Some(drain);
        Ok(app)
    }

    /// All workers, each until it is done or all is.
    fn hire(
        &mut self,
        mut sockets: Vec<Vec<std::net::TcpListener>>,
        shared: &Shared,
        drain: &Drain,
        stopped: &watch::Receiver<bool>,
    ) -> Result<(), Error> {
        for index in 0..self.config.workers {
            let sockets = sockets.iter_mut().filter_map(Vec::pop).collect();
            let (shared, record) = (shared.clone(), self.records.of_worker());
            let part = Part { index, sockets, shared, draining: drain.watch(), stopped: stopped.clone(), record };
            let (config, metrics, stopped) = (Arc::clone(&self.config), Arc::clone(&self.metrics), stopped.clone());
            self.spawn(format!("worker-{index}"), move || until(stopped, work(part, config, metrics)))?;
        }
        Ok(())
    }

    /// A thread with a runtime of its own, which runs `main` to its end.
    fn spawn<F: Future<Output = ()> + 'static>(
        &mut self,
        name: String,
        main: impl FnOnce() -> F + Send + 'static,
    ) -> Result<(), Error> {
        let (started, result) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let built = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
            let runtime: LocalRuntime = match built {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(error))),
            };
            let _ = started.send(Ok(()));
            runtime.block_on(async { main().await });
            // A name that is being looked up on a thread of its own must not delay the end.
            runtime.shutdown_background();
        })?;
        self.threads.push(thread);
        result.recv().unwrap_or_else(|_| Err(std::io::Error::other("the thread ended")))?;
        Ok(())
    }

    /// Where the listener of that name listens.
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        let place = self.config.listeners.iter().position(|known| &*known.name == listener)?;
        Some(self.addresses[place])
    }

    /// Where the operator's window is.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Whether requests should be sent here.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// What is wrong with a thread, if one has not come to what was due for longer than this, or has ended.
    pub fn stuck(&self, longer: Duration) -> Option<String> {
        let late = self.metrics.threads().into_iter().map(|(thread, series)| (thread, series.overdue()));
        stuck::first(late.collect(), self.config.workers + 1, longer)
    }

    /// How long a drain takes at most.
    pub fn patience(&self) -> Duration {
        LEAVE + self.config.drain.delay + self.config.drain.timeout
    }

    /// Every listener with its address.
    pub fn addresses(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.config.listeners.iter().map(|listener| &*listener.name).zip(self.addresses.iter().copied())
    }

    /// What opens the access log's file anew, for whoever has moved the old one away, also while the app drains.
    pub fn access_log(&self) -> impl Fn() + 'static {
        let log = self.records.reopening();
        move || log.iter().for_each(Reopening::reopen)
    }

    /// Goes on with another configuration, as a whole or not at all. Returns once its table is published.
    pub async fn reload(&self, config: Config) -> Result<(), ReloadError> {
        let result = self.try_reload(config).await;
        self.metrics.reloaded(result.is_ok());
        self.journal.note(match &result {
            Ok(()) => Event::Reloaded,
            Err(refusal) => Event::ReloadFailed { error: refusal.to_string() },
        });
        result
    }

    /// Notes that a configuration could not even be read.
    pub fn reload_failed(&self, refusal: &config::Error) {
        self.metrics.reloaded(false);
        self.journal.note(Event::ReloadFailed { error: refusal.to_string() });
    }

    async fn try_reload(&self, config: Config) -> Result<(), ReloadError> {
        let old = &self.config;
        let fixed = [
            ("workers", config.workers != old.workers),
            ("max_connections", config.max_connections != old.max_connections),
            ("admin", !window::is_same(old.admin.as_ref(), config.admin.as_ref())),
            ("consul", config.consul != old.consul),
            ("kv", config.kv != old.kv),
            ("mesh", config.mesh != old.mesh),
            ("place", config.place != old.place),
            ("egress", config.egress != old.egress),
            ("listeners", !can_become(&old.listeners, &config.listeners)),
            ("drain", config.drain != old.drain),
            ("log", config.log != old.log),
            ("metrics", config.endpoint_figures != old.endpoint_figures),
            ("tracing", config.tracing != old.tracing),
            ("access_log", config.access_log != old.access_log),
        ];
        let changed: Vec<&str> = fixed.iter().filter(|(_, changed)| *changed).map(|(key, _)| *key).collect();
        if !changed.is_empty() {
            return Err(ReloadError::NeedsRestart(changed.join(", ")));
        }
        // All of it is read before any of it counts.
        let settings = config.listeners.iter().filter_map(|listener| listener.tls.as_ref());
        let renewals = self.secured.iter().zip(settings).map(|(server, settings)| server.renewal(settings));
        let renewals = renewals.collect::<Result<Vec<_>, _>>()?;
        let registration = config.registration.clone();
        let (done, published) = oneshot::channel();
        let reload = Reload { config: Arc::new(config), done };
        self.reloads.send(reload).await.map_err(|_| ReloadError::Ending)?;
        published.await.map_err(|_| ReloadError::Ending)?.map_err(ReloadError::Documents)?;
        self.secured.iter().zip(renewals).for_each(|(server, renewal)| server.renew(renewal));
        self.presence.change(registration);
        Ok(())
    }

    /// Leaves in peace: not ready, out of the catalogue, a while for others to notice, nothing new, what runs to its end within its time.
    pub async fn drain(mut self) {
        let settings = self.config.drain.clone();
        self.readiness.draining();
        self.journal.note(Event::Draining);
        info!(delay = ?settings.delay, "draining: not ready any more");
        // First, so that the delay is for those who look us up to notice.
        self.presence.leave(LEAVE).await;
        tokio::time::sleep(settings.delay).await;
        info!(timeout = ?settings.timeout, "draining: nothing new is accepted");
        if let Some(drain) = self.drain.take()
            && timeout(settings.timeout, drain.drain()).await.is_err()
        {
            warn!("drain.timeout is over; what still runs is broken off");
        }
        // Dropping joins the threads.
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so itself.
            let _ = thread.join();
        }
    }
}

/// What the control thread is made from.
struct Control {
    discovery: Discovery,
    probes: Probes,
    /// What has something to say at the end.
    registering: (Registrar, Presence, Withdrawal, Option<Exporter>),
    servers: Vec<Arc<tls::Server>>,
    certificates: Vec<Certificates>,
    /// What follows who we are in the mesh, and whom that makes ready.
    members: (Option<Membership>, Option<(Arc<tls::Mesh>, Readiness)>),
    window: Window,
    readers: (Reader, Arc<Metrics>),
}

/// Runs something to its end or until the app stops.
async fn until(mut stopped: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        // An error means that the app is gone, which is a stop as well.
        _ = stopped.wait_for(|stop| *stop) => {}
    }
}

/// The control thread: discovery, probes, our place in the catalogue and in the mesh, the operator's window, and a look at all endpoints
/// now and then.
async fn control(part: Control, stopped: watch::Receiver<bool>) {
    let Control { discovery, probes, registering, servers, certificates, members, window, readers } = part;
    let ((registrar, presence, withdrawal, exporter), (reader, metrics), (membership, proof)) =
        (registering, readers, members);
    let forever = Drain::new();
    let (mut tasks, mut last) = (JoinSet::new(), JoinSet::new());
    if let Some(exporter) = exporter {
        last.spawn_local(exporter.run(stopped.clone()));
    }
    tasks.spawn_local(probes.run());
    tasks.spawn_local(metrics.thread("control").look());
    tasks.spawn_local(registrar.run());
    tasks.spawn_local(withdrawing::follow(withdrawal, presence.clone()));
    tasks.spawn_local(tls::keep(servers));
    for certificates in certificates {
        tasks.spawn_local(certificates.run());
    }
    if let Some(membership) = membership {
        tasks.spawn_local(membership.run());
    }
    if let Some((mesh, readiness)) = proof {
        tasks.spawn_local(async move {
            mesh.stocked().await;
            readiness.unproven(false);
        });
    }
    tasks.spawn_local(window.keep_log_level());
    let draining = forever.watch();
    tasks.spawn_local(async move { window.serve(&metrics, draining).await });
    tasks.spawn_local(examine(reader));
    until(stopped, discovery.run()).await;
    // Where a drain came before, this is over already; nobody who was broken off should be looked for either.
    presence.leave(FAREWELL).await;
    while last.join_next().await.is_some() {}
}

/// Has clusters compare their endpoints with each other.
async fn examine(reader: Reader) {
    let mut slots = tokio::time::interval(SLOT);
    // What is late is not made up for: a slot is what has happened since the last.
    slots.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let now = slots.tick().await;
        reader.load().examine(now.into_std());
    }
}

/// What one worker is made from.
struct Part {
    index: usize,
    sockets: Vec<std::net::TcpListener>,
    shared: Shared,
    draining: Draining,
    stopped: watch::Receiver<bool>,
    record: Record,
}

/// What all workers are made from.
#[derive(Clone)]
struct Shared {
    entrances: Vec<Option<Entrance>>,
    mesh: Option<Arc<tls::Mesh>>,
    reader: Reader,
    room: Arc<Room>,
    naming: Naming,
    /// Where the operator's window is, if it has an address.
    window: Option<SocketAddr>,
}

/// What follows certificates that are not in files.
fn followed(config: &Config, secured: &[Arc<tls::Server>]) -> Result<Vec<Certificates>, consul::Error> {
    let settings = config.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    let prefixes = settings.zip(secured).filter_map(|(settings, server)| Some((settings.kv.as_ref()?, server)));
    prefixes.map(|(prefix, server)| Certificates::new(&config.consul, prefix, server)).collect()
}

/// Returns once it is known who serves, and by which certificates both sides are shown.
async fn first_truth(reader: &mut Reader, entrances: &[Option<Entrance>], mesh: Option<&Arc<tls::Mesh>>) {
    reader.wait_for(Table::is_complete).await;
    if let Some(mesh) = mesh {
        mesh.stocked().await;
    }
    for entrance in entrances.iter().flatten() {
        entrance.stocked().await;
    }
}

/// True if listeners can go on as others without being bound anew.
fn can_become(old: &[config::Listener], new: &[config::Listener]) -> bool {
    old.len() == new.len() && old.iter().zip(new).all(|(old, new)| old.can_become(new))
}

/// A worker thread: its listeners' connections until the drain is over.
async fn work(part: Part, config: Arc<Config>, metrics: Arc<Metrics>) {
    let Part { index, sockets, shared, mut draining, stopped, record } = part;
    let Shared { entrances, mesh, mut reader, room, naming, window } = shared;
    let names: Vec<Arc<str>> = config.listeners.iter().map(|listener| Arc::clone(&listener.name)).collect();
    let books = record.books(&names, stopped);
    let worker =
        Worker::new(index, &names, &reader, &metrics, draining.clone()).with_books(books.clone()).barring(window);
    let worker = Rc::new(worker);
    let keeper = Rc::clone(&worker);
    let keeping = reader.clone();
    let mut house = JoinSet::new();
    house.spawn_local(async move { keeper.keep_house(keeping).await });
    house.spawn_local(metrics.thread(&format!("worker-{index}")).look());
    if let Some(books) = books {
        house.spawn_local(async move { books.run().await });
    }
    tokio::select! {
        _ = timeout(FIRST_TRUTH, first_truth(&mut reader, &entrances, mesh.as_ref())) => {}
        () = draining.begun() => {}
    }
    let mut serving = JoinSet::new();
    for (place, (socket, settings)) in sockets.into_iter().zip(&config.listeners).enumerate() {
        let Ok(listener) = TcpListener::from_std(socket) else { continue };
        let terms = Terms {
            limits: Limits {
                request_header: settings.request_header,
                idle: settings.idle,
                age: settings.connection_age,
            },
            http: settings.http.clone(),
            room: Arc::clone(&room),
            series: metrics.listener(&settings.name),
            announced: settings.proxy_protocol.then(|| settings.trusted_networks.as_slice().into()),
            tls: entrances.get(place).cloned().flatten(),
        };
        let draining = draining.clone();
        match &settings.accepts {
            Accepts::Http => {
                let edge = Rc::new(Edge::new(&worker, place, settings, &naming));
                serving.spawn_local(listener::serve(listener, edge, terms, draining));
            }
            Accepts::Tcp(forwarding) => {
                let tcp = Rc::new(Tcp::new(&worker, (place, settings), forwarding));
                serving.spawn_local(listener::forward(listener, tcp, terms, draining));
            }
        }
    }
    drop(draining);
    while serving.join_next().await.is_some() {}
    worker.finish().await;
}
