//! Where a worker writes down what became of its requests, and the page that each has while it runs. Where nobody asked for that, a page
//! is nothing, and costs a look whether it is.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{HOST, HeaderName, REFERER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, StatusCode, request};
use tokio::sync::watch;

use super::attempt::Sent;
use super::copy::Broken;
use super::flags;
use super::series::Entry;
use crate::access::Scribe;
use crate::account::{self, Account, End, Facts, Flag, Kind, Security, Side, Trace, Try, Word};
use crate::cluster::{Attempt, Purpose};
use crate::listener::{Client, Unread};
use crate::message::{self, Downstream, Fields, Sender, Tally, TraceParent, Way};
use crate::metrics::Answered;
use crate::route::Route;
use crate::trace::{Caller, Tracer};
use crate::upstream::Error;

/// Pages that are kept for those to come: as many as a worker has requests at once, most of the time.
const SPARE: usize = 256;
const HTTP: &str = "http";
const HTTPS: &str = "https";
/// A request whose client left before there was an answer: what nginx has made common.
const CLIENT_LEFT: u16 = 499;

/// What one worker writes down, and with what.
pub struct Books {
    listeners: Box<[Arc<str>]>,
    scribe: Option<Scribe>,
    tracer: Option<Tracer>,
    /// True once all that still runs is broken off.
    stopped: watch::Receiver<bool>,
    #[expect(clippy::vec_box, reason = "they are handed over, which is not to cost a copy")]
    spare: RefCell<Vec<Box<Open>>>,
}

/// A request that is written down once it is over; nothing where nobody wants to know.
#[derive(Default)]
pub(super) struct Page(Option<(Rc<Books>, Box<Open>)>);

struct Open {
    account: Account,
    listener: usize,
    client: Option<Rc<Client>>,
    /// How the client came, `http` or `https`.
    scheme: &'static str,
    started: Instant,
    goes: Goes,
    /// Bytes of its body, where it has one, until there is an answer.
    received: Option<Tally>,
}

/// Where a request belongs.
#[derive(Default)]
enum Goes {
    #[default]
    Nowhere,
    /// It is answered by its route.
    Route(Arc<Route>),
    Entry(Rc<Entry>),
    /// A cluster, without a route.
    Cluster(Arc<str>),
}

impl Books {
    /// Of a worker with these listeners; none if there is nothing to write to.
    /// `stopped` turns true before what still runs is broken off.
    pub fn new(
        listeners: &[Arc<str>],
        (scribe, tracer): (Option<Scribe>, Option<Tracer>),
        stopped: watch::Receiver<bool>,
    ) -> Option<Rc<Self>> {
        let books = Books { listeners: listeners.into(), scribe, tracer, stopped, spare: RefCell::default() };
        (books.scribe.is_some() || books.tracer.is_some()).then(|| Rc::new(books))
    }

    /// Passes on what has waited for long enough, for as long as it is polled.
    pub async fn run(&self) {
        match &self.scribe {
            Some(scribe) => scribe.run().await,
            None => std::future::pending().await,
        }
    }

    fn open(&self, listener: usize, client: &Rc<Client>, started: Instant) -> Box<Open> {
        let scheme = if client.downstream.security().is_some() { HTTPS } else { HTTP };
        let client = Some(Rc::clone(client));
        match self.spare.borrow_mut().pop() {
            Some(mut open) => {
                (open.listener, open.client, open.scheme, open.started) = (listener, client, scheme, started);
                open
            }
            None => {
                let account = Account::default();
                Box::new(Open { account, listener, client, scheme, started, goes: Goes::Nowhere, received: None })
            }
        }
    }

    /// True if whatever is broken off now is so by us: all that still runs, or all of a client that may not be here any more.
    fn breaks_off(&self, open: &Open) -> bool {
        *self.stopped.borrow() || open.client.as_ref().is_some_and(|client| client.is_revoked())
    }

    /// Writes a page down, and keeps it for the next.
    fn close(&self, mut open: Box<Open>, answered: &Answered, first_byte: Option<Duration>) {
        let facts = open.facts(&self.listeners, answered, first_byte);
        if let Some(scribe) = &self.scribe {
            scribe.write(&facts);
        }
        if let Some(tracer) = self.tracer.as_ref().filter(|_| open.recorded().is_some()) {
            tracer.record(&facts);
        }
        open.account.clear();
        (open.client, open.goes, open.received) = (None, Goes::Nowhere, None);
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE {
            spare.push(open);
        }
    }
}

impl Open {
    /// The trace that it is recorded in, and its span there.
    fn recorded(&self) -> Option<Trace> {
        self.account.trace.filter(|trace| trace.span != 0)
    }

    fn facts<'a>(&'a self, listeners: &'a [Arc<str>], answered: &Answered, first_byte: Option<Duration>) -> Facts<'a> {
        let downstream = self.client.as_ref().map(|client| &client.downstream);
        let (route, cluster) = match &self.goes {
            Goes::Nowhere => ("", ""),
            Goes::Route(route) => (&*route.settings.name, ""),
            Goes::Entry(entry) => (&*entry.route.settings.name, &**entry.cluster.name()),
            Goes::Cluster(cluster) => ("", &**cluster),
        };
        let secured = |client: &'a Downstream| {
            let with = client.security()?;
            let identity = client.name().filter(|name| !name.is_empty());
            Some(Security { version: with.version, cipher: with.cipher, identity })
        };
        Facts {
            account: &self.account,
            started: self.started,
            listener: listeners.get(self.listener).map_or("", |name| &**name),
            route,
            cluster,
            peer: downstream.and_then(|client| client.ends()).map(|ends| canonical(ends.client)),
            scheme: self.scheme,
            security: downstream.and_then(secured),
            server_name: downstream.and_then(Downstream::server_name).or_else(|| self.account.server_name()),
            status: answered.code,
            took: answered.took,
            first_byte,
            received: answered.received,
            // Of an answer to it only the head is sent, whoever gives it.
            sent: if self.account.method == Some(Method::HEAD) { 0 } else { answered.sent },
        }
    }

    fn note_headers(&mut self, side: Side, names: &[HeaderName], headers: &HeaderMap) {
        for (place, name) in names.iter().enumerate() {
            for value in headers.get_all(name) {
                self.account.note_header(side, place, value.as_bytes());
            }
        }
    }
}

impl Page {
    /// That of a request, as it came.
    pub(super) fn of(
        books: Option<&Rc<Books>>,
        (listener, started): (usize, Instant),
        (client, sender): (&Rc<Client>, Sender<'_>),
        head: &request::Parts,
    ) -> Self {
        let Some(books) = books else { return Page(None) };
        let mut open = books.open(listener, client, started);
        let account = &mut open.account;
        account.note_method(&head.method);
        account.version = Some(head.version);
        account.client = Some(sender.client(&head.headers));
        open.scheme = if sender.scheme(&head.headers) == HTTPS { HTTPS } else { HTTP };
        account.note(Word::Target, head.uri.path_and_query().map_or("", |target| target.as_str()).as_bytes());
        for (word, name) in [(Word::Authority, HOST), (Word::UserAgent, USER_AGENT), (Word::Referer, REFERER)] {
            if let Some(value) = head.headers.get(name) {
                account.note(word, value.as_bytes());
            }
        }
        if let Some(tracer) = &books.tracer {
            // Nobody else's word counts: anybody could have all of theirs recorded.
            let parent = TraceParent::of(&head.headers).filter(|_| sender.is_trusted());
            let caller = parent.map(|TraceParent { trace, span, is_recorded }| Caller { id: trace, span, is_recorded });
            open.account.trace = tracer.begin(caller);
        }
        if let Some(scribe) = &books.scribe {
            open.note_headers(Side::Request, &scribe.settings().request_headers, &head.headers);
        }
        Page(Some((Rc::clone(books), open)))
    }

    /// That of a connection without requests.
    pub(super) fn of_connection(books: Option<&Rc<Books>>, listener: usize, client: &Rc<Client>) -> Self {
        let Some(books) = books else { return Page(None) };
        let mut open = books.open(listener, client, Instant::now());
        open.account.kind = Kind::Tcp;
        open.account.client = Some(client.downstream.ip());
        Page(Some((Rc::clone(books), open)))
    }

    /// Writes down what could not be read.
    pub(super) fn of_unread(books: Option<&Rc<Books>>, listener: usize, client: &Rc<Client>, unread: Unread<'_>) {
        let mut page = Page::of_connection(books, listener, client);
        let Some((_, open)) = &mut page.0 else { return };
        open.account.kind = Kind::Request;
        if let Some(head) = unread.head {
            open.account.note_method(&head.method);
            open.account.version = Some(head.version);
            let target = head.uri.path_and_query().map_or("", |target| target.as_str());
            open.account.note(Word::Target, target.as_bytes());
        }
        let is_late = unread.status == Some(StatusCode::REQUEST_TIMEOUT);
        open.account.flags.add(if is_late { Flag::ClientLate } else { Flag::Malformed });
        page.end(unread.status.map_or(0, |status| status.as_u16()), (0, 0));
    }

    /// It takes this route to this cluster.
    pub(super) fn goes_to(&mut self, entry: &Rc<Entry>) {
        self.goes(|| Goes::Entry(Rc::clone(entry)));
    }

    /// It is answered by this route.
    pub(super) fn stays_at(&mut self, route: &Arc<Route>) {
        self.goes(|| Goes::Route(Arc::clone(route)));
    }

    /// It is a connection to this cluster.
    pub(super) fn is_for(&mut self, cluster: &Arc<str>) {
        self.goes(|| Goes::Cluster(Arc::clone(cluster)));
    }

    fn goes(&mut self, goes: impl FnOnce() -> Goes) {
        if let Some((_, open)) = &mut self.0 {
            open.goes = goes();
        }
    }

    /// From here on it is a tunnel.
    pub(super) fn is_tunnel(&mut self) {
        if let Some((_, open)) = &mut self.0 {
            open.account.kind = Kind::Tunnel;
        }
    }

    /// Its head is ready to be sent on.
    pub(super) fn prepared(&mut self, headers: &mut HeaderMap, way: &Way) {
        let Some((books, open)) = &mut self.0 else { return };
        open.account.note(Word::RequestId, way.id().as_bytes());
        if open.recorded().is_some() {
            // Each attempt names its own span instead.
            if let Some(state) = message::take_trace(headers) {
                open.account.note(Word::TraceState, state.as_bytes());
            }
            return;
        }
        if books.tracer.is_some() && open.account.trace.is_none() {
            // It was not drawn, and nobody else's wish counts.
            message::unrecord(headers);
        }
        let goes_on = TraceParent::of(headers);
        open.account.trace = goes_on.map(|parent| Trace { id: parent.trace, parent: parent.span, span: 0 });
    }

    /// What an endpoint is told as the span that its request comes from.
    pub(super) fn parent(&self, attempt: &Attempt) -> Option<HeaderValue> {
        let (_, open) = self.0.as_ref()?;
        let trace = open.recorded()?;
        let is_this = |one: &&Try| one.end.is_none() && Arc::ptr_eq(&one.endpoint, attempt.endpoint());
        let one = open.account.tries.iter().rev().find(is_this)?;
        Some(TraceParent { trace: trace.id, span: one.span, is_recorded: true }.value())
    }

    /// The trace that it is recorded in, for whoever counts it.
    pub(super) fn trace(&self) -> Option<u128> {
        let (_, open) = self.0.as_ref()?;
        open.recorded().map(|trace| trace.id)
    }

    /// An attempt begins.
    pub(super) fn tries(&mut self, attempt: &Attempt, began: Instant, purpose: Purpose) {
        let Some((books, open)) = &mut self.0 else { return };
        let span = books.tracer.as_ref().filter(|_| open.recorded().is_some()).map_or(0, Tracer::span);
        let purpose = match purpose {
            Purpose::First => account::Purpose::First,
            Purpose::Retry => account::Purpose::Retry,
            Purpose::Hedge => account::Purpose::Hedge,
        };
        let endpoint = Arc::clone(attempt.endpoint());
        open.account.tried(Try { endpoint, began, purpose, span, end: None, reused: false });
        if attempt.cluster().is_panicking() {
            open.account.flags.add(Flag::Panic);
        }
        if attempt.cluster().is_doubtful() {
            open.account.flags.add(Flag::Suspect);
        }
    }

    /// An attempt has its answer, or has failed, and that counts.
    pub(super) fn tried(&mut self, attempt: &Attempt, sent: &Sent) {
        if let Some((_, open)) = &mut self.0 {
            let (reused, end) = end_of(sent);
            open.account.decided(attempt.endpoint(), reused, end);
        }
    }

    /// An attempt has an answer that is not waited for, or has failed, and the one beside it counts.
    pub(super) fn outdone(&mut self, attempt: &Attempt, sent: &Sent) {
        if let Some((_, open)) = &mut self.0 {
            let (reused, end) = end_of(sent);
            open.account.overtaken(attempt.endpoint(), reused, end);
        }
    }

    /// An attempt was given up for the one beside it.
    pub(super) fn gave_up(&mut self, attempt: &Attempt) {
        if let Some((_, open)) = &mut self.0 {
            open.account.overtaken(attempt.endpoint(), false, End { status: 0, failure: None, at: Instant::now() });
        }
    }

    /// An attempt has its connection, or has failed.
    pub(super) fn connected(&mut self, attempt: &Attempt, error: Option<&Error>) {
        let Some((_, open)) = &mut self.0 else { return };
        let failure = error.map(|error| flags::of_error(error.kind));
        open.account.decided(attempt.endpoint(), false, End { status: 0, failure, at: Instant::now() });
    }

    /// The name in its greeting.
    pub(super) fn asks_for(&mut self, name: &str) {
        if let Some((_, open)) = &mut self.0 {
            open.account.note(Word::ServerName, name.as_bytes());
        }
    }

    /// What bytes of its body are to be told to as they come, where somebody wants to know.
    pub(super) fn tally(&mut self) -> Option<Tally> {
        let (_, open) = self.0.as_mut()?;
        Some(Rc::clone(open.received.get_or_insert_default()))
    }

    /// There is something to say of it.
    pub(super) fn flag(&mut self, flag: Flag) {
        if let Some((_, open)) = &mut self.0 {
            open.account.flags.add(flag);
        }
    }

    /// Nobody was there for the rest: the client, unless it was broken off here, or somebody else broke off before.
    pub(super) fn broke_off(&mut self) {
        let Some((books, open)) = &mut self.0 else { return };
        if !Flag::ENDINGS.iter().any(|flag| open.account.flags.has(*flag)) {
            open.account.flags.add(if books.breaks_off(open) { Flag::BrokenOff } else { Flag::ClientLeft });
        }
    }

    /// What was said in its tunnel did not come to an end.
    pub(super) fn tunnel_broke(&mut self, broken: &Broken) {
        match flags::of_broken(broken) {
            Flag::ClientLeft => self.broke_off(),
            flag => self.flag(flag),
        }
    }

    /// It is answered by this, as the client sees it.
    pub(super) fn answered(&mut self, fields: &Fields) {
        let Some((books, open)) = &mut self.0 else { return };
        let Some(scribe) = &books.scribe else { return };
        for (place, name) in scribe.settings().response_headers.iter().enumerate() {
            for value in fields.all(name.as_str()) {
                open.account.note_header(Side::Response, place, value);
            }
        }
    }

    /// It is over.
    pub(super) fn close(mut self, answered: &Answered) {
        if let Some((books, open)) = self.0.take() {
            books.close(open, answered, Some(answered.first_byte));
        }
    }

    /// The same where there is no answer to be seen.
    pub(super) fn end(mut self, status: u16, (received, sent): (u64, u64)) {
        if let Some((books, open)) = self.0.take() {
            let took = open.started.elapsed();
            books.close(open, &Answered { code: status, took, received, sent, ..Answered::default() }, None);
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.broke_off();
        let Some((_, open)) = &self.0 else { return };
        let has_left = open.account.kind != Kind::Tcp && !open.account.flags.has(Flag::BrokenOff);
        let received = open.received.as_ref().map_or(0, |received| received.get());
        std::mem::take(self).end(if has_left { CLIENT_LEFT } else { 0 }, (received, 0));
    }
}

/// What came of an attempt, and whether its connection had served before.
fn end_of(sent: &Sent) -> (bool, End) {
    match sent {
        Ok(answer) => {
            let end = End { status: answer.status.as_u16(), failure: None, at: answer.body.moved() };
            (answer.body.is_reused(), end)
        }
        Err(error) => (error.reused, End { status: 0, failure: Some(flags::of_error(error.kind)), at: Instant::now() }),
    }
}

/// An address of IPv4 as one, whatever socket it came by.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
