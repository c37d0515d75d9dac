//! The origin of everything but gRPC and WebSockets: hyper, so that none of the proxy's own code reads what the proxy wrote.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE, TRAILER};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::browser;

type Body = BoxBody<Bytes, hyper::Error>;

/// Serves for as long as the process runs. Returns where.
pub async fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // Given out once for each page that has reported.
    let reported = Arc::new(Semaphore::new(0));
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let reported = Arc::clone(&reported);
            let serve = service_fn(move |request| answer(request, Arc::clone(&reported)));
            let serving = http1::Builder::new().serve_connection(TokioIo::new(connection), serve);
            tokio::spawn(async move { serving.await.ok() });
        }
    });
    address
}

/// The first so many bytes of what every download is made of.
pub fn bytes(length: usize) -> Vec<u8> {
    (0..length as u64).map(|index| (index.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

async fn answer(request: Request<Incoming>, reported: Arc<Semaphore>) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let mut response = match path.strip_prefix("/web/").unwrap_or(&path) {
        "echo" => Response::new(body.boxed()),
        "digest" => Response::new(whole(digest(body).await)),
        "head" => Response::new(whole(format!("{} {:#?}", head.method, head.headers))),
        "trailers" => trailers(),
        "events" => events(),
        // Tools that look at frames want a stream that is open until they end it, and an answer that takes some of them.
        "/" => {
            body.collect().await.ok();
            Response::new(whole(bytes(1024)))
        }
        "page" => of_type("text/html; charset=utf-8", browser::page()),
        "report" => {
            body.collect().await.ok();
            reported.add_permits(1);
            Response::new(whole("thanks"))
        }
        "held" => {
            // The page is loaded when this is, which is when it has reported.
            reported.acquire().await.unwrap().forget();
            of_type("text/javascript", "")
        }
        part if part.starts_with("part/") => of_type("text/javascript", "parts += 1;"),
        download => match download.strip_prefix("bytes/").and_then(|length| length.parse().ok()) {
            Some(length) => ranged(&head.headers, bytes(length)),
            None => Response::new(whole("ok\n")),
        },
    };
    if head.method == Method::HEAD {
        *response.body_mut() = whole("");
    }
    Ok(response)
}

/// Length and checksum of what was sent.
async fn digest(mut body: Incoming) -> String {
    let (mut length, mut checksum) = (0, Xxh3::new());
    while let Some(Ok(frame)) = body.frame().await {
        if let Some(data) = frame.data_ref() {
            length += data.len();
            checksum.update(data);
        }
    }
    told(length, checksum.digest())
}

/// What [`digest`] answers if it gets this.
pub fn digest_of(body: &[u8]) -> String {
    told(body.len(), xxh3_64(body))
}

fn told(length: usize, checksum: u64) -> String {
    format!("{length} {checksum:016x}\n")
}

/// The whole, or the one range that is asked for.
fn ranged(headers: &HeaderMap, all: Vec<u8>) -> Response<Body> {
    let asked = headers.get(RANGE).and_then(|range| range.to_str().ok()?.strip_prefix("bytes=")?.split_once('-'));
    let Some((first, last)) = asked.and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?))) else {
        let length = all.len();
        let mut response = Response::new(whole(all));
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
        response.headers_mut().insert(ACCEPT_RANGES, "bytes".parse().unwrap());
        return response;
    };
    let (first, last): (usize, usize) = (first, last);
    let mut response = Response::new(whole(all[first..=last].to_vec()));
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let range = format!("bytes {first}-{last}/{}", all.len());
    response.headers_mut().insert(CONTENT_RANGE, range.parse().unwrap());
    response
}

fn trailers() -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", "4711".parse().unwrap());
    let frames = [Ok(Frame::data(Bytes::from("body\n"))), Ok(Frame::trailers(trailers))];
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(stream::iter(frames))));
    response.headers_mut().insert(TRAILER, "x-checksum".parse().unwrap());
    response
}

fn events() -> Response<Body> {
    let events = (0..3).map(|index| Ok(Frame::data(Bytes::from(format!("id: {index}\ndata: event {index}\n\n")))));
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(stream::iter(events))));
    response.headers_mut().insert(CONTENT_TYPE, "text/event-stream".parse().unwrap());
    response
}

fn of_type(kind: &str, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(whole(text));
    response.headers_mut().insert(CONTENT_TYPE, kind.parse().unwrap());
    response
}

fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}
