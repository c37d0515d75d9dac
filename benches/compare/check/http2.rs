//! Over HTTP/2, with the crate `h2`, which decodes and checks what the load only looks at.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Method, Request, StatusCode, Version};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::Failure;
use crate::check::{PATIENCE, REQUESTS};
use crate::load::Script;
use crate::work::HOST;

/// All requests of the check, one after another on one connection.
pub fn ask_all(
    address: SocketAddr,
    script: &Script,
    tls: Option<&Arc<ClientConfig>>,
    trailers: bool,
) -> Result<(), Failure> {
    let tls = tls.ok_or("HTTP/2 is checked in TLS only")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let asked = tokio::time::timeout(PATIENCE, ask_in_turn(address, script, tls, trailers));
        asked.await.map_err(|_| "HTTP/2: no answer in time")?
    })
}

async fn ask_in_turn(
    address: SocketAddr,
    script: &Script,
    tls: &Arc<ClientConfig>,
    trailers: bool,
) -> Result<(), Failure> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let stream = TlsConnector::from(Arc::clone(tls)).connect(ServerName::try_from(HOST)?, stream).await?;
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err("HTTP/2 was not agreed upon".into());
    }
    let (mut client, connection) = h2::client::handshake(stream).await?;
    let connection = tokio::spawn(connection);
    for _ in 0..REQUESTS {
        client = client.ready().await?;
        ask(&mut client, script, trailers).await?;
    }
    // How the other side closes is its own affair.
    connection.abort();
    Ok(())
}

async fn ask(client: &mut SendRequest<Bytes>, script: &Script, trailers: bool) -> Result<(), Failure> {
    let request = if trailers {
        Request::builder()
            .method(Method::POST)
            .uri(format!("https://{HOST}/lictor.Echo/Say"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
    } else {
        Request::builder().uri(format!("https://{HOST}/"))
    };
    let (answer, mut sending) = client.send_request(request.version(Version::HTTP_2).body(())?, !trailers)?;
    if trailers {
        sending.send_data(Bytes::copy_from_slice(&script.answer), true)?;
    }
    let answer = answer.await?;
    if answer.status() != StatusCode::OK {
        return Err(format!("status {}", answer.status()).into());
    }
    let mut body = answer.into_body();
    let mut received = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        received.extend_from_slice(&data);
    }
    if received != *script.answer {
        return Err(format!("another body, of {} bytes", received.len()).into());
    }
    let status = body.trailers().await?.and_then(|trailers| trailers.get("grpc-status").cloned());
    let right = if trailers { status.is_some_and(|status| status == "0") } else { status.is_none() };
    if right { Ok(()) } else { Err("other trailers".into()) }
}
