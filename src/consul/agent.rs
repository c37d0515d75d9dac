//! The client itself: which connections it has, whose token it shows, and how long it waits.

use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::answer::{Answer, BODY_IDLE};
use super::failure::{Error, Failure, unproven, unreachable};
use crate::config::{self, Agent as Address};
use crate::tls;

const CONNECT: Duration = Duration::from_secs(2);
/// An agent without a leader holds a request for 7 s before it gives up; 5 s more for the way.
const HOLD: Duration = Duration::from_secs(12);
/// A link that died without a word is noticed after this and one answer's time.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Between two looks at the token's file while the token is refused.
const TOKEN_POLL: Duration = Duration::from_secs(1);
/// Connections kept without a query: each counts towards what the agent allows its neighbours and us together.
const SPARE: usize = 4;
/// Queries on one HTTP/2 connection; agents allow 250 streams.
pub(super) const STREAMS: usize = 200;

/// The agent.
#[derive(Debug)]
pub struct Agent {
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

impl Agent {
    /// A client for these settings.
    pub fn new(settings: &config::Consul) -> Result<Self, Error> {
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

    /// How many connections there are to spread queries over, and how many of those each takes; one that takes all where every query has
    /// a connection of its own.
    pub fn lanes(&self) -> (usize, usize) {
        if self.clients.len() > 1 { (self.clients.len(), STREAMS) } else { (1, usize::MAX) }
    }

    /// Which token is in use: another number is another token.
    pub fn token_version(&self) -> u64 {
        self.token().version
    }

    /// Waits until another token than this one is in use, or for so long at most. Its file is read now and then.
    pub async fn another_token(&self, refused: u64, most: Duration) {
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
    pub fn refresh_token(&self) {
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

    /// Asks something that is answered at once.
    pub async fn ask(&self, path: &str, query: &[(&str, String)]) -> Result<Value, Failure> {
        self.watch(path, query, (0, Duration::ZERO), 0).await?.found().await?.json().await
    }

    /// Asks for what there is beyond `index`, for so long; at once if that is 0. `lane` spreads questions that are held for long
    /// over connections. To be waited for until it answers: the agent would go on with one that was given up.
    pub async fn watch(
        &self,
        path: &str,
        query: &[(&str, String)],
        (index, wait): (u64, Duration),
        lane: usize,
    ) -> Result<Answer, Failure> {
        let mut query = query.to_vec();
        let mut waiting = Duration::ZERO;
        if index > 0 {
            query.push(("index", index.to_string()));
            query.push(("wait", format!("{}ms", wait.as_millis().max(1))));
            waiting = wait + wait / 16;
        }
        let client = &self.clients[lane % self.clients.len()];
        let request = self.authorised(client.request(Method::GET, self.url(path, &query)));
        Answer::of(self.responded(request, CONNECT + waiting + HOLD).await?).await
    }

    /// Writes something.
    pub async fn put(&self, path: &str, query: &[(&str, String)], body: Option<&Value>) -> Result<Value, Failure> {
        self.write(Method::PUT, path, query, body).await
    }

    /// Asks something that takes more words than a path has.
    pub async fn post(&self, path: &str, query: &[(&str, String)], body: &Value) -> Result<Value, Failure> {
        self.write(Method::POST, path, query, Some(body)).await
    }

    async fn write(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let mut request = self.authorised(self.clients[0].request(method, self.url(path, query)));
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        Answer::of(self.responded(request, CONNECT + HOLD).await?).await?.found().await?.json().await
    }

    /// The response to a request, if it comes in time.
    async fn responded(&self, request: RequestBuilder, within: Duration) -> Result<Response, Failure> {
        match timeout(within, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => {
                let has_certificate = !self.base.starts_with("https") || self.settings.tls.client.is_some();
                Err(if has_certificate { unreachable(error) } else { unproven(error) })
            }
            Err(_) => Err(Failure::Unreachable("no answer in time".to_owned())),
        }
    }

    /// What it was made from.
    pub(super) fn settings(&self) -> &config::Consul {
        &self.settings
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

fn client(settings: &config::Consul) -> Result<Client, Error> {
    let is_tls = matches!(&settings.address, Address::Url(url) if url.starts_with("https"));
    // Given in any case: on its own the library fails to start where the system has no CA certificates.
    let mut tls = if is_tls { tls::client(&settings.tls)? } else { tls::trust_nobody()? };
    if is_tls {
        // The library offers nothing by itself where it is given a configuration: then every query would have a connection.
        tls.alpn_protocols = ["h2", "http/1.1"].map(|protocol| protocol.as_bytes().to_vec()).into();
    }
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

/// Adds a segment of a path, or a value of a query: percent-encodes everything but unreserved characters (RFC 3986 section 2.3).
pub fn encode(url: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
    }
}
