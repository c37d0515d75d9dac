//! The frames of a connection as they come, looked at before the library acts on them: it ends a connection for whatever it does not
//! like with PROTOCOL_ERROR, where RFC 9113 sections 4 to 6 name the error, so that a client's author knows what to mend.

use std::collections::BTreeSet;
use std::ops::Range;

use h2::Reason;

const PREFACE: usize = 24;
pub(super) const FRAME_HEAD: usize = 9;
/// What has not been announced otherwise (RFC 9113 section 4.2).
const MAX_FRAME: usize = 16 * 1024;
/// Streams that we have ended and their client has not: of more than these the oldest are taken for ended.
const MAX_OPEN: usize = 4096;
const MAX_SKIPPED: usize = 16;
const INITIAL_WINDOW_SIZE: u16 = 4;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
pub(super) const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// The head of a frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    stream: u32,
}

/// Where in the stream of frames we are, and which streams the client has not ended.
#[derive(Debug)]
pub(super) struct Frames {
    head: [u8; FRAME_HEAD],
    /// Bytes of the head that are there.
    have: usize,
    /// Bytes to come before the next head.
    skip: usize,
    /// Settings are being read, so many bytes of one.
    setting: Option<([u8; 6], usize)>,
    /// The stream whose header block has begun and not ended; whether its client ends with it.
    block: Option<u32>,
    /// The first frame has come, which is of settings.
    has_begun: bool,
    highest: u32,
    open: BTreeSet<u32>,
    /// Numbers of streams that were passed over: a few, since no client does that.
    skipped: Vec<Range<u32>>,
}

impl Default for Frames {
    fn default() -> Self {
        Frames {
            head: [0; FRAME_HEAD],
            have: 0,
            skip: PREFACE,
            setting: None,
            block: None,
            has_begun: false,
            highest: 0,
            open: BTreeSet::new(),
            skipped: Vec::new(),
        }
    }
}

impl Frames {
    /// Reads up to the head of the next frame, and takes off what it has read. None if there is none in these bytes.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<Head>, Reason> {
        let (skipped, rest) = bytes.split_at(self.skip.min(bytes.len()));
        self.settings(skipped)?;
        self.skip -= skipped.len();
        let (count, have) = ((FRAME_HEAD - self.have).min(rest.len()), self.have);
        self.head[have..have + count].copy_from_slice(&rest[..count]);
        self.have += count;
        *bytes = &rest[count..];
        if self.have < FRAME_HEAD {
            return Ok(None);
        }
        let [a, b, c, kind, flags, stream @ ..] = self.head;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let head = Head { length, kind, flags, stream: u32::from_be_bytes(stream) & 0x7fff_ffff };
        self.check(head)?;
        (self.have, self.skip) = (0, length);
        self.setting = (kind == SETTINGS).then_some(([0; 6], 0));
        Ok(Some(head))
    }

    /// True in the middle of a frame or of a header block.
    pub(super) fn is_partial(&self) -> bool {
        self.have > 0 || self.skip > 0 || self.block.is_some()
    }

    fn check(&mut self, head: Head) -> Result<(), Reason> {
        if head.length > MAX_FRAME {
            return Err(Reason::FRAME_SIZE_ERROR);
        }
        if self.block.is_some_and(|stream| (head.kind, head.stream) != (CONTINUATION, stream)) {
            return Err(Reason::PROTOCOL_ERROR);
        }
        if !std::mem::replace(&mut self.has_begun, true) && head.kind != SETTINGS {
            // RFC 9113 section 3.4.
            return Err(Reason::PROTOCOL_ERROR);
        }
        let of_connection = head.stream == 0;
        match head.kind {
            DATA | HEADERS | PRIORITY | RST_STREAM | CONTINUATION if of_connection => Err(Reason::PROTOCOL_ERROR),
            SETTINGS | PING | GOAWAY if !of_connection => Err(Reason::PROTOCOL_ERROR),
            PUSH_PROMISE => Err(Reason::PROTOCOL_ERROR),
            DATA | RST_STREAM | WINDOW_UPDATE if head.stream > self.highest => Err(Reason::PROTOCOL_ERROR),
            PRIORITY if head.length != 5 => Err(Reason::FRAME_SIZE_ERROR),
            RST_STREAM | WINDOW_UPDATE if head.length != 4 => Err(Reason::FRAME_SIZE_ERROR),
            PING if head.length != 8 => Err(Reason::FRAME_SIZE_ERROR),
            GOAWAY if head.length < 8 => Err(Reason::FRAME_SIZE_ERROR),
            SETTINGS if head.flags & ACK != 0 && head.length != 0 => Err(Reason::FRAME_SIZE_ERROR),
            SETTINGS if !head.length.is_multiple_of(6) => Err(Reason::FRAME_SIZE_ERROR),
            DATA => self.data(head),
            HEADERS => self.headers(head),
            CONTINUATION => self.continuation(head),
            RST_STREAM => {
                self.open.remove(&head.stream);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn data(&mut self, head: Head) -> Result<(), Reason> {
        if !self.open.contains(&head.stream) {
            return Err(Reason::STREAM_CLOSED);
        }
        self.end(head);
        Ok(())
    }

    fn headers(&mut self, head: Head) -> Result<(), Reason> {
        if head.stream.is_multiple_of(2) {
            return Err(Reason::PROTOCOL_ERROR);
        }
        if head.stream <= self.highest && !self.open.contains(&head.stream) {
            let was_skipped = self.skipped.iter().any(|range| range.contains(&head.stream));
            return Err(if was_skipped { Reason::PROTOCOL_ERROR } else { Reason::STREAM_CLOSED });
        }
        if head.stream > self.highest {
            if head.stream > self.highest + 2 && self.skipped.len() < MAX_SKIPPED {
                self.skipped.push(self.highest + 1..head.stream);
            }
            self.highest = head.stream;
            if head.flags & END_STREAM == 0 {
                self.open.insert(head.stream);
            }
            if self.open.len() > MAX_OPEN {
                self.open.pop_first();
            }
        } else {
            self.end(head);
        }
        self.block = (head.flags & END_HEADERS == 0).then_some(head.stream);
        Ok(())
    }

    fn continuation(&mut self, head: Head) -> Result<(), Reason> {
        if self.block.is_none() {
            return Err(Reason::PROTOCOL_ERROR);
        }
        if head.flags & END_HEADERS != 0 {
            self.block = None;
        }
        Ok(())
    }

    fn end(&mut self, head: Head) {
        if head.flags & END_STREAM != 0 {
            self.open.remove(&head.stream);
        }
    }

    /// Of settings, the one that the library refuses with another error than its own (RFC 9113 section 6.5.2).
    fn settings(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        let Some((setting, have)) = &mut self.setting else { return Ok(()) };
        for byte in bytes {
            setting[*have] = *byte;
            *have = (*have + 1) % setting.len();
            let [a, b, value, ..] = *setting;
            if *have == 0 && u16::from_be_bytes([a, b]) == INITIAL_WINDOW_SIZE && value & 0x80 != 0 {
                return Err(Reason::FLOW_CONTROL_ERROR);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = payload.len().to_be_bytes();
        [&length[5..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    /// What becomes of these frames behind a preface, with their bytes coming in pieces of the given size.
    fn read(frames: &[Vec<u8>], piece: usize) -> Result<usize, Reason> {
        let (mut reader, mut count) = (Frames::default(), 0);
        for mut bytes in [&[b'x'; PREFACE][..], &frame(SETTINGS, 0, 0, &[]), &frames.concat()].concat().chunks(piece) {
            while let Some(_head) = reader.next(&mut bytes)? {
                count += 1;
            }
        }
        Ok(count)
    }

    #[test]
    fn frames_are_told_apart_however_their_bytes_come() {
        let frames = [
            frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255]),
            frame(HEADERS, 0, 1, &[1; 40]),
            frame(CONTINUATION, END_HEADERS, 1, &[]),
            frame(DATA, END_STREAM, 1, &[2; 300]),
            frame(99, 255, 7, &[3; 20]),
            frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
        ];
        for piece in 1..400 {
            assert_eq!(read(&frames, piece), Ok(1 + frames.len()), "{piece}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_as_the_standard_names_it() {
        let open = frame(HEADERS, END_HEADERS, 1, &[1]);
        let ended = frame(HEADERS, END_HEADERS | END_STREAM, 1, &[1]);
        for (frames, reason) in [
            (vec![frame(DATA, 0, 0, &[1])], Reason::PROTOCOL_ERROR),
            (vec![frame(DATA, 0, 1, &[1])], Reason::PROTOCOL_ERROR),
            (vec![ended.clone(), frame(DATA, 0, 1, &[1])], Reason::STREAM_CLOSED),
            (vec![ended.clone(), ended.clone()], Reason::STREAM_CLOSED),
            (vec![open.clone(), frame(RST_STREAM, 0, 1, &[0; 4]), open.clone()], Reason::STREAM_CLOSED),
            (vec![frame(HEADERS, END_HEADERS, 2, &[1])], Reason::PROTOCOL_ERROR),
            (vec![frame(HEADERS, END_HEADERS, 5, &[1]), open.clone()], Reason::PROTOCOL_ERROR),
            (vec![frame(HEADERS, 0, 1, &[1]), frame(DATA, 0, 1, &[1])], Reason::PROTOCOL_ERROR),
            (vec![frame(CONTINUATION, 0, 1, &[1])], Reason::PROTOCOL_ERROR),
            (vec![frame(PUSH_PROMISE, 0, 1, &[1; 4])], Reason::PROTOCOL_ERROR),
            (vec![frame(PING, 0, 0, &[1; 6])], Reason::FRAME_SIZE_ERROR),
            (vec![frame(PING, 0, 1, &[1; 8])], Reason::PROTOCOL_ERROR),
            (vec![frame(SETTINGS, 0, 0, &[1; 5])], Reason::FRAME_SIZE_ERROR),
            (vec![frame(SETTINGS, ACK, 0, &[0; 6])], Reason::FRAME_SIZE_ERROR),
            (vec![frame(SETTINGS, 0, 0, &[0, 4, 128, 0, 0, 0])], Reason::FLOW_CONTROL_ERROR),
            (vec![open.clone(), frame(RST_STREAM, 0, 1, &[0; 3])], Reason::FRAME_SIZE_ERROR),
            (vec![frame(PRIORITY, 0, 1, &[0; 4])], Reason::FRAME_SIZE_ERROR),
            (vec![frame(WINDOW_UPDATE, 0, 0, &[0; 3])], Reason::FRAME_SIZE_ERROR),
            (vec![frame(WINDOW_UPDATE, 0, 3, &[0; 4])], Reason::PROTOCOL_ERROR),
            (vec![open, frame(DATA, 0, 1, &vec![0; MAX_FRAME + 1])], Reason::FRAME_SIZE_ERROR),
        ] {
            for piece in [1, 7, 64, 100_000] {
                // What is behind it would only be seen if it was passed over.
                let all = [&frames[..], &[frame(99, 0, 0, &[0; 9])]].concat();
                assert_eq!(read(&all, piece), Err(reason), "{frames:?}");
            }
        }
    }
}
