//! One client with one connection, which asks when lictor sleeps and waits for the whole answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::Failure;
use crate::lictor::{NAME, Rest};
use crate::origin::BODY;
use crate::work::Work;

/// For all requests; valgrind makes lictor some fifty times slower.
const PATIENCE: Duration = Duration::from_secs(120);
const ANSWER: usize = 8 * 1024;

/// Asks so often, and closes the connection. `trust` is lictor's certificate.
pub async fn ask(
    work: Work,
    address: SocketAddr,
    trust: &CertificateDer<'static>,
    requests: u32,
    rest: &Arc<Rest>,
) -> Result<(), Failure> {
    let asked = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        match work {
            Work::Tls => http1(greet(stream, trust).await?, work, requests, rest).await,
            Work::Http2 => http2(stream, work, requests, rest).await,
            _ => http1(stream, work, requests, rest).await,
        }
    };
    tokio::time::timeout(PATIENCE, asked).await??;
    rest.wait()?;
    Ok(())
}

async fn greet(
    stream: TcpStream,
    trust: &CertificateDer<'static>,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Failure> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trust.clone())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(NAME)?, stream).await?)
}

async fn http1(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    work: Work,
    requests: u32,
    rest: &Rest,
) -> Result<(), Failure> {
    let request = work.http1();
    let mut buffer = vec![0; ANSWER];
    for _ in 0..requests {
        rest.wait()?;
        stream.write_all(&request).await?;
        stream.flush().await?;
        let mut filled = 0;
        while !buffer[..filled].ends_with(BODY) {
            let read = stream.read(&mut buffer[filled..]).await?;
            if read == 0 {
                return Err(wrong(&buffer[..filled]));
            }
            filled += read;
        }
        if !buffer.starts_with(b"HTTP/1.1 200 ") {
            return Err(wrong(&buffer[..filled]));
        }
    }
    Ok(())
}

fn wrong(answer: &[u8]) -> Failure {
    format!("wrong answer: {}", String::from_utf8_lossy(answer)).into()
}

async fn http2(stream: TcpStream, work: Work, requests: u32, rest: &Rest) -> Result<(), Failure> {
    let (mut sending, connection) = h2::client::handshake(stream).await?;
    let connection = tokio::task::spawn_local(connection);
    for _ in 0..requests {
        // The connection's task may have something to say first, such as that it has taken the settings.
        tokio::task::yield_now().await;
        rest.wait()?;
        let mut request = http::Request::builder().method(work.method()).uri("http://lictor.test/shop/shoes?page=3");
        for (name, value) in work.headers() {
            request = request.header(*name, *value);
        }
        sending = sending.ready().await?;
        let (answer, mut body) = sending.send_request(request.body(())?, work.body().is_empty())?;
        if !work.body().is_empty() {
            body.send_data(Bytes::from_static(work.body()), true)?;
        }
        let answer = answer.await?;
        let status = answer.status();
        let mut body = answer.into_body();
        let mut received = Vec::new();
        while let Some(piece) = body.data().await.transpose()? {
            body.flow_control().release_capacity(piece.len())?;
            received.extend_from_slice(&piece);
        }
        if status != 200 || received != BODY {
            return Err(format!("wrong answer: {status}, {}", String::from_utf8_lossy(&received)).into());
        }
    }
    drop(sending);
    Ok(connection.await??)
}
