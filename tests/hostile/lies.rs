//! A row of a table of answers: what an origin says, and what may become of it. Whatever it said, the connection it said it on must
//! not give its next bytes to somebody else.

use super::bed::{Bed, PATIENCE, Peer, report, show};
use super::row::expand;
use super::strict::Message;
use super::witness::{LIED_TO, Lie};

/// What an origin says to one request.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub name: &'static str,
    /// Document and section.
    pub rfc: &'static str,
    bytes: &'static [u8],
    fate: Fate,
    /// Method of the request, and what its head has beside the Host, up to what is sent of its body.
    method: &'static str,
    more: &'static str,
    /// What is left of the request's body, which the client sends once it has been answered.
    rest: &'static str,
    closes: bool,
    early: bool,
    late: &'static [u8],
}

/// What becomes of it.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    /// 502, and the connection to the origin is closed.
    Bad,
    /// The client gets this.
    Got(Got),
    /// Either.
    BadOr(Got),
    /// 502, or nothing, or an answer that is seen to be broken off. Never one that seems whole.
    Cut,
}

/// What a client gets.
#[derive(Clone, Copy, Debug)]
pub struct Got {
    pub status: u16,
    /// Fields as `name: value`.
    pub has: &'static [&'static str],
    pub lacks: &'static [&'static str],
    pub body: &'static str,
    /// The connection to the origin is not used again.
    pub spent: bool,
}

/// A 200 with this body.
pub const fn got(body: &'static str) -> Got {
    Got { status: 200, has: &[], lacks: &[], body, spent: false }
}

impl Got {
    pub const fn status(self, status: u16) -> Got {
        Got { status, ..self }
    }

    pub const fn has(self, has: &'static [&'static str]) -> Got {
        Got { has, ..self }
    }

    pub const fn lacks(self, lacks: &'static [&'static str]) -> Got {
        Got { lacks, ..self }
    }

    pub const fn spent(self) -> Got {
        Got { spent: true, ..self }
    }
}

/// This answer to a GET.
pub const fn lie(name: &'static str, rfc: &'static str, bytes: &'static [u8], fate: Fate) -> Row {
    Row { name, rfc, bytes, fate, method: "GET", more: "", rest: "", closes: false, early: false, late: b"" }
}

impl Row {
    /// The same to another method.
    pub const fn to(self, method: &'static str) -> Row {
        Row { method, ..self }
    }

    /// The same to a request with these lines, each with its end.
    pub const fn asked_with(self, more: &'static str) -> Row {
        Row { more, ..self }
    }

    /// Said to a POST as soon as its head and the first part of ten bytes are there.
    pub const fn early(self) -> Row {
        Row { method: "POST", more: "content-length: 10\r\n\r\n012", rest: "3456789", early: true, ..self }
    }

    /// And then the origin closes.
    pub const fn closes(self) -> Row {
        Row { closes: true, ..self }
    }

    /// And a moment later it says this.
    pub const fn then(self, late: &'static [u8]) -> Row {
        Row { late, ..self }
    }

    async fn judge(&self, bed: &Bed) -> Result<(), String> {
        let Row { closes, early, late, .. } = *self;
        bed.origin.lie(Lie { bytes: expand(self.bytes), early, closes, late });
        let mut client = Peer::connect(bed.proxy.address()).await;
        let end = if early { "" } else { "\r\n" };
        client.send(format!("{} {LIED_TO} HTTP/1.1\r\nhost: a\r\n{}{end}", self.method, self.more).as_bytes()).await;
        let answer = client.answer(self.method == "HEAD").await;
        let spent = self.is_spent_after(&answer)?;
        if let Ok(Some(answer)) = &answer {
            client.send(self.rest.as_bytes()).await;
            if !late.is_empty() {
                bed.origin.said_late(PATIENCE).await?;
            }
            match client.goes_on(answer).await {
                // Who has answered before the end of a request need not read the rest.
                Err(_) if early && client.is_closed() => {}
                went_on => went_on?,
            }
        }
        bed.serves_others().await?;
        let heard = bed.origin.take();
        if let Some(why) = heard.iter().find_map(|heard| heard.garbled.as_ref()) {
            return Err(why.clone());
        }
        let lied_to = |request: &Message| request.line.contains(LIED_TO);
        let reused = heard.iter().any(|heard| {
            let lied = heard.requests.iter().position(lied_to);
            lied.is_some_and(|at| at + 1 < heard.requests.len())
        });
        if spent && reused {
            return Err(format!("the connection is used again: {}", show(&heard)));
        }
        Ok(())
    }

    /// Whether the connection must not be used again; what is wrong with the answer.
    fn is_spent_after(&self, answer: &Result<Option<Message>, String>) -> Result<bool, String> {
        match (self.fate, answer) {
            (Fate::Bad | Fate::BadOr(_) | Fate::Cut, Ok(Some(answer))) if answer.status() == 502 => Ok(true),
            (Fate::Got(wanted) | Fate::BadOr(wanted), Ok(Some(answer))) => {
                difference(&wanted, answer).map_or(Ok(wanted.spent || self.closes), Err)
            }
            (Fate::Cut, Ok(None)) => Ok(true),
            (Fate::Cut, Err(why)) if why.starts_with("cut off in an answer 200") => Ok(true),
            (_, Ok(Some(answer))) => Err(format!("{} with {:?}", answer.line, answer.text())),
            (_, Ok(None)) => Err("closed without an answer".to_owned()),
            (_, Err(why)) => Err(why.clone()),
        }
    }
}

fn difference(wanted: &Got, answer: &Message) -> Option<String> {
    let fields: Vec<String> = answer.fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    if answer.status() != wanted.status {
        return Some(format!("{} in place of {}", answer.line, wanted.status));
    }
    if let Some(missing) = wanted.has.iter().find(|field| !fields.iter().any(|have| have == *field)) {
        return Some(format!("{missing:?} is missing in {fields:?}"));
    }
    if let Some(name) = wanted.lacks.iter().find(|name| answer.field(name).is_some()) {
        return Some(format!("{name} is there"));
    }
    (answer.text() != wanted.body).then(|| format!("the body is {:?}", answer.text()))
}

/// Tries every row and prints all that fail.
pub async fn hold(section: &str, rows: &[Row]) {
    let mut bed = Bed::make().await;
    let mut failed = Vec::new();
    for row in rows {
        if let Err(why) = row.judge(&bed).await {
            failed.push(format!("{section}/{} ({}): {why}", row.name, row.rfc));
            bed = Bed::make().await;
        }
    }
    report(section, rows.len(), &failed);
}
