//! The journey of one request: route, attempts, answer; and that of a connection on which there are none. One [`Worker`] a thread; a
//! request lives and dies on it, and nothing on its way is shared with other workers but the table and the endpoints' atomics.

mod action;
mod affinity;
mod again;
mod answer;
mod attempt;
mod books;
mod connect;
mod copy;
mod deadline;
mod flags;
mod forward;
mod grpc;
mod journey;
mod mirror;
mod names;
mod outgoing;
mod preface;
mod record;
mod retry;
mod series;
mod session;
mod tcp;
mod tunnel;
mod typical;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::config;
use crate::lifecycle::Draining;
use crate::listener::{Asked, Client, Service, Unread};
use crate::message::{Answer, Trusted};
use crate::metrics::Metrics;
use crate::table::{LocalReader, Reader, Table};
use crate::upstream::Upstream;

pub use answer::Body;
pub use books::Books;
#[doc(hidden)]
pub use outgoing::prepare;

use books::Page;
use copy::Ferry;
use mirror::Mirrors;
use names::Names;
pub use names::Naming;
use series::Resolved;
pub use tcp::Tcp;

/// How often a worker looks after its idle connections.
const ROUND: Duration = Duration::from_secs(1);

/// One thread's part of the proxy.
pub struct Worker {
    index: usize,
    reader: RefCell<LocalReader>,
    upstream: Upstream,
    rng: RefCell<fastrand::Rng>,
    series: RefCell<Resolved>,
    metrics: Arc<Metrics>,
    tunnels: RefCell<JoinSet<()>>,
    ferry: Rc<Ferry>,
    mirrors: Mirrors,
    draining: Draining,
    books: Option<Rc<Books>>,
}

/// A listener's service on one worker.
pub struct Edge {
    worker: Rc<Worker>,
    /// Place of the listener among the configured ones.
    listener: usize,
    /// Whether its requests may say how long they can wait.
    trust_deadline: bool,
    /// Whose word on a request's way counts.
    trusted: Trusted,
    /// Whether a path that may belong to another route is refused.
    strict: bool,
    /// Where names take the place of routes.
    names: Option<Names>,
}

impl Worker {
    /// The worker of place `index`, which serves these listeners from `reader`'s table.
    pub fn new(
        index: usize,
        listeners: &[Arc<str>],
        reader: &Reader,
        metrics: &Arc<Metrics>,
        draining: Draining,
    ) -> Self {
        Worker {
            index,
            reader: RefCell::new(reader.local()),
            upstream: Upstream::default(),
            rng: RefCell::default(),
            series: RefCell::new(Resolved::new(listeners)),
            metrics: Arc::clone(metrics),
            tunnels: RefCell::default(),
            ferry: Rc::default(),
            mirrors: Mirrors::default(),
            draining,
            books: None,
        }
    }

    /// The same, which writes down what becomes of its requests.
    pub fn with_books(self, books: Option<Rc<Books>>) -> Self {
        Worker { books, ..self }
    }

    /// The same, which leads nobody to that address.
    pub fn barring(self, barred: Option<SocketAddr>) -> Self {
        Worker { upstream: Upstream::barring(barred), ..self }
    }

    /// Keeps house for as long as it is polled: closes idle connections that are old or lead nowhere any more, and lets go of
    /// a table that is no longer the one.
    pub async fn keep_house(&self, mut reader: Reader) {
        let mut round = tokio::time::interval(ROUND);
        loop {
            tokio::select! {
                _ = round.tick() => {}
                changed = reader.changed() => if !changed { std::future::pending::<()>().await },
            }
            let table = self.table();
            self.series.borrow_mut().keep(&table);
            self.upstream.sweep(Instant::now());
            while self.tunnels.borrow_mut().try_join_next().is_some() {}
        }
    }

    /// Returns when no tunnel is open any more.
    pub async fn finish(&self) {
        let mut tunnels = std::mem::take(&mut *self.tunnels.borrow_mut());
        while tunnels.join_next().await.is_some() {}
    }

    fn table(&self) -> Arc<Table> {
        Arc::clone(self.reader.borrow_mut().load())
    }
}

impl Edge {
    /// The service of the listener of that place.
    pub fn new(worker: &Rc<Worker>, listener: usize, settings: &config::Listener, naming: &Naming) -> Self {
        let trusted = Trusted::new(&settings.trusted_networks);
        let strict = settings.http.paths == config::Paths::Strict;
        Edge {
            worker: Rc::clone(worker),
            listener,
            trust_deadline: settings.trust_deadline,
            trusted,
            strict,
            names: naming.of(settings),
        }
    }
}

impl Service for Edge {
    type Body = Body;

    async fn call(self: Rc<Self>, asked: Asked) -> Answer<Body> {
        journey::answer(&self, asked).await
    }

    fn refused(&self, client: &Rc<Client>, unread: Unread<'_>) {
        Page::of_unread(self.worker.books.as_ref(), self.listener, client, unread);
    }
}
