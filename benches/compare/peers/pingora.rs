//! Pingora: the program in `../pingora`, which the bench builds. Being a library, it has nothing to be configured by but its arguments.

use std::fs;

use super::{Back, Front, Kind, Launch, Plan, Site, Source, packages};
use crate::Failure;

pub(super) const KIND: Kind = Kind { name: "pingora", source: Source::Built, version: |_| version(), cannot, launch };

/// The one that the program is built with.
fn version() -> Option<String> {
    let lock = fs::read_to_string(packages::pingora().join("Cargo.lock")).ok()?;
    let (_, rest) = lock.split_once("name = \"pingora\"\nversion = \"")?;
    rest.split_once('"').map(|(version, _)| format!("pingora {version}"))
}

fn cannot(plan: &Plan<'_>) -> Option<&'static str> {
    (plan.routes > 1).then_some("a library without routes: those would be ours")
}

fn launch(site: &Site<'_>) -> Result<Launch, Failure> {
    let plan = site.plan;
    let front = match plan.front {
        Front::Plain => "plain",
        Front::Tls => "tls",
        Front::Http2 => "http2",
        Front::Http2Clear => "http2-clear",
    };
    let back = match plan.back {
        Back::Http1 => "http1",
        Back::Http2 => "http2",
    };
    let tickets = if plan.resume { "tickets" } else { "no-tickets" };
    let mut launch = Launch::new([
        site.address.to_string().into(),
        front.into(),
        back.into(),
        plan.certificate.chain.clone().into(),
        plan.certificate.key.clone().into(),
        tickets.into(),
    ]);
    launch.arguments.extend(plan.origins.iter().map(|origin| origin.to_string().into()));
    Ok(launch)
}
