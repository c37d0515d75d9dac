//! The live feed from its reader's side: server-sent events as messages.

use reqwest::Response;

use super::model::Message;
use crate::cli::Error;
use crate::cli::window::Window;

/// No message is longer: thousands of clusters fit.
const LONGEST: usize = 256 << 20;

/// A feed that is being read.
pub(super) struct Feed {
    answer: Response,
    unread: Vec<u8>,
    /// How much of that has been looked through without an end: the first message comes in many pieces.
    seen: usize,
}

impl Feed {
    pub(super) async fn open(window: &Window) -> Result<Self, Error> {
        Ok(Feed { answer: window.get("/v1/live").await?, unread: Vec::new(), seen: 0 })
    }

    /// The next message. May be dropped and called again: what has come is kept.
    pub(super) async fn next(&mut self) -> Result<Message, Error> {
        loop {
            if let Some(event) = self.event() {
                match read(&String::from_utf8_lossy(&event)) {
                    Some(message) => return message.map_err(|error| Error::Other(format!("the feed: {error}"))),
                    None => continue,
                }
            }
            let piece = self.answer.chunk().await.map_err(|error| Error::Other(format!("the feed broke: {error}")))?;
            let piece = piece.ok_or_else(|| Error::Other("the feed has ended".to_owned()))?;
            if self.unread.len() + piece.len() > LONGEST {
                return Err(Error::Other(format!("the feed has a message of more than {LONGEST} bytes")));
            }
            self.unread.extend_from_slice(&piece);
        }
    }

    /// The next event, once its end has come.
    fn event(&mut self) -> Option<Vec<u8>> {
        // Half of the end may have been there before.
        let from = self.seen.saturating_sub(1);
        let Some(end) = self.unread[from..].windows(2).position(|pair| pair == b"\n\n") else {
            self.seen = self.unread.len();
            return None;
        };
        self.seen = 0;
        Some(self.unread.drain(..from + end + 2).collect())
    }
}

/// A message; none if it is only a sign of life.
fn read(event: &str) -> Option<serde_json::Result<Message>> {
    let line = |key: &str| event.lines().find_map(|line| line.strip_prefix(key));
    let data = line("data: ")?;
    let is_whole = line("event: ") == Some("whole");
    Some(serde_json::from_str(data).map(|message| Message { is_whole, ..message }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_comes_in_two_pieces_is_one() {
        let answer = Response::from(http::Response::new(""));
        let mut feed = Feed { answer, unread: Vec::new(), seen: 0 };
        let mut events = Vec::new();
        for piece in ["a\n", "\nb\nc", "", "\n\n", "d\n\ne\n\nf"] {
            feed.unread.extend_from_slice(piece.as_bytes());
            events.extend(std::iter::from_fn(|| feed.event().map(|event| String::from_utf8(event).unwrap())));
        }
        assert_eq!(events, ["a\n\n", "b\nc\n\n", "d\n\n", "e\n\n"]);
        assert_eq!(feed.unread, b"f");
    }

    #[test]
    fn an_event_is_a_message_and_a_comment_is_none() {
        assert!(read(": still here\n\n").is_none());
        let message = read("event: whole\ndata: {\"now\":5,\"gone\":[\"a\"]}\n\n").unwrap().unwrap();
        assert!(message.is_whole && message.now == 5 && message.gone == ["a"]);
        assert!(read("event: change\ndata: {\n\n").unwrap().is_err());
    }
}
