//! A client that cannot be fooled: whatever it sends has an id, and what comes back is compared byte for byte with the one right
//! answer. It sends and fetches bodies of all sizes, dawdles, and sometimes leaves in the middle.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::content;
use crate::origin::chunked;
use crate::wire::{Framing, Wire};

/// Bodies are shorter; most are much shorter.
const LONGEST: f64 = 2e6;
/// Above every timeout of the proxy's, and so of every request's end.
const PATIENCE: Duration = Duration::from_secs(45);
/// The longest pauses, in milliseconds: between requests, before leaving, and between two pieces.
const REST: u64 = 60;
const LEAVE: u64 = 400;
const DAWDLE: u64 = 30;

/// What all clients have seen.
#[derive(Default)]
pub struct Tally {
    ends: RefCell<BTreeMap<String, u64>>,
    wrong: RefCell<Vec<String>>,
    ended: Cell<bool>,
}

impl Tally {
    pub fn end(&self) {
        self.ended.set(true);
    }

    pub fn in_words(&self) -> String {
        let ends: Vec<String> = self.ends.borrow().iter().map(|(end, count)| format!("{end} {count}")).collect();
        format!("requests: {}", ends.join(", "))
    }

    /// What must not be.
    pub fn broken(&self) -> Vec<String> {
        self.wrong.borrow().clone()
    }

    fn note(&self, end: &str) {
        *self.ends.borrow_mut().entry(end.to_owned()).or_default() += 1;
    }

    fn wrong(&self, what: String) {
        self.note("wrong");
        self.wrong.borrow_mut().push(what);
    }
}

/// One request.
struct Ask {
    id: u64,
    method: &'static str,
    body: Vec<u8>,
    length: usize,
    bytes: Vec<u8>,
    dawdles: bool,
    /// How far it got, in words.
    stage: Cell<&'static str>,
}

/// How a request ended, and the connection if it can be used again.
enum End {
    Right(Option<Wire>),
    Status(String, Option<Wire>),
    Broken,
    /// Closed before a byte of the answer, on a connection that was used before.
    Stale,
    Wrong(String),
}

/// Asks until the end.
pub async fn run(proxy: SocketAddr, seed: u64, client: u64, tally: Rc<Tally>) {
    let mut chance = fastrand::Rng::with_seed(seed.wrapping_mul(1000) + client);
    let (mut kept, mut count) = (None, 0);
    while !tally.ended.get() {
        sleep(Duration::from_millis(chance.u64(..REST))).await;
        count += 1;
        let ask = Ask::draw((client << 32) + count, &mut chance);
        let asking = go(proxy, &ask, kept.take());
        if chance.u8(0..20) == 0 {
            let leave = Duration::from_millis(chance.u64(..LEAVE));
            let stayed = timeout(leave, asking).await;
            tally.note(if stayed.is_ok() { "done before leaving" } else { "left" });
            if let Ok(End::Wrong(what)) = stayed {
                tally.wrong(what);
            }
            continue;
        }
        match timeout(PATIENCE, asking).await {
            Err(_) => tally.wrong(format!(
                "{} {} of {} bytes for {}: neither answered nor broken off while {}",
                ask.method,
                ask.id,
                ask.body.len(),
                ask.length,
                ask.stage.get()
            )),
            Ok(End::Right(wire)) => {
                tally.note("right");
                kept = wire;
            }
            Ok(End::Status(code, wire)) => {
                tally.note(&code);
                kept = wire;
            }
            Ok(End::Broken | End::Stale) => tally.note("broken"),
            Ok(End::Wrong(what)) => tally.wrong(format!("{} {}: {what}", ask.method, ask.id)),
        }
    }
}

/// So many small requests one after another; returns how many were answered rightly.
pub async fn ask_in_turn(proxy: SocketAddr, requests: u64) -> u64 {
    let mut right = 0;
    for id in 0..requests {
        let ask = Ask::new(u64::MAX - id, "GET", (Vec::new(), 100), (false, false));
        if matches!(timeout(PATIENCE, go(proxy, &ask, None)).await, Ok(End::Right(_))) {
            right += 1;
        }
    }
    right
}

/// Once more on a new connection, if the kept one was closed and the method allows it.
async fn go(proxy: SocketAddr, ask: &Ask, kept: Option<Wire>) -> End {
    if let Some(wire) = kept.filter(Wire::is_open) {
        match exchange(wire, ask).await {
            End::Stale if ask.method != "POST" => {}
            end => return end,
        }
    }
    match TcpStream::connect(proxy).await {
        Ok(stream) => exchange(Wire::new(stream), ask).await,
        Err(_) => End::Broken,
    }
}

impl Ask {
    fn draw(id: u64, chance: &mut fastrand::Rng) -> Ask {
        // As many of each magnitude.
        let mut size = || if chance.u8(0..5) == 0 { 0 } else { LONGEST.powf(chance.f64()) as usize };
        let (sent, length) = (size(), size());
        let method = chance.choice(["GET", "GET", "PUT", "POST"]).unwrap_or("GET");
        let body = if method == "GET" { Vec::new() } else { content::bytes(id ^ 1, sent) };
        let framings = (chance.bool(), chance.bool());
        Ask { dawdles: chance.u8(0..10) == 0, ..Ask::new(id, method, (body, length), framings) }
    }

    fn new(id: u64, method: &'static str, (body, length): (Vec<u8>, usize), (sent, got): (bool, bool)) -> Ask {
        let framing = if got { "chunked" } else { "length" };
        let head = format!(
            "{method} /{id} HTTP/1.1\r\nhost: chaos\r\nx-id: {id}\r\nx-want: {length}\r\nx-framing: {framing}\r\n"
        );
        let mut bytes = head.into_bytes();
        if method == "GET" {
            bytes.extend_from_slice(b"\r\n");
        } else if sent {
            bytes.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
            chunked(&mut bytes, &body);
        } else {
            bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
            bytes.extend_from_slice(&body);
        }
        Ask { id, method, body, length, bytes, dawdles: false, stage: Cell::new("connecting") }
    }
}

async fn exchange(mut wire: Wire, ask: &Ask) -> End {
    // An answer may come before all is sent, and then nobody may want the rest: what was said is looked at in any case.
    ask.stage.set("sending");
    let sent = send(&mut wire, ask).await.is_ok();
    ask.stage.set("waiting for the head");
    let head = loop {
        match wire.head().await {
            // Not the answer yet.
            Ok(Some(head)) if head.first[1].starts_with('1') => {}
            Ok(Some(head)) => break head,
            Ok(None) => return End::Stale,
            Err(error) => return judge(&error, End::Stale),
        }
    };
    ask.stage.set("reading the body");
    let body = async { wire.body(head.framing(Framing::UntilClose)?).await }.await;
    let body = match body {
        Ok(body) => body,
        Err(error) => return judge(&error, End::Broken),
    };
    let usable =
        sent && !head.is_last() && head.framing(Framing::UntilClose).is_ok_and(|end| end != Framing::UntilClose);
    match &*head.first[1] {
        "200" => match content::check(ask.id, &ask.body, ask.length, &body) {
            Err(what) => End::Wrong(what),
            // Nobody asked for more.
            Ok(_) if !wire.is_clean() => End::Wrong("something behind the answer".to_owned()),
            Ok(_) => End::Right(usable.then_some(wire)),
        },
        code => End::Status(code.to_owned(), usable.then_some(wire)),
    }
}

async fn send(wire: &mut Wire, ask: &Ask) -> io::Result<()> {
    if !ask.dawdles {
        return wire.write(&ask.bytes).await;
    }
    for piece in ask.bytes.chunks(ask.bytes.len() / 10 + 1) {
        wire.write(piece).await?;
        sleep(Duration::from_millis(fastrand::u64(..DAWDLE))).await;
    }
    Ok(())
}

fn judge(error: &io::Error, otherwise: End) -> End {
    match error.kind() {
        io::ErrorKind::InvalidData => End::Wrong(error.to_string()),
        // In mid-head.
        io::ErrorKind::UnexpectedEof => End::Broken,
        _ => otherwise,
    }
}
