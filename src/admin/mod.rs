//! The operator's window: liveness, readiness, metrics, and what the table holds. It reads and never writes, and runs on the
//! control runtime, so that a scrape cannot touch a request.

mod documents;
mod figures;
mod registration;
mod routes;
mod view;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use crate::config::Listener;
use crate::lifecycle::Readiness;
use crate::listener::{Asked, Limits, Service};
use crate::message::Answer;
use crate::metrics::{self, Metrics};
use crate::table::Reader;

/// What the operator's clients are held to: a handful of them, who ask now and then.
pub const LIMITS: Limits =
    Limits { request_header: Duration::from_secs(10), idle: Duration::from_secs(120), age: None };
/// Connections at once. They have descriptors of their own, which clients cannot use up.
pub const MAX_CONNECTIONS: usize = 32;

/// What there is to see.
const PAGES: &str = "/livez /readyz?verbose /metrics /v1/clusters /v1/kv /v1/listeners /v1/registration /v1/routes";
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// The service of the admin listener.
pub struct Admin {
    reader: Reader,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    listeners: Vec<(Listener, SocketAddr)>,
}

impl Admin {
    /// A window on these.
    pub fn new(reader: Reader, metrics: Arc<Metrics>, readiness: Readiness) -> Self {
        Admin { reader, metrics, readiness, listeners: Vec::new() }
    }

    /// The same, which shows these listeners as well.
    pub fn with_listeners(self, listeners: &[Listener], addresses: &[SocketAddr]) -> Self {
        Admin { listeners: listeners.iter().cloned().zip(addresses.iter().copied()).collect(), ..self }
    }

    fn answer(&self, method: &Method, path: &str, query: Option<&str>) -> Response<Full<Bytes>> {
        if ![Method::GET, Method::HEAD].contains(method) {
            let mut response = answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match path {
            "/livez" => answer(StatusCode::OK, TEXT, "live\n"),
            "/readyz" | "/healthz" => self.ready(query == Some("verbose")),
            "/metrics" => answer(StatusCode::OK, metrics::CONTENT_TYPE, self.metrics()),
            "/v1/clusters" => json(&view::clusters(&self.reader.load(), &self.metrics)),
            "/v1/listeners" => json(&view::listeners(self.listeners.iter().map(|(known, at)| (known, *at)))),
            "/v1/routes" => json(&routes::routes(&self.reader.load())),
            "/v1/registration" => json(&registration::instances(&self.metrics)),
            "/v1/kv" => json(&documents::documents(&self.reader.load(), &self.metrics)),
            "/" => answer(StatusCode::OK, TEXT, format!("{PAGES}\n")),
            _ => answer(StatusCode::NOT_FOUND, TEXT, format!("there is {PAGES}\n")),
        }
    }

    fn ready(&self, verbose: bool) -> Response<Full<Bytes>> {
        let blocker = self.readiness.blocker();
        let status = if blocker.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let mut text = format!("{}\n", blocker.unwrap_or("ready"));
        if verbose {
            let table = self.reader.load();
            if let Some(beside) = table.beside() {
                text += &format!("kv {}: {}\n", beside.prefix, documents::word(beside));
            }
            for cluster in table.clusters() {
                text += &format!("{}: {}\n", cluster.name(), view::word(cluster, &self.metrics));
            }
        }
        answer(status, TEXT, text)
    }

    fn metrics(&self) -> String {
        let mut families = self.metrics.gather();
        families.extend(figures::families(&self.reader.load(), self.readiness.blocker().is_none()));
        metrics::text(families)
    }
}

impl Service for Admin {
    type Body = Full<Bytes>;

    async fn call(self: Rc<Self>, asked: Asked) -> Answer<Full<Bytes>> {
        self.answer(&asked.head.method, asked.head.uri.path(), asked.head.uri.query()).into()
    }
}

fn answer(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn json(value: &impl Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_vec_pretty(value) {
        Ok(mut text) => {
            text.push(b'\n');
            answer(StatusCode::OK, JSON, text)
        }
        Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
    }
}
