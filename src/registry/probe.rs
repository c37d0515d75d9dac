//! One run of a check that asks: an HTTP request or a TCP connection, and what its answer means.

use super::definition::Target;
use super::model::Status;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, HOST, USER_AGENT};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::pin::pin;
use tokio::net::TcpStream;

/// How much of an answer's body is read for the check's output, in bytes.
const MAX_BODY: usize = 4096;

/// What a run says: the status, and the output for people.
type Said = (Status, String);
/// Why an HTTP check did not get so far as a status code; only people read it.
type Failure = Box<dyn Error + Send + Sync>;

/// Asks once. The caller bounds the time.
pub async fn ask(target: &Target) -> Said {
    match target {
        Target::Tcp(address) => match TcpStream::connect(address.as_str()).await {
            Ok(_) => (Status::Passing, format!("TCP connect {address}: Success")),
            Err(error) => (Status::Critical, format!("dial tcp {address}: {error}")),
        },
        Target::Http { url, method, .. } => {
            let method = if method.is_empty() { "GET" } else { method };
            match ask_http(target).await {
                Ok((status, body)) => {
                    let output = format!("HTTP {method} {url}: {status} Output: {body}");
                    (judge(status), output)
                }
                Err(error) => (Status::Critical, format!("{method} {url:?}: {error}")),
            }
        }
    }
}

/// Consul's reading of a status code.
fn judge(status: StatusCode) -> Status {
    match status {
        status if status.is_success() => Status::Passing,
        StatusCode::TOO_MANY_REQUESTS => Status::Warning,
        _ => Status::Critical,
    }
}

async fn ask_http(target: &Target) -> Result<(StatusCode, String), Failure> {
    let (address, request) = build(target)?;
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut exchange = pin!(async move {
        let response = sender.send_request(request).await?;
        Ok::<_, hyper::Error>((response.status(), beginning(response).await))
    });
    // The connection moves only while it is polled; if it ends first, the exchange has what it got, or its error.
    tokio::select! {
        biased;
        answer = &mut exchange => Ok(answer?),
        _ = connection => Ok(exchange.await?),
    }
}

/// What to send, and the `host:port` to send it to.
fn build(target: &Target) -> Result<(String, Request<Full<Bytes>>), Failure> {
    let Target::Http { url, method, headers, body } = target else {
        return Err("not an HTTP check".into());
    };
    let url: Uri = url.parse()?;
    if url.scheme_str() != Some("http") {
        return Err("this registry checks http URLs only".into());
    }
    let authority = url.authority().ok_or("the URL names no host")?;
    let address = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
    let method = if method.is_empty() { "GET" } else { method };
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder().method(method).uri(path);
    let given = |name: &str| headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
    for (name, value) in
        [(HOST, authority.as_str()), (USER_AGENT, "Consul Health Check"), (ACCEPT, "text/plain, text/*, */*")]
    {
        if !given(name.as_str()) {
            request = request.header(name, value);
        }
    }
    for (name, value) in headers {
        request = request.header(name, value);
    }
    Ok((address, request.body(Full::new(Bytes::from(body.clone())))?))
}

/// The first bytes of a body, for people to read; whatever goes wrong here does not change the status.
async fn beginning(response: Response<Incoming>) -> String {
    let mut body = Limited::new(response.into_body(), MAX_BODY);
    let mut text = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        if let Ok(data) = frame.into_data() {
            text.extend_from_slice(&data);
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}
