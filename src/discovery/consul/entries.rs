//! What Consul's configuration entries say of how services are to be treated: `service-defaults` and `service-resolver`, of which
//! lictor takes what is about that, in the words in which instances may say it themselves. Where they lead requests elsewhere
//! (subsets, redirects, splits) they are about the mesh, and a name means here what it means in Consul's DNS.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::sleep;
use tracing::{debug, info};

use super::{Shared, Update};
use crate::consul::{Backoff, Bucket, Failure, vary};

/// What entries of one kind say, by service.
pub type Entries = BTreeMap<String, BTreeMap<String, String>>;

/// A kind of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `service-defaults`
    Defaults,
    /// `service-resolver`
    Resolver,
}

/// An agent that does not know entries will not learn of them; one that is replaced may.
const UNSUPPORTED: Duration = Duration::from_secs(600);
/// So many services are treated as entries say; far beyond what one process talks to.
const MOST: usize = 100_000;

impl Kind {
    pub(super) const ALL: [Kind; 2] = [Kind::Defaults, Kind::Resolver];

    fn path(self) -> &'static str {
        match self {
            Kind::Defaults => "/v1/config/service-defaults",
            Kind::Resolver => "/v1/config/service-resolver",
        }
    }
}

/// Follows the entries of a kind for as long as it is polled. What cannot be had changes nothing.
pub(super) async fn follow(shared: Arc<Shared>, kind: Kind) {
    let (mut bucket, mut backoff) = (Bucket::new(Instant::now()), Backoff::default());
    let (mut index, mut known) = (0, Entries::new());
    loop {
        sleep(bucket.take(Instant::now())).await;
        let wait = vary(shared.settings.wait);
        let asked = Instant::now();
        let answer = match ask(&shared, kind, (index, wait)).await {
            Ok(answer) => answer,
            Err(failure) => {
                index = 0;
                let pause = backoff.after(&failure);
                if backoff.is_first() {
                    info!(?kind, error = %failure, "configuration entries cannot be read; what they said holds");
                }
                // An older agent has none, and says so in one way or another.
                let is_final = matches!(&failure, Failure::Unavailable { status, .. } if status.as_u16() == 404)
                    || matches!(failure, Failure::Refused { .. });
                sleep(if is_final { UNSUPPORTED } else { pause }).await;
                continue;
            }
        };
        backoff.reset();
        let (next, value) = answer;
        // Early and with the same index: the state was replaced. Backwards: it may have been.
        let is_early = next == index && asked.elapsed() < wait;
        index = if is_early || next < index { 0 } else { next };
        let said = entries(kind, &value);
        if said != known {
            debug!(?kind, services = said.len(), "configuration entries");
            known.clone_from(&said);
            if shared.updates.send(Update::Entries(kind, said)).await.is_err() {
                return;
            }
        }
    }
}

async fn ask(shared: &Shared, kind: Kind, waits: (u64, Duration)) -> Result<(u64, Value), Failure> {
    let answer = shared.agent.watch(kind.path(), &shared.agent.place(None), waits, 0).await?.found().await?;
    let index = answer.meta.index.max(1);
    Ok((index, answer.json().await?))
}

fn entries(kind: Kind, value: &Value) -> Entries {
    let entry = |entry: &Value| {
        let name = entry["Name"].as_str()?.to_ascii_lowercase();
        let words = match kind {
            Kind::Defaults => defaults(entry),
            Kind::Resolver => resolver(entry),
        };
        (!words.is_empty()).then_some((name, words))
    };
    value.as_array().into_iter().flatten().filter_map(entry).take(MOST).collect()
}

fn defaults(entry: &Value) -> BTreeMap<String, String> {
    let h2 = matches!(entry["Protocol"].as_str(), Some("http2" | "grpc"));
    h2.then(|| ("protocol".to_owned(), "h2".to_owned())).into_iter().collect()
}

fn resolver(entry: &Value) -> BTreeMap<String, String> {
    let mut words = BTreeMap::new();
    for (key, word) in [("ConnectTimeout", "timeout-connect"), ("RequestTimeout", "timeout-request")] {
        if let Some(time) = time(&entry[key]) {
            words.insert(word.to_owned(), format!("{}ms", time.as_millis()));
        }
    }
    let balancing = &entry["LoadBalancer"];
    let policy = match balancing["Policy"].as_str() {
        Some("least_request") => "p2c",
        Some("round_robin") => "round_robin",
        Some("random") => "random",
        Some("ring_hash" | "maglev") => "consistent_hash",
        _ => return words,
    };
    words.insert("policy".to_owned(), policy.to_owned());
    let keys = balancing["HashPolicies"].as_array().into_iter().flatten().filter_map(hash_key);
    let keys: Vec<String> = keys.collect();
    if policy == "consistent_hash" && !keys.is_empty() {
        words.insert("hash".to_owned(), keys.join(","));
    }
    words
}

fn hash_key(policy: &Value) -> Option<String> {
    if policy["SourceIP"] == Value::Bool(true) {
        return Some("client_address".to_owned());
    }
    let name = policy["FieldValue"].as_str().filter(|name| !name.is_empty() && !name.contains(','))?;
    match policy["Field"].as_str()? {
        "header" => Some(format!("header:{name}")),
        "cookie" => Some(format!("cookie:{name}")),
        "query_parameter" => Some(format!("query:{name}")),
        _ => None,
    }
}

/// A duration as Go writes it, or as nanoseconds; none if it is 0, which stands for the default.
fn time(value: &Value) -> Option<Duration> {
    let time = match value {
        Value::Number(nanos) => Duration::from_nanos(nanos.as_u64()?),
        Value::String(text) => humantime::parse_duration(&spaced(text)).ok()?,
        _ => return None,
    };
    (!time.is_zero()).then_some(time)
}

/// Go writes "1m0.5s", with a fraction in the last part.
fn spaced(text: &str) -> String {
    let Some((whole, rest)) = text.split_once('.') else { return text.to_owned() };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (fraction, unit) = rest.split_at(digits);
    let millis: String = fraction.chars().chain("000".chars()).take(3).collect();
    if unit == "s" { format!("{whole}s {millis}ms") } else { format!("{whole}{unit}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Announced;

    fn said(kind: Kind, mut entry: Value) -> Vec<String> {
        entry["Name"] = json!("Web");
        let mut all = entries(kind, &json!([entry]));
        let words = all.remove("web").unwrap_or_default();
        let (_, wrong) = Announced::read(&words);
        assert_eq!(wrong, [], "what is made of entries is understood");
        words.into_iter().map(|(word, text)| format!("{word}={text}")).collect()
    }

    #[test]
    fn entries_say_in_our_words_how_a_service_is_to_be_treated() {
        let kind = Kind::Defaults;
        assert_eq!(said(kind, json!({"Protocol": "grpc"})), ["protocol=h2"]);
        assert_eq!(said(kind, json!({"Protocol": "http2", "MeshGateway": {}})), ["protocol=h2"]);
        assert_eq!(said(kind, json!({"Protocol": "http"})), Vec::<String>::new());
        let kind = Kind::Resolver;
        let times = json!({"ConnectTimeout": "1m0.25s", "RequestTimeout": "2s"});
        assert_eq!(said(kind, times), ["timeout-connect=60250ms", "timeout-request=2000ms"]);
        assert_eq!(said(kind, json!({"ConnectTimeout": 5_000_000_000_u64})), ["timeout-connect=5000ms"]);
        let none: [&str; 0] = [];
        assert_eq!(said(kind, json!({"ConnectTimeout": "0s", "DefaultSubset": "v1", "Redirect": null})), none);
        assert_eq!(said(kind, json!({"LoadBalancer": {"Policy": "least_request"}})), ["policy=p2c"]);
        let hashes = json!({"LoadBalancer": {"Policy": "maglev", "HashPolicies": [
            {"Field": "header", "FieldValue": "x-user"}, {"Field": "cookie", "FieldValue": ""}, {"SourceIP": true},
        ]}});
        assert_eq!(said(kind, hashes), ["hash=header:x-user,client_address", "policy=consistent_hash"]);
    }

    #[test]
    fn what_is_no_entry_says_nothing() {
        for value in [Value::Null, json!({}), json!([null, 1, {"Name": 7}, {"Name": "a", "Protocol": 1}])] {
            assert_eq!(entries(Kind::Defaults, &value), Entries::new());
        }
    }
}
