//! The text side of a configuration: from a byte offset to line and key, from a key to its line, and the nearest word for
//! a "did you mean". Kept apart so that `check` speaks of keys only.

use std::collections::HashMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Error, Problem};

/// A configuration's text, and its keys with their places if it is TOML at all.
pub(super) struct Document<'a> {
    text: &'a str,
    /// In the order of the text: of a key's name and its value the name is first.
    keys: Vec<(String, Range<usize>)>,
    /// Where each key is first among them.
    places: HashMap<String, usize>,
}

impl<'a> Document<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let mut keys = Vec::new();
        if let Ok(table) = DeTable::parse(text) {
            walk_table("", table.get_ref(), &mut keys);
        }
        let mut places = HashMap::new();
        for (place, (key, _)) in keys.iter().enumerate() {
            places.entry(key.clone()).or_insert(place);
        }
        Document { text, keys, places }
    }

    /// An error of the TOML parser or of serde as a problem with its line, its key, and a suggestion.
    pub(super) fn syntax(&self, error: &toml::de::Error) -> Error {
        Error::new(vec![self.problem(error)])
    }

    /// The same for a document beside the file, in which much that the file knows has no place.
    pub(super) fn syntax_of_document(&self, error: &toml::de::Error) -> Problem {
        let problem = self.problem(error);
        let is_unknown = error.message().starts_with("unknown field") && !problem.key.contains('.');
        if is_unknown && !problem.message.contains("did you mean") {
            let message =
                "has no place in a document: it has [[routes]] and [clusters.NAME], and all else is the file's";
            return Problem { message: message.to_owned(), ..problem };
        }
        problem
    }

    fn problem(&self, error: &toml::de::Error) -> Problem {
        let span = error.span().unwrap_or(0..0);
        let key = self.key_at(&span).unwrap_or_default();
        let line = Some(self.line(span.start));
        discreet(Problem { line, ..Problem::new(key, explain(error.message())) })
    }

    /// Gives each problem that has none the line of its key, or of the nearest table that is written; in the order of lines.
    pub(super) fn place(&self, mut problems: Vec<Problem>) -> Vec<Problem> {
        for problem in problems.iter_mut().filter(|problem| problem.line.is_none()) {
            problem.line = self.find(&problem.key).map(|span| self.line(span.start));
        }
        problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
        problems
    }

    fn line(&self, offset: usize) -> usize {
        1 + self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
    }

    fn find(&self, key: &str) -> Option<&Range<usize>> {
        let mut key = key;
        loop {
            if let Some(place) = self.places.get(key) {
                return self.keys.get(*place).map(|(_, span)| span);
            }
            key = &key[..key.rfind(['.', '['])?];
        }
    }

    /// The innermost key whose name or value holds the span.
    fn key_at(&self, span: &Range<usize>) -> Option<String> {
        let holds = |range: &Range<usize>| range.start <= span.start && span.end <= range.end;
        let innermost = self.keys.iter().filter(|(_, range)| holds(range)).min_by_key(|(_, range)| range.len());
        innermost.map(|(key, _)| key.clone())
    }
}

/// A parser quotes what it does not like; what may be a secret must not be quoted.
fn discreet(problem: Problem) -> Problem {
    let message = match problem.key.as_str() {
        "consul.token" | "admin.token" => "a token is a string",
        key if key.starts_with("tracing.headers") => "is a table of strings, such as { Authorization = \"Bearer …\" }",
        key if key.ends_with(".sticky.secret") => "a secret is a string",
        key if key.ends_with(".sticky") || key.contains(".sticky[") => "is a table, such as { secure = true }",
        _ => return problem,
    };
    Problem { message: message.to_owned(), ..problem }
}

fn walk_table(path: &str, table: &DeTable<'_>, keys: &mut Vec<(String, Range<usize>)>) {
    for (key, value) in table {
        let name = key.get_ref();
        let full = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
        keys.push((full.clone(), key.span()));
        walk_value(&full, value, keys);
    }
}

fn walk_value(path: &str, value: &Spanned<DeValue<'_>>, keys: &mut Vec<(String, Range<usize>)>) {
    keys.push((path.to_owned(), value.span()));
    match value.get_ref() {
        DeValue::Table(table) => walk_table(path, table, keys),
        DeValue::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                walk_value(&format!("{path}[{index}]"), value, keys);
            }
        }
        _ => {}
    }
}

/// serde says "unknown field `polcy`, expected one of `policy`, …"; a reader wants the one that was meant.
fn explain(message: &str) -> String {
    let Some(rest) = message.strip_prefix("unknown field `") else {
        return message.trim().to_owned();
    };
    let mut words = rest.split('`');
    let written = words.next().unwrap_or_default();
    let known: Vec<&str> = words.skip(1).step_by(2).collect();
    match nearest(written, known.iter().copied()) {
        Some(meant) => format!("unknown key; did you mean \"{meant}\"?"),
        None => format!("unknown key; known here: {}", known.join(", ")),
    }
}

/// The known word that is closest to a mistyped one, if any is close.
pub(super) fn nearest<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters may be wrong: enough for slips, too little for another word.
    let most = (written.chars().count().max(3)) / 3;
    known.map(|word| (distance(written, word), word)).filter(|(far, _)| *far <= most).min().map(|(_, word)| word)
}

/// Letters to insert, drop, replace or swap with their neighbour ("optimal string alignment").
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            if i == 0 || j == 0 {
                table[i][j] = i + j;
                continue;
            }
            let replaced = table[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(table[i - 1][j] + 1).min(table[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(table[i - 2][j - 2] + 1);
            }
            table[i][j] = least;
        }
    }
    table[a.len()][b.len()]
}

/// Splits `host:port`; IPv6 addresses stand in brackets. The port is 1 to 65535.
pub fn parse_address(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port: u16 = port.parse().ok().filter(|port| *port != 0)?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').filter(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())?,
        None if host.contains(':') => return None,
        None => host,
    };
    let plausible = host.parse::<std::net::IpAddr>().is_ok() || is_host_name(host);
    plausible.then(|| (host.to_owned(), port))
}

/// Letters, digits, `-`, `_` and dots between non-empty labels (RFC 1123, plus the underscore that services use).
pub(super) fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    text.len() <= 253 && text.split('.').all(label) && !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let known = ["policy", "retry", "timeouts"];
        assert_eq!(nearest("polcy", known.into_iter()), Some("policy"));
        assert_eq!(nearest("timeout", known.into_iter()), Some("timeouts"));
        assert_eq!(nearest("weight", known.into_iter()), None);
    }

    #[test]
    fn addresses_are_host_and_port() {
        assert_eq!(parse_address("10.0.0.1:80"), Some(("10.0.0.1".into(), 80)));
        assert_eq!(parse_address("[::1]:80"), Some(("::1".into(), 80)));
        assert_eq!(parse_address("db-1.example_x.com:5432"), Some(("db-1.example_x.com".into(), 5432)));
        for bad in
            ["10.0.0.1", "10.0.0.1:0", "10.0.0.1:70000", "::1:80", "http://a:80", "a b:80", "", ":80", "10.0.0:80"]
        {
            assert_eq!(parse_address(bad), None, "{bad}");
        }
    }
}
