//! Traces: which requests are recorded, what a collector gets to see of them, and what endpoints are told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lictor::tls::provider;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use prost::Message;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::support::app::{Proxy, to_endpoints};
use crate::support::chain::{Authority, Leaf};
use crate::support::client::{Client, Response, eventually, get};
use crate::support::h2::H2Origin;
use crate::support::origin::{Origin, Script};
use crate::support::spawned::Spawned;
use crate::support::window::metric;

const SOON: Duration = Duration::from_secs(15);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const TRUSTING: &str = "[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\ntrusted_networks = [\"127.0.0.0/8\"]\n";

/// `[tracing]` to that collector, with more keys.
fn to(collector: &Origin, more: &str) -> String {
    format!("[tracing]\nendpoint = \"{}/v1/traces\"\n{more}\n", collector.url())
}

/// All that a collector was sent.
fn received(collector: &Origin) -> Vec<ResourceSpans> {
    let requests = collector.requests();
    let bodies = requests.iter().map(|request| ExportTraceServiceRequest::decode(&request.body[..]).unwrap());
    bodies.flat_map(|request| request.resource_spans).collect()
}

/// So many spans, once they are there, in the order in which they began; those of requests before those of their attempts.
async fn spans(collector: &Origin, count: usize) -> Vec<Span> {
    let all = || received(collector).into_iter().flat_map(|part| part.scope_spans).flat_map(|scope| scope.spans);
    let look = async || Some(all().collect()).filter(|spans: &Vec<Span>| spans.len() >= count);
    let mut spans = eventually(&format!("{count} spans"), SOON, look).await;
    assert_eq!(spans.len(), count);
    spans.sort_by_key(|span| (span.kind != SpanKind::Server as i32, span.start_time_unix_nano));
    spans
}

fn attributes(pairs: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Any| match value {
        Any::StringValue(text) => text.clone(),
        Any::IntValue(number) => number.to_string(),
        Any::BoolValue(flag) => flag.to_string(),
        other => format!("{other:?}"),
    };
    let pair = |pair: &KeyValue| (pair.key.clone(), text(pair.value.as_ref().unwrap().value.as_ref().unwrap()));
    pairs.iter().map(pair).collect()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A request with these headers, each line with its end.
async fn ask(proxy: &Proxy, headers: &str) -> Response {
    let mut client = Client::connect(proxy.address()).await;
    client
        .exchange(format!("GET /a?b=c&sig=secret HTTP/1.1\r\nhost: shop:81\r\nuser-agent: curl\r\n{headers}\r\n"))
        .await
}

fn from_caller(flags: &str) -> String {
    format!("traceparent: 00-{TRACE}-{CALLER}-{flags}\r\ntracestate: a=b\r\n")
}

/// What the endpoint was told, in its parts.
fn told(origin: &Origin, place: usize) -> Vec<String> {
    let parent = origin.requests()[place].header("traceparent").unwrap();
    parent.split('-').map(str::to_owned).collect()
}

#[tokio::test]
async fn a_recorded_request_has_a_span_and_its_attempt_another() {
    let (origin, collector) = (Origin::start("one").await, Origin::start("collector").await);
    let keys = "sample = 0.0\nservice_name = \"edge-1\"\n[tracing.headers]\nAuthorization = \"Bearer x\"";
    let text = format!("{}{TRUSTING}{}", to_endpoints(&[origin.address()], ""), to(&collector, keys));
    let proxy = Proxy::start(&text);
    assert_eq!(ask(&proxy, &from_caller("01")).await.status, 200);
    let spans = spans(&collector, 2).await;
    let (server, client) = (&spans[0], &spans[1]);
    let ids = [&server.trace_id, &server.parent_span_id, &client.trace_id].map(|id| hexadecimal(id));
    assert_eq!(ids, [TRACE, CALLER, TRACE]);
    assert_eq!((server.kind, client.kind), (SpanKind::Server as i32, SpanKind::Client as i32));
    assert_eq!(client.parent_span_id, server.span_id);
    assert_eq!(told(&origin, 0), ["00", TRACE, &hexadecimal(&client.span_id), "01"], "the attempt is its parent");
    assert_eq!(origin.requests()[0].header("tracestate").as_deref(), Some("a=b"));
    assert_eq!((server.trace_state.as_str(), server.name.as_str()), ("a=b", "GET *"));
    assert!(server.start_time_unix_nano <= client.start_time_unix_nano && server.end_time_unix_nano > 0);
    let has = attributes(&server.attributes);
    for (key, value) in [
        ("http.request.method", "GET"),
        ("url.path", "/a"),
        ("url.query", "b=c&sig=REDACTED"),
        ("url.scheme", "http"),
        ("server.address", "shop"),
        ("server.port", "81"),
        ("network.protocol.version", "1.1"),
        ("client.address", "127.0.0.1"),
        ("user_agent.original", "curl"),
        ("http.response.status_code", "200"),
        ("lictor.cluster", "web"),
        ("lictor.attempts", "1"),
    ] {
        assert_eq!(has.get(key).map(String::as_str), Some(value), "{key} in {has:?}");
    }
    let has = attributes(&client.attributes);
    assert_eq!((&*has["server.address"], &*has["lictor.connection.reused"]), ("127.0.0.1", "false"));
    assert_eq!(has["server.port"], origin.address().port().to_string());
    let resource = received(&collector)[0].resource.clone().unwrap();
    assert_eq!(attributes(&resource.attributes)["service.name"], "edge-1");
    let sent = &collector.requests()[0];
    assert_eq!((sent.method(), sent.target()), ("POST", "/v1/traces"));
    assert_eq!(sent.header("content-type").as_deref(), Some("application/x-protobuf"));
    assert_eq!(sent.header("authorization").as_deref(), Some("Bearer x"));
}

#[tokio::test]
async fn each_attempt_is_told_apart() {
    let (bad, good, collector) =
        (Origin::start("bad").await, Origin::start("good").await, Origin::start("collector").await);
    bad.always(Script::ResetBeforeHead);
    let more = "policy = \"round_robin\"\nejection = { consecutive_failures = 0 }";
    let text = format!("{}{}", to_endpoints(&[bad.address(), good.address()], more), to(&collector, "sample = 1.0"));
    let proxy = Proxy::start(&text);
    while bad.hits() == 0 {
        assert_eq!(get(proxy.address(), "shop", "/").await.text(), "good");
    }
    let requests = good.hits();
    let all = spans(&collector, 2 * requests + 1).await;
    let tried = all
        .iter()
        .find(|span| span.kind == SpanKind::Server as i32 && attributes(&span.attributes)["lictor.attempts"] == "2");
    let tried = tried.unwrap();
    assert!(tried.parent_span_id.is_empty() && attributes(&tried.attributes)["lictor.flags"].contains("\"R\""));
    let of_it: Vec<&Span> = all.iter().filter(|span| span.parent_span_id == tried.span_id).collect();
    let (first, second) = (of_it[0], of_it[1]);
    assert_eq!(first.status.as_ref().unwrap().code, StatusCode::Error as i32);
    assert_eq!(attributes(&first.attributes)["error.type"], "UR");
    assert_eq!(told(&bad, 0)[2], hexadecimal(&first.span_id));
    let last = good.hits() - 1;
    assert_eq!(told(&good, last)[2], hexadecimal(&second.span_id));
    assert_eq!(attributes(&second.attributes)["http.request.resend_count"], "1");
}

#[tokio::test]
async fn of_two_attempts_at_once_each_has_a_span_and_the_one_that_lost_ends_when_it_was_given_up() {
    let (origins, collector) =
        ([Origin::start("one").await, Origin::start("two").await], Origin::start("collector").await);
    let more = "policy = \"round_robin\"\nejection = { consecutive_failures = 0, outlier_percent = 0 }\nhedge = { min = \"100ms\" }";
    let text = to_endpoints(&origins.each_ref().map(Origin::address), more);
    let proxy = Proxy::start(&format!("{text}{TRUSTING}{}", to(&collector, "sample = 0.0")));
    // Not recorded: until it is known what such requests take.
    for _ in 0..40 {
        assert_eq!(ask(&proxy, &from_caller("00")).await.status, 200);
    }
    let (slow, quick) = if ask(&proxy, "").await.text() == "one" { (1, 0) } else { (0, 1) };
    let (slow, quick) = (&origins[slow], &origins[quick]);
    slow.always(Script::Hang);
    let before = [slow.hits(), quick.hits()];
    assert_eq!(ask(&proxy, &from_caller("01")).await.text(), quick.name());
    let spans = spans(&collector, 3).await;
    let (server, first, second) = (&spans[0], &spans[1], &spans[2]);
    let has = attributes(&server.attributes);
    assert!(has["lictor.flags"].contains("\"H\"") && has["lictor.attempts"] == "2", "{has:?}");
    for (span, origin, hits) in [(first, slow, before[0]), (second, quick, before[1])] {
        assert_eq!(span.parent_span_id, server.span_id);
        assert_eq!(told(origin, hits), ["00", TRACE, &hexadecimal(&span.span_id), "01"]);
        assert_eq!(attributes(&span.attributes)["server.port"], origin.address().port().to_string());
        assert!(span.end_time_unix_nano <= server.end_time_unix_nano && span.status.as_ref().unwrap().code != 2);
    }
    assert_eq!(attributes(&second.attributes)["lictor.attempt"], "hedge");
    assert!(!attributes(&first.attributes).contains_key("http.response.status_code"), "it has not answered");
    assert_eq!(attributes(&second.attributes)["http.response.status_code"], "200");
}

#[tokio::test]
async fn an_endpoint_that_speaks_http_2_is_told_as_well() {
    let (origin, collector) = (H2Origin::start().await, Origin::start("collector").await);
    let text = to_endpoints(&[origin.address()], "protocol = \"h2\"");
    let proxy = Proxy::start(&format!("{text}{TRUSTING}{}", to(&collector, "sample = 0.0")));
    assert_eq!(ask(&proxy, &from_caller("01")).await.status, 200);
    let attempt = hexadecimal(&spans(&collector, 2).await[1].span_id);
    assert_eq!(origin.asked()[0].headers["traceparent"], format!("00-{TRACE}-{attempt}-01"));
    // What is not recorded here goes on as it came.
    assert_eq!(ask(&proxy, &from_caller("00")).await.status, 200);
    assert_eq!(origin.asked()[1].headers["traceparent"], format!("00-{TRACE}-{CALLER}-00"));
}

#[tokio::test]
async fn a_collector_is_sent_spans_by_tls_if_its_certificate_is_good() {
    let (origin, collector) = (Origin::start("one").await, Origin::start("collector").await);
    let (root, other, folder) = (Authority::root("root"), Authority::root("other"), tempfile::tempdir().unwrap());
    let door = behind_tls(collector.address(), &root.leaf(&["localhost"])).await;
    for (authority, is_sent) in [(&other, false), (&root, true)] {
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, authority.pem()).unwrap();
        let keys =
            format!("endpoint = \"https://localhost:{}/v1/traces\"\nsample = 1.0\nca_file = {ca:?}", door.port());
        let proxy = Proxy::start(&format!("{}[tracing]\n{keys}\n", to_endpoints(&[origin.address()], "")));
        ask(&proxy, "").await;
        let figure = async |name: &str| metric(proxy.admin(), &format!("lictor_trace_{name}_total")).await;
        if is_sent {
            eventually("they are taken", SOON, async || figure("spans_exported").await == 2.0).await;
        } else {
            eventually("it is not believed", SOON, async || figure("export_failures").await >= 1.0).await;
        }
        assert_eq!(collector.hits() > 0, is_sent);
    }
    assert_eq!(spans(&collector, 2).await.len(), 2);
}

/// Where that address is reached by TLS, with this certificate.
async fn behind_tls(address: SocketAddr, leaf: &Leaf) -> SocketAddr {
    let chain = CertificateDer::pem_slice_iter(leaf.chain.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
    let (acceptor, listener) = (TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let door = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut inside = TcpStream::connect(address).await.unwrap();
                let _ = copy_bidirectional(&mut stream, &mut inside).await;
            });
        }
    });
    door
}

#[tokio::test]
async fn a_trace_is_begun_for_as_many_as_are_drawn_and_the_others_name_none() {
    let (origin, collector) = (Origin::start("one").await, Origin::start("collector").await);
    for (sample, is_traced) in [("1.0", true), ("0.0", false)] {
        let text =
            format!("{}{}", to_endpoints(&[origin.address()], ""), to(&collector, &format!("sample = {sample}")));
        let proxy = Proxy::start(&text);
        ask(&proxy, "").await;
        let request = origin.requests().pop().unwrap();
        assert_eq!(request.header("traceparent").is_some(), is_traced);
        proxy.drain().await;
    }
    assert_eq!(spans(&collector, 2).await.len(), 2, "of the first, and none was left behind by the drain");
}

#[tokio::test]
async fn nobody_who_is_not_trusted_decides_what_is_recorded() {
    let (origin, collector) = (Origin::start("one").await, Origin::start("collector").await);
    let text = format!("{}{}", to_endpoints(&[origin.address()], ""), to(&collector, "sample = 0.0"));
    let proxy = Proxy::start(&text);
    ask(&proxy, &from_caller("01")).await;
    let parent = told(&origin, 0);
    assert!(parent[1] != TRACE && parent[3] == "00", "{parent:?}");
    assert_eq!(origin.requests()[0].header("tracestate"), None);
    proxy.drain().await;
    // Trusted, but not recorded: it goes on as it is.
    let text = format!("{}{TRUSTING}{}", to_endpoints(&[origin.address()], ""), to(&collector, "sample = 1.0"));
    let proxy = Proxy::start(&text);
    ask(&proxy, &from_caller("00")).await;
    assert_eq!(told(&origin, 1), ["00", TRACE, CALLER, "00"]);
    ask(&proxy, &from_caller("0x")).await;
    let parent = told(&origin, 2);
    assert!(parent[1] != TRACE && parent[3] == "01", "a malformed one is none, and a new one is drawn: {parent:?}");
    proxy.drain().await;
    assert_eq!(spans(&collector, 2).await.len(), 2);
}

#[tokio::test]
async fn a_collector_that_is_busy_is_asked_again_and_one_that_refuses_is_not() {
    let (origin, collector) = (Origin::start("one").await, Origin::start("collector").await);
    let text = format!("{}{}", to_endpoints(&[origin.address()], ""), to(&collector, "sample = 1.0"));
    let lictor = Spawned::start(&text, &[]);
    let (address, admin) = (lictor.address().await, lictor.admin().await);
    collector.once(Script::answer(503, ""));
    get(address, "shop", "/").await;
    let figure = async |name: &str| metric(admin, &format!("lictor_trace_{name}_total")).await;
    eventually("it is sent again", SOON, async || figure("spans_exported").await == 2.0).await;
    assert_eq!((figure("spans_dropped").await, figure("export_failures").await), (0.0, 1.0));
    lictor.says("the collector does not take spans").await;
    lictor.says("the collector takes spans again").await;
    collector.once(Script::answer(400, ""));
    get(address, "shop", "/").await;
    eventually("it is given up", SOON, async || figure("spans_dropped").await == 2.0).await;
    assert_eq!((figure("spans_exported").await, collector.hits()), (2.0, 3));
}

#[tokio::test]
async fn a_collector_that_is_away_holds_up_nobody() {
    let (origin, collector) = (Origin::start("one").await, Origin::start("collector").await);
    collector.stop().await;
    let text = format!("{}{}", to_endpoints(&[origin.address()], ""), to(&collector, "sample = 1.0\nqueue = 8"));
    let proxy = Proxy::start(&text);
    let mut client = Client::connect(proxy.address()).await;
    for _ in 0..200 {
        assert_eq!(client.exchange("GET / HTTP/1.1\r\nhost: shop\r\n\r\n").await.status, 200);
    }
    let dropped = async || metric(proxy.admin(), "lictor_trace_spans_dropped_total").await > 0.0;
    eventually("some are dropped", SOON, dropped).await;
    drop(client);
    tokio::time::timeout(SOON, proxy.drain()).await.expect("it does not hold up the end either");
}

#[tokio::test]
async fn log_and_histograms_name_the_trace() {
    let (origin, collector) = (Origin::start("one").await, Origin::start("collector").await);
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let log_keys = format!("[access_log]\nformat = \"json\"\npath = {log:?}\n");
    let text = format!("{}{TRUSTING}{}{log_keys}", to_endpoints(&[origin.address()], ""), to(&collector, ""));
    let proxy = Proxy::start(&text);
    ask(&proxy, &from_caller("01")).await;
    let request =
        "GET /metrics HTTP/1.1\r\nhost: localhost\r\naccept: application/openmetrics-text; version=1.0.0\r\n\r\n";
    let marks = format!("# {{trace_id=\"{TRACE}\"");
    eventually("a bucket names it, and only one", SOON, async || {
        let scrape = Client::connect(proxy.admin()).await.exchange(request).await.text();
        let buckets = scrape.lines().filter(|line| line.starts_with("lictor_request_duration_seconds_bucket"));
        buckets.filter(|line| line.contains(&marks)).count() == 1
    })
    .await;
    proxy.drain().await;
    let entry: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(log).unwrap()).unwrap();
    let server = &spans(&collector, 2).await[0];
    assert_eq!(
        (entry["trace_id"].as_str(), entry["span_id"].as_str()),
        (Some(TRACE), Some(&*hexadecimal(&server.span_id)))
    );
}

#[test]
fn what_is_wrong_with_its_keys_is_said() {
    for (keys, what) in [
        ("endpoint = 'collector:4318'", "tracing.endpoint: \"collector:4318\" is no collector's URL"),
        (
            "endpoint = 'http://collector:4318'",
            "tracing.endpoint: \"http://collector:4318\" has no path; OTLP's is \"/v1/traces\"",
        ),
        ("endpoint = 'http://a:b@c/v1/traces'", "tracing.endpoint: has a password in it; use tracing.headers"),
        (
            "endpoint = 'http://c/v1/traces'\nsample = 2.0",
            "tracing.sample: 2 is not a share; use 0.0 for none to 1.0 for all",
        ),
        ("endpoint = 'http://c/v1/traces'\nqueue = 0", "tracing.queue: 0 requests is no queue; use 1 to 1000000"),
        (
            "endpoint = 'http://c/v1/traces'\nheaders = { a = \"se\\ncret\" }",
            "tracing.headers.a: is not a header: a name, and a text in one line",
        ),
        ("endpoint = 'http://c/v1/traces'\nheaders = { a = 123456 }", "tracing.headers.a: is a table of strings"),
    ] {
        let text = format!(
            "[[listeners]]\nname = 'a'\nbind = '127.0.0.1:0'\n[clusters.a]\nendpoints = ['127.0.0.1:1']\n[tracing]\n{keys}"
        );
        let said = lictor::config::parse(&text, &lictor::config::Environment::default()).unwrap_err().to_string();
        assert!(said.contains(what), "{said}");
        assert!(!said.contains("cret") && !said.contains("123456"), "{said}");
    }
}
