//! The Consul agent's HTTP API, as far as lictor reads it: a thin client over reqwest with the deadlines, bounds and error
//! classes that following needs.

use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use bytes::BytesMut;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::follow::{Ask, Meta};
use crate::config::{self, Agent as Address, Consistency, Selection};
use crate::tls::{self, Values};

const CONNECT: Duration = Duration::from_secs(2);
/// An agent without a leader holds a request for 7 s before it gives up; 5 s more for the way.
const HOLD: Duration = Duration::from_secs(12);
const BODY_IDLE: Duration = Duration::from_secs(10);
/// About sixty thousand instances.
const MAX_BODY: usize = 64 * 1024 * 1024;
const MAX_MESSAGE: usize = 300;
/// A link that died without a word is noticed after this and one answer's time.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Between two looks at the token's file while the token is refused.
const TOKEN_POLL: Duration = Duration::from_secs(1);
/// Connections kept without a query: each counts towards what the agent allows its neighbours and us together.
const SPARE: usize = 4;
/// Queries on one HTTP/2 connection; agents allow 250 streams.
const STREAMS: usize = 200;

/// The agent.
#[derive(Debug)]
pub(super) struct Agent {
    clients: Vec<Client>,
    base: String,
    settings: config::Consul,
    token: Mutex<Token>,
}

/// The token in use.
#[derive(Debug)]
struct Token {
    value: Option<HeaderValue>,
    /// Counts replacements, so that whoever was refused can tell whether it was this one.
    version: u64,
}

/// A client that cannot be made from its settings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A certificate, a key or a name.
    #[error("consul: {0}")]
    Tls(#[from] tls::Error),
    /// Whatever else the HTTP client refuses.
    #[error("consul: {0}")]
    Http(#[from] reqwest::Error),
    /// The token's file.
    #[error("consul.token_file: {0}")]
    Token(String),
}

/// Why there is no usable answer, by what to do about it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Nobody answers, or not in time, or not to the end: try again soon.
    #[error("{0}")]
    Unreachable(String),
    /// The agent or the servers behind it cannot answer now.
    #[error("{status}: {message}")]
    Unavailable { status: StatusCode, message: String, retry_after: Option<Duration> },
    /// The token is missing, unknown, or lacks rights.
    #[error("{status}: {message}")]
    Denied { status: StatusCode, message: String },
    /// The query itself is wrong: asking again will not help.
    #[error("{status}: {message}")]
    Refused { status: StatusCode, message: String },
    /// The answer is not one.
    #[error("the answer cannot be read: {0}")]
    Garbled(String),
    /// The answer lacks what it was asked for, which may still come.
    #[error("{0}")]
    Incomplete(String),
}

/// An entry of the KV store.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    key: String,
    value: Option<String>,
}

/// An answer whose body has not been read yet.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) meta: Meta,
    response: Response,
}

impl Agent {
    /// A client for these settings.
    pub(super) fn new(settings: &config::Consul) -> Result<Self, Error> {
        let base = match &settings.address {
            Address::Url(url) => url.clone(),
            Address::Unix(_) => "http://localhost".to_owned(),
        };
        let lanes = if base.starts_with("https") { settings.max_queries.div_ceil(STREAMS) } else { 1 };
        let clients = (0..lanes.max(1)).map(|_| client(settings)).collect::<Result<_, _>>()?;
        let from_file = settings.token_file.as_deref().map(read_token).transpose()?.flatten();
        let given = || settings.token.as_ref().map(|token| header(token.reveal())).transpose();
        let value = if from_file.is_some() { from_file } else { given()? };
        let token = Mutex::new(Token { value, version: 0 });
        Ok(Agent { clients, base, settings: settings.clone(), token })
    }

    /// Which token is in use: another number is another token.
    pub(super) fn token_version(&self) -> u64 {
        self.token().version
    }

    /// Waits until another token than this one is in use, or for so long at most. Its file is read now and then.
    pub(super) async fn another_token(&self, refused: u64, most: Duration) {
        let patience = Instant::now() + most;
        loop {
            self.refresh_token();
            let left = patience.saturating_duration_since(Instant::now());
            if self.token_version() != refused || left.is_zero() {
                return;
            }
            sleep(left.min(TOKEN_POLL)).await;
        }
    }

    /// Takes the token over that the file holds now. A file that is missing or empty is about to be written: without a token
    /// Consul would not refuse us but answer that there are no instances.
    pub(super) fn refresh_token(&self) {
        let from_file = self.settings.token_file.as_deref().map(read_token);
        let Some(Ok(Some(value))) = from_file else { return };
        let mut token = self.token();
        if token.value.as_ref() != Some(&value) {
            *token = Token { value: Some(value), version: token.version + 1 };
        }
    }

    fn token(&self) -> MutexGuard<'_, Token> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for the instances of a service; `lane` spreads queries over connections.
    pub(super) async fn health(
        &self,
        selection: &Selection,
        ask: Ask,
        wait: Duration,
        lane: usize,
    ) -> Result<Answer, Failure> {
        let mut path = "/v1/health/service/".to_owned();
        encode(&mut path, &selection.service);
        let mut query = Vec::new();
        if ask.index > 0 {
            query.push(("index", ask.index.to_string()));
            query.push(("wait", format!("{}ms", wait.as_millis().max(1))));
        }
        if ask.mode == Consistency::Stale {
            query.push(("stale", String::new()));
        }
        query.extend(self.catalogue(selection));
        query.extend(selection.filter.as_ref().map(|filter| ("filter", filter.clone())));
        let waiting = if ask.index > 0 { wait + wait / 16 } else { Duration::ZERO };
        let response = self.get(&path, &query, (waiting, lane)).await?;
        Ok(Answer { meta: meta(response.headers()), response })
    }

    /// Whether the agent is a server itself: then a stale read may see a state that is still being replayed.
    pub(super) async fn is_server(&self) -> Result<bool, Failure> {
        Ok(self.about().await?["Config"]["Server"].as_bool().unwrap_or(true))
    }

    /// What the agent says of itself and its node; it takes agent:read.
    pub(super) async fn about(&self) -> Result<Value, Failure> {
        self.document("/v1/agent/self", &[]).await
    }

    /// The network coordinates of a datacenter's nodes; those without node:read are left out.
    pub(super) async fn coordinates(&self, datacenter: &str, mode: Consistency) -> Result<Value, Failure> {
        let mut query = vec![("dc", datacenter.to_owned())];
        if mode == Consistency::Stale {
            query.push(("stale", String::new()));
        }
        self.document("/v1/coordinate/nodes", &query).await
    }

    /// Which of these rights the token has, each with its answer in `Allow`.
    pub(super) async fn authorize(&self, selection: &Selection, rights: &Value) -> Result<Value, Failure> {
        let url = self.url("/v1/internal/acl/authorize", &self.catalogue(selection));
        let request = self.authorised(self.clients[0].request(Method::POST, url)).body(rights.to_string());
        json(answered(request, CONNECT + HOLD).await?).await
    }

    /// What stands under a prefix of the KV store, by the rest of its keys, and the index of that. Nothing stands under a prefix that is
    /// not there, or that the token may not list.
    pub(super) async fn values(&self, prefix: &str, index: u64, wait: Duration) -> Result<(u64, Values), Failure> {
        let mut path = "/v1/kv".to_owned();
        for segment in prefix.split('/') {
            path.push('/');
            encode(&mut path, segment);
        }
        let mut query = vec![("recurse", String::new())];
        if index > 0 {
            query.push(("index", index.to_string()));
            query.push(("wait", format!("{}ms", wait.as_millis().max(1))));
        }
        query.extend(self.place(None));
        let request = self.authorised(self.clients[0].request(Method::GET, self.url(&path, &query)));
        let response = responded(request, CONNECT + wait + wait / 16 + HOLD).await?;
        let new = meta(response.headers()).index;
        match response.status() {
            StatusCode::OK => {
                let entries: Vec<Entry> = serde_json::from_slice(&read(response, MAX_BODY).await?)
                    .map_err(|_| Failure::Garbled("it is not a list of keys and values".to_owned()))?;
                let rest = |key: String| key.strip_prefix(prefix).map(str::to_owned);
                let value = |entry: Entry| Some((rest(entry.key)?, decoded(&entry.value.unwrap_or_default())));
                Ok((new.max(1), entries.into_iter().filter_map(value).collect()))
            }
            // Consul's own, and not that of a gateway in front of it.
            StatusCode::NOT_FOUND if new > 0 => Ok((new, Values::new())),
            _ => Err(failure(response).await),
        }
    }

    /// The catalogue that a service is looked up in.
    fn catalogue(&self, selection: &Selection) -> Vec<(&'static str, String)> {
        self.place(selection.datacenter.as_ref())
    }

    /// The datacenter and the namespace that are asked.
    fn place(&self, datacenter: Option<&String>) -> Vec<(&'static str, String)> {
        let datacenter = datacenter.or(self.settings.datacenter.as_ref());
        let datacenter = datacenter.map(|datacenter| ("dc", datacenter.clone()));
        let namespace = self.settings.namespace.as_ref().map(|namespace| ("ns", namespace.clone()));
        datacenter.into_iter().chain(namespace).collect()
    }

    async fn document(&self, path: &str, query: &[(&str, String)]) -> Result<Value, Failure> {
        json(self.get(path, query, (Duration::ZERO, 0)).await?).await
    }

    fn url(&self, path: &str, query: &[(&str, String)]) -> String {
        let mut url = format!("{}{path}", self.base);
        for (index, (name, value)) in query.iter().enumerate() {
            let _ = write!(url, "{}{name}", if index == 0 { '?' } else { '&' });
            if !value.is_empty() {
                url.push('=');
                encode(&mut url, value);
            }
        }
        url
    }

    async fn get(
        &self,
        path: &str,
        query: &[(&str, String)],
        (waiting, lane): (Duration, usize),
    ) -> Result<Response, Failure> {
        let url = self.url(path, query);
        let request = self.authorised(self.clients[lane % self.clients.len()].request(Method::GET, url));
        answered(request, CONNECT + waiting + HOLD).await
    }

    fn authorised(&self, mut request: RequestBuilder) -> RequestBuilder {
        if let Some(token) = &self.token().value {
            request = request.header("X-Consul-Token", token.clone());
        }
        if let Some(auth) = &self.settings.basic_auth {
            let (user, password) = auth.reveal().split_once(':').unwrap_or((auth.reveal(), ""));
            request = request.basic_auth(user, Some(password));
        }
        request
    }
}

impl Answer {
    /// The body, and how long it took from the head on: what a fetch costs the agent, without the wait.
    pub(super) async fn body(self) -> Result<(BytesMut, Duration), Failure> {
        let began = Instant::now();
        let body = read(self.response, MAX_BODY).await?;
        Ok((body, began.elapsed()))
    }
}

fn client(settings: &config::Consul) -> Result<Client, Error> {
    let is_tls = matches!(&settings.address, Address::Url(url) if url.starts_with("https"));
    // Given in any case: on its own the library fails to start where the system has no CA certificates.
    let tls = if is_tls { tls::client(&settings.tls)? } else { tls::trust_nobody()? };
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls)
        // The agent is next door; a proxy for the outside world has no business in between.
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .pool_max_idle_per_host(SPARE)
        .tcp_keepalive(KEEPALIVE)
        .tcp_keepalive_interval(KEEPALIVE / 3)
        .tcp_keepalive_retries(3)
        .http2_keep_alive_interval(KEEPALIVE)
        .http2_keep_alive_timeout(BODY_IDLE)
        .user_agent(concat!("lictor/", env!("CARGO_PKG_VERSION")));
    if let Address::Unix(path) = &settings.address {
        builder = builder.unix_socket(path.as_str());
    }
    Ok(builder.build()?)
}

/// The token in a file; none if it is empty.
fn read_token(path: &str) -> Result<Option<HeaderValue>, Error> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::Token(format!("{path}: {error}")))?;
    let text = text.trim();
    if text.is_empty() { Ok(None) } else { header(text).map(Some) }
}

fn header(token: &str) -> Result<HeaderValue, Error> {
    let what = |_| Error::Token("the token has characters that a header cannot carry".to_owned());
    let mut value = HeaderValue::from_str(token).map_err(what)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Percent-encodes everything but unreserved characters (RFC 3986 section 2.3).
fn encode(url: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
    }
}

fn meta(headers: &HeaderMap) -> Meta {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    Meta {
        index: text("x-consul-index").and_then(|index| index.parse().ok()).unwrap_or_default(),
        known_leader: text("x-consul-knownleader").map(|known| known == "true"),
        filtered: text("x-consul-results-filtered-by-acls") == Some("true"),
        backend: text("x-consul-query-backend").map(str::to_owned),
    }
}

/// The response to a request, if it is a good one and comes in time.
async fn answered(request: RequestBuilder, within: Duration) -> Result<Response, Failure> {
    let response = responded(request, within).await?;
    if response.status() == StatusCode::OK { Ok(response) } else { Err(failure(response).await) }
}

/// The response to a request, if it comes in time.
async fn responded(request: RequestBuilder, within: Duration) -> Result<Response, Failure> {
    match timeout(within, request.send()).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(unreachable(error)),
        Err(_) => Err(Failure::Unreachable("no answer in time".to_owned())),
    }
}

/// A value of the KV store; what is not Base64 is nothing, of which nobody can make a certificate.
fn decoded(value: &str) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD.decode(value).unwrap_or_default()
}

async fn json(response: Response) -> Result<Value, Failure> {
    let body = read(response, MAX_BODY).await?;
    serde_json::from_slice(&body).map_err(|error| Failure::Garbled(error.to_string()))
}

async fn read(mut response: Response, most: usize) -> Result<BytesMut, Failure> {
    let mut body = BytesMut::new();
    loop {
        match timeout(BODY_IDLE, response.chunk()).await {
            Ok(Ok(Some(chunk))) if body.len() + chunk.len() <= most => body.extend_from_slice(&chunk),
            Ok(Ok(Some(_))) => return Err(Failure::Garbled(format!("more than {most} bytes"))),
            Ok(Ok(None)) => return Ok(body),
            Ok(Err(error)) => return Err(unreachable(error)),
            Err(_) => return Err(Failure::Unreachable("the answer stopped in the middle".to_owned())),
        }
    }
}

/// Sorts an answer that is not 200 by what to do about it.
async fn failure(response: Response) -> Failure {
    let status = response.status();
    let seconds = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
    let body = read(response, 64 * 1024).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&body);
    let message: String = text.trim().chars().filter(|c| !c.is_control()).take(MAX_MESSAGE).collect();
    let is_refused = ["No path to datacenter", "Failed to create boolean expression", "Failed to create filter"];
    match status.as_u16() {
        401 | 403 => Failure::Denied { status, message },
        // A missing page is not Consul's word but that of a gateway in front of it: it may pass.
        400 | 405 => Failure::Refused { status, message },
        // Consul reports these mistakes as its own.
        500 if is_refused.iter().any(|known| message.contains(known)) => Failure::Refused { status, message },
        _ => Failure::Unavailable { status, message, retry_after: seconds.map(Duration::from_secs) },
    }
}

/// Why the agent cannot be reached, with a word on what to do where TLS's own are a riddle.
fn unreachable(error: reqwest::Error) -> Failure {
    let mut text = chain(&error.without_url());
    // With TLS 1.3 a client that has no certificate learns it only after its own handshake is done.
    if ["fatal alert: BadCertificate", "fatal alert: CertificateRequired"].iter().any(|alert| text.contains(alert)) {
        text.push_str(
            "; the agent asks for a client certificate that it trusts: see consul.client_cert and client_key",
        );
    }
    Failure::Unreachable(text)
}

/// An error with its causes: the library's own text leaves out what happened.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}
