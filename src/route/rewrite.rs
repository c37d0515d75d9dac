//! What a route changes in the head of a request: its path, its host, its headers.

use http::header::{HOST, HeaderValue};
use http::request;
use http::uri::Uri;

use super::Route;
use crate::config::{Action, NewHost, Target};

/// What comes of it is no target that a request may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfit;

/// Changes a head that is ready to go out otherwise, to this one of the route's targets.
pub fn rewrite(head: &mut request::Parts, route: &Route, target: Option<&Target>) -> Result<(), Unfit> {
    let Action::Forward(forward) = &route.settings.action else { return Ok(()) };
    if let Some(rewrite) = target.and_then(|target| target.rewrite.as_deref()) {
        if let Some(path) = own(head.uri.path(), &rewrite.strip, &rewrite.prepend) {
            lead(head, path)?;
        }
        if let NewHost::Named(host) = &rewrite.host {
            head.headers.insert(HOST, HeaderValue::from_str(host).map_err(|_| Unfit)?);
        }
    }
    if let Some(prefix) = &forward.replace_prefix
        && let Some(path) = with_prefix(head.uri.path(), &route.settings.path, prefix)
    {
        lead(head, path)?;
    }
    if let Some(host) = &forward.host_header {
        head.headers.insert(HOST, host.clone());
    }
    forward.request_headers.apply(&mut head.headers);
    Ok(())
}

/// Leads a request to another path.
fn lead(head: &mut request::Parts, path: String) -> Result<(), Unfit> {
    let target = match head.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    head.uri = Uri::try_from(target).map_err(|_| Unfit)?;
    Ok(())
}

/// A path without what is to be taken from its beginning, if it is there, and with what is to be put in front of that; none for `*`. It
/// begins with one slash, as in [`with_prefix`].
pub(super) fn own(path: &str, strip: &str, prepend: &str) -> Option<String> {
    if strip.is_empty() && prepend.is_empty() || !path.starts_with('/') {
        return path.starts_with('/').then(|| path.to_owned());
    }
    let rest = path.strip_prefix(strip).unwrap_or(path).trim_start_matches(['/', '\\']);
    Some(format!("{prepend}/{rest}"))
}

/// A path with another prefix, both without a slash at the end; none for `*`, which is no path. It begins with one slash, however
/// many follow what was taken away: two would make a host of what comes behind them.
pub(super) fn with_prefix(path: &str, old: &str, new: &str) -> Option<String> {
    let rest = path.strip_prefix(old).filter(|_| path.starts_with('/'))?;
    let rest = rest.trim_start_matches(['/', '\\']);
    let is_whole = rest.is_empty() && path.len() == old.len() && !new.is_empty();
    Some(if is_whole { new.to_owned() } else { format!("{new}/{rest}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_replaced_or_stripped_and_the_rest_stays() {
        let with = |path: &str, old: &str, new: &str| with_prefix(path, old, new).unwrap();
        assert_eq!(with("/api/x/", "/api", "/v2"), "/v2/x/");
        assert_eq!(with("/api", "/api", "/v2"), "/v2");
        assert_eq!(with("/api/", "/api", "/v2"), "/v2/");
        assert_eq!((with("/api/x", "/api", ""), with("/api", "/api", "")), ("/x".into(), "/".into()));
        assert_eq!((with("/x", "", "/v2"), with("/", "", "/v2")), ("/v2/x".into(), "/v2/".into()));
        assert_eq!(with_prefix("*", "", "/v2"), None);
    }

    #[test]
    fn what_is_stripped_is_a_text_and_what_is_put_in_front_comes_after_that() {
        let own = |path: &str, strip: &str, prepend: &str| own(path, strip, prepend).unwrap();
        assert_eq!(own("/foo/bar", "/foo", ""), "/bar");
        assert_eq!((own("/foo", "/foo", ""), own("/foobar", "/foo", "")), ("/".into(), "/bar".into()));
        assert_eq!((own("/bar", "", "/foo"), own("/bar", "/x", "/foo")), ("/foo/bar".into(), "/foo/bar".into()));
        assert_eq!((own("/foo/bar", "/foo", "/baz"), own("/foo", "/foo", "/baz")), ("/baz/bar".into(), "/baz/".into()));
        assert_eq!((own("//a", "", ""), own("/foo//evil.test", "/foo", "")), ("//a".into(), "/evil.test".into()));
        assert_eq!(super::own("*", "", "/v2"), None);
    }

    #[test]
    fn what_follows_a_prefix_is_never_taken_for_a_host() {
        for path in ["/api//evil.example.com", "/api/\\evil.example.com", "/api/\\/evil.example.com"] {
            assert_eq!(with_prefix(path, "/api", "").unwrap(), "/evil.example.com");
        }
    }
}
