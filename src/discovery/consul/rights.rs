//! Whether we may see what is not on a list. Consul leaves out what a token may not read, and says so only from 1.12 on: a right
//! that is taken away looks like instances that are gone. `POST /v1/internal/acl/authorize` tells the two apart. It is a path of
//! Consul's own user interface and not documented, so it can only speak against a list: where it is not there, or does not
//! answer, other rules decide.

use serde_json::{Value, json};

use super::follow::Rights;
use crate::config::{Lookup, Selection};
use crate::consul::{Agent, Failure, Query};
use crate::endpoint::Listed;

/// More need not be asked about: rights are given by prefix, and hide more than one. With the service they are as many as Consul takes.
const MANY: usize = 63;
const UNKNOWN_TOKEN: &str = "ACL not found";

/// Whether all of these are allowed; by default whatever is missing is taken to be gone. Where they are not, another token may be in its
/// file by now: one with too few rights is never refused.
pub(super) async fn ask(agent: &Agent, place: &Query, question: Vec<Value>) -> Rights {
    let answer = agent.authorize(place, &Value::Array(question)).await;
    let is_hidden = match &answer {
        Ok(answer) => is_denied(answer),
        // A token that is not known any more may read nothing.
        Err(Failure::Denied { message, .. }) => message.contains(UNKNOWN_TOKEN),
        Err(failure) => {
            tracing::debug!(error = %failure, "rights are not known");
            false
        }
    };
    if is_hidden {
        agent.refresh_token();
        return Rights::Hidden;
    }
    Rights::Whole
}

/// What to ask where nobody was ever seen: service:read, and node:read of nodes in general.
pub(super) fn question_of_any(selection: &Selection) -> Vec<Value> {
    service(selection).chain([read("node", "")]).collect()
}

/// What to ask: service:read, and node:read of every node that somebody is missing on.
pub(super) fn question<'a>(selection: &Selection, missing: impl Iterator<Item = &'a Listed>) -> Vec<Value> {
    let mut nodes: Vec<&str> = missing.filter_map(|listed| listed.locality.node.as_deref()).collect();
    nodes.sort_unstable();
    nodes.dedup();
    let nodes = nodes.into_iter().take(MANY).map(|node| read("node", node));
    service(selection).chain(nodes).collect()
}

/// What to ask of the service alone.
pub(super) fn question_of_service(selection: &Selection) -> Vec<Value> {
    service(selection).collect()
}

/// Which service a prepared query is for, only Consul knows.
fn service(selection: &Selection) -> impl Iterator<Item = Value> {
    (selection.lookup != Lookup::Query).then(|| read("service", &selection.service)).into_iter()
}

/// What to ask of a prefix of the KV store: key:read there, and for every key that is missing.
pub(super) fn question_of_keys<'a>(prefix: &'a str, missing: impl Iterator<Item = &'a str>) -> Vec<Value> {
    std::iter::once(prefix).chain(missing.take(MANY)).map(|key| read("key", key)).collect()
}

fn read(resource: &str, name: &str) -> Value {
    json!({ "Resource": resource, "Segment": name, "Access": "read" })
}

fn is_denied(answer: &Value) -> bool {
    answer.as_array().into_iter().flatten().any(|one| one["Allow"] == Value::Bool(false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::{Address, Locality};

    fn on(node: &str, port: u16) -> Listed {
        let locality = Locality { node: Some(node.into()), ..Locality::default() };
        Listed { locality, ..Listed::new(Address::from(([127, 0, 0, 1], port))) }
    }

    #[test]
    fn the_service_and_each_node_are_asked_about_once() {
        let missing = [on("b", 1), on("a", 2), on("b", 3), Listed::new(Address::from(([127, 0, 0, 1], 4)))];
        let question = question(&Selection::of("web"), missing.iter());
        let asked = |one: &Value| format!("{} {} {}", one["Resource"], one["Segment"], one["Access"]).replace('"', "");
        let asked: Vec<String> = question.iter().map(asked).collect();
        assert_eq!(asked, ["service web read", "node a read", "node b read"]);
        let query = Selection { lookup: Lookup::Query, ..Selection::of("q") };
        assert_eq!(
            super::question(&query, missing.iter()),
            question[1..],
            "a query has a service that only Consul knows"
        );
    }

    #[test]
    fn no_more_is_asked_than_consul_takes_at_once() {
        let nodes: Vec<Listed> = (0..100).map(|node| on(&node.to_string(), 1)).collect();
        assert_eq!(question(&Selection::of("web"), nodes.iter()).len(), 64);
        let keys: Vec<String> = (0..100).map(|key| format!("a/{key}")).collect();
        assert_eq!(question_of_keys("a/", keys.iter().map(String::as_str)).len(), 64);
    }

    #[test]
    fn only_a_plain_no_is_one() {
        let allow =
            |allow: Value| json!([{ "Resource": "service", "Allow": true }, { "Resource": "node", "Allow": allow }]);
        assert!(is_denied(&allow(json!(false))));
        for answer in [allow(json!(true)), allow(Value::Null), Value::Null, json!({}), json!([]), json!("no")] {
            assert!(!is_denied(&answer), "{answer}");
        }
    }
}
