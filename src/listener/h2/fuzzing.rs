//! Frames without a connection: what a fuzz target in `tests/fuzz` drives, and nobody else.

use std::sync::Arc;

use h2::Reason;

use super::frames::Frames;
use super::guard::Guard;
use crate::listener::pulse::Pulse;

/// How many frames come in these pieces, up to the one that ends the connection, if one does.
pub fn frames<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (usize, Option<Reason>) {
    let (mut frames, mut count) = (Frames::default(), 0);
    for mut piece in pieces {
        loop {
            match frames.next(&mut piece) {
                Ok(Some(_)) => count += 1,
                Ok(None) => break,
                Err(reason) => return (count, Some(reason)),
            }
        }
    }
    (count, None)
}

/// How many of these bytes may be acted on, and why not the others.
pub fn guard<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (usize, Option<Reason>) {
    let (guard, mut count) = (Guard::new(&Arc::new(Pulse::new())), 0);
    for piece in pieces {
        count += guard.saw(piece);
        if guard.verdict().is_some() {
            break;
        }
    }
    (count, guard.verdict())
}
