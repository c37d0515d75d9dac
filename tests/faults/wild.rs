//! What an origin does that means harm, or is broken in a way of its own: drawn anew for each request. Whatever it is, the client
//! has to get the right answer, or to see that it has none.

use std::io;
use std::time::Duration;

use crate::origin::{Asked, reset, status};
use crate::wire::{Head, Wire};

const LONGEST_PAUSE: u64 = 300;
/// An answer that its sender takes for a refusal: not the endpoint's failure, and visibly no answer of ours.
const REFUSAL: u16 = 413;

/// Answers in some other way than it should. False if the connection is over.
pub async fn answer(wire: &mut Wire, head: &Head, id: u64, name: &str) -> io::Result<bool> {
    if fastrand::u8(0..8) == 0 {
        // Before the request's body was read: some go on and read it, some close.
        wire.write(&status(REFUSAL)).await?;
        if fastrand::bool() {
            return Ok(false);
        }
        Asked::read(wire, head, Some(id)).await?;
        return Ok(true);
    }
    let asked = Asked::read(wire, head, Some(id)).await?;
    let whole = asked.answer(name);
    // Never all of it.
    let part = &whole[..fastrand::usize(0..whole.len())];
    match fastrand::u8(0..9) {
        0 => reset(wire, part).await,
        1 => wire.write(part).await.map(|()| false),
        2 => in_pieces(wire, &whole).await.map(|()| true),
        3 => {
            wire.write(b"SSH-2.0-OpenSSH_9.9\r\n\r\n\r\n\r\n").await?;
            Ok(false)
        }
        4 => too_long(wire, &asked, name).await,
        5 => {
            // More than was announced, at once.
            wire.write(&[&whole[..], b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nno\n"].concat()).await?;
            tokio::time::sleep(Duration::from_millis(fastrand::u64(0..20))).await;
            Ok(false)
        }
        6 => Ok(false),
        7 => {
            wire.write(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n").await?;
            wire.write(&whole).await?;
            Ok(true)
        }
        _ => wire.write(&status(503)).await.map(|()| true),
    }
}

/// Announces more than comes.
async fn too_long(wire: &mut Wire, asked: &Asked, name: &str) -> io::Result<bool> {
    let body = crate::content::answer(asked.id.unwrap_or_default(), name, &asked.body, asked.length);
    let more = body.len() + fastrand::usize(1..5000);
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {more}\r\n\r\n");
    wire.write(&[head.as_bytes(), &body].concat()).await?;
    Ok(false)
}

async fn in_pieces(wire: &mut Wire, mut left: &[u8]) -> io::Result<()> {
    let most = left.len() / 4 + 1;
    while !left.is_empty() {
        let (now, later) = left.split_at(fastrand::usize(1..=most.min(left.len())));
        wire.write(now).await?;
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..LONGEST_PAUSE))).await;
        left = later;
    }
    Ok(())
}
