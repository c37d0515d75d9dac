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
}

impl Feed {
    pub(super) async fn open(window: &Window) -> Result<Self, Error> {
        Ok(Feed { answer: window.get("/v1/live").await?, unread: Vec::new() })
    }

    /// The next message. May be dropped and called again: what has come is kept.
    pub(super) async fn next(&mut self) -> Result<Message, Error> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\n\n") {
                let event: Vec<u8> = self.unread.drain(..end + 2).collect();
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
    fn an_event_is_a_message_and_a_comment_is_none() {
        assert!(read(": still here\n\n").is_none());
        let message = read("event: whole\ndata: {\"now\":5,\"gone\":[\"a\"]}\n\n").unwrap().unwrap();
        assert!(message.is_whole && message.now == 5 && message.gone == ["a"]);
        assert!(read("event: change\ndata: {\n\n").unwrap().is_err());
    }
}
