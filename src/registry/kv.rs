//! `/v1/kv`: keys over HTTP. Sessions and locks are not here, so nothing can be acquired.

use super::answer::{Answer, Refusal};
use super::api::Api;
use super::base64;
use super::blocking::{Reading, check_datacenter};
use super::call::Call;
use super::store::Store;
use super::store::keys::{Condition, Entry, Keys, MAX_BYTES, MAX_KEYS, Written};
use hyper::Method;
use serde::Serialize;

/// A key as it is shown.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown<'a> {
    lock_index: u64,
    key: &'a str,
    flags: u64,
    value: Option<String>,
    create_index: u64,
    modify_index: u64,
}

/// Answers `/v1/kv/{key}`.
pub async fn serve(api: &Api, call: &Call, key: &str) -> Result<Answer, Refusal> {
    call.only(&[Method::GET, Method::PUT, Method::DELETE])?;
    match call.method {
        Method::PUT => put(api, call, key),
        Method::DELETE => delete(api, call, key),
        _ => get(api, call, key).await.map(Answer::without_consistency),
    }
}

async fn get(api: &Api, call: &Call, key: &str) -> Result<Answer, Refusal> {
    let reading = Reading::of(call)?;
    if call.has("keys") {
        let separator = call.find("separator").unwrap_or("");
        let index = |store: &Store| store.keys().index_under(key);
        return reading.answer(api, index, |store| names(store.keys(), key, separator)).await;
    }
    if call.has("recurse") {
        let index = |store: &Store| store.keys().index_under(key);
        return reading
            .answer(api, index, |store| {
                let shown: Vec<Shown> = store.keys().under(key).map(show).collect();
                if shown.is_empty() {
                    return Ok(Answer::missing());
                }
                Answer::json(&shown)
            })
            .await;
    }
    if key.is_empty() {
        return Err(Refusal::bad("Missing key name"));
    }
    let raw = call.has("raw");
    let index = |store: &Store| store.keys().index_of(key);
    reading
        .answer(api, index, |store| match store.keys().find(key) {
            None => Ok(Answer::missing()),
            Some(entry) if raw => Ok(Answer::raw(entry.value.clone())),
            Some(entry) => Answer::json(&[show((key, entry))]),
        })
        .await
}

fn put(api: &Api, call: &Call, key: &str) -> Result<Answer, Refusal> {
    check_datacenter(call.find("dc").unwrap_or(""))?;
    if key.is_empty() {
        return Err(Refusal::bad("Missing key name"));
    }
    let conditions = ["acquire", "cas", "release"].map(|name| (name, call.find(name)));
    refuse_two(&conditions)?;
    if let Some(session) = call.find("acquire") {
        return Err(Refusal::failed(&format!("invalid session {session:?}")));
    }
    if call.has("release") {
        // Nobody can hold a lock here, so nobody can give one back.
        return Answer::json(&false);
    }
    let flags = call.number("flags")?.unwrap_or(0);
    let on = condition(call)?;
    match api.write(|store| store.put_key(key, (call.body.clone(), flags), on)) {
        Written::Changed | Written::Same => Answer::json(&true),
        Written::Refused => Answer::json(&false),
        Written::Full => Err(Refusal::failed(&format!(
            "This registry is full: it holds no more than {MAX_KEYS} keys and {MAX_BYTES} bytes of values"
        ))),
    }
}

fn delete(api: &Api, call: &Call, key: &str) -> Result<Answer, Refusal> {
    check_datacenter(call.find("dc").unwrap_or(""))?;
    let on = condition(call)?;
    if call.has("recurse") {
        refuse_two(&["cas", "recurse"].map(|name| (name, call.find(name))))?;
        api.write(|store| store.delete_keys(key));
        return Answer::json(&true);
    }
    if key.is_empty() {
        return Err(Refusal::bad("Missing key name"));
    }
    let done = api.write(|store| store.delete_key(key, on));
    Answer::json(&(done != Written::Refused))
}

/// Refuses a call that says two things of which only one can hold.
fn refuse_two(flags: &[(&str, Option<&str>)]) -> Result<(), Refusal> {
    let given = flags.iter().filter_map(|(name, value)| value.map(|value| format!("{name}={value}")));
    let given: Vec<String> = given.collect();
    if given.len() < 2 {
        return Ok(());
    }
    Err(Refusal::bad(&format!("Conflicting flags: {}", given.join("&"))))
}

fn condition(call: &Call) -> Result<Condition, Refusal> {
    let index = call.number("cas")?;
    Ok(index.map_or(Condition::Always, Condition::IndexIs))
}

fn show<'a, K: AsRef<str> + ?Sized>((key, entry): (&'a K, &Entry)) -> Shown<'a> {
    Shown {
        lock_index: 0,
        key: key.as_ref(),
        flags: entry.flags,
        value: (!entry.value.is_empty()).then(|| base64::encode(&entry.value)),
        create_index: entry.create_index,
        modify_index: entry.modify_index,
    }
}

/// The names under a prefix, each cut after the first separator behind it.
fn names(keys: &Keys, prefix: &str, separator: &str) -> Result<Answer, Refusal> {
    let mut names: Vec<&str> = Vec::new();
    for (key, _) in keys.under(prefix) {
        let cut = match separator {
            "" => None,
            separator => key[prefix.len()..].find(separator).map(|at| prefix.len() + at + separator.len()),
        };
        let name = &key[..cut.unwrap_or(key.len())];
        // Keys are in order, so equal names are neighbours.
        if names.last() != Some(&name) {
            names.push(name);
        }
    }
    if names.is_empty() {
        return Ok(Answer::missing());
    }
    Answer::json(&names)
}
