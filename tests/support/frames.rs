//! HTTP/2 frame by frame (RFC 9113 section 4): an origin in a test's hands that says what no library would say.
//!
//! Requests are not decoded, only told apart by their streams; heads of answers are written in HPACK without its table.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Duration, timeout};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long a frame may be in coming before the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;

pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// An address at which connections are taken one by one.
pub struct FrameOrigin {
    listener: TcpListener,
}

/// A connection, from the server's side.
pub struct Frames {
    stream: TcpStream,
}

impl FrameOrigin {
    pub async fn start() -> FrameOrigin {
        FrameOrigin { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// The next connection, once both sides have greeted each other. It acknowledges nothing by itself.
    pub async fn accept(&self) -> Frames {
        let (stream, _) = timeout(PATIENCE, self.listener.accept()).await.expect("a connection").unwrap();
        let mut frames = Frames { stream };
        let mut preface = [0; PREFACE.len()];
        frames.stream.read_exact(&mut preface).await.unwrap();
        assert_eq!(preface, PREFACE);
        frames.send(SETTINGS, 0, 0, &[]).await;
        frames
    }
}

impl Frames {
    /// Sends a frame, whatever it says.
    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = (payload.len() as u32).to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend_from_slice(&[kind, flags]);
        bytes.extend_from_slice(&stream.to_be_bytes());
        bytes.extend_from_slice(payload);
        // Nobody may be there any more, which the test sees elsewhere.
        let _ = self.stream.write_all(&bytes).await;
    }

    /// Acknowledges the other side's SETTINGS, its windows among them.
    pub async fn agree(&mut self) {
        self.send(SETTINGS, ACK, 0, &[]).await;
    }

    /// The next frame; none at the end.
    pub async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        timeout(PATIENCE, self.stream.read_exact(&mut head)).await.expect("a frame").ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// The next frame, unless there is none for a while.
    pub async fn soon(&mut self) -> Option<Frame> {
        timeout(Duration::from_millis(200), self.stream.peek(&mut [0])).await.ok()?.ok()?;
        self.next().await
    }

    /// The next frame of that kind; others are passed over.
    pub async fn next_of(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.next().await.expect("the connection stands");
            assert!(frame.kind != GOAWAY || kind == GOAWAY, "the other side ended the connection: {frame:?}");
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// The stream of the next request.
    pub async fn request(&mut self) -> u32 {
        self.next_of(HEADERS).await.stream
    }

    /// A head of these fields, `:status` among them.
    pub async fn head(&mut self, stream: u32, fields: &[(&str, &str)], end: bool) {
        let flags = END_HEADERS | if end { END_STREAM } else { 0 };
        self.send(HEADERS, flags, stream, &block(fields)).await;
    }

    /// A piece of a body.
    pub async fn data(&mut self, stream: u32, bytes: &[u8], end: bool) {
        self.send(DATA, if end { END_STREAM } else { 0 }, stream, bytes).await;
    }

    /// So many pieces of a body, written at once.
    pub async fn pieces(&mut self, stream: u32, bytes: &[u8], count: usize) {
        let mut one = (bytes.len() as u32).to_be_bytes()[1..].to_vec();
        one.extend_from_slice(&[DATA, 0]);
        one.extend_from_slice(&stream.to_be_bytes());
        one.extend_from_slice(bytes);
        let _ = self.stream.write_all(&one.repeat(count)).await;
    }

    /// An answer of 200 with this body.
    pub async fn answer(&mut self, stream: u32, body: &str) {
        self.head(stream, &[(":status", "200")], false).await;
        self.data(stream, body.as_bytes(), true).await;
    }

    pub async fn reset(&mut self, stream: u32, code: u32) {
        self.send(RST_STREAM, 0, stream, &code.to_be_bytes()).await;
    }

    pub async fn go_away(&mut self, last: u32, code: u32) {
        self.send(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat()).await;
    }
}

/// Literals without indexing and without Huffman's code (RFC 7541 section 6.2.2).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "longer ones need another integer");
            block.push(text.len() as u8);
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}
