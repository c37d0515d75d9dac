//! The running proxy, asked through its admin listener.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http::HeaderValue;
use http::header::AUTHORIZATION;
use serde_json::Value;

use super::Error;
use crate::config::{AdminBind, Config};
use crate::consul::encode;
use crate::explanation::Description;

/// Whoever runs here answers within a moment; more is a sign that it does not.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the running proxy is asked.
pub(super) struct Window {
    client: reqwest::Client,
    base: String,
    name: String,
    token: Option<HeaderValue>,
    speaks_tls: bool,
}

/// Why there is no answer.
pub(super) enum Unanswered {
    /// Nobody is there.
    Nobody(String),
    /// Somebody is, and does not answer that.
    Refused(String),
}

impl Window {
    /// The one that the configuration names; none if it names none.
    pub(super) fn of(config: &Config) -> Result<Option<Window>, Error> {
        let Some(admin) = &config.admin else { return Ok(None) };
        let client = reqwest::Client::builder().timeout(PATIENCE).no_proxy();
        let (client, name, base) = match &admin.bind {
            AdminBind::Address(bind) => {
                let at = reachable(*bind);
                (client, at.to_string(), format!("http://{at}"))
            }
            AdminBind::Unix { path, .. } => {
                (client.unix_socket(path.clone()), path.display().to_string(), "http://localhost".to_owned())
            }
        };
        let token = admin.token.as_ref().map(|token| HeaderValue::from_str(&format!("Bearer {}", token.reveal())));
        let mut token =
            token.transpose().map_err(|_| Error::Other("admin.token: cannot be sent in a header".to_owned()))?;
        token.iter_mut().for_each(|token| token.set_sensitive(true));
        let client = client.build().map_err(|error| Error::Other(error.to_string()))?;
        Ok(Some(Window { client, base, name, token, speaks_tls: admin.tls.is_some() }))
    }

    /// For people.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What the proxy says of a request.
    pub(super) async fn ask(&self, description: &Description) -> Result<Value, Unanswered> {
        let question = format!("{}/v1/explain?{}", self.base, query(description));
        if self.speaks_tls {
            // Nor is the token to go there in the clear.
            return Err(Unanswered::Nobody("it speaks TLS, which this command does not".to_owned()));
        }
        let mut asking = self.client.get(question);
        if let Some(token) = &self.token {
            asking = asking.header(AUTHORIZATION, token);
        }
        let answer = asking.send().await.map_err(|error| Unanswered::Nobody(cause(&error)))?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(|error| Unanswered::Nobody(cause(&error)))?;
        let value = serde_json::from_slice::<Value>(&body);
        let foreign =
            || Unanswered::Refused(format!("{} answers {status}, and is no lictor's admin listener", self.name()));
        match (status.is_success(), value) {
            (true, Ok(explanation)) => Ok(explanation),
            (false, Ok(problem)) => {
                let detail = problem["detail"].as_str().ok_or_else(foreign)?;
                Err(Unanswered::Refused(detail.to_owned()))
            }
            _ => Err(foreign()),
        }
    }
}

fn query(description: &Description) -> String {
    let one = |key: &'static str, value: &Option<String>| value.clone().map(|value| (key, value));
    let singles = [
        Some(("host", description.host.clone())),
        one("path", &description.path),
        one("method", &description.method),
        one("client", &description.client),
        one("scheme", &description.scheme),
        one("server_name", &description.server_name),
        one("listener", &description.listener),
    ];
    let headers = description.headers.iter().map(|value| ("header", value.clone()));
    let identities = description.identities.iter().map(|value| ("identity", value.clone()));
    let all = singles.into_iter().flatten().chain(headers).chain(identities);
    let pair = |(key, value): (&str, String)| {
        let mut pair = format!("{key}=");
        encode(&mut pair, &value);
        pair
    };
    all.map(pair).collect::<Vec<_>>().join("&")
}

/// The last word of a chain of causes, which says what happened.
fn cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Who listens everywhere is asked here.
fn reachable(bind: SocketAddr) -> SocketAddr {
    match bind {
        SocketAddr::V4(bind) if bind.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, bind.port()).into(),
        SocketAddr::V6(bind) if bind.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, bind.port()).into(),
        bind => bind,
    }
}
