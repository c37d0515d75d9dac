//! HTTP/2 (RFC 9113) as far as a load and its origins need it, who know beforehand what is said: frames, and header blocks
//! (RFC 7541) that are written once. Header blocks that come in are not decoded; of an answer's, the status is looked at.

/// What a client says first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Kinds of frames.
pub const DATA: u8 = 0;
/// The same.
pub const HEADERS: u8 = 1;
/// The same.
pub const RST_STREAM: u8 = 3;
/// The same.
pub const SETTINGS: u8 = 4;
/// The same.
pub const PING: u8 = 6;
/// The same.
pub const GOAWAY: u8 = 7;
/// The same.
pub const WINDOW_UPDATE: u8 = 8;

/// Of DATA and HEADERS: the last of its stream.
pub const END_STREAM: u8 = 0x1;
/// Of HEADERS: nothing of the block follows.
pub const END_HEADERS: u8 = 0x4;
/// Of SETTINGS and PING.
pub const ACK: u8 = 0x1;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// Bytes before the payload.
pub const HEAD: usize = 9;
/// What either side may send before it is allowed more.
pub const FIRST_WINDOW: i64 = 65_535;
/// How much more we allow at once: in practice no limit.
pub const WINDOW: u32 = 1 << 30;
/// `:status: 200` in the static table.
const STATUS_200: u8 = 0x88;

/// One frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// 0: the connection's own.
    pub stream: u32,
    /// All of it, padding included.
    pub payload: &'a [u8],
}

impl Frame<'_> {
    /// Whether a flag is set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The payload of DATA or HEADERS without padding and priority; `None` where these are wrong.
    pub fn content(&self) -> Option<&[u8]> {
        let mut payload = self.payload;
        if self.has(PADDED) {
            let (padding, rest) = payload.split_first()?;
            payload = rest.get(..rest.len().checked_sub(usize::from(*padding))?)?;
        }
        if self.kind == HEADERS && self.has(PRIORITY) {
            payload = payload.get(5..)?;
        }
        Some(payload)
    }

    /// The number in a payload that is one: of WINDOW_UPDATE.
    pub fn number(&self) -> Option<u32> {
        Some(u32::from_be_bytes(self.payload.try_into().ok()?) & 0x7fff_ffff)
    }
}

/// The first frame of these bytes and its size, once it is whole.
pub fn split(bytes: &[u8]) -> Option<(Frame<'_>, usize)> {
    let head = bytes.get(..HEAD)?;
    let size = HEAD + u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let payload = bytes.get(HEAD..size)?;
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
    Some((Frame { kind: head[3], flags: head[4], stream, payload }, size))
}

/// Appends a frame.
pub fn put(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Appends whole frames that were written for stream 0, for this stream.
pub fn put_for(out: &mut Vec<u8>, frames: &[u8], stream: u32) {
    let mut from = out.len();
    out.extend_from_slice(frames);
    while let Some((_, size)) = split(&out[from..]) {
        out[from + 5..from + HEAD].copy_from_slice(&stream.to_be_bytes());
        from += size;
    }
}

/// Appends the settings of either side: no pushes, many streams, and windows that nobody reaches.
pub fn put_settings(out: &mut Vec<u8>) {
    let mut settings = Vec::new();
    for (name, value) in [(2_u16, 0_u32), (3, 1000), (4, WINDOW)] {
        settings.extend_from_slice(&name.to_be_bytes());
        settings.extend_from_slice(&value.to_be_bytes());
    }
    put(out, SETTINGS, 0, 0, &settings);
    put(out, WINDOW_UPDATE, 0, 0, &(WINDOW - 1).to_be_bytes());
}

/// Answers what is the connection's own matter: SETTINGS and PING.
pub fn put_reply(out: &mut Vec<u8>, frame: &Frame<'_>) {
    match frame.kind {
        SETTINGS if !frame.has(ACK) => put(out, SETTINGS, ACK, 0, &[]),
        PING if !frame.has(ACK) => put(out, PING, ACK, 0, frame.payload),
        _ => {}
    }
}

/// Whether a header block begins with the status 200, as all encoders write it.
pub fn is_200(mut block: &[u8]) -> bool {
    // Changes of the table's size may stand before it.
    while let [first, rest @ ..] = block
        && first & 0xe0 == 0x20
    {
        let more = if first & 0x1f == 0x1f { rest.iter().take_while(|byte| *byte & 0x80 != 0).count() + 1 } else { 0 };
        block = rest.get(more..).unwrap_or_default();
    }
    block.first() == Some(&STATUS_200)
}

/// Appends a field whose name is in the static table, for both sides to remember.
pub fn put_indexed(block: &mut Vec<u8>, name: u8, value: &str) {
    block.push(0x40 | name);
    put_text(block, value);
}

/// Appends a field with a name of its own, for both sides to remember.
pub fn put_named(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0x40);
    put_text(block, name);
    put_text(block, value);
}

/// Appends a field that nobody needs to remember.
pub fn put_literal(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    put_text(block, name);
    put_text(block, value);
}

/// Shorter than 127 bytes, as all of ours are.
fn put_text(block: &mut Vec<u8>, text: &str) {
    block.push(text.len() as u8);
    block.extend_from_slice(text.as_bytes());
}
