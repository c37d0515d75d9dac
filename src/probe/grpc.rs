//! `grpc.health.v1.Health/Check` (gRPC's "GRPC Health Checking Protocol") over HTTP/2 with prior knowledge. One message each way,
//! of a field each, so that they are written and read here by hand.

use bytes::{Bytes, BytesMut};
use h2::client::{self, SendRequest};
use h2::{RecvStream, SendStream};
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::{HeaderMap, Request, StatusCode, Version};

use super::ask;
use super::failure::Failure;
use crate::config::GrpcProbe;
use crate::tls::Stream;

/// What is read of an answer at most: it is seven bytes.
const MOST_ANSWER: usize = 1024;
/// What is read of its head at most.
const MOST_HEAD: u32 = 16 * 1024;

/// Length-prefixed-message: a byte that says "not compressed", and the length in four.
const PREFIX: usize = 5;
/// `HealthCheckRequest.service`: field 1, of a length.
const SERVICE: u8 = 0x0a;
/// `HealthCheckResponse.status`: field 1, a number.
const STATUS: u8 = 0x08;
/// Of the states there are (unknown, serving, not serving, service unknown), the one that is well.
const SERVING: u8 = 1;

pub(super) async fn ask(stream: Stream, (scheme, authority): (&str, &str), probe: &GrpcProbe) -> Result<(), Failure> {
    let request = Request::post(format!("{scheme}://{authority}/grpc.health.v1.Health/Check"))
        .version(Version::HTTP_2)
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header(USER_AGENT, ask::USER_AGENT)
        .body(())
        // The configuration has been checked for that.
        .map_err(|error| Failure::Local(error.to_string()))?;
    let handshake = client::Builder::new().max_header_list_size(MOST_HEAD).handshake(stream);
    let (sender, connection) = handshake.await.map_err(|error| Failure::reset(&error))?;
    tokio::select! {
        result = exchange(sender, request, &probe.service) => result,
        // The exchange ends first unless the connection does.
        result = connection => Err(result.map_or_else(
            |error| Failure::reset(&error),
            |()| Failure::Reset("closed before the answer".to_owned()),
        )),
    }
}

async fn exchange(sender: SendRequest<Bytes>, request: Request<()>, service: &str) -> Result<(), Failure> {
    let reset = |error: h2::Error| Failure::reset(&error);
    let mut sender = sender.ready().await.map_err(reset)?;
    let (answer, mut sending): (_, SendStream<Bytes>) = sender.send_request(request, false).map_err(reset)?;
    sending.send_data(question(service), true).map_err(reset)?;
    let (head, body) = answer.await.map_err(reset)?.into_parts();
    if head.status != StatusCode::OK {
        return Err(Failure::Status(head.status.as_u16().to_string()));
    }
    // An error may be all of the answer.
    status(&head.headers, false)?;
    let message = read(body).await?;
    match message[..] {
        // A state of 0 is not written at all.
        [_, _, _, _, _, STATUS, SERVING, ..] => Ok(()),
        [_, _, _, _, _, STATUS, other, ..] => Err(Failure::Status(format!("with state {other}, which is not serving"))),
        _ => Err(Failure::Status("without a state".to_owned())),
    }
}

fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.extend_from_slice(&[SERVICE]);
        let mut length = service.len();
        while length >= 0x80 {
            message.extend_from_slice(&[length as u8 | 0x80]);
            length >>= 7;
        }
        message.extend_from_slice(&[length as u8]);
        message.extend_from_slice(service.as_bytes());
    }
    let mut prefixed = BytesMut::with_capacity(PREFIX + message.len());
    prefixed.extend_from_slice(&[0]);
    prefixed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    prefixed.extend_from_slice(&message);
    prefixed.freeze()
}

/// The message, if the trailers say that it is one.
async fn read(mut body: RecvStream) -> Result<Vec<u8>, Failure> {
    let mut message = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(|error| Failure::reset(&error))?;
        // It fits into the window that there is from the start.
        message.extend_from_slice(&data);
        if message.len() > MOST_ANSWER {
            return Err(Failure::Body);
        }
    }
    let trailers = body.trailers().await.map_err(|error| Failure::reset(&error))?;
    status(&trailers.unwrap_or_default(), true)?;
    Ok(message)
}

/// `grpc-status`, which has to be there at the end.
fn status(fields: &HeaderMap, is_end: bool) -> Result<(), Failure> {
    match fields.get("grpc-status").map(|status| status.as_bytes()) {
        Some(b"0") => Ok(()),
        None if !is_end => Ok(()),
        None => Err(Failure::Status("without grpc-status".to_owned())),
        Some(code) => Err(Failure::Status(format!("grpc-status {}", named(code)))),
    }
}

/// The codes that one meets here, with their names.
fn named(code: &[u8]) -> String {
    let name = match code {
        b"5" => " (NOT_FOUND): no such service",
        b"7" => " (PERMISSION_DENIED)",
        b"12" => " (UNIMPLEMENTED): no health service",
        b"14" => " (UNAVAILABLE)",
        b"16" => " (UNAUTHENTICATED)",
        _ => "",
    };
    format!("{}{name}", String::from_utf8_lossy(code))
}
