//! An origin with a short answer and a long one, on a thread of its own.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::wire::Wire;

/// Bytes of the long answer.
pub const LONG: usize = 1 << 20;

/// Binds and serves for as long as the process lasts.
pub fn start() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(Wire::new(stream)));
            }
        });
    });
    address
}

async fn serve(mut wire: Wire) -> std::io::Result<()> {
    while let Some(head) = wire.head().await? {
        let length = if head.first[1] == "/long" { LONG } else { 100 };
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\r\n");
        wire.write(answer.as_bytes()).await?;
        wire.write(&vec![b'x'; length]).await?;
    }
    Ok(())
}
