//! The operator's window of a running lictor, from outside: where it is, what it wants to see, and how it is asked.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Client, ClientBuilder, Response, StatusCode};

use super::Error;
use crate::config::{self, AdminBind, ClientTls};
use crate::tls;

/// Whoever does not answer within this does not answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where to look, and with what.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Place {
    /// Where the running lictor's [admin] is: http://…, https://…, or unix:/path
    #[arg(long, value_name = "URL", env = "LICTOR_ADMIN", default_value = "http://127.0.0.1:9990")]
    admin: String,
    /// A file with the bearer token, if one is asked for
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The token itself, by the environment alone: a command line is for everybody to see
    #[arg(long, env = "LICTOR_ADMIN_TOKEN", hide = true, hide_env_values = true)]
    token: Option<String>,
    /// CAs to trust instead of the system's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<String>,
}

/// Somebody who asks.
pub(super) struct Window {
    client: Client,
    base: String,
    token: Option<String>,
    place: String,
}

/// Why there is no answer, with the place in front.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// Nobody is there, or whoever is does not understand.
    Nobody(String),
    /// Somebody is, and does not answer that.
    Refused(String),
}

impl From<Unanswered> for Error {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Nobody(why) | Unanswered::Refused(why) => Error::Other(why),
        }
    }
}

impl Window {
    /// Somebody who asks where a configuration says that the window is, and by the token that it has.
    pub(super) fn of(admin: &config::Admin) -> Result<Self, Error> {
        let builder = ClientBuilder::new();
        let (builder, base, place) = match &admin.bind {
            AdminBind::Unix { path, .. } => {
                (builder.unix_socket(path.clone()), "http://localhost".to_owned(), path.display().to_string())
            }
            AdminBind::Address(bind) => {
                let at = reachable(*bind);
                match (&admin.tls, admin.names.first()) {
                    (None, _) => (builder, format!("http://{at}"), at.to_string()),
                    // A certificate is for a name, if there is one.
                    (Some(_), Some(name)) => {
                        (builder.resolve(name, at), format!("https://{name}:{}", at.port()), at.to_string())
                    }
                    (Some(_), None) => (builder, format!("https://{at}"), at.to_string()),
                }
            }
        };
        let token = admin.token.as_ref().map(|token| token.reveal().to_owned());
        Window::with(builder, base, (place, None), token)
    }

    /// What it is called in words.
    pub(super) fn name(&self) -> &str {
        &self.place
    }

    /// Somebody who asks there.
    pub(super) fn new(place: &Place) -> Result<Self, Error> {
        let (base, builder) = match place.admin.strip_prefix("unix:") {
            Some(path) => ("http://localhost".to_owned(), ClientBuilder::new().unix_socket(PathBuf::from(path))),
            None if place.admin.contains("://") => (place.admin.clone(), ClientBuilder::new()),
            None => (format!("http://{}", place.admin), ClientBuilder::new()),
        };
        let token = match &place.token_file {
            Some(file) => {
                let text = std::fs::read_to_string(file);
                Some(text.map_err(|error| Error::Other(format!("{}: {error}", file.display())))?.trim().to_owned())
            }
            None => place.token.clone(),
        };
        Window::with(builder, base, (place.admin.clone(), place.ca_file.clone()), token)
    }

    fn with(
        builder: ClientBuilder,
        base: String,
        (place, ca_file): (String, Option<String>),
        token: Option<String>,
    ) -> Result<Self, Error> {
        let trust = match base.starts_with("https:") {
            true => tls::client(&ClientTls { ca_file, client: None, server_name: None, verify: true }),
            false => tls::trust_nobody(),
        };
        let fail = |error: &dyn std::fmt::Display| Error::Other(format!("{place}: {error}"));
        let builder = builder.tls_backend_preconfigured(trust.map_err(|error| fail(&error))?);
        // It may go on for ever, so there is a limit to silence, and none to the whole.
        let builder = builder.no_proxy().connect_timeout(PATIENCE).read_timeout(PATIENCE);
        let client = builder.build().map_err(|error| fail(&error))?;
        Ok(Window { client, base: base.trim_end_matches('/').to_owned(), token, place })
    }

    /// Asks for a path; whatever is not a success is an error that says why.
    pub(super) async fn get(&self, path: &str) -> Result<Response, Error> {
        Ok(self.ask(path).await?)
    }

    /// The same, for whoever can do without an answer.
    pub(super) async fn ask(&self, path: &str) -> Result<Response, Unanswered> {
        let mut request = self.client.get(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let fail = |error: String| Unanswered::Refused(format!("{}: {error}", self.place));
        let nobody = |error: reqwest::Error| Unanswered::Nobody(format!("{}: {}", self.place, root(&error)));
        let answer = request.send().await.map_err(nobody)?;
        match answer.status() {
            status if status.is_success() => Ok(answer),
            StatusCode::UNAUTHORIZED => {
                Err(fail("it wants a token: --token-file, or LICTOR_ADMIN_TOKEN in the environment".to_owned()))
            }
            status => {
                let text = answer.text().await.unwrap_or_default();
                let problem: Option<serde_json::Value> = serde_json::from_str(&text).ok();
                let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str()).unwrap_or_default();
                Err(fail(format!("{status}: {detail}")))
            }
        }
    }
}

/// Who listens everywhere is asked here.
pub(super) fn reachable(bind: SocketAddr) -> SocketAddr {
    match bind {
        SocketAddr::V4(bind) if bind.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, bind.port()).into(),
        SocketAddr::V6(bind) if bind.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, bind.port()).into(),
        bind => bind,
    }
}

/// What is at the bottom of an error: what surrounds it says that a request failed, which is known.
fn root(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
