//! A request by HTTP/1.1, and whether its answer is as it should be.

use std::future::pending;

use ::http::header::{CONNECTION, HOST, USER_AGENT};
use ::http::{Request, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::ask;
use super::failure::Failure;
use crate::config::HttpProbe;
use crate::tls::Stream;

/// What is read of a body at most: a page that says how it is, not a download.
const MOST_BODY: usize = 64 * 1024;
/// What is read of a head at most, and of a body at once.
const MOST_HEAD: usize = 64 * 1024;

pub(super) async fn ask(stream: Stream, authority: &str, probe: &HttpProbe) -> Result<(), Failure> {
    let request = Request::builder()
        .method(probe.method.as_str())
        .uri(probe.path.as_str())
        .header(HOST, authority)
        .header(USER_AGENT, ask::USER_AGENT)
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        // The configuration has been checked for that.
        .map_err(|error| Failure::Local(error.to_string()))?;
    let handshake = http1::Builder::new().max_buf_size(MOST_HEAD).handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(|error| Failure::reset(&error))?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(|error| Failure::reset(&error))?;
        judge(answer, probe).await
    };
    // Whatever ends the connection, the exchange hears of it.
    let driving = async {
        let _ = connection.await;
        pending().await
    };
    tokio::select! {
        result = exchange => result,
        result = driving => result,
    }
}

async fn judge(answer: Response<Incoming>, probe: &HttpProbe) -> Result<(), Failure> {
    let status = answer.status().as_u16();
    if !probe.statuses.iter().any(|statuses| statuses.contains(&status)) {
        return Err(Failure::Status(status.to_string()));
    }
    match &probe.body {
        Some(expected) => find(answer.into_body(), expected.as_bytes()).await,
        None => Ok(()),
    }
}

/// Reads until the body has what is expected, or cannot any more.
async fn find(mut body: Incoming, expected: &[u8]) -> Result<(), Failure> {
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::reset(&error))?;
        let Some(data) = frame.data_ref() else { continue };
        // What is expected may have begun in the frame before.
        let from = read.len().saturating_sub(expected.len() - 1);
        read.extend_from_slice(&data[..data.len().min(MOST_BODY - read.len())]);
        if read[from..].windows(expected.len()).any(|window| window == expected) {
            return Ok(());
        }
        if read.len() >= MOST_BODY {
            break;
        }
    }
    Err(Failure::Body)
}
