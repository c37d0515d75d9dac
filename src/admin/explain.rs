//! Why a request goes where it goes, by the table that is read now: the same that `lictor explain` shows.

use std::time::Instant;

use super::Admin;
use super::answer::{Problem, Reply, json};
use super::ask::{Ask, many, one};
use super::dispatch::Page;
use crate::config::Listener;
use crate::explanation::{self, Description, Ground};

/// Pages of this file.
pub(super) const PAGES: &[Page] = &[Page::get("/v1/explain", explain).with(&[
    one("host"),
    one("path"),
    one("method"),
    many("header"),
    one("client"),
    one("scheme"),
    one("server_name"),
    many("identity"),
    one("listener"),
])];

fn explain(admin: &Admin, ask: &Ask) -> Reply {
    let said = |key| ask.query(key).map(str::to_owned);
    let description = Description {
        listener: said("listener"),
        method: said("method"),
        host: said("host")
            .ok_or_else(|| Problem::bad("host is missing: /v1/explain?host=shop.example.com&path=/api"))?,
        path: said("path"),
        headers: ask.every("header").map(str::to_owned).collect(),
        client: said("client"),
        scheme: said("scheme"),
        server_name: said("server_name"),
        identities: ask.every("identity").map(str::to_owned).collect(),
    };
    let listeners: Vec<Listener> = admin.listeners.iter().map(|(listener, _)| listener.clone()).collect();
    let Some(egress) = &admin.egress else { return Err(Problem::missing("nothing is known of names here")) };
    let ground = Ground { listeners: &listeners, egress, now: Instant::now() };
    let explained = explanation::explain(&admin.reader.load(), ground, &description);
    json(&explained.map_err(|wrong| Problem::bad(wrong.to_string()))?)
}
