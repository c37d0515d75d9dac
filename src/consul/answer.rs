//! Answers of the agent: what their headers say, and their bodies, which are bounded in size and in silence.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use reqwest::header::HeaderMap;
use reqwest::{Response, StatusCode};
use serde_json::Value;
use tokio::time::timeout;

use super::failure::{Failure, failure, unreachable};

/// Longest silence in the middle of a body.
pub(super) const BODY_IDLE: Duration = Duration::from_secs(10);
/// About sixty thousand instances.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// What an answer's headers say.
#[derive(Debug, Clone, Default)]
pub struct Meta {
    /// `X-Consul-Index`; 0 if missing or not a number.
    pub index: u64,
    /// `X-Consul-KnownLeader`; absent with streaming, which is not a "no".
    pub known_leader: Option<bool>,
    /// `X-Consul-Results-Filtered-By-ACLs`.
    pub filtered: bool,
    /// `X-Consul-Query-Backend`: indexes of different backends need not agree.
    pub backend: Option<String>,
    /// How long ago whoever answered had last heard from those who know: a server from the leader (`X-Consul-LastContact`), an agent's
    /// cache from a server (`Age`). Nothing where neither is said.
    pub lag: Duration,
}

/// An answer whose body has not been read yet.
#[derive(Debug)]
pub struct Answer {
    /// What its headers say.
    pub meta: Meta,
    response: Response,
}

impl Answer {
    /// A good answer; or Consul's own word that there is nothing, which has an index, as that of a gateway in front of it has not.
    pub(super) async fn of(response: Response) -> Result<Answer, Failure> {
        let meta = meta(response.headers());
        let is_missing = response.status() == StatusCode::NOT_FOUND && meta.index > 0;
        if response.status() == StatusCode::OK || is_missing {
            return Ok(Answer { meta, response });
        }
        Err(failure(response).await)
    }

    /// True if there is nothing by that name.
    pub fn is_missing(&self) -> bool {
        self.response.status() == StatusCode::NOT_FOUND
    }

    /// The same, unless there is nothing by that name.
    pub async fn found(self) -> Result<Answer, Failure> {
        if self.is_missing() { Err(failure(self.response).await) } else { Ok(self) }
    }

    /// The body, and how long it took from the head on: what a fetch costs the agent, without the wait.
    pub async fn body(self) -> Result<(BytesMut, Duration), Failure> {
        let began = Instant::now();
        let body = read(self.response, MAX_BODY).await?;
        Ok((body, began.elapsed()))
    }

    /// The body as JSON; null if there is none, as of most writes.
    pub async fn json(self) -> Result<Value, Failure> {
        let (body, _) = self.body().await?;
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|error| Failure::Garbled(error.to_string()))
    }
}

fn meta(headers: &HeaderMap) -> Meta {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let number = |name: &str| text(name)?.parse::<u64>().ok();
    Meta {
        index: number("x-consul-index").unwrap_or_default(),
        known_leader: text("x-consul-knownleader").map(|known| known == "true"),
        filtered: text("x-consul-results-filtered-by-acls") == Some("true"),
        backend: text("x-consul-query-backend").map(str::to_owned),
        lag: number("x-consul-lastcontact")
            .map(Duration::from_millis)
            .unwrap_or_default()
            .max(number("age").map(Duration::from_secs).unwrap_or_default()),
    }
}

pub(super) async fn read(mut response: Response, most: usize) -> Result<BytesMut, Failure> {
    let mut body = BytesMut::new();
    loop {
        match timeout(BODY_IDLE, response.chunk()).await {
            Ok(Ok(Some(chunk))) if body.len() + chunk.len() <= most => body.extend_from_slice(&chunk),
            Ok(Ok(Some(_))) => return Err(Failure::Garbled(format!("more than {most} bytes"))),
            Ok(Ok(None)) => return Ok(body),
            Ok(Err(error)) => return Err(unreachable(error)),
            Err(_) => return Err(Failure::Unreachable("the answer stopped in the middle".to_owned())),
        }
    }
}
