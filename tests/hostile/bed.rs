//! Where rows are tried: a true lictor in front of a [`Witness`], a client that reads strictly, and what must hold after each row
//! whatever the row was: the next client is served, and the next request on the same connection gets the answer to itself.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};

use super::row::{Row, Seen, Verdict};
use super::strict::{Message, Read, Side, faults_of_answer, faults_of_request, latin1, read};
use super::witness::{Heard, Witness};
use crate::support::app::{Proxy, to_endpoints};

/// Longer than lictor needs for anything here; only rows that fail wait for so long.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// A failure is a failure at once, and an endpoint that lies stays in.
pub const CLUSTER: &str = "retry = { attempts = 0 }\nejection = { consecutive_failures = 0 }";

/// A lictor and the origin behind it.
pub struct Bed {
    pub proxy: Proxy,
    pub origin: Witness,
}

/// What a row that fails has to say.
pub type Verdicts = Result<(), String>;

impl Bed {
    pub async fn make() -> Bed {
        Bed::with("").await
    }

    /// With more in its configuration.
    pub async fn with(more: &str) -> Bed {
        let origin = Witness::start().await;
        let proxy = Proxy::start(&(more.to_owned() + &to_endpoints(&[origin.address()], CLUSTER)));
        Bed { proxy, origin }
    }

    /// Sends a row and says what is wrong with what came of it.
    pub async fn judge(&self, row: &Row) -> Verdicts {
        let mut client = Peer::connect(self.proxy.address()).await;
        client.send(&row.bytes()).await;
        if row.ends {
            client.end().await;
        }
        let said = self.hold(&mut client, row).await;
        let others = self.serves_others().await;
        let settled = self.settles().await;
        let heard = self.origin.take();
        let told = said.map_err(|wrong| format!("{wrong}; origin heard {}", show(&heard)));
        let (statuses, seen) = told?;
        others?;
        settled?;
        judge_heard(row, &heard, &statuses, seen)
    }

    /// Reads what the verdict wants to be read; the statuses that came, and what the origin must have heard.
    async fn hold(&self, client: &mut Peer, row: &Row) -> Result<(Vec<u16>, &'static [Seen]), String> {
        let first = match row.verdict {
            Verdict::InOrder(statuses, seen) => {
                for status in statuses {
                    let answer = client.answer(false).await?.ok_or(format!("closed before the {status}"))?;
                    expect(&answer, &[*status])?;
                }
                client.ends_here().await?;
                return Ok((statuses.to_vec(), seen));
            }
            _ => client.answer(row.bytes().starts_with(b"HEAD ")).await?,
        };
        match (row.verdict, first) {
            (Verdict::Broken(_), None) => Ok((vec![], &[])),
            (_, None) => Err("closed without an answer".to_owned()),
            (Verdict::Refused(statuses) | Verdict::Broken(statuses), Some(answer)) => {
                expect(&answer, statuses)?;
                client.ends_here().await?;
                Ok((vec![answer.status()], &[]))
            }
            (Verdict::Declined(statuses), Some(answer)) => {
                expect(&answer, statuses)?;
                client.goes_on(&answer).await?;
                Ok((vec![answer.status()], &[]))
            }
            (Verdict::Either(statuses, _), Some(answer)) if statuses.contains(&answer.status()) => {
                client.ends_here().await?;
                Ok((vec![answer.status()], &[]))
            }
            (_, Some(answer)) => {
                expect(&answer, &[200])?;
                client.goes_on(&answer).await?;
                Ok((vec![200], &[]))
            }
        }
    }

    /// A client of its own asks, and gets what it asked for.
    pub async fn serves_others(&self) -> Verdicts {
        let mut other = Peer::connect(self.proxy.address()).await;
        other.ask("/other").await.map_err(|wrong| format!("another client is not served: {wrong}"))
    }

    /// Nothing that was begun at the origin stays there unfinished.
    pub async fn settles(&self) -> Verdicts {
        let deadline = Instant::now() + PATIENCE;
        while !self.origin.is_settled() {
            if Instant::now() > deadline {
                return Err(format!("the origin still waits for a rest: {}", show(&self.origin.take())));
            }
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }
}

fn judge_heard(row: &Row, heard: &[Heard], statuses: &[u16], in_order: &[Seen]) -> Verdicts {
    let wrong = |why: &str| Err(format!("answered {statuses:?}; {why}; origin heard {}", show(heard)));
    if let Some(why) = heard.iter().find_map(|heard| heard.garbled.as_ref()) {
        return wrong(why);
    }
    let all: Vec<&Message> =
        heard.iter().flat_map(|heard| &heard.requests).filter(|request| !is_ours(request)).collect();
    if let Some(why) = all.iter().find_map(|request| faults_of_request(request)) {
        return wrong(&why);
    }
    let begun = heard.iter().any(|heard| heard.begun.is_some());
    let expected: &[Seen] = match &row.verdict {
        Verdict::InOrder(..) => in_order,
        Verdict::Passed(seen) => std::slice::from_ref(seen),
        Verdict::Either(_, seen) if statuses == [200] => std::slice::from_ref(seen),
        _ => &[],
    };
    if begun && !matches!(row.verdict, Verdict::Either(..) | Verdict::Broken(_)) {
        return wrong("a part of a request went out");
    }
    if all.len() != expected.len() {
        return wrong(&format!("{} requests in place of {}", all.len(), expected.len()));
    }
    let differs = expected.iter().zip(all).find_map(|(seen, request)| difference(seen, request));
    differs.map_or(Ok(()), |why| wrong(&why))
}

/// What the bed itself asks.
pub fn is_ours(request: &Message) -> bool {
    matches!(request.line.as_str(), "GET /after HTTP/1.1" | "GET /other HTTP/1.1")
}

/// What is not as it should be.
pub fn difference(seen: &Seen, request: &Message) -> Option<String> {
    let all = |fields: &[(String, String)]| -> Vec<String> {
        fields.iter().map(|(name, value)| format!("{name}: {value}")).collect()
    };
    let (fields, trailers) = (all(&request.fields), all(&request.trailers));
    if request.line != seen.line && !seen.line.is_empty() {
        return Some(format!("{:?} in place of {:?}", request.line, seen.line));
    }
    if let Some(missing) = seen.has.iter().find(|field| !fields.iter().any(|have| have == *field)) {
        return Some(format!("{missing:?} is missing"));
    }
    if let Some(name) = seen.lacks.iter().find(|name| request.field(name).is_some()) {
        return Some(format!("{name} is there"));
    }
    if request.text() != seen.body {
        return Some(format!("the body is {:?}", request.text()));
    }
    (trailers != seen.trailers).then(|| format!("the trailers are {trailers:?}"))
}

fn expect(answer: &Message, statuses: &[u16]) -> Verdicts {
    if statuses.contains(&answer.status()) {
        return Ok(());
    }
    Err(format!("{} in place of {statuses:?}", answer.status()))
}

/// What came, short enough to be read.
pub fn show(heard: &[Heard]) -> String {
    let texts = heard.iter().filter_map(|heard| {
        let text = latin1(&heard.bytes);
        let text = text.split("GET /other HTTP/1.1").next().unwrap_or_default();
        let shown = || format!("#{} {:?}", heard.connection, text.chars().take(300).collect::<String>());
        (!text.is_empty()).then(shown)
    });
    let texts: Vec<String> = texts.collect();
    if texts.is_empty() { "nothing".to_owned() } else { texts.join(" and ") }
}

/// A client that believes nothing.
pub struct Peer {
    stream: TcpStream,
    buffer: Vec<u8>,
    closed: bool,
    ended: bool,
}

impl Peer {
    pub async fn connect(address: SocketAddr) -> Peer {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).ok();
        Peer { stream, buffer: Vec::new(), closed: false, ended: false }
    }

    /// Sends as much as is taken: whoever refuses need not read all of it.
    pub async fn send(&mut self, bytes: &[u8]) {
        let deadline = Instant::now() + PATIENCE;
        timeout_at(deadline, self.stream.write_all(bytes)).await.ok();
    }

    pub async fn end(&mut self) {
        self.ended = true;
        self.stream.shutdown().await.ok();
    }

    /// The next answer that is not interim; none if the connection ended before it began.
    pub async fn answer(&mut self, to_head: bool) -> Result<Option<Message>, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match read(&self.buffer, Side::Answer { to_head, closed: self.closed }) {
                Read::Bad(why) => return Err(format!("ambiguous answer: {why}: {:?}", latin1(&self.buffer))),
                Read::Whole(answer, used) => {
                    self.buffer.drain(..used);
                    if let Some(why) = faults_of_answer(&answer) {
                        return Err(why);
                    }
                    if answer.status() >= 200 || answer.status() == 101 {
                        return Ok(Some(answer));
                    }
                }
                Read::Part(_) if self.closed && self.buffer.is_empty() => return Ok(None),
                Read::Part(part) if self.closed => {
                    let status = part.map_or(0, |part| part.status());
                    return Err(format!("cut off in an answer {status}"));
                }
                Read::Part(_) => {
                    if !self.more(deadline).await {
                        return Err(format!("no answer in time; so far {:?}", latin1(&self.buffer)));
                    }
                }
            }
        }
    }

    /// Whether the other side has closed, and said nothing that was not read.
    pub fn is_closed(&self) -> bool {
        self.closed && self.buffer.is_empty()
    }

    /// Nothing more comes, and the connection is closed.
    pub async fn ends_here(&mut self) -> Verdicts {
        let deadline = Instant::now() + PATIENCE;
        while !self.closed {
            if !self.more(deadline).await {
                return Err("the connection stays open".to_owned());
            }
        }
        if self.buffer.is_empty() { Ok(()) } else { Err(format!("and then comes {:?}", latin1(&self.buffer))) }
    }

    /// Whatever else this connection is good for, it gives the next request its own answer.
    pub async fn goes_on(&mut self, last: &Message) -> Verdicts {
        if self.ended || self.closed || last.every("connection").contains(&"close") || last.line.starts_with("HTTP/1.0")
        {
            return self.ends_here().await;
        }
        self.ask("/after").await.map_err(|wrong| format!("then /after: {wrong}"))
    }

    /// Asks for this and gets it.
    pub async fn ask(&mut self, target: &str) -> Verdicts {
        self.send(format!("GET {target} HTTP/1.1\r\nhost: bed\r\n\r\n").as_bytes()).await;
        let answer = self.answer(false).await?.ok_or("closed without an answer")?;
        let line = format!("GET {target} HTTP/1.1");
        if answer.text() == line {
            return Ok(());
        }
        Err(format!("{:?} in place of {line:?}", answer.text()))
    }

    /// Waits for more; false if nothing came in time.
    async fn more(&mut self, deadline: Instant) -> bool {
        let mut piece = vec![0; 64 * 1024];
        let read: io::Result<usize> = match timeout_at(deadline, self.stream.read(&mut piece)).await {
            Ok(read) => read,
            Err(_) => return false,
        };
        match read {
            Ok(length @ 1..) => self.buffer.extend_from_slice(&piece[..length]),
            // A reset is as good as a FIN once all that was to be said has been read.
            Ok(_) | Err(_) => self.closed = true,
        }
        true
    }
}

/// Tries every row and prints all that fail; the names of rows have to differ.
pub async fn hold(section: &str, rows: &[Row]) {
    hold_behind(section, rows, "").await;
}

/// The same with more in the configuration.
pub async fn hold_behind(section: &str, rows: &[Row], more: &str) {
    let mut bed = Bed::with(more).await;
    let mut failed = Vec::new();
    for row in rows {
        if let Err(why) = bed.judge(row).await {
            failed.push(format!("{section}/{} ({}): {why}", row.name, row.rfc));
            // What it has left behind is not held against the next one.
            bed = Bed::with(more).await;
        }
    }
    report(section, rows.len(), &failed);
}

/// Fails with all that has failed.
pub fn report(section: &str, rows: usize, failed: &[String]) {
    assert!(failed.is_empty(), "{section}: {} of {rows} rows fail\n{}\n", failed.len(), failed.join("\n"));
}
