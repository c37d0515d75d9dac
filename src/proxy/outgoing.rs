//! A request's head as an endpoint is to see it: end-to-end headers, the way it came, and framing that is ours.

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE};
use http::request;

use crate::message::{self, Marks, Sender, Upload, Way};

/// Turns the head that came in into the one that goes out. Returns the headers of its way, which go out behind its own.
pub fn prepare(
    (head, marks): (&mut request::Parts, Marks),
    (body, upgrading): (&Upload, bool),
    host: HeaderValue,
    sender: Sender<'_>,
    rng: &mut fastrand::Rng,
) -> Way {
    let protocol = upgrading.then(|| message::upgrade(&head.headers)).flatten();
    let trailers = marks.te && message::accepts_trailers(&head.headers);
    let headers = &mut head.headers;
    if marks.hop_by_hop {
        message::end_to_end(headers);
    }
    // The listener answers 100 itself when the body is first asked for, which is when an endpoint takes it.
    if marks.expect {
        headers.remove(EXPECT);
    }
    let way = message::way((headers, marks.way), sender, host, rng);
    if body.is_chunked() {
        headers.remove(CONTENT_LENGTH);
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    if let Some(protocol) = protocol {
        let connection = if trailers { "upgrade, te" } else { "upgrade" };
        headers.insert(CONNECTION, HeaderValue::from_static(connection));
        headers.insert(UPGRADE, protocol);
    }
    way
}
