//! Three origins with one small answer, which they give when lictor has gone to sleep over the request.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::lictor::Rest;

/// What every origin answers.
pub const BODY: &[u8] = b"hello lictor";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\nhello lictor";
const ORIGINS: usize = 3;
/// More than any request here.
const REQUEST: usize = 16 * 1024;

/// Somewhere on loopback.
pub async fn bind() -> std::io::Result<Vec<TcpListener>> {
    let mut origins = Vec::new();
    for _ in 0..ORIGINS {
        origins.push(TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?);
    }
    Ok(origins)
}

/// Serves in tasks of the `LocalSet` within which this has to be called.
pub fn serve(origins: Vec<TcpListener>, rest: &Arc<Rest>) {
    for origin in origins {
        let rest = Arc::clone(rest);
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = origin.accept().await {
                tokio::task::spawn_local(answer(stream, Arc::clone(&rest)));
            }
        });
    }
}

/// Whatever goes wrong here ends the connection, and shows in the answer that the client has then.
async fn answer(mut stream: TcpStream, rest: Arc<Rest>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; REQUEST];
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        if is_whole(&buffer[..filled]) {
            filled = 0;
            rest.wait()?;
            stream.write_all(ANSWER).await?;
        }
    }
}

fn is_whole(received: &[u8]) -> bool {
    let Some(blank) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&received[..blank]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    received.len() >= blank + 4 + length.unwrap_or(0)
}
