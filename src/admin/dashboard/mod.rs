//! The page for people: one document with all that it needs in it, and nothing in it that is secret or from a service. What it shows it
//! asks for by script (`/v1/live`), so that the page itself can be open to a browser, which has no token to send with an address.
//!
//! Its parts are files of their own kind beside this one, put together once. The policy (CSP level 3) allows these very bytes, by
//! their hashes, and no others: what somebody else might smuggle in does not run. Nothing makes markup out of text, which the policy
//! forbids as well (Trusted Types).

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH};
use http::{Response, StatusCode};

use super::Admin;
use super::answer::{Body, Reply, text, whole};
use super::ask::Ask;
use super::dispatch::{self, Opens, Page};

/// Where people look.
pub(super) const PAGES: &[Page] =
    &[Page::get("/", front).opens(Opens::ToAll), Page::get("/dashboard", dashboard).opens(Opens::ToAll)];

const HTML: &str = "text/html; charset=utf-8";
const DOCUMENT: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");
/// In the order in which they lean on each other.
const SCRIPTS: [&str; 11] = [
    include_str!("script/words.js"),
    include_str!("script/chart.js"),
    include_str!("script/model.js"),
    include_str!("script/row.js"),
    include_str!("script/below.js"),
    include_str!("script/ask.js"),
    include_str!("script/beside.js"),
    include_str!("script/summary.js"),
    include_str!("script/stream.js"),
    include_str!("script/page.js"),
    include_str!("script/main.js"),
];

/// The page as it is sent.
#[derive(Debug)]
pub(super) struct Dashboard {
    document: Bytes,
    fields: Vec<(HeaderName, HeaderValue)>,
    tag: HeaderValue,
}

impl Dashboard {
    /// Puts it together.
    pub(super) fn new() -> Self {
        // In a scope of its own, so that nothing from outside shares names with it.
        let script = format!("\"use strict\";\n(() => {{\n{}\n}})();\n", SCRIPTS.join("\n"));
        let document = DOCUMENT.replace("/*style*/", STYLE).replace("/*script*/", &script);
        let policy = format!(
            "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; img-src data:; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
            hash(&script),
            hash(STYLE)
        );
        // Base64 and words: fit for a field.
        let field = |value: &str| HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static(""));
        let tag = field(&format!("\"{}\"", hash(&document)));
        let fields = vec![
            (CONTENT_SECURITY_POLICY, field(&policy)),
            (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
            (ETAG, tag.clone()),
        ];
        Dashboard { document: document.into(), fields, tag }
    }

    fn answer(&self, known: Option<&str>) -> Response<Body> {
        let is_known = known.is_some_and(|known| known.as_bytes() == self.tag.as_bytes());
        let mut response = match is_known {
            true => whole(StatusCode::NOT_MODIFIED, HTML, Bytes::new()),
            false => whole(StatusCode::OK, HTML, self.document.clone()),
        };
        response.headers_mut().extend(self.fields.iter().cloned());
        response
    }
}

/// As `script-src` and `style-src` name what they allow.
fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(digest(&SHA256, text.as_bytes())))
}

fn dashboard(admin: &Admin, ask: &Ask) -> Reply {
    Ok(admin.dashboard.answer(ask.header(IF_NONE_MATCH.as_str())))
}

/// The page for browsers; for everything else, what there is.
fn front(admin: &Admin, ask: &Ask) -> Reply {
    match ask.header("accept") {
        Some(kinds) if kinds.contains("text/html") => dashboard(admin, ask),
        _ => Ok(text(StatusCode::OK, format!("{}\n", dispatch::listed()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_names_what_is_in_the_page() {
        let dashboard = Dashboard::new();
        let document = String::from_utf8(dashboard.document.to_vec()).unwrap();
        let between = |from: &str, to: &str| {
            let (_, rest) = document.split_once(from).unwrap();
            rest.split_once(to).unwrap().0.to_owned()
        };
        let policy = dashboard.fields[0].1.to_str().unwrap();
        for part in [between("<style>", "</style>"), between("<script>", "</script>")] {
            assert!(policy.contains(&hash(&part)), "{policy}");
        }
        assert_eq!(document.matches("<script").count(), 1, "and there is no other");
        for sink in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "http://",
            "https://",
            "//cdn",
        ] {
            let harmless = document.replace("http://www.w3.org/2000/svg", "");
            assert!(!harmless.contains(sink), "{sink} is in the page");
        }
    }
}
