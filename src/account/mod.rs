//! What became of a request, or of a connection without any: gathered while it runs, in one value that is used again for the next, and
//! shown to those who write it down once it is over. What they make of it, a line or a span, is theirs.
//!
//! Texts are copied into one buffer. To hold on to those of the request would keep all that was read with it for as long as its answer
//! takes.

mod flag;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, Version};

use crate::endpoint::Endpoint;

pub use flag::{Flag, Flags};

/// Attempts that are told of one by one; of a request that has more, the first of them and the last.
const MOST_TRIES: usize = 16;
/// Texts longer than this are cut: a client decides how long they are.
const LONGEST: usize = 4096;
/// Room for texts, and for places of headers, that is kept for the next: more than a usual request needs.
const KEPT: usize = 2048;

/// What is noted of a request while it runs.
#[derive(Debug, Clone, Default)]
pub struct Account {
    /// What it is about.
    pub kind: Kind,
    /// Its method, if it has one.
    pub method: Option<Method>,
    /// Its version, if it is HTTP.
    pub version: Option<Version>,
    /// Who sent it, as far as those before us are believed.
    pub client: Option<IpAddr>,
    /// Why it went as it did, where there is something to say.
    pub flags: Flags,
    /// Attempts at endpoints, begun one after the other; never more than a few of many.
    pub tries: Vec<Try>,
    /// How many there were.
    pub attempts: u32,
    /// Where it stands in a trace, if it is part of one.
    pub trace: Option<Trace>,
    /// Which of them the request came to, once that is known.
    decided: Option<usize>,
    buffer: Vec<u8>,
    places: [Place; WORDS],
    headers: Vec<(Side, usize, Place)>,
}

/// What an account is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    /// A request.
    #[default]
    Request,
    /// A request after which its connection was a tunnel.
    Tunnel,
    /// A connection of a protocol that is not known.
    Tcp,
}

/// A text of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Word {
    /// Its target, as it came.
    Target,
    /// Its host, with the port if it was said.
    Authority,
    /// `User-Agent`.
    UserAgent,
    /// `Referer`.
    Referer,
    /// Its id.
    RequestId,
    /// `tracestate`, where it was taken over.
    TraceState,
    /// The name in the greeting of a connection whose TLS is not ours.
    ServerName,
}

const WORDS: usize = 7;

/// Where a text stands in the buffer.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    begin: u32,
    end: u32,
}

/// Whose header it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The request's.
    Request,
    /// The answer's.
    Response,
}

/// One attempt at an endpoint.
#[derive(Debug, Clone)]
pub struct Try {
    /// Where it went.
    pub endpoint: Arc<Endpoint>,
    /// When it began.
    pub began: Instant,
    /// What it is in the request.
    pub purpose: Purpose,
    /// Its span, where it is recorded; else 0.
    pub span: u64,
    /// What came of it, once that is known.
    pub end: Option<End>,
    /// Whether its connection had served before.
    pub reused: bool,
}

/// What an attempt is in its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The first.
    First,
    /// One after another that failed.
    Retry,
    /// One beside another that takes long.
    Hedge,
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// The status of its answer; 0 if there is none.
    pub status: u16,
    /// What went wrong, if something did.
    pub failure: Option<Flag>,
    /// When the head of its answer was there, or it had failed.
    pub at: Instant,
}

/// Where a request stands in a trace (W3C Trace Context).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// The trace.
    pub id: u128,
    /// Who called us; 0 if we are the first.
    pub parent: u64,
    /// The request's own span; 0 if it is not recorded here.
    pub span: u64,
}

/// All that is known of a request that is over.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// What was noted.
    pub account: &'a Account,
    /// When it began.
    pub started: Instant,
    /// Name of the listener.
    pub listener: &'a str,
    /// Name of the route; empty if there is none.
    pub route: &'a str,
    /// Name of the cluster; empty if there is none.
    pub cluster: &'a str,
    /// The other end of its connection.
    pub peer: Option<SocketAddr>,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// What its connection is secured with, if it is.
    pub security: Option<Security<'a>>,
    /// The name that the client asked for in a TLS handshake, be it ours or that of an endpoint.
    pub server_name: Option<&'a str>,
    /// The status that the client saw: 499 if it left before, 0 where there is none to be seen.
    pub status: u16,
    /// From its head to the last byte of its answer.
    pub took: Duration,
    /// From its head to the head of its answer.
    pub first_byte: Option<Duration>,
    /// Bytes of its body.
    pub received: u64,
    /// Bytes of its answer's body.
    pub sent: u64,
}

/// What a client's connection is secured with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Security<'a> {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'a str,
    /// The cipher suite, by its standard name.
    pub cipher: &'a str,
    /// Who it has proved to be.
    pub identity: Option<&'a str>,
}

impl Account {
    /// Makes it one of nothing, with the room that it has.
    pub fn clear(&mut self) {
        let (mut tries, mut buffer) = (std::mem::take(&mut self.tries), std::mem::take(&mut self.buffer));
        let mut headers = std::mem::take(&mut self.headers);
        tries.clear();
        buffer.clear();
        headers.clear();
        // One long request is not to be remembered by as much room for good.
        buffer.shrink_to(KEPT);
        headers.shrink_to(KEPT / size_of::<(Side, usize, Place)>());
        *self = Account { tries, buffer, headers, ..Account::default() };
    }

    /// Notes its method.
    pub fn note_method(&mut self, method: &Method) {
        let text = method.as_str().as_bytes();
        // What is left of one is one.
        self.method = match text.get(..LONGEST) {
            Some(begin) => Method::from_bytes(begin).ok(),
            None => Some(method.clone()),
        };
    }

    /// Notes a text.
    pub fn note(&mut self, word: Word, text: &[u8]) {
        self.places[word as usize] = self.add(text);
    }

    /// A text; none if it was not said.
    pub fn word(&self, word: Word) -> Option<&[u8]> {
        self.at(self.places[word as usize]).filter(|text| !text.is_empty())
    }

    /// The name in the greeting of a connection whose TLS is not ours.
    pub fn server_name(&self) -> Option<&str> {
        self.word(Word::ServerName).and_then(|name| std::str::from_utf8(name).ok())
    }

    /// Notes a value of the header that is asked for in that place.
    pub fn note_header(&mut self, side: Side, place: usize, value: &[u8]) {
        let value = self.add(value);
        self.headers.push((side, place, value));
    }

    /// The values of those headers, by place, in the order in which they were noted.
    pub fn headers(&self, side: Side) -> impl Iterator<Item = (usize, &[u8])> {
        let of = self.headers.iter().filter(move |(of, ..)| *of == side);
        of.filter_map(|(_, place, value)| Some((*place, self.at(*value)?)))
    }

    /// Notes an attempt that begins.
    pub fn tried(&mut self, one: Try) {
        self.attempts += 1;
        // What was tried before is of no account any more, whatever it said.
        self.decided = None;
        match one.purpose {
            Purpose::First => {}
            Purpose::Retry => self.flags.add(Flag::Retried),
            Purpose::Hedge => self.flags.add(Flag::Hedged),
        }
        if self.tries.len() == MOST_TRIES {
            self.tries.pop();
        }
        self.tries.push(one);
    }

    /// Notes what came of the last attempt at that endpoint that has not ended: what the request came to, unless it is tried again.
    pub fn decided(&mut self, endpoint: &Arc<Endpoint>, reused: bool, end: End) {
        self.decided = self.close(endpoint, reused, end);
    }

    /// The same of one that another one has overtaken: of no account, whatever it said.
    pub fn overtaken(&mut self, endpoint: &Arc<Endpoint>, reused: bool, end: End) {
        self.close(endpoint, reused, end);
    }

    /// The attempt that the request came to, or else the last.
    pub fn last(&self) -> Option<&Try> {
        self.decided.and_then(|place| self.tries.get(place)).or(self.tries.last())
    }

    fn close(&mut self, endpoint: &Arc<Endpoint>, reused: bool, end: End) -> Option<usize> {
        let open = |one: &Try| one.end.is_none() && Arc::ptr_eq(&one.endpoint, endpoint);
        let place = self.tries.iter().rposition(open)?;
        (self.tries[place].reused, self.tries[place].end) = (reused, Some(end));
        Some(place)
    }

    fn add(&mut self, text: &[u8]) -> Place {
        let begin = self.buffer.len() as u32;
        self.buffer.extend_from_slice(&text[..text.len().min(LONGEST)]);
        Place { begin, end: self.buffer.len() as u32 }
    }

    fn at(&self, place: Place) -> Option<&[u8]> {
        self.buffer.get(place.begin as usize..place.end as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::{Address, Ids, Ledger};

    #[test]
    fn what_was_noted_is_found_and_forgotten_with_the_next() {
        let mut account = Account::default();
        account.note(Word::Target, b"/a?b");
        account.note(Word::UserAgent, b"");
        account.note_header(Side::Request, 1, b"x");
        account.flags.add(Flag::NoRoute);
        assert_eq!((account.word(Word::Target), account.word(Word::UserAgent)), (Some(&b"/a?b"[..]), None));
        assert!(
            account.headers(Side::Request).eq([(1, &b"x"[..])]) && account.headers(Side::Response).next().is_none()
        );
        account.clear();
        assert_eq!((account.word(Word::Target), account.flags.is_empty()), (None, true));
        assert!(account.headers(Side::Request).next().is_none());
    }

    #[test]
    fn what_a_request_came_to_is_the_attempt_that_decided_it() {
        let (ledger, now) = (Ledger::new(Instant::now()), Instant::now());
        let endpoint = |name| Arc::new(Endpoint::new(Address::new(name, 80), &Ids::default(), &ledger));
        let begins = |account: &mut Account, name, purpose| {
            let endpoint = endpoint(name);
            let tried = Try { endpoint: Arc::clone(&endpoint), began: now, purpose, span: 0, end: None, reused: false };
            account.tried(tried);
            endpoint
        };
        let end = |status, failure| End { status, failure, at: now };
        let last = |account: &Account| account.last().map(|one| one.endpoint.address().to_string());
        let mut account = Account::default();
        let first = begins(&mut account, "first", Purpose::First);
        let hedge = begins(&mut account, "hedge", Purpose::Hedge);
        account.overtaken(&hedge, false, end(0, None));
        account.decided(&first, false, end(503, None));
        assert_eq!(last(&account).as_deref(), Some("first:80"), "the other was overtaken");
        let second = begins(&mut account, "second", Purpose::Retry);
        assert_eq!(last(&account).as_deref(), Some("second:80"), "that is what is waited for");
        account.decided(&second, false, end(0, Some(Flag::ConnectFailure)));
        assert_eq!(last(&account).as_deref(), Some("second:80"), "what the client saw came of its failure");
        let third = begins(&mut account, "third", Purpose::Retry);
        let beside = begins(&mut account, "beside", Purpose::Hedge);
        account.overtaken(&third, false, end(503, None));
        account.decided(&beside, false, end(0, Some(Flag::UpstreamReset)));
        assert_eq!(
            last(&account).as_deref(),
            Some("beside:80"),
            "it was hoped for an answer better than that of the other"
        );
    }

    #[test]
    fn no_text_is_longer_than_it_may_be() {
        let mut account = Account::default();
        account.note(Word::Target, &[b'a'; LONGEST + 1]);
        assert_eq!(account.word(Word::Target).map(<[u8]>::len), Some(LONGEST));
        account.note_method(&Method::from_bytes(&[b'A'; LONGEST + 1]).unwrap());
        assert_eq!(account.method.as_ref().map(|method| method.as_str().len()), Some(LONGEST));
        account.note_method(&Method::GET);
        assert_eq!(account.method, Some(Method::GET));
    }
}
