//! What must hold for whatever bytes come, a file for each fuzz target. Each has a `check`, which panics if something does not
//! hold. Targets call them with what they make up, the suite with what is kept in `tests/fuzz/corpus`.

#![allow(dead_code, reason = "each target uses one of them")]

mod body;
mod strict;

pub mod config;
pub mod consul_json;
pub mod frames;
pub mod path;
pub mod proxy_protocol;
pub mod request;
pub mod response;
pub mod session;

/// What is checked of some bytes.
pub type Check = fn(&[u8]);

/// Every target with its check.
pub const ALL: &[(&str, Check)] = &[
    ("config", config::check),
    ("consul_json", consul_json::check),
    ("frames", frames::check),
    ("path", path::check),
    ("proxy_protocol", proxy_protocol::check),
    ("request", request::check),
    ("response", response::check),
    ("session", session::check),
];

/// Two bytes that say how, and the rest of them, which is what.
fn choices(data: &[u8]) -> Option<(u8, usize, &[u8])> {
    let (&[how, piece], rest) = data.split_first_chunk::<2>()?;
    Some((how, usize::from(piece).max(1), rest))
}
