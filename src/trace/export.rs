//! Spans on their way to the collector: OTLP over HTTP, as protobuf. Many requests go at once. What the collector does not take for
//! reasons that pass is sent again, a few times; meanwhile the queue fills, and what it has no room for is dropped: workers never wait.

#![expect(clippy::vec_box, reason = "they come in boxes through the queue, and are not worth moving out of them")]

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use prost::Message;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, StatusCode};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::span::{Resource, spans};
use super::{Error, Finished, Tap};
use crate::config::Tracing;
use crate::metrics::TraceSeries;
use crate::tls;

/// Requests that are sent at once: with their attempts some thousand spans, and half a megabyte.
const BATCH: usize = 512;
/// How long a request waits for others. Nobody looks at a trace sooner.
const LINGER: Duration = Duration::from_secs(1);
/// Tries to send one batch, and the pause after the first, which doubles.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_secs(1);
/// A collector that asks for more is asked again sooner: others wait behind this batch.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// For what is left at the end.
const FAREWELL: Duration = Duration::from_secs(2);

/// What sends spans.
#[derive(Debug)]
pub struct Exporter {
    settings: Tracing,
    client: Client,
    resource: Resource,
    series: Arc<TraceSeries>,
    queue: mpsc::Sender<Box<Finished>>,
    finished: mpsc::Receiver<Box<Finished>>,
    is_failing: bool,
}

/// Why a batch was not taken.
enum Refused {
    /// It may be, later; perhaps after that time.
    ForNow(String, Option<Duration>),
    /// It never will be.
    ForGood(String),
}

impl Exporter {
    /// One for these settings.
    pub fn new(settings: &Tracing, series: Arc<TraceSeries>) -> Result<Self, Error> {
        let is_tls = settings.endpoint.starts_with("https");
        // Given in any case: on its own the library fails to start where the system has no CA certificates.
        let tls = if is_tls { tls::client(&settings.tls)? } else { tls::trust_nobody()? };
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(settings.timeout)
            .user_agent(concat!("lictor/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers(settings))
            .build()?;
        let (queue, finished) = mpsc::channel(settings.queue);
        let resource = Resource::new(&settings.service_name);
        let settings = settings.clone();
        Ok(Exporter { settings, client, resource, series, queue, finished, is_failing: false })
    }

    /// Where workers have their side from.
    pub fn tap(&self) -> Tap {
        Tap { sample: self.settings.sample, queue: self.queue.clone(), series: Arc::clone(&self.series) }
    }

    /// Sends what comes until it is told to stop, and then what is left.
    pub async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stop| *stop) => break,
                () = self.next(&mut batch) => {}
            }
            let request = self.request(&mut batch);
            let mut delivering = pin!(self.deliver(request, stopped.clone()));
            let is_over = tokio::select! {
                is_over = &mut delivering => is_over,
                // What is under way has as long as what is left.
                _ = stopped.wait_for(|stop| *stop) => timeout(FAREWELL, delivering).await.unwrap_or(true),
            };
            if is_over {
                break;
            }
        }
        let _ = timeout(FAREWELL, self.finish(batch)).await;
    }

    /// Waits for somebody to be there, and then a while for others. Nobody is woken for each of them.
    async fn next(&mut self, batch: &mut Vec<Box<Finished>>) {
        if batch.is_empty() {
            batch.extend(self.finished.recv().await);
        }
        if self.finished.len() < BATCH {
            sleep(LINGER).await;
        }
        self.take(batch);
    }

    fn take(&mut self, batch: &mut Vec<Box<Finished>>) {
        while batch.len() < BATCH
            && let Ok(finished) = self.finished.try_recv()
        {
            batch.push(finished);
        }
    }

    /// What is left, each batch once.
    async fn finish(&mut self, mut batch: Vec<Box<Finished>>) {
        loop {
            self.take(&mut batch);
            if batch.is_empty() {
                return;
            }
            let (body, count) = self.request(&mut batch);
            let sent = self.send(&body, count).await;
            self.note(&sent, count);
            if sent.is_err() {
                self.series.dropped(count);
            }
        }
    }

    /// The message that they make together, and how many spans it has.
    fn request(&self, batch: &mut Vec<Box<Finished>>) -> (Vec<u8>, u64) {
        let now = (Instant::now(), SystemTime::now());
        let spans: Vec<_> = batch.drain(..).flat_map(|finished| spans(&finished, now)).collect();
        let count = spans.len() as u64;
        let request = ExportTraceServiceRequest { resource_spans: vec![self.resource.with(spans)] };
        (request.encode_to_vec(), count)
    }

    /// Sends a batch, again where there is a point in it; true if it was told to stop meanwhile.
    async fn deliver(&mut self, (body, count): (Vec<u8>, u64), mut stopped: watch::Receiver<bool>) -> bool {
        let mut pause = PAUSE;
        for attempt in 1..=TRIES {
            let sent = self.send(&body, count).await;
            self.note(&sent, count);
            let asked = match sent {
                Ok(()) => return false,
                Err(Refused::ForGood(_)) => break,
                Err(Refused::ForNow(_, asked)) => asked,
            };
            if attempt < TRIES {
                let length = asked.map_or(pause, |asked| asked.max(pause)).min(LONGEST_PAUSE);
                tokio::select! {
                    () = sleep(length) => {}
                    _ = stopped.wait_for(|stop| *stop) => {
                        self.series.dropped(count);
                        return true;
                    }
                }
                pause *= 2;
            }
        }
        self.series.dropped(count);
        false
    }

    async fn send(&self, body: &[u8], count: u64) -> Result<(), Refused> {
        let request = self.client.post(&self.settings.endpoint).body(body.to_vec());
        let unreachable = |error: reqwest::Error| Refused::ForNow(said(&error), None);
        let answer = request.header(CONTENT_TYPE, "application/x-protobuf").send().await.map_err(unreachable)?;
        let (status, pause) = (answer.status(), retry_after(answer.headers()));
        if !status.is_success() {
            let what = format!("it answered {status}");
            // Those that the protocol says may be tried again.
            let is_passing = [
                StatusCode::TOO_MANY_REQUESTS,
                StatusCode::BAD_GATEWAY,
                StatusCode::SERVICE_UNAVAILABLE,
                StatusCode::GATEWAY_TIMEOUT,
            ];
            return Err(if is_passing.contains(&status) {
                Refused::ForNow(what, pause)
            } else {
                Refused::ForGood(what)
            });
        }
        let said = answer.bytes().await.ok().and_then(|bytes| ExportTraceServiceResponse::decode(bytes).ok());
        let rejected = said.and_then(|said| said.partial_success).map_or(0, |part| part.rejected_spans.max(0) as u64);
        self.series.dropped(rejected.min(count));
        self.series.exported(count.saturating_sub(rejected));
        Ok(())
    }

    /// Says once that it does not work, and once that it does again.
    fn note(&mut self, sent: &Result<(), Refused>, count: u64) {
        let collector = &self.settings.endpoint;
        match sent {
            Ok(()) if std::mem::take(&mut self.is_failing) => info!(%collector, "the collector takes spans again"),
            Ok(()) => {}
            Err(Refused::ForNow(error, _) | Refused::ForGood(error)) => {
                self.series.failed();
                if !std::mem::replace(&mut self.is_failing, true) {
                    warn!(%collector, spans = count, error, "the collector does not take spans");
                }
            }
        }
    }
}

fn headers(settings: &Tracing) -> HeaderMap {
    let value = |secret: &str| {
        // Checked with the configuration.
        let mut value = HeaderValue::from_str(secret).ok()?;
        value.set_sensitive(true);
        Some(value)
    };
    let all = settings.headers.iter();
    all.filter_map(|(name, secret)| Some((name.clone(), value(secret.reveal())?))).collect()
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse::<u32>().ok()?;
    Some(Duration::from_secs(seconds.into()))
}

/// An error with what caused it.
fn said(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
