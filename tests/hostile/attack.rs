//! A row of a table of HTTP/2 frames, and what may become of it. Whatever it was, the next client is served, and nothing that was
//! refused has reached an origin.

use tokio::time::Instant;

use super::bed::{Bed, PATIENCE, difference, is_ours, report, show};
use super::frames::{ACK, GET, HEADERS, WHOLE, headers};
use super::frames::{Connection, DATA, END_STREAM, Frame, GOAWAY, PING, PREFACE, RST_STREAM, frame, get, settings};
use super::row::Seen;
use super::strict::{Message, faults_of_request, latin1};

/// Frames that a client sends.
#[derive(Clone, Copy)]
pub struct Row {
    pub name: &'static str,
    /// Document and section.
    pub rfc: &'static str,
    frames: fn() -> Vec<u8>,
    fate: Fate,
    /// Preface and settings are the row's own.
    bare: bool,
    /// The stream that this is about.
    stream: u32,
    /// Requests among the frames that are good and may be answered.
    good: usize,
}

/// What becomes of them.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    /// The connection ends, with one of these codes; or without a word.
    Ends(&'static [u32]),
    /// The stream is reset with one of these codes and the connection goes on; or the connection ends with one of them.
    Reset(&'static [u32]),
    /// As above, or an answer of 400, 413, 421, 431 or 501.
    Refused,
    /// One of these answers, or as above.
    Answered(&'static [u16]),
    /// Nothing: the connection goes on.
    Ignored,
    /// The origin hears exactly this, and its answer comes back.
    Served(Seen),
    /// One or the other.
    RefusedOr(Seen),
    /// One of these answers, or that.
    AnsweredOr(&'static [u16], Seen),
}

impl Fate {
    /// What the origin hears if the request is served.
    fn seen(self) -> Option<Seen> {
        match self {
            Fate::Served(seen) | Fate::RefusedOr(seen) | Fate::AnsweredOr(_, seen) => Some(seen),
            _ => None,
        }
    }

    /// Statuses that refuse it as well as a reset does.
    fn refusals(self) -> &'static [u16] {
        match self {
            Fate::Refused | Fate::RefusedOr(_) => &[400, 413, 421, 431, 501],
            Fate::Answered(statuses) | Fate::AnsweredOr(statuses, _) => statuses,
            _ => &[],
        }
    }
}

pub const PROTOCOL: &[u32] = &[1];
pub const FLOW: &[u32] = &[3];
pub const CLOSED: &[u32] = &[5, 1];
pub const SIZE: &[u32] = &[6, 1];
/// RFC 9113 section 4.3 wants `COMPRESSION_ERROR`; the crate h2 says `PROTOCOL_ERROR`, which ends the connection all the same.
pub const COMPRESSION: &[u32] = &[9, 1];
/// What a row is about unless it says otherwise.
const STREAM: u32 = 1;
/// Higher than any stream of a row.
const LAST: u32 = 1_000_001;

pub const fn row(name: &'static str, rfc: &'static str, frames: fn() -> Vec<u8>, fate: Fate) -> Row {
    Row { name, rfc, frames, fate, bare: false, stream: STREAM, good: 0 }
}

impl Row {
    /// The same, without preface and settings in front.
    pub const fn bare(self) -> Row {
        Row { bare: true, ..self }
    }

    /// The same, about another stream.
    pub const fn about(self, stream: u32) -> Row {
        Row { stream, ..self }
    }

    /// The same; so many of its requests are good.
    pub const fn with_good(self, good: usize) -> Row {
        Row { good, ..self }
    }

    async fn judge(&self, bed: &Bed) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        let mut client = Connection::open(bed.proxy.address()).await;
        let hello = if self.bare { vec![] } else { [PREFACE, &settings(&[(1, 0)])].concat() };
        client.send(&[hello, (self.frames)()].concat(), deadline).await;
        let came = self.outcome(&mut client, deadline).await;
        let others = bed.serves_others().await;
        let settled = bed.settles().await;
        let heard = bed.origin.take();
        let served = came.map_err(|wrong| format!("{wrong}; origin heard {}", show(&heard)))?;
        others?;
        settled?;
        if let Some(why) = heard.iter().find_map(|heard| heard.garbled.as_ref()) {
            return Err(why.clone());
        }
        let all = heard.iter().flat_map(|heard| &heard.requests);
        let all: Vec<&Message> = all.filter(|request| !is_ours(request)).collect();
        if let Some(why) = all.iter().find_map(|request| faults_of_request(request)) {
            return Err(why);
        }
        if let Some(seen) = served {
            let [request] = all[..] else { return Err(format!("{} requests in place of 1", all.len())) };
            return difference(&seen, request).map_or(Ok(()), Err);
        }
        let wrong = || format!("{} requests; origin heard {}", all.len(), show(&heard));
        if all.len() <= self.good { Ok(()) } else { Err(wrong()) }
    }

    /// What the origin must have heard, if the row's request was served.
    async fn outcome(&self, client: &mut Connection, deadline: Instant) -> Result<Option<Seen>, String> {
        if matches!(self.fate, Fate::Ignored) {
            return survives(client, deadline).await.map(|()| None);
        }
        let (mut seen_status, refusable) = (None, !self.fate.refusals().is_empty());
        loop {
            let Some(frame) = client.frame(deadline).await? else {
                let ends = matches!(self.fate, Fate::Ends(_));
                return if ends { Ok(None) } else { Err("closed without a word".to_owned()) };
            };
            let is_mine = frame.stream == self.stream;
            match (self.fate, frame.kind) {
                (Fate::Ends(codes) | Fate::Reset(codes), GOAWAY) => return among(&frame, codes),
                (Fate::Reset(codes), RST_STREAM) if is_mine => {
                    among(&frame, codes)?;
                    return survives(client, deadline).await.map(|()| None);
                }
                (_, GOAWAY) if refusable => return among(&frame, &[1, 9, 11]),
                (_, RST_STREAM) if refusable && is_mine => {
                    among(&frame, &[1, 2, 7, 11])?;
                    return survives(client, deadline).await.map(|()| None);
                }
                (_, GOAWAY) => return Err(format!("GOAWAY {:?} {:?}", frame.code(), latin1(&frame.payload[8..]))),
                (_, RST_STREAM) if is_mine && !matches!(self.fate, Fate::Ends(_)) => {
                    return Err(format!("reset with {:?}", frame.code()));
                }
                (_, HEADERS | DATA) if is_mine => {
                    seen_status = frame.status().filter(|status| *status >= 200).or(seen_status);
                    if frame.flags & END_STREAM != 0
                        && let Some(status) = seen_status
                        && let Some(done) = self.answered(status)
                    {
                        return done;
                    }
                }
                _ => {}
            }
        }
    }

    /// What a whole answer means; nothing if more is to come.
    fn answered(&self, status: u16) -> Option<Result<Option<Seen>, String>> {
        match (self.fate, self.fate.seen()) {
            (_, Some(seen)) if status == 200 => Some(Ok(Some(seen))),
            (fate, _) if fate.refusals().contains(&status) => Some(Ok(None)),
            (Fate::Ends(_) | Fate::Reset(_), _) if self.good > 0 => None,
            _ => Some(Err(format!("answered with {status}"))),
        }
    }
}

fn among(frame: &Frame, codes: &[u32]) -> Result<Option<Seen>, String> {
    let code = frame.code().unwrap_or(u32::MAX);
    if codes.contains(&code) {
        return Ok(None);
    }
    let kind = if frame.kind == GOAWAY { "GOAWAY" } else { "reset" };
    Err(format!("{kind} with {code} in place of {codes:?}"))
}

/// A ping is answered and a good request on the same connection served.
pub async fn survives(client: &mut Connection, deadline: Instant) -> Result<(), String> {
    let other = [(b":path" as &[u8], b"/other" as &[u8])];
    let mut fields = GET;
    fields[2] = other[0];
    let ask = [frame(PING, 0, 0, b"still on"), headers(LAST, WHOLE, &fields)].concat();
    client.send(&ask, deadline).await;
    let (mut ponged, mut served) = (false, false);
    while !ponged || !served {
        let Some(frame) = client.frame(deadline).await? else { return Err("the connection does not go on".to_owned()) };
        if frame.kind == GOAWAY {
            return Err(format!("GOAWAY {:?} {:?}", frame.code(), latin1(&frame.payload[8..])));
        }
        ponged |= frame.kind == PING && frame.flags & ACK != 0 && frame.payload == b"still on";
        served |= frame.stream == LAST && frame.status() == Some(200);
    }
    Ok(())
}

/// Tries every row and prints all that fail.
pub async fn hold(section: &str, rows: &[Row]) {
    let mut bed = Bed::make().await;
    let mut failed = Vec::new();
    // Without this all rows would fail, each after its time.
    let mut client = Connection::open(bed.proxy.address()).await;
    client.send(&[PREFACE, &settings(&[(1, 0)]), &get(1, &[])].concat(), Instant::now() + PATIENCE).await;
    let works = survives(&mut client, Instant::now() + PATIENCE).await;
    assert!(works.is_ok(), "{section}: no HTTP/2 by prior knowledge: {works:?}");
    bed.origin.take();
    for row in rows {
        if let Err(why) = row.judge(&bed).await {
            failed.push(format!("{section}/{} ({}): {why}", row.name, row.rfc));
            bed = Bed::make().await;
        }
    }
    report(section, rows.len(), &failed);
}
