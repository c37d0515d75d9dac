//! The keys of `[access_log]`.

use http::HeaderName;

use super::super::{AccessLog, LogFormat, raw};
use super::Problems;

/// Headers by which somebody could become somebody else: what is in them has no place in a log, not even by mistake.
const SECRET: &[&str] = &[
    "authorization",
    "proxy-authorization",
    "authentication-info",
    "cookie",
    "set-cookie",
    "api-key",
    "x-api-key",
    "x-auth-token",
    "x-access-token",
    "x-csrf-token",
    "x-xsrf-token",
    "x-consul-token",
    "x-vault-token",
    "x-amz-security-token",
    "x-forwarded-client-cert",
];

/// None if it is turned off, which is also the default.
pub(super) fn check(written: raw::AccessLog, problems: &mut Problems) -> Option<AccessLog> {
    let format = match written.format.as_deref() {
        None | Some("off") => None,
        Some("combined") => Some(LogFormat::Combined),
        Some("json") => Some(LogFormat::Json),
        Some(other) => {
            problems.add("access_log.format", format!("no format \"{other}\"; use \"off\", \"combined\" or \"json\""));
            None
        }
    };
    if written.path.as_deref().is_some_and(|path| path.trim().is_empty()) {
        problems.add("access_log.path", "is empty; leave the key out for standard output");
    }
    let sample = share("access_log.sample", written.sample, 1.0, problems);
    let request_headers = headers("access_log.request_headers", written.request_headers, format, problems);
    let response_headers = headers("access_log.response_headers", written.response_headers, format, problems);
    let path = written.path.map(Into::into);
    format.map(|format| AccessLog { format, path, sample, request_headers, response_headers })
}

/// A part of a whole.
pub(super) fn share(key: &str, written: Option<f64>, usual: f64, problems: &mut Problems) -> f64 {
    let share = written.unwrap_or(usual);
    if !(0.0..=1.0).contains(&share) {
        problems.add(key, format!("{share} is not a share; use 0.0 for none to 1.0 for all"));
    }
    share
}

fn headers(key: &str, names: Vec<String>, format: Option<LogFormat>, problems: &mut Problems) -> Vec<HeaderName> {
    if format == Some(LogFormat::Combined) && !names.is_empty() {
        problems.add(key, "lines in the format \"combined\" have no place for them; use format = \"json\"");
    }
    let mut checked = Vec::new();
    for (place, name) in names.into_iter().enumerate() {
        let key = format!("{key}[{place}]");
        match HeaderName::from_bytes(name.as_bytes()) {
            Err(_) => problems.add(key, format!("\"{name}\" is not the name of a header")),
            Ok(header) if SECRET.contains(&header.as_str()) => {
                problems.add(key, format!("\"{name}\" holds what nobody may learn from a log; leave it out"));
            }
            Ok(header) if checked.contains(&header) => problems.add(key, format!("\"{name}\" is named twice")),
            Ok(header) => checked.push(header),
        }
    }
    checked
}
