//! Named values inside a request: cookies and query parameters, as they stand there.

use http::HeaderMap;
use http::header::COOKIE;

/// The first cookie of that name.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    cookies(headers, name).next()
}

/// Every cookie of that name: a browser has one for each path and domain, and sends all that fit (RFC 6265 section 5.4).
pub fn cookies<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a [u8]> {
    let lines = headers.get_all(COOKIE).into_iter();
    all(lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';')).map(<[u8]>::trim_ascii), name)
}

/// The first query parameter of that name, both as written.
pub fn query_parameter<'a>(query: &'a str, name: &str) -> Option<&'a [u8]> {
    all(query.split('&').map(str::as_bytes), name).next()
}

fn all<'a>(pairs: impl Iterator<Item = &'a [u8]>, name: &str) -> impl Iterator<Item = &'a [u8]> {
    pairs.filter_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_cookie_of_a_name_is_found_on_any_line() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, "id2=x; id=1;id=2".parse().unwrap());
        headers.append(COOKIE, "other=a=b".parse().unwrap());
        assert_eq!(cookie(&headers, "id"), Some(&b"1"[..]));
        assert!(cookies(&headers, "id").eq([b"1", b"2"]));
        assert_eq!(cookie(&headers, "other"), Some(&b"a=b"[..]));
        assert_eq!(cookie(&headers, "ID"), None, "names of cookies are as written");
    }

    #[test]
    fn a_query_parameter_is_found_by_its_whole_name() {
        assert_eq!(query_parameter("user_id=1&user=2&user=3", "user"), Some(&b"2"[..]));
        assert_eq!(query_parameter("user", "user"), None);
        assert_eq!(query_parameter("", "user"), None);
    }
}
