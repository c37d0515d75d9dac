//! A request as spans: one of kind "server" for itself, one of kind "client" for each attempt. Attributes are named by OpenTelemetry's
//! semantic conventions for HTTP; those beginning with `lictor.` are ours.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use http::{Method, Version};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource as Attributed;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, SpanFlags, Status};

use super::Finished;
use crate::account::{Flag, Purpose, Trace, Try, Word};

/// The flag of W3C's that says that a trace is recorded.
const RECORDED: u32 = 1;
/// Query parameters that sign a request: whoever has them can make it (semantic conventions, `url.query`).
const SIGNATURES: [&str; 4] = ["AWSAccessKeyId", "Signature", "sig", "X-Goog-Signature"];

/// Who we are in traces.
#[derive(Debug)]
pub(super) struct Resource(Attributed);

impl Resource {
    pub(super) fn new(service_name: &str) -> Self {
        let instance = format!("{:032x}", fastrand::u128(..));
        let attributes = vec![
            text("service.name", service_name),
            text("service.version", env!("CARGO_PKG_VERSION")),
            text("service.instance.id", instance),
        ];
        Resource(Attributed { attributes, ..Attributed::default() })
    }

    /// These spans as ours.
    pub(super) fn with(&self, spans: Vec<Span>) -> ResourceSpans {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let scope = InstrumentationScope { name: "lictor".to_owned(), version, ..InstrumentationScope::default() };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
        ResourceSpans { resource: Some(self.0.clone()), scope_spans, ..ResourceSpans::default() }
    }
}

/// The spans of a request. `now` is one moment by both clocks.
pub(super) fn spans(finished: &Finished, now: (Instant, SystemTime)) -> Vec<Span> {
    let Some(trace) = finished.account.trace else { return Vec::new() };
    let mut spans = vec![server(finished, trace, now)];
    let tries = finished.account.tries.iter().enumerate();
    spans.extend(tries.map(|(place, one)| client(finished, trace, (place, one), now)));
    spans
}

fn server(finished: &Finished, trace: Trace, now: (Instant, SystemTime)) -> Span {
    let account = &finished.account;
    let mut attributes = method(account.method.as_ref());
    attributes.push(text("url.scheme", &*finished.scheme));
    if let Some(target) = account.word(Word::Target) {
        let target = String::from_utf8_lossy(target);
        let (path, query) = target.split_once('?').map_or((&*target, None), |(path, query)| (path, Some(query)));
        attributes.push(text("url.path", path));
        attributes.extend(query.map(|query| text("url.query", redacted(query))));
    }
    if let Some(authority) = account.word(Word::Authority) {
        attributes.extend(host(&String::from_utf8_lossy(authority)));
    }
    attributes.extend(account.version.and_then(version));
    let agent = account.word(Word::UserAgent).map(String::from_utf8_lossy);
    attributes.extend(agent.map(|agent| text("user_agent.original", agent)));
    attributes.extend(account.client.map(|client| text("client.address", client.to_string())));
    if let Some(peer) = finished.peer {
        attributes.push(text("network.peer.address", peer.ip().to_string()));
        attributes.push(number("network.peer.port", u64::from(peer.port())));
    }
    if let Some((version, cipher)) = &finished.tls {
        attributes.push(text("tls.protocol.version", version.trim_start_matches("TLSv")));
        attributes.push(text("tls.cipher", &**cipher));
    }
    attributes.extend(finished.identity.as_deref().map(|name| text("lictor.client.identity", name)));
    attributes.push(number("http.request.body.size", finished.received));
    attributes.push(number("http.response.body.size", finished.sent));
    attributes.extend(own(finished));
    let is_seen = finished.status != 0 && !(finished.status == 499 && account.flags.has(Flag::ClientLeft));
    let failure = Flag::ENDINGS.into_iter().find(|flag| account.flags.has(*flag));
    let failure = failure.map(Flag::code).map(str::to_owned);
    let failure = failure.or_else(|| (finished.status >= 500).then(|| finished.status.to_string()));
    if is_seen {
        attributes.push(number("http.response.status_code", u64::from(finished.status)));
    }
    let name = named(account.method.as_ref(), Some(&*finished.route).filter(|route| !route.is_empty()));
    Span {
        trace_id: trace.id.to_be_bytes().to_vec(),
        span_id: trace.span.to_be_bytes().to_vec(),
        parent_span_id: if trace.parent == 0 { Vec::new() } else { trace.parent.to_be_bytes().to_vec() },
        trace_state: state(finished),
        flags: flags(trace.parent != 0),
        name,
        kind: SpanKind::Server.into(),
        start_time_unix_nano: nanoseconds(finished.started, now),
        end_time_unix_nano: nanoseconds(finished.started + finished.took, now),
        status: Some(status(failure.is_some())),
        attributes: with_error(attributes, failure),
        ..Span::default()
    }
}

fn client(finished: &Finished, trace: Trace, (place, one): (usize, &Try), now: (Instant, SystemTime)) -> Span {
    let account = &finished.account;
    let mut attributes = method(account.method.as_ref());
    let address = one.endpoint.address();
    attributes.push(text("server.address", address.host()));
    let port = address.to_string().rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    attributes.extend(port.map(|port| number("server.port", port)));
    if one.purpose != Purpose::First {
        attributes.push(number("http.request.resend_count", place as u64));
    }
    attributes.push(text("lictor.cluster", &*finished.cluster));
    attributes.push(text("lictor.attempt", purpose(one.purpose)));
    attributes.push(flag("lictor.connection.reused", one.reused));
    let mut failure = None;
    if let Some(end) = one.end {
        if end.status > 0 {
            attributes.push(number("http.response.status_code", u64::from(end.status)));
        }
        let bad = (end.status >= 400).then(|| end.status.to_string());
        failure = end.failure.map(|flag| flag.code().to_owned()).or(bad);
    }
    // Whoever was overtaken, or whose client left, has no end of its own; whoever has answered goes on to the end of its body.
    let ended = match one.end {
        Some(end) if end.failure.is_some() || !is_last(finished, one) => end.at,
        _ => finished.started + finished.took,
    };
    Span {
        trace_id: trace.id.to_be_bytes().to_vec(),
        span_id: one.span.to_be_bytes().to_vec(),
        parent_span_id: trace.span.to_be_bytes().to_vec(),
        trace_state: state(finished),
        flags: flags(false),
        name: named(account.method.as_ref(), None),
        kind: SpanKind::Client.into(),
        start_time_unix_nano: nanoseconds(one.began, now),
        end_time_unix_nano: nanoseconds(ended.max(one.began), now),
        status: Some(status(failure.is_some())),
        attributes: with_error(attributes, failure),
        ..Span::default()
    }
}

fn is_last(finished: &Finished, one: &Try) -> bool {
    finished.account.last().is_some_and(|last| last.span == one.span)
}

/// What no convention has a name for.
fn own(finished: &Finished) -> Vec<KeyValue> {
    let account = &finished.account;
    let mut attributes = vec![text("lictor.listener", &*finished.listener)];
    if !finished.route.is_empty() {
        attributes.push(text("lictor.route", &*finished.route));
    }
    if !finished.cluster.is_empty() {
        attributes.push(text("lictor.cluster", &*finished.cluster));
    }
    let codes: Vec<AnyValue> = account.flags.iter().map(|flag| string(flag.code())).collect();
    if !codes.is_empty() {
        attributes.push(pair("lictor.flags", Value::ArrayValue(ArrayValue { values: codes })));
    }
    attributes.push(number("lictor.attempts", u64::from(account.attempts)));
    let id = account.word(Word::RequestId).map(String::from_utf8_lossy);
    attributes.extend(id.map(|id| text("lictor.request_id", id)));
    attributes
}

/// A method that is none of the known ones is not to become a value that anybody can choose.
fn method(method: Option<&Method>) -> Vec<KeyValue> {
    match (known(method), method) {
        (Some(known), _) => vec![text("http.request.method", known)],
        (None, Some(method)) => {
            vec![text("http.request.method", "_OTHER"), text("http.request.method_original", method.as_str())]
        }
        (None, None) => Vec::new(),
    }
}

fn known(method: Option<&Method>) -> Option<&str> {
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::PATCH,
        Method::OPTIONS,
        Method::CONNECT,
        Method::TRACE,
    ];
    method.filter(|method| known.contains(method)).map(Method::as_str)
}

fn named(method: Option<&Method>, route: Option<&str>) -> String {
    let method = known(method).unwrap_or("HTTP");
    route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}"))
}

/// Name and port of a host.
fn host(authority: &str) -> Vec<KeyValue> {
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (name, port.parse().ok()),
        _ => (authority, None),
    };
    let name = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    let port = port.map(|port: u16| number("server.port", u64::from(port)));
    std::iter::once(text("server.address", name)).chain(port).collect()
}

fn version(version: Version) -> Option<KeyValue> {
    let number = match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_11 => "1.1",
        Version::HTTP_2 => "2",
        _ => return None,
    };
    Some(text("network.protocol.version", number))
}

/// A query without what signs it.
fn redacted(query: &str) -> String {
    let part = |part: &str| match part.split_once('=') {
        Some((name, _)) if SIGNATURES.contains(&name) => format!("{name}=REDACTED"),
        _ => part.to_owned(),
    };
    query.split('&').map(part).collect::<Vec<_>>().join("&")
}

fn purpose(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::First => "first",
        Purpose::Retry => "retry",
        Purpose::Hedge => "hedge",
    }
}

fn state(finished: &Finished) -> String {
    finished.account.word(Word::TraceState).map(String::from_utf8_lossy).unwrap_or_default().into_owned()
}

fn flags(parent_is_remote: bool) -> u32 {
    let remote = if parent_is_remote { SpanFlags::ContextIsRemoteMask as u32 } else { 0 };
    RECORDED | SpanFlags::ContextHasIsRemoteMask as u32 | remote
}

fn status(is_error: bool) -> Status {
    let code = if is_error { StatusCode::Error } else { StatusCode::Unset };
    Status { code: code.into(), ..Status::default() }
}

fn with_error(mut attributes: Vec<KeyValue>, failure: Option<String>) -> Vec<KeyValue> {
    attributes.extend(failure.map(|failure| text("error.type", failure)));
    attributes
}

/// A moment as the protocol has it. All of a trace go by one pair of clocks, so that none begins before the one that it is part of.
fn nanoseconds(moment: Instant, (instant, now): (Instant, SystemTime)) -> u64 {
    let at = now.checked_sub(instant.saturating_duration_since(moment)).unwrap_or(now);
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

fn text(key: &str, value: impl Into<String>) -> KeyValue {
    pair(key, Value::StringValue(value.into()))
}

fn number(key: &str, value: u64) -> KeyValue {
    pair(key, Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)))
}

fn flag(key: &str, value: bool) -> KeyValue {
    pair(key, Value::BoolValue(value))
}

fn string(value: &str) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(value.to_owned())) }
}

fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_signs_a_request_is_left_out_of_its_query() {
        assert_eq!(
            redacted("a=1&sig=secret&X-Goog-Signature=x&sigma=2"),
            "a=1&sig=REDACTED&X-Goog-Signature=REDACTED&sigma=2"
        );
    }

    #[test]
    fn a_host_is_a_name_and_perhaps_a_port() {
        let of = |authority| host(authority).len();
        assert_eq!([of("shop"), of("shop:80"), of("[::1]:80"), of("[::1]")], [1, 2, 2, 1]);
    }
}
