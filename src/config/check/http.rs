//! A listener's rules for HTTP.

use super::Problems;
use crate::config::{Http, Paths, Underscores, raw};

/// Above this a head is no head; what is in memory for connections is bounded by it.
const MAX_HEAD: usize = 1024 * 1024;
/// As many as are looked at.
pub(super) const MAX_HEADERS: usize = 256;
const MAX_STREAMS: u32 = 10_000;

/// The rules of the listener that is written under `key`.
pub(super) fn http(key: &str, written: &raw::Listener, problems: &mut Problems) -> Http {
    let default = Http::default();
    let limits = written.limits.clone().unwrap_or_default();
    let mut number = |name: &str, written: Option<usize>, default: usize, (least, most): (usize, usize)| {
        let number = written.unwrap_or(default);
        if !(least..=most).contains(&number) {
            problems.add(format!("{key}.limits.{name}"), format!("{number} is out of range; use {least} to {most}"));
        }
        number
    };
    let max_head = number("head", limits.head, default.max_head, (1024, MAX_HEAD));
    let max_headers = number("headers", limits.headers, default.max_headers, (1, MAX_HEADERS));
    let max_target = number("target", limits.target, default.max_target, (64, MAX_HEAD));
    let streams = number("streams", limits.streams, default.max_streams as usize, (1, MAX_STREAMS as usize));
    if max_target > max_head {
        let what = format!("{max_target} is more than a whole head may have, which is {max_head}");
        problems.add(format!("{key}.limits.target"), what);
    }
    Http {
        http2: written.http2.unwrap_or(default.http2),
        paths: paths(key, written.paths.as_deref(), problems),
        underscores: underscores(key, written.underscores.as_deref(), problems),
        connect: written.connect.unwrap_or(default.connect),
        max_head,
        max_headers,
        max_target,
        max_streams: u32::try_from(streams).unwrap_or(default.max_streams),
    }
}

fn paths(key: &str, written: Option<&str>, problems: &mut Problems) -> Paths {
    match written {
        None | Some("strict") => Paths::Strict,
        Some("off") => Paths::Off,
        Some(other) => {
            problems
                .add(format!("{key}.paths"), format!("no way \"{other}\" to treat paths; use \"strict\" or \"off\""));
            Paths::Strict
        }
    }
}

fn underscores(key: &str, written: Option<&str>, problems: &mut Problems) -> Underscores {
    match written {
        None | Some("keep") => Underscores::Keep,
        Some("drop") => Underscores::Drop,
        Some("refuse") => Underscores::Refuse,
        Some(other) => {
            let what = format!("no way \"{other}\" to treat underscores; use \"keep\", \"drop\" or \"refuse\"");
            problems.add(format!("{key}.underscores"), what);
            Underscores::Keep
        }
    }
}
