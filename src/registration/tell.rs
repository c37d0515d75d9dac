//! What the agent is told and asked about one instance, and what its answers mean where versions differ.

use std::time::Duration;

use serde_json::{Value, json};

use super::command::Said;
use crate::config::CheckKind;
use crate::consul::{Agent, Failure, encode};

/// How long the agent may hold a question about an instance that does not change. Well within what the client waits for an answer at all;
/// and a connection that is broken off is the agent's for so long.
const HOLD: Duration = Duration::from_secs(10);

/// What the agent says of an instance.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It is there; the hash stands for what is there.
    There(String),
    /// It is not.
    Missing,
}

/// An agent, spoken to about one instance.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tell<'a> {
    pub(super) agent: &'a Agent,
    pub(super) id: &'a str,
}

impl Tell<'_> {
    /// Enters it, or changes what is there. Checks that are not in the body stay, an operator's maintenance among them: see
    /// [`Tell::sweep`].
    pub(super) async fn enter(self, body: &Value) -> Result<(), Failure> {
        self.agent.put("/v1/agent/service/register", &self.agent.namespace(), Some(body)).await.map(drop)
    }

    /// Takes away the checks that it has from us, of an earlier life or definition, and that are not among these. What somebody else has
    /// given it stays, and so does maintenance, which is a check as well. (Consul's own `replace-existing-checks` would end it without a
    /// word.)
    pub(super) async fn sweep(self, wanted: &[String]) -> Result<(), Failure> {
        let mut query = self.agent.namespace();
        query.push(("filter", format!("ServiceID == {}", json!(self.id))));
        let known = self.agent.ask("/v1/agent/checks", &query).await?;
        let of_us = |check: &&Value| check["ServiceID"] == self.id;
        let ids = known.as_object().into_iter().flat_map(|checks| checks.values()).filter(of_us);
        let ids = ids.filter_map(|check| check["CheckID"].as_str());
        for id in ids.filter(|id| is_ours(id, self.id) && !wanted.iter().any(|wanted| wanted == id)) {
            match self.agent.put(&path("/v1/agent/check/deregister/", id), &self.agent.namespace(), None).await {
                Err(failure) if !is_unknown(&failure) => return Err(failure),
                _ => {}
            }
        }
        Ok(())
    }

    /// Says what a check has come to. False if the agent knows no such check.
    pub(super) async fn update(self, check: &str, said: &Said) -> Result<bool, Failure> {
        let body = json!({ "Status": said.status.word(), "Output": said.output });
        match self.agent.put(&path("/v1/agent/check/update/", check), &self.agent.namespace(), Some(&body)).await {
            Ok(_) => Ok(true),
            Err(failure) if is_unknown(&failure) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Takes it out. An agent that does not know it has nothing to take out.
    pub(super) async fn leave(self) -> Result<(), Failure> {
        match self.agent.put(&path("/v1/agent/service/deregister/", self.id), &self.agent.namespace(), None).await {
            Err(failure) if !is_unknown(&failure) => Err(failure),
            _ => Ok(()),
        }
    }

    /// Whether it is there; the answer is held while it is the one that this hash stands for.
    pub(super) async fn look(self, hash: &str) -> Result<Seen, Failure> {
        let mut query = self.agent.namespace();
        if !hash.is_empty() {
            query.extend([("hash", hash.to_owned()), ("wait", format!("{}ms", HOLD.as_millis()))]);
        }
        match self.agent.ask(&path("/v1/agent/service/", self.id), &query).await {
            Ok(service) => Ok(Seen::There(service["ContentHash"].as_str().unwrap_or_default().to_owned())),
            Err(failure) if is_unknown(&failure) => Ok(Seen::Missing),
            Err(failure) => Err(failure),
        }
    }
}

fn path(base: &str, id: &str) -> String {
    let mut path = base.to_owned();
    encode(&mut path, id);
    path
}

/// True for a check that a definition has given to this instance: its id says so, see `definition`.
fn is_ours(check: &str, id: &str) -> bool {
    let rest = check.strip_prefix("service:").and_then(|rest| rest.strip_prefix(id)?.strip_prefix(':'));
    rest.is_some_and(|rest| CheckKind::NAMES.contains(&rest.split(':').next().unwrap_or_default()))
}

/// The agent's own words for what it does not know: 404 in later versions, and 500 before. A page that a gateway in front of it does not
/// have is not among them.
fn is_unknown(failure: &Failure) -> bool {
    let Failure::Unavailable { status, message, .. } = failure else { return false };
    let words = ["unknown service id", "unknown check id", "does not have associated ttl", "unknown check \""];
    let message = message.to_lowercase();
    matches!(status.as_u16(), 404 | 500) && words.iter().any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::StatusCode;

    fn failure(status: u16, message: &str) -> Failure {
        let status = StatusCode::from_u16(status).unwrap();
        Failure::Unavailable { status, message: message.to_owned(), retry_after: None }
    }

    #[test]
    fn what_the_agent_does_not_know_is_told_from_what_a_gateway_does_not_have() {
        for (status, message) in [
            (500, "CheckID \"service:a:ttl\" does not have associated TTL"),
            (404, "Unknown check ID \"service:a:ttl\". Ensure that the check ID is passed, not the check name."),
            (404, "unknown service ID: a"),
            (404, "Unknown service ID \"a\". Ensure that the service ID is passed, not the service name."),
        ] {
            assert!(is_unknown(&failure(status, message)), "{message}");
        }
        assert!(!is_unknown(&failure(404, "<html>404 not found</html>")));
        assert!(!is_unknown(&failure(500, "No cluster leader")));
        assert!(!is_unknown(&failure(503, "unknown service ID: a")));
    }

    #[test]
    fn only_what_we_gave_an_instance_is_ours_to_take() {
        assert!(is_ours("service:a:b:ttl", "a:b") && is_ours("service:a:http:2", "a"));
        for others in ["_service_maintenance:a", "service:a", "service:a:1", "service:ab:ttl", "disk"] {
            assert!(!is_ours(others, "a"), "{others}");
        }
    }
}
