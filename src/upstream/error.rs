//! What went wrong between us and an endpoint. Every error states whose side failed and how far the attempt got; retry and
//! ejection decide from those alone.

use std::fmt;

/// Why an attempt has no answer.
#[derive(Debug)]
pub struct Error {
    /// What happened.
    pub kind: Kind,
    /// How far the attempt got.
    pub progress: Progress,
    /// Whether the connection had carried a request before.
    pub reused: bool,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No connection: refused, unreachable, or no name.
    Connect,
    /// No connection for want of something of our own (descriptors, ports, memory): not the endpoint's fault.
    Local,
    /// No connection because we cannot say who we are, or whom to trust: our part in TLS is missing, and not the endpoint's.
    Unready,
    /// No connection because there are as many as there may be: not the endpoint's fault either.
    Limit,
    /// No connection that can be trusted: the endpoint could not prove who it is, or TLS was not agreed on.
    Tls,
    /// No connection in time.
    ConnectTimeout,
    /// The endpoint is ending the connection, and has not looked at the request: not its fault.
    Leaving,
    /// The endpoint takes no more just now, and has not looked at the request.
    Refused,
    /// What the endpoint speaks cannot say such a request: not its fault.
    Unsupported,
    /// The connection broke before the head of an answer.
    Reset,
    /// What came was not an HTTP answer, or one that cannot be passed on.
    Protocol,
    /// Nothing moved for too long.
    Timeout,
    /// No answer within the time of one attempt.
    TryTimeout,
    /// The request's own time is over.
    Deadline,
    /// The endpoint has left, and so has the time for what still ran there.
    Drained,
    /// The client broke off its own body: not the endpoint's fault.
    Downstream,
    /// The client did not go on with its own body in time: not the endpoint's fault either.
    DownstreamTimeout,
}

/// How far an attempt got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Not one byte of the request left us.
    NothingSent,
    /// Some or all of the request left us; the endpoint may have acted on it.
    Sent,
    /// The head of an answer came.
    Answered,
}

impl Error {
    pub(super) fn connect(kind: Kind, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Error { kind, progress: Progress::NothingSent, reused: false, source: Some(source.into()) }
    }

    pub(super) fn new(kind: Kind, progress: Progress, reused: bool) -> Self {
        Error { kind, progress, reused, source: None }
    }

    pub(super) fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same, once the head of an answer had come.
    pub(super) fn after_the_head(mut self) -> Self {
        self.progress = Progress::Answered;
        self
    }

    /// What it was caused by, in words.
    pub(super) fn cause(&self) -> String {
        self.source.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    /// An answer whose head came and cannot be passed on.
    pub fn unexpected_answer() -> Self {
        Error::new(Kind::Protocol, Progress::Answered, false)
    }
}

impl Kind {
    /// True for what whoever had more time could have come to otherwise.
    pub(super) fn is_for_want_of_time(self) -> bool {
        matches!(self, Kind::ConnectTimeout | Kind::TryTimeout | Kind::Deadline)
    }

    fn what(self) -> &'static str {
        match self {
            Kind::Connect => "no connection",
            Kind::Local => "no connection for want of descriptors, ports or memory here",
            Kind::Unready => "no connection that we could secure just now",
            Kind::Limit => "no connection beyond the limit",
            Kind::Tls => "no connection by TLS",
            Kind::ConnectTimeout => "no connection in time",
            Kind::Leaving => "the endpoint ended the connection before it took the request",
            Kind::Refused => "the endpoint takes no more requests just now",
            Kind::Unsupported => "the endpoint's protocol has no such request",
            Kind::Reset => "connection closed before the answer",
            Kind::Protocol => "the answer is not one that can be passed on",
            Kind::Timeout => "nothing moved for too long",
            Kind::TryTimeout => "no answer in the time of one attempt",
            Kind::Deadline => "the request's time is over",
            Kind::Drained => "the endpoint has left, and what ran there has had its time",
            Kind::Downstream => "the client broke off its request",
            Kind::DownstreamTimeout => "the client did not go on with its request",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.what())?;
        let mut source = self.source.as_ref().map(|source| &**source as &dyn std::error::Error);
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
