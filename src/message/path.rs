//! Paths that servers read in more than one way (RFC 3986 sections 2.2 and 6.2.2): some resolve "..", some merge "//", some
//! decode "%2f" before they look, and whoever stands in front of them cannot know.

use std::borrow::Cow;

/// What can be said of a path without knowing who reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Everybody reads it alike.
    Plain,
    /// It has empty segments or encoded slashes: it may belong elsewhere once somebody has normalised it. See [`normal`].
    Odd,
    /// Nobody who means well writes it: dot segments, which clients resolve themselves, backslashes, encoded control
    /// characters, and escapes that are none.
    Wrong,
}

/// How a path without its query can be read.
pub fn reading(path: &str) -> Reading {
    let bytes = path.as_bytes();
    let (mut odd, mut suspicious) = (false, false);
    let mut last = 0;
    for (index, byte) in bytes.iter().enumerate() {
        match *byte {
            b'/' if last == b'/' => odd = true,
            b'\\' => return Reading::Wrong,
            b'.' if matches!(last, 0 | b'/') => suspicious = true,
            b'%' => match escape(&bytes[index..]) {
                None | Some(0..=0x1f | 0x7f | b'\\') => return Reading::Wrong,
                Some(b'/') => (odd, suspicious) = (true, true),
                Some(b'.') => suspicious = true,
                Some(_) => {}
            },
            _ => {}
        }
        last = *byte;
    }
    if suspicious && decoded(path).split('/').any(is_dots) {
        return Reading::Wrong;
    }
    if odd { Reading::Odd } else { Reading::Plain }
}

/// As somebody reads it who decodes slashes and merges them: where an odd path may come to belong.
pub fn normal(path: &str) -> String {
    let decoded = decoded(path);
    let mut normal = String::with_capacity(decoded.len());
    for part in decoded.split('/').filter(|part| !part.is_empty()) {
        normal.push('/');
        normal.push_str(part);
    }
    if normal.is_empty() || decoded.ends_with('/') {
        normal.push('/');
    }
    normal
}

/// "." and "..", also with the parameters that some servers cut off.
fn is_dots(segment: &str) -> bool {
    matches!(segment.split(';').next(), Some("." | ".."))
}

/// With its dots and slashes decoded, and nothing else.
fn decoded(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        decoded.push_str(&rest[..at]);
        rest = &rest[at..];
        let (text, length) = match escape(rest.as_bytes()) {
            Some(b'/') => ("/", 3),
            Some(b'.') => (".", 3),
            _ => ("%", 1),
        };
        decoded.push_str(text);
        rest = &rest[length..];
    }
    decoded.push_str(rest);
    Cow::Owned(decoded)
}

/// The byte that an escape at the beginning stands for.
fn escape(bytes: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*bytes.get(at)?).to_digit(16);
    u8::try_from(digit(1)? << 4 | digit(2)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_paths_are_read_alike_by_everybody() {
        for plain in
            ["/", "", "*", "/a/b.c", "/.well-known/x", "/...", "/a/..b", "/a%20b", "/a%c3%a4", "/a;b/c=d", "/a%25"]
        {
            assert_eq!(reading(plain), Reading::Plain, "{plain}");
        }
    }

    #[test]
    fn some_may_belong_elsewhere() {
        for (odd, normal_form) in [
            ("//a", "/a"),
            ("/a//b/", "/a/b/"),
            ("/a%2Fb", "/a/b"),
            ("/a%2f%2fb", "/a/b"),
            ("//", "/"),
            ("/x/http://y", "/x/http:/y"),
        ] {
            assert_eq!(reading(odd), Reading::Odd, "{odd}");
            assert_eq!(normal(odd), normal_form);
        }
    }

    #[test]
    fn and_some_are_written_by_nobody_who_means_well() {
        for wrong in [
            "..",
            "../a",
            "/..",
            "/../a",
            "/a/./b",
            "/a/.",
            "/%2e%2E/a",
            "/.%2e",
            "/a%2f..%2fb",
            "/a%2f%2e%2e/b",
            "/..;/a",
            "/a/..;x=1/b",
            "/a\\b",
            "/a%5cb",
            "/a%00",
            "/a%0d%0ab",
            "/a%7f",
            "/a%",
            "/a%2",
            "/a%zz",
            "/%2e;x/a",
        ] {
            assert_eq!(reading(wrong), Reading::Wrong, "{wrong}");
        }
    }
}
