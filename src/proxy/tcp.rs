//! The journey of one connection of a protocol that lictor does not know: cluster, endpoint, bytes both ways. Which cluster may
//! depend on the name in its TLS greeting, which is read and passed on as it is.
//!
//! An attempt ends well with the endpoint's first byte, or with the session if there is none; it fails if there is no connection,
//! or if the endpoint breaks off before it has said anything. Until there is a connection, others are tried.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use socket2::SockRef;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::debug;

use super::copy::{Broken, Side, Times, copy};
use super::{Worker, forward, preface, retry};
use crate::balance::hash;
use crate::cluster::{self, Attempt, Handle, Purpose};
use crate::config::{self, Forwarding, Host, Policy};
use crate::endpoint::Id;
use crate::health::{Outcome, Reason};
use crate::listener::Forward;
use crate::message::proxy_protocol::Ends;
use crate::metrics::{TcpEnd, TcpLabels, TcpSeries};
use crate::tls::{Greeting, Heard};
use crate::upstream::{Error, Kind, Raw};

/// A greeting that is longer is none: one TLS record holds 16 KiB at most, and real ones are a tenth of it.
const LONGEST_GREETING: usize = 16 * 1024;

/// What a TCP listener does on one worker.
pub struct Tcp {
    worker: Rc<Worker>,
    names: Names,
    cluster: Option<Arc<str>>,
    /// For a TLS greeting.
    within: Duration,
    series: HashMap<Arc<str>, Arc<TcpSeries>>,
    /// Of connections that nobody takes.
    nowhere: Arc<TcpSeries>,
}

/// Clusters by the names that they serve.
#[derive(Default)]
struct Names {
    exact: HashMap<String, Arc<str>>,
    below: HashMap<String, Arc<str>>,
}

impl Tcp {
    /// The part of this worker in a listener with these settings.
    pub fn new(worker: &Rc<Worker>, settings: &config::Listener, forwarding: &Forwarding) -> Self {
        let of = |cluster: &Arc<str>| {
            let labels = TcpLabels { listener: Arc::clone(&settings.name), cluster: Arc::clone(cluster) };
            worker.metrics.tcp(labels)
        };
        let targets = forwarding.names.iter().map(|(_, target)| target).chain(&forwarding.cluster);
        Tcp {
            worker: Rc::clone(worker),
            names: Names::new(&forwarding.names),
            cluster: forwarding.cluster.clone(),
            within: settings.request_header,
            series: targets.map(|target| (Arc::clone(target), of(target))).collect(),
            nowhere: of(&"".into()),
        }
    }

    /// The name of the cluster for a client, and what was read of it to know that.
    async fn choose(&self, client: &mut TcpStream) -> Result<(&Arc<str>, Vec<u8>), TcpEnd> {
        let (mut early, mut named) = (Vec::new(), None);
        if !self.names.is_empty() {
            let heard = timeout(self.within, listen(client, &mut early)).await;
            let name = heard.ok().flatten().ok_or(TcpEnd::NoGreeting)?;
            named = name.and_then(|name| self.names.find(&name));
        }
        named.or(self.cluster.as_ref()).map(|cluster| (cluster, early)).ok_or(TcpEnd::NoCluster)
    }

    async fn serve(&self, mut client: TcpStream, ends: Ends) {
        let index = self.worker.index;
        let (name, early) = match self.choose(&mut client).await {
            Ok(chosen) => chosen,
            Err(end) => return self.nowhere.ended(index, end),
        };
        let series = self.series.get(name).unwrap_or(&self.nowhere);
        let table = self.worker.table();
        let Some(cluster) = table.find_cluster(name).map(Handle::new) else {
            return series.ended(index, TcpEnd::NoCluster);
        };
        // Held no longer than the choice takes: a session may last for days.
        drop(table);
        let session = Session { worker: &self.worker, cluster, series, ends };
        let end = session.run(client, &early).await.unwrap_or_else(|end| end);
        series.ended(index, end);
    }
}

impl Forward for Tcp {
    async fn forward(self: Rc<Self>, client: TcpStream, ends: Ends) {
        // Whoever speaks by small messages waits for each of them; a socket that refuses works all the same.
        let _ = client.set_nodelay(true);
        self.serve(client, ends).await;
    }
}

/// Reads a client's TLS greeting: the name in it, if there is one and it is one. None at all if the client left before.
async fn listen(client: &mut TcpStream, early: &mut Vec<u8>) -> Option<Option<String>> {
    let mut greeting = Greeting::default();
    while early.len() < LONGEST_GREETING {
        let had = early.len();
        if !matches!(client.read_buf(early).await, Ok(1..)) {
            return None;
        }
        match greeting.hear(&early[had..]) {
            Heard::Part => {}
            Heard::Whole(name) => return Some(name),
            Heard::Foreign => return Some(None),
        }
    }
    Some(None)
}

/// A connection on its way to a cluster.
struct Session<'a> {
    worker: &'a Worker,
    cluster: Handle,
    series: &'a TcpSeries,
    ends: Ends,
}

impl Session<'_> {
    async fn run(&self, client: TcpStream, early: &[u8]) -> Result<TcpEnd, TcpEnd> {
        let now = Instant::now();
        if self.cluster.is_expired() {
            return Err(self.nobody());
        }
        let permit = self.cluster.enter(now, None).await.map_err(|overload| {
            self.cluster.series().overload(overload.name());
            TcpEnd::Overload
        })?;
        self.cluster.request(self.worker.index, now);
        let (attempt, endpoint) = self.connect().await?;
        let end = self.copy(attempt, (client, endpoint), early).await;
        drop(permit);
        Ok(end)
    }

    /// A connection to whoever can be connected to.
    async fn connect(&self) -> Result<(Attempt, Raw), TcpEnd> {
        let settings = self.cluster.settings();
        let (preface, mut tried) = (preface::of(settings, Some(self.ends)), Vec::new());
        loop {
            let mut attempt = self.begin(&tried).ok_or_else(|| self.nobody())?;
            let error = match self.open(&attempt, preface.as_ref()).await {
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
                self.cluster.series().no_retry(why);
                if tried.len() > 1 {
                    self.cluster.series().retried(false);
                }
                return Err(TcpEnd::Connect);
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
        self.cluster.begin(&request, &mut self.worker.rng.borrow_mut())
    }

    async fn open(&self, attempt: &Attempt, preface: Option<&Bytes>) -> Result<Raw, Error> {
        let settings = self.cluster.settings();
        let connections = (settings.limits.endpoint_connections, settings.limits.connections);
        self.worker.upstream.open_raw(attempt.endpoint(), preface, (settings.timeouts.connect, connections)).await
    }

    /// Why nobody else is tried after so many, if so.
    fn refusal(&self, error: &Error, tried: usize) -> Option<&'static str> {
        let retry = &self.cluster.settings().retry;
        match error.kind {
            // Another endpoint would need the same.
            Kind::Local => Some("local"),
            _ if !retry.on.connect => Some("not_chosen"),
            _ if tried > retry.attempts as usize => Some("attempts"),
            _ if !self.cluster.may_retry(Instant::now()) => Some("budget"),
            _ => None,
        }
    }

    /// Counts that there is nobody, and says why.
    fn nobody(&self) -> TcpEnd {
        if self.cluster.is_expired() || self.cluster.is_hopeless() {
            self.cluster.series().no_endpoint();
            return TcpEnd::NoEndpoint;
        }
        self.cluster.series().overload("endpoint_in_flight");
        TcpEnd::Overload
    }

    async fn copy(&self, attempt: Attempt, (mut client, mut raw): (TcpStream, Raw), early: &[u8]) -> TcpEnd {
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
        let received = |count| self.series.received(index, count);
        let sent = |count| {
            if count > 0 {
                judge(Outcome::Success);
            }
            self.series.sent(index, count);
        };
        received(early.len());
        let sides =
            (Side { stream: &mut client, received: &received }, Side { stream: &mut raw.stream, received: &sent });
        let copied = copy(sides.0, sides.1, (early, &[]), (times, &endpoint)).await;
        let (end, outcome) = match &copied {
            Ok(()) => (TcpEnd::Completed, Outcome::Success),
            Err(Broken::Late) => (TcpEnd::Timeout, Outcome::Success),
            Err(Broken::Client(_)) => (TcpEnd::Client, Outcome::Success),
            Err(Broken::Endpoint(_)) => (TcpEnd::Endpoint, Outcome::Failure(Reason::Reset)),
        };
        judge(outcome);
        if let Err(error) = copied {
            debug!(cluster = %self.cluster.name(), endpoint = %endpoint.address(), %error, "session ended");
            // What ends too early must not look like an end to the other side.
            match error {
                Broken::Late => {}
                Broken::Client(_) => reset(&raw.stream),
                Broken::Endpoint(_) => reset(&client),
            }
        }
        end
    }

    fn judge(&self, attempt: &mut Attempt, outcome: Outcome) {
        self.cluster.series().attempt(self.worker.index, forward::end(outcome));
        attempt.judge(outcome, Instant::now());
    }
}

/// Has a connection end by RST when it is closed.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

impl Names {
    fn new(written: &[(Host, Arc<str>)]) -> Self {
        let mut names = Names::default();
        for (host, cluster) in written {
            match host {
                Host::Exact(name) => names.exact.insert(name.clone(), Arc::clone(cluster)),
                Host::Below(domain) => names.below.insert(domain.clone(), Arc::clone(cluster)),
                // Not to be written here.
                Host::Any => None,
            };
        }
        names
    }

    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.below.is_empty()
    }

    /// The cluster of that name: exactly, or by the longest wildcard.
    fn find(&self, name: &str) -> Option<&Arc<str>> {
        let domains = name.match_indices('.').map(|(dot, _)| &name[dot + 1..]);
        self.exact.get(name).or_else(|| domains.filter_map(|domain| self.below.get(domain)).next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exact_name_goes_before_a_wildcard_and_a_long_one_before_a_short_one() {
        let below = |domain: &str| Host::Below(domain.to_owned());
        let exact = |name: &str| Host::Exact(name.to_owned());
        let written = [(below("example.com"), "a"), (below("db.example.com"), "b"), (exact("x.db.example.com"), "c")];
        let names = Names::new(&written.map(|(host, cluster)| (host, Arc::from(cluster))));
        let find = |name: &str| names.find(name).map(|cluster| &**cluster);
        assert_eq!(find("x.db.example.com"), Some("c"));
        assert_eq!(find("y.db.example.com"), Some("b"));
        assert_eq!(find("z.y.db.example.com"), Some("b"));
        assert_eq!(find("db.example.com"), Some("a"));
        for other in ["example.com", "com", "", ".", "notexample.com", "example.com."] {
            assert_eq!(find(other), None, "{other}");
        }
    }
}
