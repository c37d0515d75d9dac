//! HTTP/2's frames before the library sees them: any split gives the same verdict, and nothing behind a wrong frame is acted on.

use lictor::listener::fuzzing_h2::{frames, guard};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub fn check(data: &[u8]) {
    let Some((&piece, frames_as_sent)) = data.split_first() else { return };
    let piece = usize::from(piece).max(1);
    let bytes = [PREFACE, frames_as_sent].concat();
    let (count, reason) = frames(std::iter::once(&bytes[..]));
    assert_eq!(frames(bytes.chunks(piece)), (count, reason), "in pieces of {piece}");
    assert_eq!(frames(bytes.chunks(1)), (count, reason), "byte by byte");
    let (acceptable, verdict) = guard(std::iter::once(&bytes[..]));
    let (in_pieces, verdict_in_pieces) = guard(bytes.chunks(piece));
    assert_eq!(verdict, verdict_in_pieces, "in pieces of {piece}");
    assert!(acceptable <= bytes.len() && in_pieces <= bytes.len());
    assert_eq!(verdict.is_none(), acceptable == bytes.len(), "all of it, or there is a reason");
    // Behind the last acceptable frame nothing is passed on, but for the beginning of a head, which does nothing by itself.
    let (_, of_acceptable) = frames(std::iter::once(&bytes[..acceptable]));
    assert!(of_acceptable.is_none(), "what is acted on has nothing wrong in it");
}
