//! The operator's window: liveness, readiness, metrics, and what the table holds. It runs on the control
//! runtime, so that a scrape cannot touch a request. `dispatch` has the table of its pages; who may see them is asked before any of them is
//! made.

mod about;
mod access;
mod answer;
mod ask;
mod dashboard;
mod dispatch;
mod documents;
mod endpoints;
mod events;
mod explain;
mod figures;
mod hand;
mod live;
mod log;
mod registration;
mod routes;
mod socket;
mod view;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::{Response, StatusCode, request};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::info;

use crate::config::{self, Egress, Listener};
use crate::journal::{Event, Journal};
use crate::lifecycle::{LogLevel, Readiness, Withdrawal};
use crate::listener::{Asked, Limits, Service};
use crate::message::{Answer, Incoming};
use crate::metrics::Metrics;
use crate::table::{Hand, Reader};
use about::Begun;
use access::{Access, Caller};
use answer::{Body, Problem, Reply, json, text};
use ask::{Ask, one};
use dashboard::Dashboard;
use dispatch::{Handler, Opens, Page};
use live::{Live, Sight};
pub use socket::{Door, DoorError};

/// What the operator's clients are held to: a handful of them, who ask now and then.
pub const LIMITS: Limits =
    Limits { request_header: Duration::from_secs(10), idle: Duration::from_secs(120), age: None };
/// Connections at once. They have descriptors of their own, which clients cannot use up.
pub const MAX_CONNECTIONS: usize = 32;
/// Those of them that may be answered without an end, so that there is room for the others.
const MAX_FOLLOWERS: usize = 16;

/// In place of a status, where nobody waited for one.
const LEFT: u16 = 499;

/// Every page, each room of the window with its own.
const PAGES: &[&[Page]] = &[
    OWN,
    view::PAGES,
    events::PAGES,
    hand::PAGES,
    log::PAGES,
    explain::PAGES,
    live::PAGES,
    about::PAGES,
    dashboard::PAGES,
];

/// Pages of this file.
const OWN: &[Page] = &[
    Page::get("/livez", |_, _| Ok(text(StatusCode::OK, "live\n"))).opens(Opens::ToAll),
    Page::get("/readyz", Admin::ready).with(&[one("verbose")]).opens(Opens::ToAll),
    Page::get("/healthz", Admin::ready).with(&[one("verbose")]).opens(Opens::ToAll),
    Page::get("/metrics", figures::scrape).opens(Opens::AsFigures),
    Page::get("/v1/routes", |admin, _| json(&routes::routes(&admin.reader.load()))),
    Page::get("/v1/registration", |admin, _| json(&registration::instances(&admin.metrics))),
    Page::get("/v1/kv", |admin, _| json(&documents::documents(&admin.reader.load(), &admin.metrics))),
];

/// What all answers have: nobody is to guess at their kind, show them in a frame, or be told where their reader came from.
const FIELDS: [(&str, &str); 4] = [
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
];

/// The service of the admin listener.
pub struct Admin {
    reader: Reader,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    journal: Arc<Journal>,
    listeners: Vec<(Listener, SocketAddr)>,
    followers: Arc<Semaphore>,
    hand: Option<Hand>,
    withdrawal: Option<Withdrawal>,
    /// What of endpoints has been scraped.
    shown: RefCell<endpoints::Shown>,
    access: Access,
    begun: Begun,
    log_level: LogLevel,
    /// What holds for names of services.
    egress: Option<Egress>,
    dashboard: Dashboard,
    live: Arc<Live>,
}

impl Admin {
    /// A window on these.
    pub fn new(reader: Reader, metrics: Arc<Metrics>, readiness: Readiness, journal: Arc<Journal>) -> Self {
        let followers = Arc::new(Semaphore::new(MAX_FOLLOWERS));
        // Whoever gives no other settings means this machine.
        let access = Access::new(&config::Admin::at(([127, 0, 0, 1], 0).into()));
        let sight = Sight {
            reader: reader.clone(),
            metrics: Arc::clone(&metrics),
            readiness: readiness.clone(),
            journal: Arc::clone(&journal),
        };
        Admin {
            reader,
            metrics,
            readiness,
            journal,
            listeners: Vec::new(),
            followers,
            hand: None,
            withdrawal: None,
            shown: RefCell::new(endpoints::Shown::new(0)),
            access,
            begun: Begun::now(),
            log_level: LogLevel::default(),
            egress: None,
            dashboard: Dashboard::new(),
            live: Arc::new(Live::new(sight)),
        }
    }

    /// The same, which shows these listeners as well.
    pub fn with_listeners(self, listeners: &[Listener], addresses: &[SocketAddr]) -> Self {
        Admin { listeners: listeners.iter().cloned().zip(addresses.iter().copied()).collect(), ..self }
    }

    /// The same, which knows of the names that services are asked for by.
    pub fn with_names(self, egress: &Egress) -> Self {
        Admin { egress: Some(egress.clone()), ..self }
    }

    /// The same, by which things can be done by hand.
    pub fn with_hand(self, hand: Hand, withdrawal: Withdrawal) -> Self {
        Admin { hand: Some(hand), withdrawal: Some(withdrawal), ..self }
    }

    /// The same, whose scrapes have figures of single endpoints, so many at most.
    pub fn with_endpoints(self, most: usize) -> Self {
        Admin { shown: RefCell::new(endpoints::Shown::new(most)), ..self }
    }

    /// The same, which may change what is logged.
    pub fn with_log(self, log_level: &LogLevel) -> Self {
        Admin { log_level: log_level.clone(), ..self }
    }

    /// The same, for those whom these settings let in, and for nobody else.
    pub fn for_those(self, settings: &config::Admin) -> Self {
        Admin { access: Access::new(settings), ..self }
    }

    /// Brings the usual level of the log back when another's time is over, and writes that down. For good.
    pub fn keep_log_level(&self) -> impl Future<Output = ()> + use<> {
        let journal = Arc::clone(&self.journal);
        let note = move |usual: &str| journal.note(Event::LogLevel { level: usual.to_owned(), for_seconds: None });
        self.log_level.clone().keep(note)
    }

    /// Answers a request, however it came.
    async fn open(self: Rc<Self>, head: request::Parts, body: Option<Incoming>, caller: Caller) -> Response<Body> {
        let mut response = self.answer(head, body, caller).await.unwrap_or_else(Response::from);
        for (name, value) in FIELDS {
            let fields = response.headers_mut();
            fields.entry(HeaderName::from_static(name)).or_insert(HeaderValue::from_static(value));
        }
        response
    }

    async fn answer(self: Rc<Self>, head: request::Parts, body: Option<Incoming>, caller: Caller) -> Reply {
        let (page, segments) = dispatch::find(&head.method, head.uri.path())?;
        let who = self.access.who(&caller, &head.headers);
        self.access.admit(page, &who, &head.headers)?;
        let ask = Ask::new(who, segments, head.headers).with_query(head.uri.query(), page.keys)?;
        match page.handler {
            Handler::Look(look) => look(&self, &ask),
            Handler::Act(act) => {
                let ask = ask.with_body(body).await?;
                let mut written = Written {
                    journal: Arc::clone(&self.journal),
                    who: ask.who.name.clone(),
                    method: page.verb.name(),
                    path: head.uri.path().to_owned(),
                    status: LEFT,
                };
                let reply = act(self, ask).await;
                written.status = reply.as_ref().map_or_else(Problem::status, Response::status).as_u16();
                reply
            }
        }
    }

    /// A place among those who are answered without an end, for as long as it is held.
    fn follower(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.followers).try_acquire_owned().map_err(|_| {
            let detail = format!("{MAX_FOLLOWERS} follow already, and there is no room for more");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        })
    }

    fn ready(&self, ask: &Ask) -> Reply {
        // Whether to send requests here is for everybody to know; what there is behind it is not.
        if ask.query("verbose").is_some() && !ask.who.is_known {
            return Err(self.access.stranger(ask.headers()));
        }
        let blocker = self.readiness.blocker();
        let status = if blocker.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let mut lines = format!("{}\n", blocker.unwrap_or("ready"));
        if ask.query("verbose").is_some() {
            let table = self.reader.load();
            if let Some(beside) = table.beside() {
                lines += &format!("kv {}: {}\n", beside.prefix, documents::word(beside));
            }
            for cluster in table.clusters() {
                lines += &format!("{}: {}\n", cluster.name(), view::word(cluster, &self.metrics));
            }
        }
        Ok(text(status, lines))
    }
}

/// Somebody asks for a change. It is written down however that ends: who leaves before the answer may have changed something.
struct Written {
    journal: Arc<Journal>,
    who: String,
    method: &'static str,
    path: String,
    status: u16,
}

impl Drop for Written {
    fn drop(&mut self) {
        let (who, path) = (std::mem::take(&mut self.who), std::mem::take(&mut self.path));
        let (method, status) = (self.method, self.status);
        info!(%who, method, %path, status, "asked by an operator");
        self.journal.note(Event::Asked { who, method, path, status });
    }
}

impl Service for Admin {
    type Body = Body;

    async fn call(self: Rc<Self>, asked: Asked) -> Answer<Body> {
        let Asked { head, body, client, .. } = asked;
        let proved = client.downstream.name().map(str::to_owned);
        let caller = Caller::Remote { address: client.downstream.ip().to_string(), proved };
        self.open(*head, body, caller).await.into()
    }
}
