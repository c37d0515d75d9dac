//! The journey of one connection of a protocol that lictor does not know: which cluster it belongs to. That may depend on the name
//! in its TLS greeting, which is read and passed on as it is. What follows is a [`Session`].

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Worker;
use super::books::Page;
use super::session::Session;
use crate::account::Flag;
use crate::cluster::Handle;
use crate::config::{self, Claimed, Door, Forwarding, Host, Passage};
use crate::listener::{Client, Forward};
use crate::message::proxy_protocol::Ends;
use crate::metrics::{TcpEnd, TcpLabels, TcpSeries};
use crate::route;
use crate::tls::{Greeting, Heard, Stream};

/// A greeting that is longer is none: one TLS record holds 16 KiB at most, and real ones are a tenth of it.
const LONGEST_GREETING: usize = 16 * 1024;

/// Why nobody takes a connection: how that is counted, and what is said of it.
type Unserved = (TcpEnd, Flag);

const NOWHERE: Unserved = (TcpEnd::NoCluster, Flag::NoRoute);
const BROKEN_OFF: Unserved = (TcpEnd::BrokenOff, Flag::BrokenOff);

/// What a TCP listener does on one worker.
pub struct Tcp {
    worker: Rc<Worker>,
    listener: Arc<str>,
    /// Of the listener among the configured ones.
    place: usize,
    port: u16,
    names: Names,
    claimed: Option<Claimed>,
    cluster: Option<Arc<str>>,
    /// For a TLS greeting.
    within: Duration,
    /// By cluster. Those that services claim come and go.
    series: RefCell<HashMap<Arc<str>, Arc<TcpSeries>>>,
    /// Of connections that nobody takes.
    nowhere: Arc<TcpSeries>,
}

/// A connection of which is not known yet where it goes: counted and written down if that is all that comes of it.
struct Arriving<'a> {
    /// Of those that nobody takes.
    series: &'a TcpSeries,
    worker: usize,
    page: Page,
    /// How it ends if it does so now; none once it goes on.
    ended: Option<Unserved>,
}

/// Clusters by the names that they serve.
#[derive(Default)]
struct Names {
    exact: HashMap<String, Arc<str>>,
    below: HashMap<String, Arc<str>>,
}

impl Tcp {
    /// The part of this worker in a listener with these settings.
    pub fn new(worker: &Rc<Worker>, (place, settings): (usize, &config::Listener), forwarding: &Forwarding) -> Self {
        let of = |cluster: &Arc<str>| {
            let labels = TcpLabels { listener: Arc::clone(&settings.name), cluster: Arc::clone(cluster) };
            worker.metrics.tcp(labels)
        };
        let targets = forwarding.names.iter().map(|(_, target)| target).chain(&forwarding.cluster);
        Tcp {
            worker: Rc::clone(worker),
            listener: Arc::clone(&settings.name),
            place,
            port: settings.bind.port(),
            names: Names::new(&forwarding.names),
            claimed: forwarding.claimed,
            cluster: forwarding.cluster.clone(),
            within: settings.request_header,
            series: RefCell::new(targets.map(|target| (Arc::clone(target), of(target))).collect()),
            nowhere: of(&"".into()),
        }
    }

    /// The name of the cluster for a client, and what was read of it to know that. What the file says of a name goes first, then what
    /// services claim.
    async fn choose(
        &self,
        client: &mut Stream,
        from: IpAddr,
        page: &mut Page,
    ) -> Result<(Arc<str>, Vec<u8>), Unserved> {
        let (mut early, mut name) = (Vec::new(), None);
        if !self.names.is_empty() || self.claimed == Some(Claimed::Name) {
            let heard = timeout(self.within, listen(client, &mut early)).await;
            name = match heard {
                Ok(Some(name)) => name,
                // As whoever only looks whether somebody listens.
                Ok(None) => return Err((TcpEnd::NoGreeting, Flag::ClientLeft)),
                Err(_) => return Err((TcpEnd::NoGreeting, Flag::ClientLate)),
            };
            name.iter().for_each(|name| page.asks_for(name));
        }
        let named = name.as_deref().and_then(|name| self.names.find(name)).cloned();
        let claimed = if named.is_some() { None } else { self.claimed(name.as_deref(), from)? };
        let cluster = named.or(claimed).or_else(|| self.cluster.clone());
        cluster.map(|cluster| (cluster, early)).ok_or(NOWHERE)
    }

    /// The cluster of a service that claims such connections.
    fn claimed(&self, name: Option<&str>, from: IpAddr) -> Result<Option<Arc<str>>, Unserved> {
        let Some(claimed) = self.claimed else { return Ok(None) };
        let table = self.worker.table();
        let passage = match (claimed, name) {
            (Claimed::Port, _) => table.doors().get(&Door::Port(self.port)),
            (Claimed::Name, None) => None,
            (Claimed::Name, Some(name)) => {
                let exact = table.doors().get(&Door::Name(Host::Exact(name.to_owned())));
                let below = |domain: &str| table.doors().get(&Door::Name(Host::Below(domain.to_owned())));
                exact.or_else(|| domains(name).find_map(below))
            }
        };
        let Some(passage) = passage else { return Ok(None) };
        if !passage.admits(from) {
            return Err((TcpEnd::Refused, Flag::Barred));
        }
        Ok(Some(self.draw(passage)))
    }

    fn draw(&self, passage: &Passage) -> Arc<str> {
        let table = self.worker.table();
        let can_serve = |place: usize| {
            let cluster = passage.targets.get(place).and_then(|target| table.cluster(target));
            cluster.is_some_and(|cluster| !Handle::new(cluster).is_hopeless() && !cluster.is_expired())
        };
        let place = match &passage.targets[..] {
            [_] => 0,
            targets => route::choose(targets, self.worker.rng.borrow_mut().u64(..), can_serve),
        };
        Arc::clone(&passage.targets[place].cluster)
    }

    fn series(&self, cluster: &Arc<str>) -> Arc<TcpSeries> {
        let mut series = self.series.borrow_mut();
        if let Some(known) = series.get(cluster) {
            return Arc::clone(known);
        }
        // Whoever is not there any more counts nothing either.
        let table = self.worker.table();
        series.retain(|cluster, _| table.find_cluster(cluster).is_some());
        let labels = TcpLabels { listener: Arc::clone(&self.listener), cluster: Arc::clone(cluster) };
        Arc::clone(series.entry(Arc::clone(cluster)).or_insert_with(|| self.worker.metrics.tcp(labels)))
    }

    async fn serve(&self, mut client: Stream, (ends, who): (Ends, &Rc<Client>)) {
        let index = self.worker.index;
        let page = Page::of_connection(self.worker.books.as_ref(), self.place, who);
        let mut arriving = Arriving { series: &self.nowhere, worker: index, page, ended: Some(BROKEN_OFF) };
        let chosen = self.choose(&mut client, ends.client.ip().to_canonical(), &mut arriving.page).await;
        arriving.ended = chosen.as_ref().err().copied();
        let Ok((name, early)) = chosen else { return };
        let mut page = std::mem::take(&mut arriving.page);
        page.is_for(&name);
        let series = self.series(&name);
        let table = self.worker.table();
        let Some(cluster) = table.find_cluster(&name).map(Handle::new) else {
            return unserved(&series, index, page, NOWHERE);
        };
        // Held no longer than the choice takes: a session may last for days.
        drop(table);
        let (worker, page, moved) = (Rc::clone(&self.worker), RefCell::new(page), Cell::default());
        let (seen, ended) = (Cell::new(Some(0)), Cell::default());
        let client_of = Rc::clone(who);
        let session = Session { worker, cluster, series, ends, client: client_of, page, moved, seen, ended };
        let joined = match session.join().await {
            Ok(joined) => joined,
            Err(refusal) => return session.refused(&refusal),
        };
        let end = session.copy(joined, &mut client, &early).await;
        if end == TcpEnd::Endpoint {
            // What ends too early must not look like an end to the other side.
            reset(client.socket());
        }
    }
}

impl Forward for Tcp {
    async fn forward(self: Rc<Self>, stream: Stream, (ends, client): (Ends, Rc<Client>)) {
        self.serve(stream, (ends, &client)).await;
    }
}

impl Drop for Arriving<'_> {
    fn drop(&mut self) {
        if let Some(why) = self.ended {
            unserved(self.series, self.worker, std::mem::take(&mut self.page), why);
        }
    }
}

/// Counts a connection that nobody takes, and writes it down.
fn unserved(series: &TcpSeries, worker: usize, mut page: Page, (end, flag): Unserved) {
    series.ended(worker, end);
    page.flag(flag);
    page.end(0, (0, 0));
}

/// Reads a client's TLS greeting: the name in it, if there is one and it is one. None at all if the client left before.
async fn listen(client: &mut Stream, early: &mut Vec<u8>) -> Option<Option<String>> {
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

/// Has a connection end by RST when it is closed.
pub(super) fn reset(stream: &TcpStream) {
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
                Host::Any | Host::At(..) => None,
            };
        }
        names
    }

    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.below.is_empty()
    }

    /// The cluster of that name: exactly, or by the longest wildcard.
    fn find(&self, name: &str) -> Option<&Arc<str>> {
        self.exact.get(name).or_else(|| domains(name).find_map(|domain| self.below.get(domain)))
    }
}

/// What a name is below of, the longest first.
fn domains(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('.').map(|(dot, _)| &name[dot + 1..])
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
