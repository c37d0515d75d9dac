//! A raw HTTP/1.1 client: the bytes a test writes are the bytes that leave, and what comes back is shown as it came.
//!
//! Not a client for anything but tests: no pool, no redirects, no leniency. `Wire` is one end of a connection and knows the
//! framing of RFC 9112, sections 6 and 7; the scripted origins stand on it too. `eventually` is how a test waits: it looks
//! again until what it hopes for is there, and fails by name when the time is up.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// How long one step of a client may take before the test fails instead of hanging; far above anything a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often `eventually` looks: short beside what it waits for, long beside what a look costs.
const POLL: Duration = Duration::from_millis(5);

/// Header or trailer fields in the order and the letter case in which they came.
pub type Fields = Vec<(String, String)>;

/// One HTTP/1.1 connection from the client's side. Every step panics, with what it was about, after 20 seconds.
pub struct Client {
    wire: Wire,
}

impl Client {
    /// Connects, or fails the test.
    pub async fn connect(address: SocketAddr) -> Client {
        let stream = within("connect", TcpStream::connect(address)).await;
        let stream = stream.unwrap_or_else(|error| panic!("connect to {address}: {error}"));
        Client { wire: Wire::new(stream) }
    }

    /// One that somebody else has connected, or accepted.
    pub fn over(stream: TcpStream) -> Client {
        Client { wire: Wire::new(stream) }
    }

    /// The same from this address of our own, of which 127.0.0.0/8 has many.
    pub async fn connect_from(from: IpAddr, address: SocketAddr) -> Client {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::new(from, 0)).unwrap_or_else(|error| panic!("bind {from}: {error}"));
        let stream = within("connect", socket.connect(address)).await;
        let stream = stream.unwrap_or_else(|error| panic!("connect to {address} from {from}: {error}"));
        Client { wire: Wire::new(stream) }
    }

    /// Writes these bytes and nothing else.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = self.try_send(bytes).await;
        sent.expect("send");
    }

    /// Writes these bytes, or says how the connection refused them.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        within("send", self.wire.write(bytes.as_ref())).await
    }

    /// Reads one response to its end; a 1xx counts as one. For the answer to a HEAD use `head`.
    pub async fn response(&mut self) -> Response {
        let response = self.try_response().await;
        response.unwrap_or_else(|error| panic!("read a response: {error}"))
    }

    /// Reads one response to its end, or says how it was cut: `UnexpectedEof` for a FIN, `ConnectionReset` for an RST.
    pub async fn try_response(&mut self) -> io::Result<Response> {
        within("read a response", self.wire.response()).await
    }

    /// Writes a request and reads the response to it.
    pub async fn exchange(&mut self, request: impl AsRef<[u8]>) -> Response {
        self.send(request).await;
        self.response().await
    }

    /// Reads the head of a response; its body can then be followed with `piece`, or is known not to come (HEAD).
    pub async fn head(&mut self) -> (Response, Body) {
        let head = within("read a head", self.wire.response_head()).await;
        head.unwrap_or_else(|error| panic!("read a head: {error}"))
    }

    /// The next bytes of a body as they arrive, `None` at its end.
    pub async fn piece(&mut self, body: &mut Body) -> io::Result<Option<Bytes>> {
        within("read a piece of a body", self.wire.piece(body)).await
    }

    /// Reads exactly so many bytes: for what follows an upgrade.
    pub async fn read(&mut self, length: usize) -> Vec<u8> {
        let read = within("read bytes", self.wire.exactly(length)).await;
        read.unwrap_or_else(|error| panic!("read {length} bytes: {error}"))
    }

    /// Everything until the other side closes; an error if it resets.
    pub async fn closed(&mut self) -> io::Result<Vec<u8>> {
        within("wait for the close", self.wire.rest()).await
    }

    /// Sends a FIN and can still read.
    pub async fn finish(&mut self) {
        self.wire.stream.shutdown().await.expect("shut down the writing half");
    }

    /// Leaves with an RST, as a killed process does.
    pub fn reset(self) {
        self.wire.reset();
    }

    /// Our own end's address: what the other side sees as the peer.
    pub fn local_address(&self) -> SocketAddr {
        self.wire.stream.local_addr().expect("local address")
    }
}

/// One response, whole.
#[derive(Clone, Debug, Default)]
pub struct Response {
    pub status: u16,
    pub headers: Fields,
    pub body: Vec<u8>,
    pub trailers: Fields,
}

impl Response {
    /// The first header of that name, in any letter case.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// All headers of that name, in their order.
    pub fn every(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends one GET on a connection of its own and reads the answer.
pub async fn get(address: SocketAddr, host: &str, path: &str) -> Response {
    let response = within(path, try_get(address, host, path)).await;
    response.unwrap_or_else(|error| panic!("GET http://{host}{path} at {address}: {error}"))
}

/// The same, for a server that may not be there.
pub async fn try_get(address: SocketAddr, host: &str, path: &str) -> io::Result<Response> {
    let mut wire = Wire::new(TcpStream::connect(address).await?);
    wire.write(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes()).await?;
    wire.response().await
}

/// Looks every 5 ms until `look` sees it (`true`, or `Some`), and returns it; panics with `what` when `patience` is over.
pub async fn eventually<L: Look>(what: &str, patience: Duration, mut look: impl AsyncFnMut() -> L) -> L::Seen {
    let deadline = Instant::now() + patience;
    loop {
        match timeout_at(deadline, look()).await.map(Look::seen) {
            Ok(Some(seen)) => return seen,
            Ok(None) if Instant::now() < deadline => sleep(POLL).await,
            _ => panic!("not within {patience:?}: {what}"),
        }
    }
}

/// What a look at something may return: seen or not yet.
pub trait Look {
    /// What is handed on once seen.
    type Seen;
    /// `None` is "not yet".
    fn seen(self) -> Option<Self::Seen>;
}

impl Look for bool {
    type Seen = ();
    fn seen(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Look for Option<T> {
    type Seen = T;
    fn seen(self) -> Option<T> {
        self
    }
}

/// One end of an HTTP/1.1 connection, with what was read and not yet taken.
pub struct Wire {
    pub stream: TcpStream,
    pub buffer: BytesMut,
}

/// Where we are in a body.
#[derive(Debug)]
pub enum Body {
    /// So many bytes are still to come.
    Length(u64),
    /// So many bytes of this chunk are still to come.
    Chunk(u64),
    /// The line with a chunk's size is next.
    Size,
    /// It ends with the connection.
    UntilClose,
    /// It has ended, with these trailers.
    Ended(Fields),
}

impl Body {
    /// The framing of a response's body, if the request was no HEAD.
    pub fn of_response(status: u16, headers: &Fields) -> Body {
        match status {
            100..200 | 204 | 304 => Body::Length(0),
            _ => Body::framed(headers).unwrap_or(Body::UntilClose),
        }
    }

    /// The framing of a request's body: without a header there is none.
    pub fn of_request(headers: &Fields) -> Body {
        Body::framed(headers).unwrap_or(Body::Length(0))
    }

    fn framed(headers: &Fields) -> Option<Body> {
        let coding = find(headers, "transfer-encoding").unwrap_or_default();
        if coding.to_ascii_lowercase().ends_with("chunked") {
            return Some(Body::Size);
        }
        let length = find(headers, "content-length")?;
        Some(Body::Length(length.parse().unwrap_or_else(|_| panic!("content-length: {length}"))))
    }
}

impl Wire {
    pub fn new(stream: TcpStream) -> Wire {
        // A test that writes byte by byte wants them to leave byte by byte.
        stream.set_nodelay(true).ok();
        Wire { stream, buffer: BytesMut::new() }
    }

    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Closes with an RST instead of a FIN.
    pub fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
    }

    /// Reads once into the buffer; the number of bytes, 0 at the end.
    pub async fn more(&mut self) -> io::Result<usize> {
        self.stream.read_buf(&mut self.buffer).await
    }

    /// A head up to and with its empty line, as text, one character a byte; `None` if the other side closed before it.
    pub async fn head(&mut self) -> io::Result<Option<String>> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if self.more().await? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(cut()) };
            }
        };
        Ok(Some(text(&self.buffer.split_to(end))))
    }

    /// The next bytes of a body as they arrive, `None` at its end.
    pub async fn piece(&mut self, body: &mut Body) -> io::Result<Option<Bytes>> {
        loop {
            match body {
                Body::Ended(_) => return Ok(None),
                Body::Length(0) => *body = Body::Ended(Fields::new()),
                Body::Chunk(0) => {
                    self.line().await?;
                    *body = Body::Size;
                }
                Body::Length(left) | Body::Chunk(left) => {
                    let piece = self.some(*left).await?.ok_or_else(cut)?;
                    *left -= piece.len() as u64;
                    return Ok(Some(piece));
                }
                Body::Size => {
                    let size = self.size().await?;
                    *body = if size == 0 { Body::Ended(self.trailers().await?) } else { Body::Chunk(size) };
                }
                Body::UntilClose => match self.some(u64::MAX).await? {
                    Some(piece) => return Ok(Some(piece)),
                    None => *body = Body::Ended(Fields::new()),
                },
            }
        }
    }

    async fn response_head(&mut self) -> io::Result<(Response, Body)> {
        let head = self.head().await?.ok_or_else(cut)?;
        let status = head.split(' ').nth(1).and_then(|status| status.trim_end().parse().ok());
        let status = status.ok_or_else(|| invalid(format!("no status in {head:?}")))?;
        let headers = fields(&head);
        let body = Body::of_response(status, &headers);
        Ok((Response { status, headers, ..Response::default() }, body))
    }

    async fn response(&mut self) -> io::Result<Response> {
        let (mut response, mut body) = self.response_head().await?;
        while let Some(piece) = self.piece(&mut body).await? {
            response.body.extend_from_slice(&piece);
        }
        if let Body::Ended(trailers) = body {
            response.trailers = trailers;
        }
        Ok(response)
    }

    /// What is there, at most `limit` bytes of it and at least one; `None` at the end of the connection.
    async fn some(&mut self, limit: u64) -> io::Result<Option<Bytes>> {
        if self.buffer.is_empty() && self.more().await? == 0 {
            return Ok(None);
        }
        let length = self.buffer.len().min(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    async fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            if self.more().await? == 0 {
                return Err(cut());
            }
        }
        Ok(self.buffer.split_to(length).to_vec())
    }

    async fn rest(&mut self) -> io::Result<Vec<u8>> {
        while self.more().await? > 0 {}
        Ok(self.buffer.split().to_vec())
    }

    async fn size(&mut self) -> io::Result<u64> {
        let line = self.line().await?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        u64::from_str_radix(digits, 16).map_err(|_| invalid(format!("chunk size {line:?}")))
    }

    async fn trailers(&mut self) -> io::Result<Fields> {
        let mut trailers = Fields::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(trailers);
            }
            trailers.extend(field(&line));
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        let end = loop {
            if let Some(at) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                break at;
            }
            if self.more().await? == 0 {
                return Err(cut());
            }
        };
        let line = text(&self.buffer.split_to(end));
        let _ = self.buffer.split_to(2);
        Ok(line)
    }
}

/// The fields of a head, without its first line.
pub fn fields(head: &str) -> Fields {
    head.split("\r\n").skip(1).filter_map(field).collect()
}

/// The value of the first field of that name, in any letter case.
pub fn find<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    let found = fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}

fn field(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    Some((name.to_owned(), value.trim().to_owned()))
}

/// One character a byte, so that no byte is lost and a test can compare.
fn text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "closed in the middle of a message")
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

async fn within<T>(what: &str, step: impl Future<Output = T>) -> T {
    let done = timeout(PATIENCE, step).await;
    done.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A client whose other end is in the test's hands.
    async fn pair() -> (Client, Client) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::connect(listener.local_addr().unwrap()).await;
        let (stream, _) = listener.accept().await.unwrap();
        (client, Client { wire: Wire::new(stream) })
    }

    #[tokio::test]
    async fn the_client_reads_every_framing_and_keeps_the_connection() {
        let (mut client, mut server) = pair().await;
        server.send("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n").await;
        server.send("HTTP/1.1 200 OK\r\nX-Case: Kept\r\ncontent-length: 3\r\n\r\nabc").await;
        server.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        server
            .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nde\r\n1;x=y\r\nf\r\n0\r\nsum: 6\r\n\r\n")
            .await;
        server.send("HTTP/1.1 200 OK\r\n\r\nto the end").await;
        server.finish().await;

        assert_eq!(client.response().await.status, 103);
        let plain = client.response().await;
        assert_eq!((plain.status, plain.text()), (200, "abc".to_owned()));
        assert_eq!(plain.headers[0], ("X-Case".to_owned(), "Kept".to_owned()));
        assert_eq!(plain.header("x-case"), Some("Kept"));
        assert_eq!(client.response().await.status, 204);
        let chunked = client.response().await;
        assert_eq!(chunked.body, b"def");
        assert_eq!(chunked.trailers, [("sum".to_owned(), "6".to_owned())]);
        assert_eq!(client.response().await.text(), "to the end");
    }

    #[tokio::test]
    async fn the_client_tells_a_close_from_a_reset() {
        let (mut client, mut server) = pair().await;
        assert_eq!(client.local_address().ip(), server.local_address().ip());
        server.send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc").await;
        server.finish().await;
        assert_eq!(client.try_response().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);

        let (mut client, server) = pair().await;
        server.reset();
        assert_eq!(client.closed().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        client.try_send("x").await.unwrap_err();
    }

    #[tokio::test]
    async fn a_body_can_be_followed_as_it_arrives() {
        let (mut client, mut server) = pair().await;
        server.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab").await;
        let (response, mut body) = client.head().await;
        assert_eq!(response.status, 200);
        assert_eq!(client.piece(&mut body).await.unwrap().unwrap(), "ab");
        server.send("cdrest").await;
        assert_eq!(client.piece(&mut body).await.unwrap().unwrap(), "cd");
        assert!(client.piece(&mut body).await.unwrap().is_none());
        assert_eq!(client.read(4).await, b"rest");
    }

    #[tokio::test]
    async fn eventually_returns_what_it_saw() {
        let mut looks = 0;
        let seen = eventually("the third look", PATIENCE, async || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(seen.await, 3);
        eventually("truth", PATIENCE, async || true).await;
    }

    #[tokio::test]
    #[should_panic(expected = "not within 20ms: pigs fly")]
    async fn eventually_fails_by_name() {
        eventually("pigs fly", Duration::from_millis(20), async || false).await;
    }

    #[tokio::test]
    #[should_panic(expected = "not within 20ms: an answer")]
    async fn eventually_does_not_wait_for_a_look_that_hangs() {
        eventually("an answer", Duration::from_millis(20), std::future::pending::<bool>).await;
    }
}
