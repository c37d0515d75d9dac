//! Floods of HTTP/2 frames, each of which may be right and all of which cost the server more than the client: against a lictor in a
//! process of its own, whose memory is watched, and beside a client that has to be served meanwhile.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::attack::survives;
use super::bed::{CLUSTER, Peer, is_ours, report};
use super::frames::*;
use super::witness::{LIED_TO, Lie, Witness};
use crate::support::app::to_endpoints;
use crate::support::spawned::Spawned;

/// Longest that a flood is poured: ten times what any of them needs.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much larger the process may become by one flood.
const MEMORY_KIB: u64 = 48 * 1024;

/// What is poured, and what becomes of it.
struct Flood {
    name: &'static str,
    /// Vulnerability, or document and section.
    known_as: &'static str,
    frames: fn() -> Vec<u8>,
    end: End,
    /// Most requests that may reach the origin.
    requests: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The connection ends, by what the frames are if not by how many: with `ENHANCE_YOUR_CALM`, `PROTOCOL_ERROR`,
    /// `STREAM_CLOSED` or `COMPRESSION_ERROR`, if with a word.
    Ended,
    /// That, or it goes on and costs little.
    Either,
}

use End::{Either, Ended};

const fn flood(
    name: &'static str,
    known_as: &'static str,
    frames: fn() -> Vec<u8>,
    end: End,
    requests: usize,
) -> Flood {
    Flood { name, known_as, frames, end, requests }
}

/// Odd streams, from the first.
fn streams(count: u32, frames: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    (0..count).flat_map(|number| frames(2 * number + 1)).collect()
}

/// Behind the head of a POST that stays open.
fn on_a_post(frames: Vec<u8>) -> Vec<u8> {
    [post(1, &[]), frames].concat()
}

#[rustfmt::skip] // one row, one line
const FLOODS: &[Flood] = &[
    flood("rapid reset", "CVE-2023-44487", || streams(20_000, |stream| [get(stream, &[]), reset(stream, 8)].concat()), Ended, 2_000),
    flood("rapid reset of uploads", "CVE-2023-44487", || streams(20_000, |stream| [post(stream, &[]), reset(stream, 8)].concat()), Ended, 2_000),
    flood("made to reset by windows of 0", "CVE-2025-8671", || streams(20_000, |stream| [get(stream, &[]), window(stream, 0)].concat()), Ended, 2_000),
    flood("made to reset by windows too large", "CVE-2025-8671", || streams(20_000, |stream| [post(stream, &[]), window(stream, 0x7fff_ffff)].concat()), Ended, 2_000),
    flood("made to reset by data behind the end", "CVE-2025-8671", || streams(20_000, |stream| [get(stream, &[]), frame(DATA, 0, stream, b"x")].concat()), Ended, 2_000),
    flood("made to reset by bad heads", "CVE-2025-8671", || streams(20_000, |stream| get(stream, &[(b"connection", b"close")])), Ended, 0),
    flood("made to reset by bad lengths", "CVE-2025-8671", || streams(20_000, |stream| [post(stream, &[(b"content-length", b"1")]), frame(DATA, END_STREAM, stream, b"xy")].concat()), Ended, 0),
    flood("heads without end", "CVE-2024-27316", || [headers(1, END_STREAM, &GET), frame(CONTINUATION, 0, 1, &block(&[(b"x", &[b'y'; 16_000])])).repeat(4_000)].concat(), Ended, 0),
    flood("heads of nothing without end", "CVE-2024-27316", || [headers(1, END_STREAM, &GET), frame(CONTINUATION, 0, 1, b"").repeat(300_000)].concat(), Ended, 0),
    flood("settings", "CVE-2019-9515", || settings(&[(4, 65_535)]).repeat(200_000), Ended, 0),
    flood("empty settings", "CVE-2019-9515", || settings(&[]).repeat(200_000), Ended, 0),
    flood("pings", "CVE-2019-9512", || frame(PING, 0, 0, b"12345678").repeat(200_000), Ended, 0),
    flood("empty data", "CVE-2019-9518", || on_a_post(frame(DATA, 0, 1, b"").repeat(300_000)), Ended, 0),
    flood("padding without data", "CVE-2019-9518", || on_a_post(frame(DATA, PADDED, 1, b"\0").repeat(60_000)), Either, 0),
    flood("priorities", "CVE-2019-9513", || frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 9]).repeat(300_000), Either, 0),
    flood("windows of 1", "9113 10.5", || on_a_post(window(1, 1).repeat(200_000)), Either, 0),
    flood("windows of 1 for all", "9113 10.5", || window(0, 1).repeat(200_000), Either, 0),
    flood("unknown frames", "9113 10.5", || frame(0xfa, 0, 0, b"12345678").repeat(200_000), Either, 0),
    flood("resets of what is over", "9113 10.5", || [post(1, &[]), reset(1, 8), reset(1, 8).repeat(200_000)].concat(), Either, 0),
    flood("data of what is over", "9113 10.5", || [post(1, &[]), reset(1, 8), frame(DATA, 0, 1, b"x").repeat(60_000)].concat(), Either, 0),
    flood("uploads that stay open", "9113 5.1.2", || streams(20_000, |stream| post(stream, &[])), Either, 0),
    flood("tables resized", "7541 4.2", || streams(500, |stream| frame(HEADERS, WHOLE, stream, &[&b"\x20\x3f\xe1\x1f".repeat(2_000)[..], &block(&GET)].concat())), Either, 1_000),
    flood("bombs", "CVE-2016-6581", || [bomb(1, true), (1..200).flat_map(|number| bomb(2 * number + 1, false)).collect()].concat(), Either, 0),
];

/// A field of 4,000 bytes, kept in the table by the first, and named again in each of 14,000 bytes.
fn bomb(stream: u32, first: bool) -> Vec<u8> {
    let kept = [&[0x40][..], &string(b"x"), &string(&[b'y'; 4_000])].concat();
    let block = [block(&GET), if first { kept } else { vec![] }, vec![0xbe; if first { 10_000 } else { 14_000 }]];
    frame(HEADERS, WHOLE, stream, &block.concat())
}

/// A lictor that can be weighed.
struct Scale {
    lictor: Spawned,
    address: SocketAddr,
    origin: Witness,
}

impl Scale {
    async fn make() -> Scale {
        let origin = Witness::start().await;
        let lictor = Spawned::start(&to_endpoints(&[origin.address()], CLUSTER), &[]);
        let address = lictor.address().await;
        let mut client = Connection::open(address).await;
        let deadline = Instant::now() + PATIENCE;
        client.send(&[PREFACE, &settings(&[(1, 0)])].concat(), deadline).await;
        let works = survives(&mut client, deadline).await;
        assert!(works.is_ok(), "no HTTP/2 by prior knowledge: {works:?}");
        origin.take();
        Scale { lictor, address, origin }
    }

    /// Resident memory in KiB.
    fn weight(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.lictor.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Pours, looks how heavy it becomes, and asks beside it; what is wrong.
    async fn pour(&self, flood: &Flood) -> Result<(), String> {
        let (bytes, before) = ([PREFACE, &settings(&[(1, 0)]), &(flood.frames)()].concat(), self.weight());
        let mut attacker = Connection::open(self.address).await;
        let watched = async {
            let mut heaviest = before;
            loop {
                if let Err(wrong) = Peer::connect(self.address).await.ask("/other").await {
                    return (heaviest, Err(format!("another client is not served: {wrong}")));
                }
                heaviest = heaviest.max(self.weight());
                sleep(Duration::from_millis(5)).await;
            }
        };
        let poured = async {
            let deadline = Instant::now() + PATIENCE;
            let (whole, mut frames) = attacker.flood(&bytes, deadline).await;
            // A ping behind it all: its answer says that the connection has outlived everything.
            attacker.send(&frame(PING, 0, 0, b"survived"), deadline).await;
            loop {
                if frames.iter().any(|frame| frame.kind == PING && frame.payload == b"survived") {
                    return Ok((whole, None));
                }
                if let Some(last) = frames.iter().find(|frame| frame.kind == GOAWAY) {
                    return Ok((false, last.code()));
                }
                match attacker.frame(deadline).await {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => return Ok((false, None)),
                    Err(wrong) => return Err(wrong),
                }
            }
        };
        tokio::pin!(watched);
        let ended = tokio::select! {
            (_, wrong) = &mut watched => return wrong,
            ended = poured => ended?,
        };
        let grown = self.weight().saturating_sub(before);
        drop(attacker);
        self.judge(flood, ended, grown).await
    }

    /// Requests that the origin has heard of a flood that is over, to the last of them.
    async fn requests(&self) -> Result<usize, String> {
        let mut all = 0;
        loop {
            Peer::connect(self.address).await.ask("/other").await?;
            let heard = self.origin.take();
            let more = heard.iter().flat_map(|heard| &heard.requests).filter(|request| !is_ours(request)).count();
            if more == 0 {
                return Ok(all);
            }
            all += more;
        }
    }

    async fn judge(&self, flood: &Flood, (survived, code): (bool, Option<u32>), grown: u64) -> Result<(), String> {
        let requests = self.requests().await?;
        let mut wrong = String::new();
        if survived && flood.end == Ended {
            wrong += "the connection goes on; ";
        }
        if let Some(code) = code.filter(|code| ![1, 5, 9, 11].contains(code)) {
            write!(wrong, "GOAWAY with {code}; ").unwrap();
        }
        if requests > flood.requests {
            write!(wrong, "{requests} requests at the origin; ").unwrap();
        }
        if grown > MEMORY_KIB {
            write!(wrong, "{grown} KiB more; ").unwrap();
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

#[tokio::test]
async fn floods_end_and_others_do_not_notice() {
    let mut scale = Scale::make().await;
    let mut failed = Vec::new();
    for flood in FLOODS {
        if let Err(why) = scale.pour(flood).await {
            failed.push(format!("h2-floods/{} ({}): {why}", flood.name, flood.known_as));
            scale = Scale::make().await;
        }
    }
    report("h2-floods", FLOODS.len(), &failed);
}

/// Streams that are opened at once where 128 are allowed.
const MANY: u32 = 160;

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_and_the_others_served() {
    let scale = Scale::make().await;
    let mut client = Connection::open(scale.address).await;
    let opened = streams(MANY, |stream| post(stream, &[]));
    let deadline = Instant::now() + PATIENCE;
    let ping = frame(PING, 0, 0, b"all open");
    client.send(&[PREFACE, &settings(&[(1, 0)]), &opened, &ping].concat(), deadline).await;
    let (mut refused, mut served, mut ended) = (BTreeSet::new(), 0, false);
    while !ended || served + refused.len() < MANY as usize {
        let frame = client.frame(deadline).await.unwrap().expect("the connection goes on");
        match frame.kind {
            // All are open or refused before one of them can end.
            PING => {
                let open = |stream| if refused.contains(&stream) { vec![] } else { data(stream) };
                client.send(&streams(MANY, open), deadline).await;
                ended = true;
            }
            RST_STREAM if frame.code() == Some(7) => drop(refused.insert(frame.stream)),
            HEADERS if frame.status() == Some(200) => served += 1,
            RST_STREAM | GOAWAY => panic!("{frame:?}"),
            _ => {}
        }
    }
    assert!((1..=128).contains(&served), "{served} served, {} refused", refused.len());
}

/// A body and its end.
fn data(stream: u32) -> Vec<u8> {
    frame(DATA, END_STREAM, stream, b"abc")
}

#[tokio::test]
async fn answers_that_nobody_reads_wait_at_the_origin() {
    const LONG: usize = 4 * 1024 * 1024;
    const ASKED: u32 = 50;
    let scale = Scale::make().await;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LONG}\r\n\r\n");
    let bytes = [head.as_bytes(), &vec![b'x'; LONG]].concat();
    scale.origin.lie(Lie { bytes, ..Lie::default() });
    let before = scale.weight();
    let mut client = Connection::open(scale.address).await;
    let mut fields = GET;
    fields[2].1 = LIED_TO.as_bytes();
    let asked = streams(ASKED, |stream| headers(stream, WHOLE, &fields));
    let deadline = Instant::now() + PATIENCE;
    client.send(&[PREFACE, &settings(&[(1, 0), (4, 0)]), &asked].concat(), deadline).await;
    let mut begun = 0;
    while begun < ASKED {
        let frame = client.frame(deadline).await.unwrap().expect("the connection goes on");
        assert!(frame.kind != DATA || frame.payload.is_empty(), "data without a window");
        begun += u32::from(frame.status() == Some(200));
    }
    client.send(&frame(PING, 0, 0, b"still on"), deadline).await;
    while !matches!(client.frame(deadline).await, Ok(Some(Frame { kind: PING, .. }))) {}
    let grown = scale.weight().saturating_sub(before);
    assert!(grown < MEMORY_KIB, "{grown} KiB for answers of {ASKED} times {LONG} bytes that nobody reads");
    Peer::connect(scale.address).await.ask("/other").await.unwrap();

    // One of them is let go, and arrives whole.
    let more = u32::try_from(LONG).unwrap();
    client.send(&[window(0, more), window(1, more)].concat(), deadline).await;
    let mut came = 0;
    while came < LONG {
        let frame = client.frame(deadline).await.unwrap().expect("the connection goes on");
        came += if frame.kind == DATA && frame.stream == 1 { frame.payload.len() } else { 0 };
    }
}
