//! The PROXY header: it ends in one place however its bytes come, and what is read can be written and read again.

use std::net::SocketAddr;

use lictor::message::proxy_protocol::{Ends, Parsed, parse, write_v1, write_v2};

/// Longer prefixes are not all looked at: a header is over by then, or has the longest of lengths.
const EACH: usize = 300;

pub fn check(data: &[u8]) {
    let parsed = parse(data);
    let mut decided = None;
    for length in (0..data.len().min(EACH)).chain([data.len()]) {
        let now = parse(&data[..length]);
        match decided {
            Some(before) => assert_eq!(now, before, "{length} bytes"),
            None if now != Parsed::Partial => decided = Some(now),
            None => {}
        }
        if let Parsed::Complete(end, _) = now {
            assert!(end <= length);
        }
    }
    assert_eq!(decided.unwrap_or(Parsed::Partial), parsed);
    if let Parsed::Complete(end, ends) = parsed {
        assert_eq!(parse(&data[..end]), parsed, "what is behind it makes no difference");
        write_again(ends);
    }
}

fn write_again(ends: Option<Ends>) {
    let plain = |end: SocketAddr| (end.ip().to_canonical(), end.port());
    let both = |ends: Option<Ends>| ends.map(|ends| (plain(ends.client), plain(ends.local)));
    for write in [write_v1, write_v2] {
        let header = write(ends);
        let Parsed::Complete(length, again) = parse(&header) else { panic!("{ends:?}: {header:?}") };
        assert_eq!((length, both(again)), (header.len(), both(ends)));
        assert_eq!(write(again), header);
    }
}
