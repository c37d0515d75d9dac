//! Who may look through the window, and who may reach through it.
//!
//! Without a token or a certificate, whoever can connect is known: nobody but this machine can, the configuration sees to that. On this
//! machine is a browser, too, which does what pages of strangers tell it; what such pages cannot do holds them off: name the window
//! by an address or by a name that is ours, where theirs was made to point here (DNS rebinding); send JSON to somebody else without
//! asking; or say that they are somebody else (`Origin`, `Sec-Fetch-Site`).

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Digest, SHA256, digest};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, ORIGIN, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode, Uri};
use tracing::warn;

use super::answer::Problem;
use super::ask::Who;
use super::dispatch::{Handler, Opens, Page};
use crate::config::{self, Secret, read_token};

/// How often a token's file is looked at, at most.
const LOOK: Duration = Duration::from_secs(1);
/// Wrong tokens are told of once in so long, with their number: a line for each would be theirs to write.
const TOLD: Duration = Duration::from_secs(60);

/// Who is let in.
pub(super) struct Access {
    names: Vec<String>,
    anonymous_metrics: bool,
    asks_for_certificates: bool,
    token: Option<Token>,
    refused: Mutex<Refused>,
}

/// By what a request came.
#[derive(Debug, Clone)]
pub(super) enum Caller {
    /// By TCP, from this address, with what its certificate proves, if it showed one.
    Remote { address: String, proved: Option<String> },
    /// By a file of this machine, which not everybody may write to: the user.
    Local { user: u32 },
}

struct Token {
    file: Option<PathBuf>,
    read: Mutex<Read>,
}

/// What was read last, and when.
struct Read {
    hash: Digest,
    at: Instant,
}

#[derive(Default)]
struct Refused {
    count: u64,
    told: Option<Instant>,
}

impl Access {
    /// As the configuration says.
    pub(super) fn new(settings: &config::Admin) -> Self {
        let token = |given: &Secret| Token {
            file: settings.token_file.clone(),
            read: Mutex::new(Read { hash: hash(given.reveal()), at: Instant::now() }),
        };
        Access {
            names: settings.names.clone(),
            anonymous_metrics: settings.anonymous_metrics,
            asks_for_certificates: settings.asks_for_certificates(),
            token: settings.token.as_ref().map(token),
            refused: Mutex::default(),
        }
    }

    /// Who that is, and whether they are known.
    pub(super) fn who(&self, caller: &Caller, head: &HeaderMap) -> Who {
        let proved = match caller {
            Caller::Remote { proved, .. } => proved.as_ref().filter(|_| self.asks_for_certificates),
            Caller::Local { .. } => None,
        };
        let name = match caller {
            Caller::Remote { address, .. } => {
                proved.map_or_else(|| address.clone(), |proved| format!("{proved} at {address}"))
            }
            Caller::Local { user } => format!("user {user}"),
        };
        let asks = self.token.is_some() || self.asks_for_certificates;
        let is_known = if asks { proved.is_some() || self.knows(&name, head) } else { self.is_meant(caller, head) };
        Who { name, is_known }
    }

    /// Whether they may have this page.
    pub(super) fn admit(&self, page: &Page, who: &Who, head: &HeaderMap) -> Result<(), Problem> {
        let is_open = match page.opens {
            Opens::ToAll => true,
            Opens::AsFigures => self.anonymous_metrics || who.is_known,
            Opens::ToKnown => who.is_known,
        };
        if !is_open {
            return Err(self.stranger(head));
        }
        match page.handler {
            Handler::Act(_) => may_act(head),
            Handler::Look(_) => may_look(page, head),
        }
    }

    /// What whoever is not known is told.
    pub(super) fn stranger(&self, head: &HeaderMap) -> Problem {
        if self.token.is_none() && !self.asks_for_certificates {
            if came_by_a_proxy(head) {
                let advice = "whoever is behind one is nobody that is known: give the window a token";
                return Problem::new(StatusCode::FORBIDDEN, format!("this came by way of a proxy; {advice}"));
            }
            let host = head.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
            let advice = "use an address or localhost, or add the name to admin.names";
            return Problem::new(StatusCode::FORBIDDEN, format!("\"{host}\" is no name of this window; {advice}"));
        }
        let detail = if self.token.is_some() {
            "a token is needed here: Authorization: Bearer …"
        } else {
            "a client certificate is needed here"
        };
        let problem = Problem::new(StatusCode::UNAUTHORIZED, detail);
        problem.with(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"lictor\""))
    }

    fn knows(&self, name: &str, head: &HeaderMap) -> bool {
        let (Some(token), Some(given)) = (&self.token, bearer(head)) else { return false };
        let is_right = token.is(given);
        if !is_right {
            self.tell_of(name);
        }
        is_right
    }

    fn tell_of(&self, from: &str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.count += 1;
        if refused.told.is_none_or(|told| told.elapsed() >= TOLD) {
            let count = std::mem::take(&mut refused.count);
            refused.told = Some(Instant::now());
            warn!(from, count, "wrong tokens for the operator's window");
        }
    }

    /// True if the request names us by what is ours. Who comes by a file has no page of a stranger's behind it.
    fn is_meant(&self, caller: &Caller, head: &HeaderMap) -> bool {
        if matches!(caller, Caller::Local { .. }) {
            return true;
        }
        if came_by_a_proxy(head) {
            return false;
        }
        let Some(host) = head.get(HOST).and_then(|host| host.to_str().ok()) else { return false };
        let Some(name) = host_name(host) else { return false };
        let is_address = name.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>().is_ok();
        is_address || name == "localhost" || name.ends_with(".localhost") || self.names.contains(&name)
    }
}

/// True if a proxy says that it has passed this on. Who is on this machine and asks nobody for a token may be a proxy that anybody can
/// reach, and that was led here.
fn came_by_a_proxy(head: &HeaderMap) -> bool {
    ["via", "forwarded", "x-forwarded-for"].into_iter().any(|name| head.contains_key(name))
}

impl Token {
    fn is(&self, given: &[u8]) -> bool {
        let given = digest(&SHA256, given);
        // Hashes have all the same length, and say nothing of how near a wrong one was.
        let fits = |read: &Read| verify_slices_are_equal(read.hash.as_ref(), given.as_ref()).is_ok();
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = self.file.as_ref().filter(|_| read.at.elapsed() >= LOOK) {
            read.at = Instant::now();
            // While it is being written anew, the last one counts.
            if let Ok(token) = read_token(file) {
                read.hash = hash(token.reveal());
            }
        }
        fits(&read)
    }
}

fn hash(token: &str) -> Digest {
    digest(&SHA256, token.as_bytes())
}

/// RFC 6750 section 2.1.
fn bearer(head: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = head.get(AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Of a page of our own, or of no page at all; and in words that a page of somebody else's may not send unasked.
fn may_act(head: &HeaderMap) -> Result<(), Problem> {
    let kind = head.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        let detail = "Content-Type has to be application/json, even without a body";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    if is_of_a_strangers_page(head) {
        return Err(Problem::new(StatusCode::FORBIDDEN, "asked by a page that is not of this window"));
    }
    Ok(())
}

/// Whoever follows a link to here may come from anywhere; no other page may have what is here as a part of its own.
fn may_look(page: &Page, head: &HeaderMap) -> Result<(), Problem> {
    let says = |name: &str, value: &str| head.get(name).is_some_and(|said| said == value);
    if page.opens == Opens::ToKnown && says("sec-fetch-site", "cross-site") && !says("sec-fetch-mode", "navigate") {
        return Err(Problem::new(StatusCode::FORBIDDEN, "asked by a page that is not of this window"));
    }
    Ok(())
}

fn is_of_a_strangers_page(head: &HeaderMap) -> bool {
    let site = head.get("sec-fetch-site").map(HeaderValue::as_bytes);
    if site.is_some_and(|site| site != b"same-origin" && site != b"none") {
        return true;
    }
    let Some(origin) = head.get(ORIGIN) else { return false };
    // "null" is a page that hides where it is from.
    let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
    let origin = origin.and_then(|origin| Some(origin.authority()?.as_str().to_ascii_lowercase()));
    let host = head.get(HOST).and_then(|host| host.to_str().ok()).map(str::to_ascii_lowercase);
    origin.is_none() || origin != host
}

/// The host without its port, lower case.
fn host_name(host: &str) -> Option<String> {
    let authority: http::uri::Authority = host.parse().ok()?;
    let name = authority.host();
    // What stands before an @ is no part of a Host.
    (!host.contains('@') && !name.is_empty()).then(|| name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect::<HeaderMap>()
    }

    fn access(change: impl FnOnce(&mut config::Admin)) -> Access {
        let mut settings = config::Admin::at(([127, 0, 0, 1], 1).into());
        change(&mut settings);
        Access::new(&settings)
    }

    fn knows(access: &Access, fields: &[(&'static str, &str)]) -> bool {
        let caller = Caller::Remote { address: "127.0.0.1".to_owned(), proved: None };
        access.who(&caller, &head(fields)).is_known
    }

    #[test]
    fn without_a_token_a_request_has_to_name_the_window_by_what_is_ours() {
        let access = access(|settings| settings.names = vec!["lictor.internal".to_owned()]);
        for ours in
            ["127.0.0.1:9990", "[::1]:9990", "[::1]", "LocalHost:80", "a.localhost", "Lictor.internal:9990", "10.0.0.1"]
        {
            assert!(knows(&access, &[("host", ours)]), "{ours}");
        }
        for theirs in
            ["evil.example", "evil.example:9990", "127.0.0.1.evil.example", "x", "", "localhost@evil.example", "a b"]
        {
            assert!(!knows(&access, &[("host", theirs)]), "{theirs}");
        }
        assert!(!knows(&access, &[]));
        assert!(access.who(&Caller::Local { user: 0 }, &head(&[("host", "lictor")])).is_known);
    }

    #[test]
    fn with_a_token_nothing_else_counts() {
        let access = access(|settings| settings.token = Some(Secret::new("0123456789abcdef")));
        let with = |value: &str| knows(&access, &[("host", "localhost"), ("authorization", value)]);
        assert!(with("Bearer 0123456789abcdef") && with("bearer  0123456789abcdef "));
        for wrong in
            ["", "Bearer", "Bearer ", "Bearer 0123456789abcde", "Bearer 0123456789abcdeff", "Basic 0123456789abcdef"]
        {
            assert!(!with(wrong), "{wrong}");
        }
        assert!(!knows(&access, &[("host", "localhost")]));
        assert!(!access.who(&Caller::Local { user: 0 }, &head(&[])).is_known, "on a file as well");
    }

    #[test]
    fn pages_of_strangers_can_change_nothing() {
        let ours = [("content-type", "application/json; charset=utf-8"), ("host", "localhost:9990")];
        let with = |more: &[(&'static str, &str)]| may_act(&head(&[&ours, more].concat())).is_ok();
        assert!(with(&[]) && with(&[("origin", "http://localhost:9990"), ("sec-fetch-site", "same-origin")]));
        assert!(with(&[("sec-fetch-site", "none")]));
        for (name, value) in [
            ("origin", "http://evil.example"),
            ("origin", "http://localhost:8080"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert!(!with(&[(name, value)]), "{name}: {value}");
        }
        for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""] {
            assert!(may_act(&head(&[("content-type", kind)])).is_err(), "{kind}");
        }
        assert!(may_act(&HeaderMap::new()).is_err());
    }
}
