//! What can go wrong between lictor and the agent, by what to do about it.

use std::fmt::Write as _;
use std::time::Duration;

use reqwest::{Response, StatusCode};

use super::answer::read;
use crate::tls;

/// Of an agent's words on what went wrong.
const MAX_MESSAGE: usize = 300;

/// A client that cannot be made from its settings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A certificate, a key or a name.
    #[error("consul: {0}")]
    Tls(#[from] tls::Error),
    /// Whatever else the HTTP client refuses.
    #[error("consul: {0}")]
    Http(#[from] reqwest::Error),
    /// The token's file.
    #[error("consul.token_file: {0}")]
    Token(String),
}

/// Why there is no usable answer, by what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nobody answers, or not in time, or not to the end: try again soon.
    #[error("{0}")]
    Unreachable(String),
    /// The agent or the servers behind it cannot answer now.
    #[error("{status}: {message}")]
    Unavailable {
        /// Its status.
        status: StatusCode,
        /// Its words.
        message: String,
        /// How long it asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// The token is missing, unknown, or lacks rights.
    #[error("{status}: {message}")]
    Denied {
        /// Its status.
        status: StatusCode,
        /// Its words.
        message: String,
    },
    /// The query itself is wrong: asking again will not help.
    #[error("{status}: {message}")]
    Refused {
        /// Its status.
        status: StatusCode,
        /// Its words.
        message: String,
    },
    /// The agent would not do what is asked of it, and would not say so: it is not asked.
    #[error("{0}")]
    Unsupported(String),
    /// The answer is not one.
    #[error("the answer cannot be read: {0}")]
    Garbled(String),
    /// The answer lacks what it was asked for, which may still come.
    #[error("{0}")]
    Incomplete(String),
}

/// Sorts an answer that is not 200 by what to do about it.
pub(super) async fn failure(response: Response) -> Failure {
    let status = response.status();
    let seconds = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
    let body = read(response, 64 * 1024).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&body);
    let message: String = text.trim().chars().filter(|c| !c.is_control()).take(MAX_MESSAGE).collect();
    let is_refused = ["Failed to create boolean expression", "Failed to create filter"];
    match status.as_u16() {
        401 | 403 => Failure::Denied { status, message },
        // A missing page is not Consul's word but that of a gateway in front of it: it may pass.
        400 | 405 => Failure::Refused { status, message },
        // Consul reports these mistakes as its own.
        500 if is_refused.iter().any(|known| message.contains(known)) => Failure::Refused { status, message },
        _ => Failure::Unavailable { status, message, retry_after: seconds.map(Duration::from_secs) },
    }
}

/// Why the agent cannot be reached, with a word on what to do where TLS's own are a riddle.
pub(super) fn unreachable(error: reqwest::Error) -> Failure {
    let mut text = chain(&error.without_url());
    // With TLS 1.3 a client that has no certificate learns it only after its own handshake is done.
    if ["fatal alert: BadCertificate", "fatal alert: CertificateRequired"].iter().any(|alert| text.contains(alert)) {
        text.push_str(
            "; the agent asks for a client certificate that it trusts: see consul.client_cert and client_key",
        );
    }
    if text.contains("InvalidContentType") {
        text.push_str("; the agent does not speak TLS at this port: see consul.address");
    }
    Failure::Unreachable(text)
}

/// How a connection looks that was closed before it could be used.
const CLOSED: [&str; 3] = ["connection closed", "broken pipe", "onnection reset"];

/// The same where we have no certificate to show. An agent that wants one may be gone before anybody has read its alert, and all that is
/// left to see on a connection of HTTP/2 is that it was closed.
pub(super) fn unproven(error: reqwest::Error) -> Failure {
    match unreachable(error) {
        Failure::Unreachable(text) if CLOSED.iter().any(|closed| text.contains(closed)) => Failure::Unreachable(
            format!("{text}; if the agent asks for a client certificate: see consul.client_cert and client_key"),
        ),
        failure => failure,
    }
}

/// An error with its causes: the library's own text leaves out what happened.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}
