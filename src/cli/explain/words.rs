//! An explanation in lines for people, made from the same JSON that a program gets.

use std::fmt::Write;

use serde_json::Value;

/// Endpoints that are shown of a cluster; a terminal has no room for thousands.
const MOST: usize = 40;

/// All of it.
pub(super) fn written(by: &str, explanation: &Value) -> String {
    let mut out = String::new();
    line(&mut out, "by", by);
    request(&mut out, &explanation["request"]);
    let route = &explanation["route"];
    if route.is_object() {
        line(&mut out, "route", &format!("{} ({})", text(&route["name"]), place(route)));
    }
    for other in list(&explanation["others"]) {
        line(&mut out, "not", &format!("{} ({}): {}", text(&other["name"]), place(other), text(&other["why"])));
    }
    if let Some(more @ 1..) = explanation["others_left_out"].as_u64() {
        line(&mut out, "not", &format!("{more} more"));
    }
    targets(&mut out, explanation);
    sent(&mut out, &explanation["sent"]);
    let mirror = &explanation["mirror"];
    if mirror.is_object() {
        line(&mut out, "mirror", &format!("{} of {} %", text(&mirror["cluster"]), mirror["percent"]));
    }
    list(&explanation["clusters"]).for_each(|one| cluster(&mut out, one));
    line(&mut out, "so", text(&explanation["summary"]));
    out
}

fn request(out: &mut String, request: &Value) {
    let query = request["query"].as_str().map(|query| format!("?{query}")).unwrap_or_default();
    let words = format!(
        "{} {}://{}{}{query} from {} at listener {}",
        text(&request["method"]),
        text(&request["scheme"]),
        text(&request["host"]),
        text(&request["path"]),
        text(&request["client"]),
        text(&request["listener"]),
    );
    line(out, "request", &words);
}

fn place(route: &Value) -> String {
    let origin = route["origin"].as_str().map(|origin| format!(", from {origin}")).unwrap_or_default();
    format!("host {}, path {}{origin}", text(&route["host"]), text(&route["path"]))
}

fn targets(out: &mut String, explanation: &Value) {
    let targets: Vec<&Value> = list(&explanation["targets"]).collect();
    if targets.len() < 2 {
        return;
    }
    let tied = if explanation["tied"] == true { ", always the same for this request" } else { "" };
    for target in targets {
        let out_of_service = if target["can_serve"] == true { "" } else { ", cannot serve" };
        let words = format!(
            "{} {}, weight {}{out_of_service}{tied}",
            text(&target["cluster"]),
            percent(&target["share"]),
            target["weight"]
        );
        line(out, "split", &words);
    }
}

fn sent(out: &mut String, sent: &Value) {
    if !sent.is_object() {
        return;
    }
    let host = sent["host"].as_str().unwrap_or("of the endpoint");
    let mut words = format!("{} {}, Host {host}", text(&sent["method"]), text(&sent["target"]));
    for (what, key) in [("without", "removed"), ("sets", "set"), ("adds", "added")] {
        let names: Vec<&str> = list(&sent[key]).map(text).collect();
        if !names.is_empty() {
            words += &format!(", {what} {}", names.join(" "));
        }
    }
    line(out, "sent", &words);
}

fn cluster(out: &mut String, cluster: &Value) {
    let mut words = format!("{}, policy {}", text(&cluster["name"]), text(&cluster["policy"]));
    if cluster["listed"] != true {
        words += ", no list yet";
    }
    if cluster["age"] != "fresh" {
        words += &format!(", {}", text(&cluster["age"]));
    }
    for (key, said) in [("from_disk", ", from disk"), ("panic", ", panic: all serve"), ("keyed", ", by its key")] {
        if cluster[key] == true {
            words += said;
        }
    }
    if let Some(level) = cluster["level"].as_u64() {
        words += &format!(", list {level} serves");
    }
    if let Some(limit) = cluster["limit"].as_u64() {
        words += &format!(", {} of {limit} requests in", cluster["admitted"]);
    }
    line(out, "cluster", &words);
    let endpoints: Vec<&Value> = list(&cluster["endpoints"]).collect();
    let width = endpoints.iter().take(MOST).map(|one| text(&one["address"]).len()).max().unwrap_or_default();
    for one in endpoints.iter().take(MOST) {
        let why: Vec<&str> = list(&one["why"]).map(text).collect();
        let (address, state) = (text(&one["address"]), text(&one["state"]));
        line(out, "", &format!("{address:width$}  {state:11}  {:>6}  {}", percent(&one["share"]), why.join("; ")));
    }
    if let Some(more) = endpoints.len().checked_sub(MOST).filter(|more| *more > 0) {
        line(out, "", &format!("{more} more"));
    }
}

/// A share as people read it.
fn percent(share: &Value) -> String {
    format!("{:.0} %", share.as_f64().unwrap_or_default() * 100.0)
}

fn line(out: &mut String, what: &str, words: &str) {
    // What services say of themselves must not move the cursor.
    let words: String = words.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    // A string refuses nothing.
    let _ = writeln!(out, "{what:8} {words}");
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
