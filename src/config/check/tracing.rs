//! The keys of `[tracing]`.

use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::super::{ClientTls, Secret, Tracing, raw};
use super::access_log::share;
use super::{Problems, positive};

// Defaults; `config/reference.toml` says why each is what it is.
const SAMPLE: f64 = 0.01;
const TIMEOUT: Duration = Duration::from_secs(10);
const QUEUE: usize = 4096;
/// A request that waits takes a kilobyte or two.
const MAX_QUEUE: usize = 1_000_000;

/// None if nothing is traced, which is also the default.
pub(super) fn check(written: Option<raw::Tracing>, problems: &mut Problems) -> Option<Tracing> {
    let written = written?;
    if cfg!(not(feature = "otlp")) {
        problems.add(
            "tracing",
            "this lictor was built without the feature \"otlp\"; build it with that, or leave the table out",
        );
    }
    check_endpoint(&written.endpoint, problems);
    positive("tracing.timeout", written.timeout, problems);
    let queue = written.queue.unwrap_or(QUEUE);
    if !(1..=MAX_QUEUE).contains(&queue) {
        problems.add("tracing.queue", format!("{queue} requests is no queue; use 1 to {MAX_QUEUE}"));
    }
    let service_name = written.service_name.unwrap_or_else(|| "lictor".to_owned());
    if service_name.trim().is_empty() {
        problems.add("tracing.service_name", "is empty; leave the key out for \"lictor\"");
    }
    Some(Tracing {
        endpoint: written.endpoint,
        sample: share("tracing.sample", written.sample, SAMPLE, problems),
        service_name,
        headers: written.headers.into_iter().filter_map(|header| checked(header, problems)).collect(),
        tls: ClientTls { ca_file: written.ca_file, verify: true, ..ClientTls::default() },
        timeout: written.timeout.unwrap_or(TIMEOUT),
        queue,
    })
}

fn check_endpoint(written: &str, problems: &mut Problems) {
    let url = reqwest::Url::parse(written).ok();
    let is_collector = |url: &reqwest::Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    if !url.as_ref().is_some_and(is_collector) {
        let example = "http://127.0.0.1:4318/v1/traces";
        // What stands before an @ may be a password.
        let written = if written.contains('@') { "…@…" } else { written };
        problems.add("tracing.endpoint", format!("\"{written}\" is no collector's URL; use \"{example}\""));
    } else if url.is_some_and(|url| !url.username().is_empty() || url.password().is_some()) {
        problems.add("tracing.endpoint", "has a password in it; use tracing.headers");
    } else if reqwest::Url::parse(written).is_ok_and(|url| url.path() == "/") {
        problems.add("tracing.endpoint", format!("\"{written}\" has no path; OTLP's is \"/v1/traces\""));
    }
}

fn checked((name, value): (String, String), problems: &mut Problems) -> Option<(HeaderName, Secret)> {
    let checked = HeaderName::from_bytes(name.as_bytes());
    let (Ok(checked), true) = (checked, HeaderValue::from_str(&value).is_ok()) else {
        // The value is not shown: it may be a token.
        problems.add(format!("tracing.headers.{name}"), "is not a header: a name, and a text in one line");
        return None;
    };
    Some((checked, Secret::new(value)))
}
