//! Where a redirect sends a client.

use http::header::HeaderValue;
use http::request;

use super::rewrite::{own, with_prefix};
use crate::config::{NewPath, Redirect};
use crate::message::Sender;

/// Where a client is sent: within its host where nothing else is said, so that no word of the request is needed for the rest.
pub fn location(
    redirect: &Redirect,
    prefix: &str,
    (head, host): (&request::Parts, &HeaderValue),
    sender: Sender<'_>,
) -> Option<HeaderValue> {
    let mut location = String::new();
    if redirect.scheme.is_some() || redirect.host.is_some() || redirect.port.is_some() {
        location += &origin(redirect, host.to_str().ok()?, sender.scheme(&head.headers).to_str().ok()?);
    }
    let path = match &redirect.path {
        Some(NewPath::Whole(path)) => path.clone(),
        Some(NewPath::Prefix(new)) => with_prefix(head.uri.path(), prefix, new)?,
        Some(NewPath::Own { strip, prepend }) => own(head.uri.path(), strip, prepend)?,
        Some(NewPath::Target(target)) => {
            escape(&mut location, target);
            return HeaderValue::from_str(&location).ok();
        }
        // Where it stands alone, its beginning must not be taken for a host.
        None => with_prefix(head.uri.path(), "", "")?,
    };
    escape(&mut location, &path);
    if let Some(query) = head.uri.query() {
        location.push('?');
        escape(&mut location, query);
    }
    HeaderValue::from_str(&location).ok()
}

/// Scheme, host and port; the port only where it is not the scheme's own.
fn origin(redirect: &Redirect, host: &str, scheme: &str) -> String {
    let end = host.rfind(']').map_or(0, |end| end + 1);
    let (name, said) = match host[end..].rfind(':') {
        Some(colon) => (&host[..end + colon], host[end + colon + 1..].parse::<u16>().ok()),
        None => (host, None),
    };
    // The port that was asked belongs to the scheme and host that were asked.
    let said = said.filter(|_| redirect.scheme.is_none_or(|new| new == scheme) && redirect.host.is_none());
    let (scheme, name) = (redirect.scheme.unwrap_or(scheme), redirect.host.as_deref().unwrap_or(name));
    let usual = if scheme == "https" { 443 } else { 80 };
    match redirect.port.or(said).filter(|port| *port != usual) {
        Some(port) => format!("{scheme}://{name}:{port}"),
        None => format!("{scheme}://{name}"),
    }
}

/// Adds a part of a URI, with all in percent-encoding that must not stand in one (RFC 3986).
fn escape(uri: &mut String, part: &str) {
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            *uri += &format!("%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, StatusCode};

    use super::*;
    use crate::message::Downstream;

    const NOWHERE: Redirect =
        Redirect { scheme: None, host: None, port: None, path: None, status: StatusCode::PERMANENT_REDIRECT };

    fn sent(redirect: Redirect, host: &str, target: &str) -> String {
        let (head, ()) = Request::get(target).body(()).unwrap().into_parts();
        let client = Downstream::plain([127, 0, 0, 1].into());
        let host = host.parse().unwrap();
        location(&redirect, "/api", (&head, &host), (&client).into()).unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn each_part_of_a_location_can_be_another() {
        let https = || Redirect { scheme: Some("https"), ..NOWHERE };
        assert_eq!(sent(https(), "shop:8080", "/api/x?y=1"), "https://shop/api/x?y=1");
        assert_eq!(sent(Redirect { port: Some(8443), ..https() }, "[::1]:80", "/"), "https://[::1]:8443/");
        assert_eq!(sent(Redirect { port: Some(443), ..https() }, "[::1]", "/"), "https://[::1]/");
        let host = || Redirect { host: Some("www".into()), ..NOWHERE };
        assert_eq!(sent(host(), "shop:8080", "/a"), "http://www/a");
        assert_eq!(sent(Redirect { port: Some(81), ..NOWHERE }, "shop:8080", "/a"), "http://shop:81/a");
        assert_eq!(sent(Redirect { scheme: Some("http"), ..NOWHERE }, "shop:8080", "/a"), "http://shop:8080/a");
        let whole = Redirect { path: Some(NewPath::Whole("/new".into())), ..NOWHERE };
        assert_eq!(sent(whole, "shop", "/api/x?y"), "/new?y");
        let prefix = |new: &str| Redirect { path: Some(NewPath::Prefix(new.into())), ..NOWHERE };
        assert_eq!(sent(prefix("/v2"), "shop", "/api/x?y"), "/v2/x?y");
        assert_eq!(sent(prefix(""), "shop", "/api/x"), "/x");
    }

    #[test]
    fn no_path_leads_out_of_the_host() {
        let prefix = || Redirect { path: Some(NewPath::Prefix(String::new())), ..NOWHERE };
        for target in ["/api//evil.example.com/x", "/api/\\evil.example.com/x", "/api/\\\\//evil.example.com/x"] {
            assert_eq!(sent(prefix(), "shop", target), "/evil.example.com/x", "{target}");
        }
        let https = Redirect { scheme: Some("https"), ..NOWHERE };
        assert_eq!(sent(https, "shop", "//evil.example.com"), "https://shop/evil.example.com");
    }

    #[test]
    fn what_must_not_stand_in_a_uri_is_encoded() {
        let prefix = Redirect { path: Some(NewPath::Prefix("/n".into())), ..NOWHERE };
        assert_eq!(sent(prefix, "shop", "/api/a\\b|c%0d%0a?q=[1]{2}"), "/n/a%5Cb%7Cc%0d%0a?q=%5B1%5D%7B2%7D");
    }
}
