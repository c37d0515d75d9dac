//! `[access_log]` as it is written.

use serde::Deserialize;

/// `[access_log]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessLog {
    /// `off`, `combined` or `json`.
    pub format: Option<String>,
    /// A file; standard output if there is none.
    pub path: Option<String>,
    /// Share of usual requests that are written, 0 to 1.
    pub sample: Option<f64>,
    /// Names of headers of requests that are written as well.
    #[serde(default)]
    pub request_headers: Vec<String>,
    /// The same of answers.
    #[serde(default)]
    pub response_headers: Vec<String>,
}
