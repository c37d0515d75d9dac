//! What a service says of how it is to be treated: a small part of what `[clusters.NAME]` may say, in words as metadata have them.
//! They come from whoever registers services, so each word is looked at by itself: what is wrong with one costs that one.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Problem;
use super::check::{Problems, check_policy};
use super::raw::{self, LONGEST};

/// What a service says. Everything that is written down goes before it.
#[derive(Debug, Clone, Default)]
pub struct Announced(raw::Policy);

/// What a word comes to; none if it cannot be read.
type Read = fn(&str) -> Option<raw::Policy>;

/// The words that are known, and what each is for.
const WORDS: [(&str, Read); 8] = [
    ("policy", |text| Some(raw::Policy { policy: Some(text.to_owned()), ..raw::Policy::default() })),
    ("protocol", |text| Some(raw::Policy { protocol: Some(text.to_owned()), ..raw::Policy::default() })),
    ("hash", |text| {
        let keys = Some(text.split(',').map(|key| key.trim().to_owned()).collect());
        Some(raw::Policy { hash: Some(raw::Hash { keys, ..raw::Hash::default() }), ..raw::Policy::default() })
    }),
    ("retry-attempts", |text| {
        let attempts = Some(text.parse().ok()?);
        Some(raw::Policy { retry: Some(raw::Retry { attempts, ..raw::Retry::default() }), ..raw::Policy::default() })
    }),
    ("timeout-connect", |text| timeouts(text, |timeouts, time| timeouts.connect = Some(time))),
    ("timeout-request", |text| timeouts(text, |timeouts, time| timeouts.request = Some(time))),
    ("timeout-first-byte", |text| timeouts(text, |timeouts, time| timeouts.first_byte = Some(time))),
    ("timeout-idle", |text| timeouts(text, |timeouts, time| timeouts.idle = Some(time))),
];

impl Announced {
    /// What these words come to, and what is wrong with those that count for nothing. Words that are not known are somebody else's.
    pub fn read(words: &BTreeMap<String, String>) -> (Self, Vec<Problem>) {
        let (mut all, mut wrong) = (raw::Policy::default(), Vec::new());
        for (word, read) in WORDS {
            let Some(text) = words.get(word) else { continue };
            let mut problems = Problems::default();
            match read(text) {
                Some(policy) => {
                    check_policy(word, policy.clone(), &mut problems);
                    if problems.0.is_empty() {
                        all = policy.or(&all);
                    }
                }
                None => problems.add(word, format!("\"{}\" cannot be read", text.escape_debug())),
            }
            wrong.extend(problems.0);
        }
        (Announced(all), wrong)
    }

    pub(super) fn policy(&self) -> &raw::Policy {
        &self.0
    }
}

fn timeouts(text: &str, put: fn(&mut raw::Timeouts, Duration)) -> Option<raw::Policy> {
    let time = humantime::parse_duration(text).ok().filter(|time| *time <= LONGEST)?;
    let mut timeouts = raw::Timeouts::default();
    put(&mut timeouts, time);
    Some(raw::Policy { timeouts: Some(timeouts), ..raw::Policy::default() })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::{Cluster, Environment, HashKey, Name, Policy, Protocol, parse};

    fn words(words: &[(&str, &str)]) -> BTreeMap<String, String> {
        words.iter().map(|(word, text)| ((*word).to_owned(), (*text).to_owned())).collect()
    }

    fn cluster(file: &str, announced: &Announced) -> Cluster {
        let text = format!("[[listeners]]\nname='a'\nbind='127.0.0.1:0'\negress=true\n{file}");
        let config = parse(&text, &Environment::default()).unwrap();
        config.templates.named(&Name::parse("web", "consul").unwrap(), announced).unwrap()
    }

    #[test]
    fn what_a_service_says_counts_where_nothing_is_written() {
        let said = words(&[
            ("policy", "consistent_hash"),
            ("hash", "header:x-user, client_address"),
            ("protocol", "h2"),
            ("retry-attempts", "0"),
            ("timeout-connect", "250ms"),
            ("timeout-request", "3s"),
            ("zone", "b"),
        ]);
        let (announced, wrong) = Announced::read(&said);
        assert_eq!(wrong, []);
        let alone = cluster("", &announced);
        assert_eq!((alone.policy, alone.protocol, alone.retry.attempts), (Policy::ConsistentHash, Protocol::Http2, 0));
        assert_eq!(alone.balancing.hash.keys, [HashKey::Header("x-user".parse().unwrap()), HashKey::ClientAddress]);
        assert_eq!(alone.timeouts.connect, Duration::from_millis(250));
        let told = cluster("[defaults]\npolicy='random'\n[clusters.web]\ntimeouts={ request='1s' }", &announced);
        assert_eq!((told.policy, told.timeouts.request), (Policy::Random, Some(Duration::from_secs(1))));
        assert_eq!(told.timeouts.connect, Duration::from_millis(250), "key by key");
        assert_eq!(Arc::from("web"), told.name);
    }

    #[test]
    fn a_word_that_is_wrong_costs_itself_only() {
        let said = words(&[
            ("policy", "roundrobin"),
            ("protocol", "tcp"),
            ("retry-attempts", "-1"),
            ("timeout-request", "soon\n"),
            ("timeout-connect", "0s"),
            ("timeout-idle", "1m"),
        ]);
        let (announced, wrong) = Announced::read(&said);
        let keys: Vec<&str> = wrong.iter().map(|problem| problem.key.split('.').next().unwrap()).collect();
        assert_eq!(keys, ["policy", "protocol", "retry-attempts", "timeout-connect", "timeout-request"]);
        assert!(wrong[4].message.contains("\\n"), "it goes to a log");
        assert_eq!(cluster("", &announced).timeouts.idle, Duration::from_secs(60));
    }
}
