//! Requests over HTTP/1.1: the same bytes are the same request however they come, and what goes on to an endpoint can be read in one
//! way only.

use std::net::{IpAddr, Ipv4Addr};
use std::task::{Context, Poll, Waker};

use bytes::{BufMut, BytesMut};
use http::header::HOST;
use http::{Method, Version};
use lictor::config::{Http, Paths, Underscores};
use lictor::listener::fuzzing::{Taken, Verdict, read};
use lictor::message::path::{self, Reading};
use lictor::message::{self, Downstream, Framing, Sender, Trusted, Upload, framing};

use super::body::{self, End, Pieces};
use super::choices;
use super::strict::{self, Message};

/// Fields of which there is one at most, for the endpoint to read.
const ONE: [&str; 7] =
    ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id", "via", "te", "upgrade"];
/// Those that end with the connection that they came by.
const GONE: [&str; 5] = ["keep-alive", "proxy-connection", "proxy-authorization", "proxy-authenticate", "expect"];

pub fn check(data: &[u8]) {
    let Some((how, piece, bytes)) = choices(data) else { return };
    let rules = rules(how);
    let whole = read(std::iter::once(bytes), &rules);
    for size in [piece, 1] {
        compare(&whole, bytes, size, &rules);
    }
    let Verdict::Head(taken) = whole else { return };
    let decoded = body::read(again(&taken.framing), std::iter::once(&taken.rest[..]));
    if rules.paths == Paths::Strict {
        assert_ne!(path::reading(taken.head.uri.path()), Reading::Wrong);
    }
    let sent = forward(&taken, &decoded, piece, how & 8 != 0);
    judge(&sent, &taken, &decoded);
    pass_again(&sent, &taken, &decoded);
}

fn rules(how: u8) -> Http {
    let underscores = [Underscores::Keep, Underscores::Drop, Underscores::Refuse, Underscores::Keep];
    let mut rules = Http { underscores: underscores[usize::from(how >> 1 & 3)], ..Http::default() };
    if how & 1 != 0 {
        rules.paths = Paths::Off;
    }
    if how & 16 != 0 {
        (rules.max_head, rules.max_headers, rules.max_target) = (256, 4, 64);
    }
    rules
}

/// The same framing, at its beginning.
fn again(framing: &Framing) -> Framing {
    match framing {
        Framing::Length(length) => Framing::Length(*length),
        Framing::Chunked(_) => Framing::chunked(),
        Framing::UntilClose => panic!("a request's body has an end"),
    }
}

/// The bytes in pieces of that size are the same as the whole.
fn compare(whole: &Verdict, bytes: &[u8], size: usize, rules: &Http) {
    let parts = read(bytes.chunks(size), rules);
    match (whole, &parts) {
        (Verdict::Head(one), Verdict::Head(other)) => {
            let facts = |taken: &Taken| {
                let head = &taken.head;
                let what = (head.method.clone(), head.uri.clone(), head.version, head.headers.clone());
                (what, format!("{:?}", taken.framing), taken.keep_alive, taken.expects)
            };
            assert_eq!(facts(one), facts(other), "in pieces of {size}");
            let rest = bytes.chunks(size).skip(other.pieces);
            let of_parts = body::read(again(&other.framing), std::iter::once(&other.rest[..]).chain(rest));
            let of_whole = body::read(again(&one.framing), std::iter::once(&one.rest[..]));
            assert_eq!(of_whole, of_parts, "the body in pieces of {size}");
        }
        (Verdict::Refused(_), Verdict::Refused(_))
        | (Verdict::More, Verdict::More)
        | (Verdict::Http2, Verdict::Http2) => {}
        (Verdict::Refused(_), Verdict::More) => {
            // Pieces are looked at when a line ends.
            let ended = read(bytes.chunks(size).chain([&b"\n"[..]]), rules);
            assert!(matches!(ended, Verdict::Refused(_)), "in pieces of {size}: {ended:?}");
        }
        (whole, parts) => panic!("{whole:?}, and in pieces of {size} {parts:?}"),
    }
}

/// What an endpoint is sent.
fn forward(taken: &Taken, decoded: &body::Read, piece: usize, is_trusted: bool) -> Vec<u8> {
    let mut head = http::Request::new(()).into_parts().0;
    (head.method, head.uri, head.version) = (taken.head.method.clone(), taken.head.uri.clone(), taken.head.version);
    head.headers = taken.head.headers.clone();
    let length = if let Framing::Length(length) = taken.framing { Some(length) } else { None };
    let body = (!taken.framing.has_ended()).then(|| Box::pin(Pieces::new(decoded, piece, length)) as message::Incoming);
    let mut upload = Upload::new(body, 0);
    let client = Downstream::plain(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let trusted = Trusted::new(&if is_trusted { vec!["127.0.0.0/8".parse().unwrap()] } else { Vec::new() });
    let upgrading = head.version == Version::HTTP_11 && message::upgrade(&head.headers).is_some();
    let host = head.headers[HOST].clone();
    let mut rng = fastrand::Rng::with_seed(1);
    let sender = Sender::new(&client, &trusted);
    let marks = lictor::message::Marks::of(&head.headers);
    let way = lictor::proxy::prepare((&mut head, marks), (&upload, upgrading), host, sender, &mut rng);
    let mut out = BytesMut::new();
    lictor::upstream::encode(&mut out, &head, &way, None);
    let is_chunked = upload.is_chunked();
    while let Poll::Ready(Some(Ok(frame))) = upload.poll_frame(&mut Context::from_waker(Waker::noop())) {
        match frame.into_data() {
            Ok(data) if is_chunked => {
                framing::chunk(&mut out, data.len());
                out.put(data);
                out.put_slice(framing::CHUNK_END);
            }
            Ok(data) => out.put(data),
            Err(frame) => {
                framing::trailers(&mut out, &frame.into_trailers().unwrap_or_default());
                return out.to_vec();
            }
        }
    }
    if is_chunked && decoded.end == End::Whole {
        out.put_slice(framing::LAST_CHUNK);
    }
    out.to_vec()
}

fn judge(sent: &[u8], taken: &Taken, decoded: &body::Read) {
    let message = Message::read(sent);
    let words: Vec<&[u8]> = message.line.split(|byte| *byte == b' ').collect();
    let &[method, target, b"HTTP/1.1"] = &words[..] else { panic!("{}", message.line.escape_ascii()) };
    assert!(strict::is_token(method) && method == taken.head.method.as_str().as_bytes());
    assert!(target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#'), "{}", target.escape_ascii());
    assert!(target.starts_with(b"/") || target == b"*" && method == b"OPTIONS", "{}", target.escape_ascii());
    let hosts = message.all("host");
    assert!(hosts.len() == 1 && message::is_host(hosts[0]), "{hosts:?}");
    for name in ONE {
        message.one(name);
    }
    for name in GONE {
        assert!(message.all(name).is_empty(), "{name}");
    }
    let connection = message.one("connection").unwrap_or_default();
    assert!([&b""[..], b"te", b"upgrade", b"upgrade, te"].contains(&connection), "{}", connection.escape_ascii());
    assert_eq!(message.one("upgrade").is_some(), connection.starts_with(b"upgrade"));
    match (&taken.framing, message.framing()) {
        (Framing::Length(0), (None | Some(0), false)) => assert!(message.rest.is_empty()),
        (Framing::Length(length), (Some(said), false)) => {
            assert_eq!((*length, &decoded.data[..]), (said, message.rest));
        }
        (Framing::Chunked(_), (None, true)) => match strict::chunks(message.rest) {
            Some((data, trailers, rest)) => {
                assert!(decoded.end == End::Whole && rest.is_empty() && data == decoded.data);
                let addressing = ["host", "content-length", "transfer-encoding"];
                assert!(!trailers.iter().any(|(name, _)| addressing.contains(&name.as_str())));
            }
            None => assert_ne!(decoded.end, End::Whole),
        },
        (said, sent) => panic!("{said:?} became {sent:?}"),
    }
}

/// What is sent is the same request to one of us.
fn pass_again(sent: &[u8], taken: &Taken, decoded: &body::Read) {
    let rules = Http { paths: Paths::Off, max_headers: 200, http2: false, ..Http::default() };
    let Verdict::Head(next) = read(std::iter::once(sent), &rules) else { panic!("{}", sent.escape_ascii()) };
    assert_eq!((&next.head.method, &next.head.uri), (&taken.head.method, &taken.head.uri));
    assert_ne!(next.head.method, Method::CONNECT);
    assert_eq!(next.head.headers[HOST], taken.head.headers[HOST]);
    let body = body::read(again(&next.framing), std::iter::once(&next.rest[..]));
    assert_eq!(body.data, decoded.data);
    assert_eq!(body.end == End::Whole, decoded.end == End::Whole);
}
