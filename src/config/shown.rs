//! The configuration as it was written, for people to look at: file and documents in one, without what must not be seen. What is a
//! secret is decided here, once, by where it stands; it is better to hide too much.

use toml::{Table, Value};

use super::{Config, Environment};

/// In place of what is not shown.
const HIDDEN: &str = "<hidden>";
/// Values of these keys let somebody in, or sign for us.
const SECRETS: [&str; 4] = ["token", "secret", "password", "basic_auth"];
/// What stands somewhere under these may be a key to somebody else's door: what a header or a parameter has to be, or is set to.
const CARRIERS: [&str; 5] = ["headers", "request_headers", "response_headers", "query", "metadata"];
/// What tells entries of those from one another, and how they are compared.
const HARMLESS: [&str; 1] = ["name"];
/// Its lists of headers are names.
const NAMES_ONLY: &str = "access_log";

/// Variables that win over the file, and whether they are secrets.
const VARIABLES: [(&str, bool); 11] = [
    ("CONSUL_HTTP_ADDR", false),
    ("CONSUL_HTTP_TOKEN", true),
    ("CONSUL_HTTP_TOKEN_FILE", false),
    ("CONSUL_HTTP_AUTH", true),
    ("CONSUL_HTTP_SSL", false),
    ("CONSUL_HTTP_SSL_VERIFY", false),
    ("CONSUL_CACERT", false),
    ("CONSUL_CLIENT_CERT", false),
    ("CONSUL_CLIENT_KEY", false),
    ("CONSUL_TLS_SERVER_NAME", false),
    ("CONSUL_NAMESPACE", false),
];

/// A configuration that can be shown.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shown(Table);

impl Shown {
    /// File and documents, which have been checked: what is no TOML is nothing here.
    pub(super) fn of<'a>(file: &str, documents: impl Iterator<Item = &'a str>, environment: &Environment) -> Shown {
        let mut all: Table = file.parse().unwrap_or_default();
        for document in documents {
            let document: Table = document.parse().unwrap_or_default();
            for (key, value) in document {
                match (all.get_mut(&key), value) {
                    (Some(Value::Array(known)), Value::Array(more)) => known.extend(more),
                    (Some(Value::Table(known)), Value::Table(more)) => known.extend(more),
                    (_, value) => drop(all.insert(key, value)),
                }
            }
        }
        for (key, value) in &mut all {
            if key != NAMES_ONLY {
                hide(key, value);
            }
        }
        let set = of_environment(environment);
        if !set.is_empty() {
            all.insert("environment".to_owned(), set.into());
        }
        Shown(all)
    }

    /// By key.
    pub fn table(&self) -> &Table {
        &self.0
    }

    /// As TOML.
    pub fn text(&self) -> String {
        // What was read can be written.
        toml::to_string_pretty(&self.0).unwrap_or_default()
    }
}

impl Config {
    /// What of it can be shown.
    pub fn shown(&self) -> &std::sync::Arc<Shown> {
        &self.shown
    }
}

/// What is set of what wins over the file.
fn of_environment(environment: &Environment) -> Table {
    let shown = |(name, is_secret): (&str, bool)| {
        let value = environment.get(name)?;
        let value = if is_secret { HIDDEN.to_owned() } else { without_credentials(value) };
        Some((name.to_owned(), value.into()))
    };
    VARIABLES.into_iter().filter_map(shown).collect()
}

fn hide(key: &str, value: &mut Value) {
    if SECRETS.contains(&key) {
        *value = HIDDEN.into();
        return;
    }
    if CARRIERS.contains(&key) {
        return hide_all(value);
    }
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                hide(key, value);
            }
        }
        // The first word of a command says what runs, the others may say anything.
        Value::Array(words) if key == "command" => words.iter_mut().skip(1).for_each(hide_all),
        Value::Array(values) => values.iter_mut().for_each(|value| hide(key, value)),
        Value::String(text) => *text = without_credentials(text),
        _ => {}
    }
}

fn hide_all(value: &mut Value) {
    match value {
        Value::Table(table) => {
            let carried = table.iter_mut().filter(|(key, _)| !HARMLESS.contains(&key.as_str()));
            carried.for_each(|(_, value)| hide_all(value));
        }
        Value::Array(values) => values.iter_mut().for_each(hide_all),
        Value::Boolean(_) => {}
        other => *other = HIDDEN.into(),
    }
}

/// An address as it is, but for who asks there, and what by.
fn without_credentials(text: &str) -> String {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None if text.starts_with('/') => (String::new(), text),
        None => return text.to_owned(),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let authority = match authority.rsplit_once('@') {
        Some((_, host)) => format!("{HIDDEN}@{host}"),
        None => authority.to_owned(),
    };
    match path.split_once('?') {
        Some((path, _)) => format!("{scheme}{authority}{path}?{HIDDEN}"),
        None => format!("{scheme}{authority}{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFERENCE: &str = include_str!("../../config/reference.toml");

    #[test]
    fn no_secret_of_any_key_is_shown() {
        let text = r#"
            [admin]
            bind = "127.0.0.1:0"
            token = "hush-admin"
            [consul]
            address = "https://someone:hush-user@consul.example:8501/hub?token=hush-query"
            token = "hush-consul"
            [tracing]
            endpoint = "https://key:hush-otlp@collector.example/v1/traces"
            headers = { authorization = "Bearer hush-tracing" }
            [[routes]]
            cluster = "web"
            headers = [{ name = "x-key", value = "hush-value" }, { name = "x-key", prefix = "hush-prefix" }]
            query = [{ name = "key", regex = "hush-regex" }]
            request_headers.set = { authorization = "Basic hush-set" }
            response_headers = { add = { x-key = "hush-add" }, remove = ["hush-remove"] }
            [defaults]
            sticky = { cookie = "s", secret = "hush-sticky" }
            [clusters.web]
            endpoints = ["127.0.0.1:1"]
            sticky.secret = "hush-cluster"
            [clusters.web.probe]
            headers = { authorization = "hush-probe" }
            [[registration.services]]
            name = "a"
            [[registration.services.checks]]
            command = ["/bin/check", "--password", "hush-command"]
            [[registration.services.checks]]
            url = "/health?key=hush-check"
        "#;
        let document = "[clusters.other]\nendpoints = ['127.0.0.1:2']\nsticky = { secret = 'hush-document' }";
        let shown = Shown::of(text, [document].into_iter(), &Environment::default());
        let json = serde_json::to_string(shown.table()).unwrap();
        for text in [shown.text(), json] {
            assert!(!text.contains("hush"), "{text}");
            for kept in [
                "x-key",
                "consul.example:8501/hub?",
                "/bin/check",
                "/health?",
                "collector.example",
                "other",
                "127.0.0.1:2",
            ] {
                assert!(text.contains(kept), "{kept} in {text}");
            }
        }
    }

    #[test]
    fn what_the_environment_says_is_shown_without_its_secrets() {
        let set = ["CONSUL_HTTP_TOKEN", "CONSUL_HTTP_AUTH", "CONSUL_NAMESPACE", "CONSUL_OF_NO_MEANING"];
        let set = set.into_iter().map(|name| (name, "hush-or-not"));
        let environment = Environment::from_iter(set.chain([("CONSUL_HTTP_ADDR", "https://a:hush@consul:8501")]));
        let shown = Shown::of("workers = 2\n", std::iter::empty(), &environment);
        let expected = "workers = 2\n[environment]\nCONSUL_HTTP_ADDR = \"https://<hidden>@consul:8501\"\n\
                        CONSUL_HTTP_AUTH = \"<hidden>\"\nCONSUL_HTTP_TOKEN = \"<hidden>\"\nCONSUL_NAMESPACE = \"hush-or-not\"\n";
        assert_eq!(shown.table(), &expected.parse::<Table>().unwrap());
    }

    #[test]
    fn every_variable_that_is_read_is_one_that_is_shown() {
        let read = include_str!("consul.rs").split('"').filter(|word| word.starts_with("CONSUL_"));
        let read: std::collections::BTreeSet<&str> = read.filter(|word| !word.contains([' ', '=', ':'])).collect();
        let shown: std::collections::BTreeSet<&str> = VARIABLES.iter().map(|(name, _)| *name).collect();
        assert_eq!(read, shown);
    }

    #[test]
    fn whatever_key_of_the_reference_sounds_like_a_secret_is_hidden_or_known_to_be_none() {
        // Files, and how many headers a head may have.
        let harmless =
            ["token_file", "secret_file", "key", "keys", "client_key", "zone_key", "headers", "anonymous_metrics"];
        let keys =
            REFERENCE.lines().filter_map(|line| line.trim_start_matches('#').split_once(" = ")).map(|(key, _)| key);
        let sounds = |key: &&str| {
            ["token", "secret", "password", "credential", "auth", "key"].iter().any(|word| key.contains(word))
        };
        for key in keys.filter(|key| !key.contains(' ')).filter(sounds) {
            let is_carried = key.split_once('.').is_some_and(|(carrier, _)| CARRIERS.contains(&carrier));
            let is_known = harmless.contains(&key) || key == "client_auth" || SECRETS.contains(&key) || is_carried;
            assert!(is_known, "is \"{key}\" a secret? say so here");
        }
    }

    #[test]
    fn what_is_no_secret_is_shown_as_it_was_written() {
        let text = "workers = 2\n[access_log]\nrequest_headers = [\"x-team\"]\n[log]\nlevel = \"info\"\n\
                    [[routes]]\nname = \"a\"\npath = \"/api/v1\"\n";
        let shown = Shown::of(text, std::iter::empty(), &Environment::default());
        assert_eq!(shown.text().parse::<Table>().unwrap(), text.parse::<Table>().unwrap());
    }
}
