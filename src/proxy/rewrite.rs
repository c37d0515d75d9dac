//! What a route changes in the head of a request: its path, its host, its headers.

use http::header::HOST;
use http::request;
use http::uri::Uri;

use super::answer::Refusal;
use crate::config::Action;
use crate::route::Route;

/// Changes a head that is ready to go out otherwise.
pub(super) fn request(head: &mut request::Parts, route: &Route) -> Result<(), Refusal> {
    let Action::Forward(forward) = &route.settings.action else { return Ok(()) };
    if let Some(prefix) = &forward.replace_prefix
        && let Some(path) = with_prefix(head.uri.path(), &route.settings.path, prefix)
    {
        let target = head.uri.query().map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
        head.uri = Uri::try_from(target).map_err(|_| Refusal::Target)?;
    }
    if let Some(host) = &forward.host_header {
        head.headers.insert(HOST, host.clone());
    }
    forward.request_headers.apply(&mut head.headers);
    Ok(())
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
    fn what_follows_a_prefix_is_never_taken_for_a_host() {
        for path in ["/api//evil.example.com", "/api/\\evil.example.com", "/api/\\/evil.example.com"] {
            assert_eq!(with_prefix(path, "/api", "").unwrap(), "/evil.example.com");
        }
    }
}
