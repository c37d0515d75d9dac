//! The operator's window of a running lictor, from outside: where it is, what it wants to see, and how it is asked.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Response, StatusCode};

use super::Error;
use crate::config::{self, AdminBind, ClientTls, Config, Environment, Secret};
use crate::tls;

/// Whoever does not answer within this does not answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Where it is if nobody says otherwise.
const USUAL: &str = "http://127.0.0.1:9990";

/// Where to look, and with what. A token is nothing for a command line, which everybody on the machine can read.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Place {
    /// Where the running lictor's [admin] is: http://…, https://…, or unix:/path; if left out, where the configuration says, and
    /// http://127.0.0.1:9990 if nobody named one and the usual one is missing or wrong
    #[arg(long, value_name = "URL", env = "LICTOR_ADMIN")]
    admin: Option<String>,
    /// A file with the bearer token, if one is asked for; or the token itself in LICTOR_ADMIN_TOKEN
    #[arg(long, value_name = "FILE", env = "LICTOR_ADMIN_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// CAs to trust instead of the system's (PEM)
    #[arg(long, value_name = "FILE", env = "LICTOR_ADMIN_CA_FILE")]
    ca_file: Option<String>,
    /// The certificate to show, with its chain (PEM)
    #[arg(long, value_name = "FILE", env = "LICTOR_ADMIN_CERT_FILE", requires = "key_file")]
    cert_file: Option<String>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", env = "LICTOR_ADMIN_KEY_FILE", requires = "cert_file")]
    key_file: Option<String>,
}

/// Somebody who asks.
pub(super) struct Window {
    client: Client,
    base: String,
    token: Option<Secret>,
    place: String,
}

/// Why there is no answer, with the place in front.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    /// Nobody is there, or whoever is does not understand.
    #[error("{0}")]
    Nobody(String),
    /// Somebody is, and does not answer that.
    #[error("{0}")]
    Refused(String),
}

/// A way there: how it is called in words and in a request, and who knows how to get to it.
struct Way {
    builder: ClientBuilder,
    base: String,
    place: String,
}

impl From<Unanswered> for Error {
    fn from(unanswered: Unanswered) -> Self {
        Error::Other(unanswered.to_string())
    }
}

impl Place {
    /// Somebody who asks there. If nothing was said of where, neither by a file of another name, and the usual one is missing or wrong, that
    /// is where a window usually is, and what is wrong with the configuration. What is wrong with it since the proxy read it is no reason
    /// for an engine to end that proxy; but whoever is there gets no token, since it may be another's.
    pub(super) fn find(&self, file: &Path) -> Result<(Window, Option<config::Error>), Error> {
        if let Some(url) = &self.admin {
            return Ok((self.window(Way::by(url), None)?, None));
        }
        match config::load(file, &Environment::process()) {
            Ok(config) => {
                let nobody =
                    || Error::Other("there is no [admin] in the configuration, so nobody can be asked".to_owned());
                Ok((self.find_by(&config)?.ok_or_else(nobody)?, None))
            }
            Err(trouble) if file == Path::new(super::FILE) => {
                Ok((Window { token: None, ..self.window(Way::by(USUAL), None)? }, Some(trouble)))
            }
            Err(trouble) => Err(trouble.into()),
        }
    }

    /// Somebody who asks there, or else where this configuration says; none if it has no window.
    pub(super) fn find_by(&self, config: &Config) -> Result<Option<Window>, Error> {
        match (&self.admin, &config.admin) {
            (Some(url), _) => self.window(Way::by(url), None).map(Some),
            (None, Some(admin)) => self.window(Way::to(admin), admin.token.clone()).map(Some),
            (None, None) => Ok(None),
        }
    }

    fn window(&self, way: Way, known: Option<Secret>) -> Result<Window, Error> {
        let Way { builder, base, place } = way;
        let fail = |error: &dyn std::fmt::Display| Error::Other(format!("{place}: {error}"));
        let client = self.cert_file.clone().zip(self.key_file.clone());
        let trust = match base.starts_with("https:") {
            true => tls::client(&ClientTls { ca_file: self.ca_file.clone(), client, server_name: None, verify: true }),
            false => tls::trust_nobody(),
        };
        let builder = builder.tls_backend_preconfigured(trust.map_err(|error| fail(&error))?);
        // It may go on for ever, so there is a limit to silence, and none to the whole. Nobody else is given what is meant for it.
        let builder = builder.no_proxy().redirect(Policy::none()).connect_timeout(PATIENCE).read_timeout(PATIENCE);
        let client = builder.build().map_err(|error| fail(&error))?;
        Ok(Window { client, base: base.trim_end_matches('/').to_owned(), token: self.token()?.or(known), place })
    }

    /// What was given for this, newer than any configuration.
    fn token(&self) -> Result<Option<Secret>, Error> {
        let Some(file) = &self.token_file else {
            let given = std::env::var("LICTOR_ADMIN_TOKEN").ok().filter(|token| !token.is_empty());
            return Ok(given.map(Secret::new));
        };
        let fail = |why: String| Error::Other(format!("{}: {why}", file.display()));
        config::read_token(file).map(Some).map_err(fail)
    }
}

impl Way {
    /// As it was written: whoever writes no scheme means the plain one.
    fn by(url: &str) -> Self {
        let (builder, place) = (ClientBuilder::new(), url.to_owned());
        match url.strip_prefix("unix:") {
            Some(path) => Way::over(path.into()),
            None if url.contains("://") => Way { builder, base: place.clone(), place },
            None => Way { builder, base: format!("http://{url}"), place },
        }
    }

    /// As a configuration has it.
    fn to(admin: &config::Admin) -> Self {
        let bind = match &admin.bind {
            AdminBind::Unix { path, .. } => return Way::over(path.clone()),
            AdminBind::Address(bind) => *bind,
        };
        let (builder, at) = (ClientBuilder::new(), reachable(bind));
        let (builder, base) = match (&admin.tls, admin.names.first()) {
            (None, _) => (builder, format!("http://{at}")),
            // A certificate is for a name, if there is one.
            (Some(_), Some(name)) => (builder.resolve(name, at), format!("https://{name}:{}", at.port())),
            (Some(_), None) => (builder, format!("https://{at}")),
        };
        Way { builder, base, place: at.to_string() }
    }

    fn over(path: PathBuf) -> Self {
        let place = path.display().to_string();
        Way { builder: ClientBuilder::new().unix_socket(path), base: "http://localhost".to_owned(), place }
    }
}

impl Window {
    /// What it is called in words.
    pub(super) fn name(&self) -> &str {
        &self.place
    }

    /// Asks for a path; whatever is not a success is an error that says why.
    pub(super) async fn get(&self, path: &str) -> Result<Response, Error> {
        Ok(self.ask(path).await?)
    }

    /// The same, for whoever can do without an answer.
    pub(super) async fn ask(&self, path: &str) -> Result<Response, Unanswered> {
        let fail = |error: String| Unanswered::Refused(format!("{}: {error}", self.place));
        let answer = self.send(path).await?;
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

    /// Asks for a path, for whoever knows what to make of any answer.
    pub(super) async fn send(&self, path: &str) -> Result<Response, Unanswered> {
        let mut request = self.client.get(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.reveal());
        }
        request.send().await.map_err(|error| self.silence(&error))
    }

    /// That nobody answers there.
    pub(super) fn silence(&self, error: &dyn std::error::Error) -> Unanswered {
        Unanswered::Nobody(format!("{} does not answer: {}", self.place, root(error)))
    }
}

/// Who listens everywhere is asked here.
fn reachable(bind: SocketAddr) -> SocketAddr {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_everywhere_is_asked_here() {
        assert_eq!(reachable("0.0.0.0:9990".parse().unwrap()).to_string(), "127.0.0.1:9990");
        assert_eq!(reachable("[::]:9990".parse().unwrap()).to_string(), "[::1]:9990");
        assert_eq!(reachable("10.1.2.3:9990".parse().unwrap()).to_string(), "10.1.2.3:9990");
    }

    #[test]
    fn where_a_window_usually_is_asks_only_who_named_no_file_and_without_a_token() {
        let folder = tempfile::TempDir::new().unwrap();
        let token_file = folder.path().join("token");
        std::fs::write(&token_file, "0123456789abcdef0123456789abcdef").unwrap();
        let place = Place { admin: None, token_file: Some(token_file), ca_file: None, cert_file: None, key_file: None };
        let lost = Path::new("/nonexistent/lictor.toml");
        assert!(
            matches!(place.find(lost), Err(Error::Config(trouble)) if trouble.to_string().contains("/nonexistent"))
        );
        let (window, trouble) = place.find(Path::new(crate::cli::FILE)).unwrap();
        assert!(window.name() == "http://127.0.0.1:9990" && window.token.is_none());
        assert!(trouble.unwrap().to_string().contains(crate::cli::FILE));
        let place = Place { admin: Some("unix:/run/a.sock".to_owned()), ..place };
        let (window, trouble) = place.find(lost).unwrap();
        assert!(window.name() == "/run/a.sock" && window.token.is_some() && trouble.is_none());
    }

    #[test]
    fn a_place_is_an_url_an_address_or_a_file() {
        let [url, address, file] = ["https://a:1/", "127.0.0.1:9990", "unix:/run/a.sock"].map(Way::by);
        assert_eq!((url.base.as_str(), url.place.as_str()), ("https://a:1/", "https://a:1/"));
        assert_eq!((address.base.as_str(), address.place.as_str()), ("http://127.0.0.1:9990", "127.0.0.1:9990"));
        assert_eq!((file.base.as_str(), file.place.as_str()), ("http://localhost", "/run/a.sock"));
    }
}
