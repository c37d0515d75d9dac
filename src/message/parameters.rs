//! Named values inside a request: cookies and query parameters, as they stand there.

use std::borrow::Cow;

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

/// The values of every query parameter of that name, decoded; empty for one without `=`.
pub fn query_values<'a>(query: &'a str, name: &str) -> impl Iterator<Item = Cow<'a, [u8]>> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.filter(move |(key, _)| *decode(key) == *name.as_bytes()).map(|(_, value)| decode(value))
}

/// Percent-encoding and the plus for a space undone; what is no encoding stays.
fn decode(text: &str) -> Cow<'_, [u8]> {
    if !text.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(text.as_bytes());
    }
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let (mut decoded, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, more @ ..] = rest {
        rest = more;
        match (first, digit(more.first()), digit(more.get(1))) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                rest = &more[2..];
            }
            (b'+', ..) => decoded.push(b' '),
            (other, ..) => decoded.push(*other),
        }
    }
    Cow::Owned(decoded)
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
    fn every_value_of_a_query_parameter_is_found_however_it_is_written() {
        let values = |query| query_values(query, "a b").map(|value| value.into_owned()).collect::<Vec<_>>();
        assert_eq!(values("a+b=1&a%20b=%C3%a9&a%2=3&&%61 b"), [&b"1"[..], "\u{e9}".as_bytes(), b""]);
        assert_eq!(values("a%20b=%2%zz%"), [b"%2%zz%"]);
        assert!(values("").is_empty());
    }

    #[test]
    fn a_query_parameter_is_found_by_its_whole_name() {
        assert_eq!(query_parameter("user_id=1&user=2&user=3", "user"), Some(&b"2"[..]));
        assert_eq!(query_parameter("user", "user"), None);
        assert_eq!(query_parameter("", "user"), None);
    }
}
