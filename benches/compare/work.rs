//! The work items: what is asked of every proxy alike.

use clap::ValueEnum;
use serde::Serialize;

use crate::churn;
use crate::load::Script;
use crate::origin::{self, LONG, SMALL, TEN_KIB, UPLOADED};
use crate::peers::{Back, Front};
use crate::requests;
use crate::tls::Sessions;

/// What every request names as its host; the certificate is for it.
pub const HOST: &str = "lictor.test";
/// Routes of a proxy that has many.
const ROUTES: usize = 1000;
/// Requests at once on a connection of HTTP/2; there are so many fewer connections.
const STREAMS: u16 = 8;

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// Small GET requests on standing connections
    Get,
    /// Answers of 10 KiB
    #[value(name = "answer-10k")]
    #[serde(rename = "answer-10k")]
    Answer10k,
    /// Answers of 1 MiB
    #[value(name = "answer-1m")]
    #[serde(rename = "answer-1m")]
    Answer1m,
    /// Uploads of 1 MiB
    #[value(name = "upload-1m")]
    #[serde(rename = "upload-1m")]
    Upload1m,
    /// A new connection for each request
    Connect,
    /// Small GET requests on standing connections in TLS
    Tls,
    /// A new connection and a full TLS handshake for each request
    TlsFull,
    /// A new connection and a resumed TLS session for each request
    TlsResumed,
    /// Small GET requests by HTTP/2 in TLS, which go on by HTTP/1.1
    #[value(name = "h2-h1")]
    #[serde(rename = "h2-h1")]
    H2H1,
    /// Unary calls as gRPC makes them, by HTTP/2 in TLS and on by HTTP/2
    #[value(name = "h2-h2")]
    #[serde(rename = "h2-h2")]
    H2H2,
    /// Messages over WebSocket that come back
    Websocket,
    /// Small GET requests that spread over 1,000 routes
    Routes,
    /// Memory for 10,000 idle connections
    Idle,
    /// The same in TLS
    IdleTls,
    /// 5,000 endpoints from Consul, which change all the time; lictor alone
    Churn,
    /// All of these
    All,
}

impl Work {
    /// As on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Those asked for, each once, in the order of their list here.
    pub fn chosen(asked: &[Self]) -> Vec<Self> {
        let wanted = |work: &&Self| **work != Self::All && (asked.contains(work) || asked.contains(&Self::All));
        Self::value_variants().iter().filter(wanted).copied().collect()
    }

    /// How clients come in.
    pub fn front(self) -> Front {
        match self {
            Self::Tls | Self::TlsFull | Self::TlsResumed | Self::IdleTls => Front::Tls,
            Self::H2H1 | Self::H2H2 => Front::Http2,
            _ => Front::Plain,
        }
    }

    /// How origins are spoken to.
    pub fn back(self) -> Back {
        if self == Self::H2H2 { Back::Http2 } else { Back::Http1 }
    }

    /// How many routes the proxy has.
    pub fn routes(self) -> usize {
        if self == Self::Routes { ROUTES } else { 1 }
    }

    /// Whether clients come back to their TLS sessions.
    pub fn sessions(self) -> Sessions {
        if self == Self::TlsResumed { Sessions::Resumed } else { Sessions::New }
    }

    /// Bytes of body that each request moves through the proxy, where those are what is measured.
    pub fn bytes(self) -> Option<usize> {
        match self {
            Self::Answer1m | Self::Upload1m => Some(LONG),
            _ => None,
        }
    }

    /// Connections for so many requests at once.
    pub fn connections(self, requests: u16) -> u16 {
        match self {
            Self::H2H1 | Self::H2H2 => (requests / STREAMS).max(1),
            _ => requests,
        }
    }

    /// What the clients say.
    pub fn script(self) -> Script {
        match self {
            Self::Connect | Self::TlsFull | Self::TlsResumed => requests::last(SMALL),
            Self::Answer10k => requests::get("/10k", &origin::bytes(TEN_KIB)),
            Self::Answer1m => requests::get("/1m", &origin::bytes(LONG)),
            Self::Upload1m => requests::upload(&origin::bytes(LONG), UPLOADED),
            Self::H2H1 => requests::get_by_http2(STREAMS, SMALL),
            Self::H2H2 => requests::grpc(STREAMS),
            Self::Websocket => requests::websocket(),
            Self::Routes => requests::routes(ROUTES, SMALL),
            Self::Churn => requests::routes(churn::SERVICES, SMALL),
            Self::Get | Self::Tls | Self::Idle | Self::IdleTls | Self::All => requests::get("/", SMALL),
        }
    }
}
