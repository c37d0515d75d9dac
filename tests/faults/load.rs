//! The load: an open loop, as clients are who do not know of each other. Requests begin when they are due, whether or not others
//! have been answered, and their time is counted from then, so that a proxy which stands still is charged for all who wait.
//!
//! Connections are kept alive and as many as it takes. A kept one that turns out to be closed before the first byte of an answer
//! is replaced once, as every client does.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use crate::content;
use crate::wire::{Framing, Wire};

/// A client waits no longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer: a head, and a body that does not fit one packet of a real network.
const LENGTH: usize = 8 * 1024;

/// A request that is over.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When it was due.
    pub due: Instant,
    /// From then to its end.
    pub took: Duration,
    pub end: End,
}

/// How a request ended for its client.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// The right answer, of the origin with this name.
    Good(String),
    /// Another status.
    Status(u16),
    /// No connection to the proxy, or one that broke; in mid-body too.
    Broken,
    /// Nothing after ten seconds.
    Late,
    /// An answer that is not this request's, or not whole and taken as whole.
    Wrong(String),
}

impl End {
    /// The word for it in a table.
    pub fn name(&self) -> String {
        match self {
            End::Good(_) => "good".to_owned(),
            End::Status(code) => code.to_string(),
            End::Broken => "broken".to_owned(),
            End::Late => "late".to_owned(),
            End::Wrong(_) => "wrong".to_owned(),
        }
    }

    pub fn is_good(&self) -> bool {
        matches!(self, End::Good(_))
    }
}

/// A running load.
pub struct Load {
    clients: Rc<Clients>,
}

struct Clients {
    proxy: SocketAddr,
    idle: RefCell<Vec<Wire>>,
    samples: RefCell<Vec<Sample>>,
    running: Cell<usize>,
    ended: Cell<bool>,
}

impl Load {
    /// Begins at `began` with so many requests a second.
    pub fn start(proxy: SocketAddr, rate: u32, began: Instant) -> Load {
        let clients = Rc::new(Clients {
            proxy,
            idle: RefCell::default(),
            samples: RefCell::default(),
            running: Cell::default(),
            ended: Cell::default(),
        });
        tokio::task::spawn_local(Rc::clone(&clients).go_on(rate, began));
        Load { clients }
    }

    /// What is over so far.
    pub fn samples(&self) -> Vec<Sample> {
        self.clients.samples.borrow().clone()
    }

    /// True if this origin has answered a request that was due after that.
    pub fn has_answered(&self, name: &str, after: Instant) -> Option<Instant> {
        let samples = self.clients.samples.borrow();
        let mut good = samples.iter().filter(|sample| sample.due >= after);
        good.find(|sample| sample.end == End::Good(name.to_owned())).map(|sample| sample.due + sample.took)
    }

    /// Begins no more requests, and waits for those that run.
    pub async fn end(&self) {
        self.clients.ended.set(true);
        while self.clients.running.get() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Clients {
    async fn go_on(self: Rc<Self>, rate: u32, began: Instant) {
        let mut requests = JoinSet::new();
        for place in 0_u32.. {
            let due = began + Duration::from_secs(place.into()) / rate;
            sleep_until(due.into()).await;
            if self.ended.get() {
                break;
            }
            self.running.set(self.running.get() + 1);
            let clients = Rc::clone(&self);
            requests.spawn_local(async move { clients.request(u64::from(place) + 1, due).await });
            while requests.try_join_next().is_some() {}
        }
        while requests.join_next().await.is_some() {}
    }

    async fn request(&self, id: u64, due: Instant) {
        let end = timeout(PATIENCE, self.ask(id)).await.unwrap_or(End::Late);
        self.samples.borrow_mut().push(Sample { due, took: due.elapsed(), end });
        self.running.set(self.running.get() - 1);
    }

    async fn ask(&self, id: u64) -> End {
        let idle = loop {
            let idle = self.idle.borrow_mut().pop();
            match idle {
                Some(idle) if !idle.is_open() => {}
                idle => break idle,
            }
        };
        if let Some(wire) = idle
            && let Some(end) = self.exchange(wire, id).await
        {
            return end;
        }
        match TcpStream::connect(self.proxy).await {
            Ok(stream) => self.exchange(Wire::new(stream), id).await.unwrap_or(End::Broken),
            Err(_) => End::Broken,
        }
    }

    /// None if the connection was closed before a byte of the answer.
    async fn exchange(&self, mut wire: Wire, id: u64) -> Option<End> {
        let request = format!("GET /{id} HTTP/1.1\r\nHost: faults\r\nx-id: {id}\r\nx-want: {LENGTH}\r\n\r\n");
        let asked = async {
            wire.write(request.as_bytes()).await?;
            wire.head().await
        };
        let head = match asked.await {
            Ok(Some(head)) => head,
            Ok(None) => return None,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
            Err(error) => return Some(judge(&error)),
        };
        let body = async { wire.body(head.framing(Framing::UntilClose)?).await }.await;
        let end = match (body, &*head.first[1]) {
            (Err(error), _) => judge(&error),
            (Ok(body), "200") => content::check(id, &[], LENGTH, &body).map_or_else(End::Wrong, End::Good),
            (Ok(_), status) => End::Status(status.parse().unwrap_or_default()),
        };
        let is_usable = !matches!(end, End::Broken | End::Wrong(_)) && !head.is_last() && wire.is_clean();
        if is_usable {
            self.idle.borrow_mut().push(wire);
        }
        Some(end)
    }
}

fn judge(error: &io::Error) -> End {
    if error.kind() == io::ErrorKind::InvalidData { End::Wrong(error.to_string()) } else { End::Broken }
}
