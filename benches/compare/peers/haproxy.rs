//! HAProxy: what has to be said, and otherwise its defaults. It knows protocol changes by itself.
//!
//! It wants two descriptors for each client that it is to have room for, and without the last of the lines in `global` it would not start
//! where there are fewer, although most clients here are idle and take one.
//!
//! Many routes are a map, which is a tree to it, as its documentation advises; rules would be tried one after another.

use std::fmt::Write;
use std::fs;

use super::{Back, CLIENTS, Front, Kind, Launch, Plan, Site, Source, packages};
use crate::Failure;

pub(super) const KIND: Kind = Kind {
    name: "haproxy",
    source: Source::Debian("haproxy"),
    version: |program| packages::said(program, "-v", |line| !line.is_empty()),
    cannot: |_| None,
    launch,
};

fn launch(site: &Site<'_>) -> Result<Launch, Failure> {
    let file = site.folder.join("haproxy.cfg");
    let map = site.folder.join("routes.map");
    let lines: String = site.plan.prefixes().map(|prefix| format!("{prefix} web\n")).collect();
    fs::write(&map, lines)?;
    fs::write(&file, configuration(site)?)?;
    Ok(Launch::new(["-db".into(), "-f".into(), file.into()]))
}

fn configuration(site: &Site<'_>) -> Result<String, std::fmt::Error> {
    let (plan, address) = (site.plan, site.address);
    let mut text = format!(
        "global
    nbthread 1
    maxconn {CLIENTS}
    no strict-limits
"
    );
    if plan.front.is_secure() && !plan.resume {
        text.push_str("    tune.ssl.cachesize 0\n    ssl-default-bind-options no-tls-tickets\n");
    }
    write!(
        text,
        "defaults
    mode http
    timeout connect 5s
    timeout client 75s
    timeout server 75s
    timeout tunnel 1h
    option forwardfor
frontend edge
    bind {address}{}
",
        words_of_listener(plan)
    )?;
    if plan.routes > 1 {
        let map = site.folder.join("routes.map");
        writeln!(text, "    use_backend %[path,map_beg({})]", map.display())?;
    } else {
        text.push_str("    default_backend web\n");
    }
    text.push_str("backend web\n    balance roundrobin\n    http-reuse always\n");
    let protocol = if plan.back == Back::Http2 { " proto h2" } else { "" };
    for (number, origin) in plan.origins.iter().enumerate() {
        writeln!(text, "    server origin{number} {origin}{protocol}")?;
    }
    Ok(text)
}

fn words_of_listener(plan: &Plan<'_>) -> String {
    let both = plan.certificate.both.display();
    match plan.front {
        Front::Plain => String::new(),
        Front::Tls => format!(" ssl crt {both} alpn http/1.1"),
        Front::Http2 => format!(" ssl crt {both} alpn h2,http/1.1"),
        Front::Http2Clear => " proto h2".to_owned(),
    }
}
