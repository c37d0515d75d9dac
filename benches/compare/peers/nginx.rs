//! nginx, by the book: its documentation has what keep-alive to upstreams, WebSocket and gRPC take.
//!
//! `keepalive` holds as many idle connections as there can be in any sensible run, and nginx's own limit of 1,000 requests a connection is
//! lifted, because the others have none. Whoever runs this as root has a worker that is root: the files of uploads are in a folder that is
//! closed to others. Protocols change in a location of their own, so that all else costs what it would without them.

use std::fmt::Write;
use std::fs;

use super::{Back, CLIENTS, ENDLESS, Front, IDLE_UPSTREAM, Kind, Launch, Plan, Site, Source, WEBSOCKET_PATH, packages};
use crate::Failure;

pub(super) const KIND: Kind = Kind {
    name: "nginx",
    source: Source::Debian("nginx-light"),
    version: |program| packages::said(program, "-v", |line| !line.is_empty()),
    cannot,
    launch,
};

fn cannot(plan: &Plan<'_>) -> Option<&'static str> {
    let is_http2 = matches!(plan.front, Front::Http2 | Front::Http2Clear);
    (plan.back == Back::Http2 && !is_http2).then_some("HTTP/2 to origins is for gRPC only, which comes by HTTP/2")
}

fn launch(site: &Site<'_>) -> Result<Launch, Failure> {
    let file = site.folder.join("nginx.conf");
    fs::write(&file, configuration(site)?)?;
    let arguments = ["-e".into(), "stderr".into(), "-p".into(), site.folder.into(), "-c".into(), file.into()];
    // One that rules and one that works.
    Ok(Launch { processes: 2, ..Launch::new(arguments) })
}

fn configuration(site: &Site<'_>) -> Result<String, std::fmt::Error> {
    let folder = site.folder.display();
    let mut text = format!(
        "daemon off;
user root;
worker_processes 1;
pid {folder}/pid;
error_log stderr error;
events {{
    worker_connections {CLIENTS};
}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 0;
    keepalive_requests {ENDLESS};
    upstream web {{
"
    );
    for origin in site.plan.origins {
        writeln!(text, "        server {origin};")?;
    }
    write!(text, "        keepalive {IDLE_UPSTREAM};\n        keepalive_requests {ENDLESS};\n    }}\n    server {{\n")?;
    write_listener(&mut text, site)?;
    write_locations(&mut text, site.plan)?;
    text.push_str("    }\n}\n");
    Ok(text)
}

fn write_listener(text: &mut String, site: &Site<'_>) -> std::fmt::Result {
    let (address, plan) = (site.address, site.plan);
    let words = match plan.front {
        Front::Plain => "",
        Front::Tls => " ssl",
        Front::Http2 => " ssl http2",
        Front::Http2Clear => " http2",
    };
    writeln!(text, "        listen {address}{words};")?;
    if plan.front.is_secure() {
        let (chain, key) = (plan.certificate.chain.display(), plan.certificate.key.display());
        writeln!(text, "        ssl_certificate {chain};\n        ssl_certificate_key {key};")?;
        writeln!(text, "        ssl_protocols TLSv1.2 TLSv1.3;")?;
        if !plan.resume {
            writeln!(text, "        ssl_session_tickets off;\n        ssl_session_cache off;")?;
        }
    }
    Ok(())
}

fn write_locations(text: &mut String, plan: &Plan<'_>) -> std::fmt::Result {
    let kind = if plan.back == Back::Http2 { "grpc" } else { "proxy" };
    let pass = if plan.back == Back::Http2 { "grpc_pass grpc://web" } else { "proxy_pass http://web" };
    // For all locations that set no headers of their own.
    let mut headers = format!(
        "{kind}_set_header Host $http_host;\n        {kind}_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n"
    );
    if plan.back == Back::Http1 {
        writeln!(text, "        proxy_http_version 1.1;")?;
        writeln!(
            text,
            "        location {WEBSOCKET_PATH} {{
            {pass};
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection \"upgrade\";
            {}        }}",
            headers.replace("        ", "            ")
        )?;
        headers.push_str("        proxy_set_header Connection \"\";\n");
    }
    write!(text, "        {headers}")?;
    for prefix in plan.prefixes() {
        writeln!(text, "        location {prefix} {{ {pass}; }}")?;
    }
    if plan.routes <= 1 {
        writeln!(text, "        location / {{ {pass}; }}")?;
    }
    Ok(())
}
