//! A connection and an endpoint of its cluster, and bytes both ways: for protocols that lictor does not know, and for `CONNECT`.
//!
//! An attempt ends well with the endpoint's first byte, or with the session if there is none; it fails if there is no connection,
//! or if the endpoint breaks off before it has said anything. Until there is a connection, others are tried.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tracing::debug;

use super::answer::Refusal;
use super::books::Page;
use super::copy::{Broken, Side, Times, copy};
use super::tcp::reset;
use super::{Worker, flags, forward, preface, retry};
use crate::balance::hash;
use crate::cluster::{self, Attempt, Handle, Permit, Purpose};
use crate::config::Policy;
use crate::endpoint::Id;
use crate::health::{Outcome, Reason};
use crate::listener::Client;
use crate::message::proxy_protocol::Ends;
use crate::metrics::{TcpEnd, TcpSeries};
use crate::tls::Bare;
use crate::upstream::{Error, Kind, Raw};

/// A connection on its way to a cluster.
pub(super) struct Session {
    pub(super) worker: Rc<Worker>,
    pub(super) cluster: Handle,
    pub(super) series: Arc<TcpSeries>,
    pub(super) ends: Ends,
    /// Whose it is.
    pub(super) client: Rc<Client>,
    /// Where it is written down.
    pub(super) page: RefCell<Page>,
    /// Bytes of the client, and of the endpoint.
    pub(super) moved: Cell<(u64, u64)>,
    /// What its client has seen, 0 if there is nothing to be seen. None as long as it is a request that may be answered otherwise.
    pub(super) seen: Cell<Option<u16>>,
    /// None until it has come to an end by itself.
    pub(super) ended: Cell<Option<TcpEnd>>,
}

/// A connection that has its endpoint.
pub(super) struct Joined {
    attempt: Attempt,
    raw: Raw,
    permit: Option<Permit>,
}

impl Session {
    /// Nobody serves it.
    pub(super) fn refused(&self, refusal: &Refusal) {
        self.page.borrow_mut().flag(flags::of_refusal(refusal));
        self.ended.set(Some(match refusal {
            Refusal::Upstream(_) => TcpEnd::Connect,
            Refusal::Overload => TcpEnd::Overload,
            _ => TcpEnd::NoEndpoint,
        }));
    }

    /// The client was gone before anything could be said to it.
    pub(super) fn left(&self) {
        self.page.borrow_mut().broke_off();
        self.ended.set(Some(self.without_client()));
    }

    /// How it ends where the client is gone: some are not let in any more.
    fn without_client(&self) -> TcpEnd {
        if self.client.is_revoked() { TcpEnd::BrokenOff } else { TcpEnd::Client }
    }

    /// Waits for its turn, where there is a limit, and connects to somebody.
    pub(super) async fn join(&self) -> Result<Joined, Refusal> {
        let now = Instant::now();
        if self.cluster.is_expired() {
            return Err(Refusal::nobody(&self.cluster));
        }
        let permit = self.cluster.enter(now, None).await.map_err(|overload| {
            self.cluster.series().overload(overload.name());
            Refusal::Overload
        })?;
        self.cluster.request(self.worker.index, now);
        let (attempt, raw) = self.connect().await?;
        Ok(Joined { attempt, raw, permit })
    }

    /// A connection to whoever can be connected to.
    async fn connect(&self) -> Result<(Attempt, Raw), Refusal> {
        let settings = self.cluster.settings();
        let (preface, mut tried) = (preface::of(settings, Some(self.ends)), Vec::new());
        loop {
            let mut attempt = self.begin(&tried).ok_or_else(|| Refusal::nobody(&self.cluster))?;
            let opened = self.open(&attempt, preface.as_ref()).await;
            self.page.borrow_mut().connected(&attempt, opened.as_ref().err());
            let error = match opened {
                Ok(endpoint) => {
                    // Enough for a trial, which must not last as long as a session does.
                    attempt.answered(Instant::now());
                    if !tried.is_empty() {
                        self.cluster.series().retried(true);
                    }
                    return Ok((attempt, endpoint));
                }
                Err(error) => error,
            };
            debug!(cluster = %self.cluster.name(), endpoint = %attempt.endpoint().address(), %error, "attempt failed");
            if let Some(reason) = retry::blame(&error) {
                self.judge(&mut attempt, Outcome::Failure(reason));
            }
            tried.push(attempt.endpoint().id());
            drop(attempt);
            if let Some(why) = self.refusal(&error, tried.len()) {
                let mut page = self.page.borrow_mut();
                flags::of_no_retry(why, &settings.retry).into_iter().for_each(|flag| page.flag(flag));
                self.cluster.series().no_retry(why);
                if tried.len() > 1 {
                    self.cluster.series().retried(false);
                }
                return Err(Refusal::Upstream(error));
            }
            self.cluster.series().retry(retry::blame(&error).map_or("limit", |reason| reason.name()));
            let pause = retry::backoff(&settings.retry, tried.len() - 1, &mut self.worker.rng.borrow_mut());
            tokio::time::sleep(pause).await;
        }
    }

    fn begin(&self, tried: &[Id]) -> Option<Attempt> {
        let settings = self.cluster.settings();
        let client = self.ends.client.ip().to_canonical().to_string();
        let request = cluster::Request {
            now: Instant::now(),
            worker: self.worker.index,
            tried,
            purpose: if tried.is_empty() { Purpose::First } else { Purpose::Retry },
            can_retry: settings.retry.attempts > 0,
            // As for requests by `client_address`.
            key: (settings.policy == Policy::ConsistentHash).then(|| hash(client.as_bytes())),
            session: None,
        };
        let attempt = self.cluster.begin(&request, &mut self.worker.rng.borrow_mut())?;
        self.page.borrow_mut().tries(&attempt, request.now, request.purpose);
        Some(attempt)
    }

    async fn open(&self, attempt: &Attempt, preface: Option<&Bytes>) -> Result<Raw, Error> {
        let settings = self.cluster.settings();
        let connections = (settings.limits.endpoint_connections, settings.limits.connections);
        // Clients who speak TLS speak it with the endpoint; only in the mesh it is ours to speak, whatever is inside.
        let tls = self.cluster.tls().filter(|_| settings.source.is_in_mesh());
        let upstream = &self.worker.upstream;
        upstream.open_raw(attempt.endpoint(), (tls, preface), (settings.timeouts.connect, connections)).await
    }

    /// Why nobody else is tried after so many, if so.
    fn refusal(&self, error: &Error, tried: usize) -> Option<&'static str> {
        let retry = &self.cluster.settings().retry;
        match error.kind {
            // Another endpoint would need the same.
            Kind::Local | Kind::Unready => Some("local"),
            _ if !retry.on.connect => Some("not_chosen"),
            _ if tried > retry.attempts as usize => Some("attempts"),
            _ if !self.cluster.may_retry(Instant::now()) => Some("budget"),
            _ => None,
        }
    }

    /// Bytes both ways, after those that were read of the client before.
    pub(super) async fn copy<C>(&self, joined: Joined, client: &mut C, early: &[u8]) -> TcpEnd
    where
        C: Bare,
    {
        let Joined { attempt, mut raw, permit } = joined;
        let settings = self.cluster.settings();
        let times = Times { idle: settings.timeouts.idle, drain: settings.timeouts.drain };
        let (index, endpoint) = (self.worker.index, Arc::clone(attempt.endpoint()));
        // None once it has its verdict; it is in flight as long as it is held.
        let awaited = RefCell::new((attempt, true));
        let judge = |outcome| {
            let (attempt, is_awaited) = &mut *awaited.borrow_mut();
            if std::mem::take(is_awaited) {
                self.judge(attempt, outcome);
            }
        };
        let note = |received: usize, sent: usize| {
            let (before, after) = self.moved.get();
            self.moved.set((before + received as u64, after + sent as u64));
        };
        let received = |count| {
            note(count, 0);
            self.series.received(index, count);
        };
        let sent = |count| {
            if count > 0 {
                judge(Outcome::Success);
            }
            note(0, count);
            self.series.sent(index, count);
        };
        received(early.len());
        let sides = (Side { stream: client, received: &received }, Side { stream: &mut raw.stream, received: &sent });
        let copied = copy(sides.0, sides.1, (early, &[]), &self.worker.ferry, (times, &endpoint)).await;
        let (end, outcome) = match &copied {
            Ok(()) => (TcpEnd::Completed, Outcome::Success),
            Err(Broken::Silent | Broken::Departed) => (TcpEnd::Timeout, Outcome::Success),
            Err(Broken::Client(_)) => (self.without_client(), Outcome::Success),
            Err(Broken::Endpoint(_)) => (TcpEnd::Endpoint, Outcome::Failure(Reason::Reset)),
        };
        judge(outcome);
        if let Err(error) = &copied {
            debug!(cluster = %self.cluster.name(), endpoint = %endpoint.address(), %error, "session ended");
            self.page.borrow_mut().tunnel_broke(error);
            if matches!(error, Broken::Client(_)) {
                // What ends too early must not look like an end to the other side.
                reset(raw.stream.socket());
            }
        }
        self.ended.set(Some(end));
        drop(permit);
        end
    }

    fn judge(&self, attempt: &mut Attempt, outcome: Outcome) {
        self.cluster.series().attempt(self.worker.index, forward::end(outcome));
        attempt.judge(outcome, Instant::now());
    }
}

impl Drop for Session {
    /// Counts it, and writes it down, however it has ended.
    fn drop(&mut self) {
        let Some(status) = self.seen.get() else { return };
        let mut page = self.page.take();
        let end = self.ended.get().unwrap_or_else(|| {
            page.broke_off();
            TcpEnd::BrokenOff
        });
        self.series.ended(self.worker.index, end);
        page.end(status, self.moved.get());
    }
}
