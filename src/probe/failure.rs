//! Why a probe did not succeed.

/// Why a probe did not succeed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// For want of something of our own, which says nothing about the endpoint.
    #[error("{0}")]
    Local(String),
    /// No connection.
    #[error("{0}")]
    Connect(String),
    /// Not done in time.
    #[error("no answer in time")]
    Timeout,
    /// The connection broke, or what came was not what is spoken.
    #[error("the connection broke: {0}")]
    Reset(String),
    /// Another status than one of those that are expected.
    #[error("answered {0}")]
    Status(String),
    /// The body has not what is expected.
    #[error("the body is not what is expected")]
    Body,
}

impl Failure {
    /// What the connection, or the protocol on it, says; with what that was caused by.
    pub(super) fn reset(error: &dyn std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            text += &format!(": {error}");
            source = error.source();
        }
        Failure::Reset(text)
    }

    /// The word for labels; of failures of requests, where it is one of those.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Failure::Local(_) => "local",
            Failure::Connect(_) => "connect",
            Failure::Timeout => "timeout",
            Failure::Reset(_) => "reset",
            Failure::Status(_) => "status",
            Failure::Body => "body",
        }
    }
}
