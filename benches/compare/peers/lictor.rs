//! Lictor: its defaults, with the metrics that an operator would have, and room for as many clients as the others have.

use std::fmt::Write;
use std::fs;

use super::{Back, CLIENTS, Kind, Launch, Plan, Site, Source, packages};
use crate::Failure;

pub(super) const KIND: Kind = Kind {
    name: "lictor",
    source: Source::Given,
    version: |program| packages::said(program, "--version", |line| !line.is_empty()),
    cannot,
    launch,
};

/// With a line for each request, in a file among its own.
pub(super) const LOGGING: Kind = Kind { name: "lictor-log", launch: launch_logging, ..KIND };

fn cannot(plan: &Plan<'_>) -> Option<&'static str> {
    (plan.front.is_secure() && !plan.resume).then_some("sessions can always be resumed")
}

fn launch(site: &Site<'_>) -> Result<Launch, Failure> {
    launch_with(site, "")
}

fn launch_logging(site: &Site<'_>) -> Result<Launch, Failure> {
    launch_with(site, "\n[access_log]\nformat = \"json\"\npath = \"access.log\"\n")
}

fn launch_with(site: &Site<'_>, more: &str) -> Result<Launch, Failure> {
    let file = site.folder.join("lictor.toml");
    fs::write(&file, configuration(site)? + more)?;
    Ok(Launch::new(["serve".into(), "--config".into(), file.into()]))
}

fn configuration(site: &Site<'_>) -> Result<String, std::fmt::Error> {
    let plan = site.plan;
    let mut text = format!(
        "workers = 1
max_connections = {CLIENTS}

# Nobody has to be told that it leaves.
[drain]
delay = \"0s\"

[admin]
bind = \"{}\"

[[listeners]]
name = \"edge\"
bind = \"{}\"
",
        site.spare, site.address
    );
    if plan.front.is_secure() {
        let (chain, key) = (plan.certificate.chain.display(), plan.certificate.key.display());
        writeln!(text, "tls.certificates = [{{ cert = '{chain}', key = '{key}' }}]")?;
    }
    for prefix in plan.prefixes() {
        write!(text, "\n[[routes]]\npath = \"{prefix}\"\ncluster = \"web\"\n")?;
    }
    if plan.routes <= 1 {
        text.push_str("\n[[routes]]\ncluster = \"web\"\n");
    }
    let endpoints: Vec<String> = plan.origins.iter().map(|origin| format!("\"{origin}\"")).collect();
    let endpoints = endpoints.join(", ");
    write!(text, "\n[clusters.web]\nendpoints = [{endpoints}]\npolicy = \"round_robin\"\n")?;
    if plan.back == Back::Http2 {
        text.push_str("protocol = \"h2\"\n");
    }
    Ok(text)
}
