//! What is written down: of the life of the process, and of each request.

use std::path::PathBuf;

use http::HeaderName;

/// What is written to standard error.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// A tracing filter.
    pub level: String,
    /// JSON lines instead of text.
    pub json: bool,
}

/// The access log.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessLog {
    /// How.
    pub format: LogFormat,
    /// Where; on standard output if absent.
    pub path: Option<PathBuf>,
    /// Share of usual requests that are written, 0 to 1: of those without any flag and with a status below 400.
    pub sample: f64,
    /// Headers of requests that are written as well. Only with [`LogFormat::Json`].
    pub request_headers: Vec<HeaderName>,
    /// The same of answers.
    pub response_headers: Vec<HeaderName>,
}

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// As web servers have it.
    Combined,
    /// A JSON object.
    Json,
}
