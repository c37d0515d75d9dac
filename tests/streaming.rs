//! What moves between a head and its end: bodies in both directions as they come, trailers, interim answers, and answers that
//! have no body at all.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::support::app::{Proxy, to_endpoints};
use crate::support::client::{Client, eventually, get};
use crate::support::origin::{Origin, Script, slow_body};
use crate::support::raw::Raw;

const SOON: Duration = Duration::from_secs(10);
const GET: &str = "GET /a HTTP/1.1\r\nhost: shop\r\n\r\n";
/// Far more than all buffers between a client and an origin hold.
const MUCH: u64 = 64 * 1024 * 1024;
/// So much that the kernel moves it from one side to the other.
const LONG: usize = 700_000;
/// More than the kernel's buffers of two loopback connections hold while nobody reads.
const BUFFERS: u64 = 32 * 1024 * 1024;

async fn pair() -> (Origin, Proxy) {
    let origin = Origin::start("one").await;
    let proxy = Proxy::start(&to_endpoints(&[origin.address()], ""));
    (origin, proxy)
}

fn one(name: &str, value: &str) -> Vec<(String, String)> {
    vec![(name.to_owned(), value.to_owned())]
}

/// Returns when the count has been the same for a while, and what it is then.
async fn settled(count: &AtomicU64) -> u64 {
    let (mut last, mut looks) = (0, 0);
    eventually("the flow stops", SOON, async || {
        let now = count.load(Ordering::Relaxed);
        looks = if now == last && now > 0 { looks + 1 } else { 0 };
        last = now;
        (looks > 40).then_some(now)
    })
    .await
}

/// Writes `length` zeros and counts those that the kernel took.
async fn pour(stream: &mut TcpStream, length: u64, count: &AtomicU64) {
    let zeros = vec![0; 64 * 1024];
    let mut left = length;
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(zeros.len());
        let Ok(written) = stream.write(&zeros[..most]).await else { return };
        left -= written as u64;
        count.fetch_add(written as u64, Ordering::Relaxed);
    }
}

/// An origin whose one answer is large, and how much of it the kernel has taken.
async fn fountain() -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicU64::new(0));
    let poured = Arc::clone(&count);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 1024];
        assert!(stream.read(&mut head).await.unwrap() > 0);
        stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {MUCH}\r\n\r\n").as_bytes()).await.unwrap();
        pour(&mut stream, MUCH, &poured).await;
    });
    (address, count)
}

#[tokio::test]
async fn an_answer_arrives_piece_by_piece_before_its_end() {
    let (origin, proxy) = pair().await;
    let (tap, script) = slow_body();
    origin.once(script);
    let mut client = Client::connect(proxy.address()).await;
    client.send(GET).await;
    let (_, mut body) = client.head().await;
    for piece in ["one", "two", "three"] {
        tap.send(piece);
        assert_eq!(client.piece(&mut body).await.unwrap().unwrap(), piece);
    }
    tap.end();
    assert!(client.piece(&mut body).await.unwrap().is_none());
    assert_eq!(client.exchange(GET).await.text(), "one");
    assert_eq!(origin.accepted(), 1, "the connection is used again after a stream");
}

#[tokio::test]
async fn an_upload_reaches_the_origin_before_its_end() {
    let (origin, proxy) = pair().await;
    origin.once(Script::EchoBody);
    let mut client = Client::connect(proxy.address()).await;
    client.send("POST / HTTP/1.1\r\nhost: shop\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let (_, mut body) = client.head().await;
    for piece in ["one", "two", "six"] {
        client.send(format!("3\r\n{piece}\r\n")).await;
        assert_eq!(client.piece(&mut body).await.unwrap().unwrap(), piece);
    }
    client.send("0\r\n\r\n").await;
    assert!(client.piece(&mut body).await.unwrap().is_none());
    assert!(origin.requests()[0].complete);
}

#[tokio::test]
async fn large_bodies_come_through_unchanged() {
    let (origin, proxy) = pair().await;
    let mut seed = fastrand::Rng::with_seed(7);
    let bytes: Vec<u8> = std::iter::repeat_with(|| seed.u8(..)).take(3_000_000).collect();
    origin.once(Script::answer(200, bytes.clone()));
    let response = get(proxy.address(), "shop", "/").await;
    assert!(response.body == bytes, "an answer of known length");
    assert_eq!(response.header("content-length"), Some("3000000"));
    origin.once(Script::Chunked { chunks: bytes.chunks(70_000).map(<[u8]>::to_vec).collect(), trailers: vec![] });
    assert!(get(proxy.address(), "shop", "/").await.body == bytes, "an answer in chunks");

    let mut client = Client::connect(proxy.address()).await;
    client.send("POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 3000000\r\n\r\n").await;
    assert_eq!(client.exchange(&bytes).await.status, 200);
    let request = origin.requests().pop().unwrap();
    assert_eq!(request.header("content-length").as_deref(), Some("3000000"));
    assert!(request.complete && request.body == bytes, "an upload");
}

/// Serves one client of [`say_letter`]: what it sends has to be of its own letter, and what it gets is.
async fn echo_letter(mut stream: TcpStream) -> std::io::Result<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let letter = head[b"POST /".len()];
        let mut upload = vec![0; LONG];
        stream.read_exact(&mut upload).await?;
        let status = if upload.iter().all(|byte| *byte == letter) { "200 OK" } else { "418 Mixed" };
        stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: {LONG}\r\n\r\n").as_bytes()).await?;
        stream.write_all(&vec![letter; LONG]).await?;
    }
}

/// Sends a long body of one letter twice and reads the answers: all of them, or slowly, or not to their end.
async fn say_letter(address: SocketAddr, number: u8) {
    let letter = if number < 26 { b'A' + number } else { b'a' + number - 26 };
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    for _ in 0..2 {
        let head = format!("POST /{} HTTP/1.1\r\nhost: shop\r\ncontent-length: {LONG}\r\n\r\n", char::from(letter));
        stream.write_all(&[head.as_bytes(), &vec![letter; LONG]].concat()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 200"), "{letter}: {}", String::from_utf8_lossy(&head));
        let mut left = if number.is_multiple_of(3) { LONG / 7 } else { LONG };
        let mut piece = vec![0; if number % 3 == 1 { 3_000 } else { 100_000 }];
        while left > 0 {
            let most = piece.len().min(left);
            let count = stream.read(&mut piece[..most]).await.unwrap();
            assert!(count > 0 && piece[..count].iter().all(|byte| *byte == letter), "{letter}: not its own");
            left -= count;
            tokio::task::yield_now().await;
        }
        if number.is_multiple_of(3) {
            return;
        }
    }
}

#[tokio::test]
async fn long_bodies_of_many_do_not_mix_where_some_are_slow_and_some_leave() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(&to_endpoints(&[listener.local_addr().unwrap()], ""));
    tokio::spawn(async move {
        loop {
            tokio::spawn(echo_letter(listener.accept().await.unwrap().0));
        }
    });
    let mut clients = JoinSet::new();
    for number in 0..48 {
        clients.spawn(say_letter(proxy.address(), number));
    }
    clients.join_all().await;
}

#[tokio::test]
async fn a_long_answer_that_breaks_off_is_not_one_that_has_ended() {
    let origin = Raw::start().await;
    let proxy = Proxy::start(&to_endpoints(&[origin.address()], ""));
    let mut client = Client::connect(proxy.address()).await;
    client.send(GET).await;
    let mut served = origin.accept().await;
    served.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {LONG}\r\n\r\n")).await;
    served.send(vec![b'x'; LONG - 1]).await;
    let (_, mut body) = client.head().await;
    let mut received = 0;
    while received < LONG - 1 {
        received += client.piece(&mut body).await.unwrap().unwrap().len();
    }
    drop(served);
    assert!(client.piece(&mut body).await.is_err(), "the client was told an end");
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_origin_from_being_read() {
    let (origin, poured) = fountain().await;
    let proxy = Proxy::start(&to_endpoints(&[origin], ""));
    let mut client = Client::connect(proxy.address()).await;
    client.send(GET).await;
    let (head, mut body) = client.head().await;
    assert_eq!(head.status, 200);
    let held = settled(&poured).await;
    assert!(held < BUFFERS, "{held} bytes were taken for a client that does not read");
    let mut received = 0;
    while let Some(piece) = client.piece(&mut body).await.unwrap() {
        received += piece.len() as u64;
    }
    assert_eq!(received, MUCH);
}

#[tokio::test]
async fn an_origin_that_does_not_read_stops_the_client() {
    let (origin, proxy) = pair().await;
    get(proxy.address(), "shop", "/").await;
    origin.pause();
    let sent = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&sent);
    let address = proxy.address();
    let upload = tokio::spawn(async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!("POST / HTTP/1.1\r\nhost: shop\r\nconnection: close\r\ncontent-length: {MUCH}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        pour(&mut stream, MUCH, &count).await;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    });
    let held = settled(&sent).await;
    assert!(held < BUFFERS, "{held} bytes were taken for an origin that does not read");
    origin.resume();
    assert!(upload.await.unwrap().ends_with("\r\n\r\none"));
    assert_eq!(origin.requests()[1].body.len() as u64, MUCH);
}

#[tokio::test]
async fn an_answer_that_comes_before_the_end_of_the_upload_is_passed_on() {
    let (origin, proxy) = pair().await;
    origin.once(Script::Early(Box::new(Script::answer(413, "too much"))));
    let mut client = Client::connect(proxy.address()).await;
    client.send("POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 1000000\r\n\r\nbeginning").await;
    let response = client.response().await;
    assert_eq!((response.status, response.text().as_str()), (413, "too much"));
    assert_eq!(get(proxy.address(), "shop", "/").await.text(), "one");
}

#[tokio::test]
async fn trailers_travel_both_ways() {
    let (origin, proxy) = pair().await;
    origin.once(Script::Raw(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 6\r\n\r\n"
            .to_vec(),
    ));
    let mut client = Client::connect(proxy.address()).await;
    let request = "POST / HTTP/1.1\r\nhost: shop\r\nte: trailers\r\nconnection: te\r\ntrailer: x-check\r\n\
                   transfer-encoding: chunked\r\n\r\n2\r\nde\r\n0\r\nx-check: 9\r\n\r\n";
    let response = client.exchange(request).await;
    assert_eq!((response.text(), response.trailers), ("abc".to_owned(), one("x-sum", "6")));
    let request = &origin.requests()[0];
    assert_eq!((request.body.as_slice(), &request.trailers), (b"de".as_slice(), &one("x-check", "9")));
    assert_eq!(request.header("te").as_deref(), Some("trailers"));
}

#[tokio::test]
async fn a_client_that_does_not_ask_for_trailers_gets_the_body_without_them() {
    let (origin, proxy) = pair().await;
    origin.once(Script::Raw(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 6\r\n\r\n"
            .to_vec(),
    ));
    let response = get(proxy.address(), "shop", "/").await;
    assert_eq!((response.text(), response.trailers), ("abc".to_owned(), vec![]));
    assert_eq!(origin.requests()[0].header("te"), None);
}

#[tokio::test]
async fn a_get_may_have_a_body() {
    let (origin, proxy) = pair().await;
    let mut client = Client::connect(proxy.address()).await;
    let chunked = "GET / HTTP/1.1\r\nhost: shop\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    assert_eq!(client.exchange(chunked).await.text(), "one");
    assert_eq!(client.exchange("GET / HTTP/1.1\r\nhost: shop\r\ncontent-length: 2\r\n\r\nde").await.text(), "one");
    let bodies: Vec<Vec<u8>> = origin.requests().into_iter().map(|request| request.body).collect();
    assert_eq!(bodies, [b"abc".to_vec(), b"de".to_vec()]);
}

#[tokio::test]
async fn a_post_without_a_body_stays_without_one() {
    let (origin, proxy) = pair().await;
    let mut client = Client::connect(proxy.address()).await;
    assert_eq!(client.exchange("POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 0\r\n\r\n").await.text(), "one");
    let request = &origin.requests()[0];
    assert_eq!(request.header("transfer-encoding"), None);
    assert_eq!(request.header("content-length").as_deref(), Some("0"));
}

#[tokio::test]
async fn a_head_request_is_answered_with_the_length_and_no_body() {
    let (origin, proxy) = pair().await;
    let mut client = Client::connect(proxy.address()).await;
    for _ in 0..2 {
        client.send("HEAD /a HTTP/1.1\r\nhost: shop\r\n\r\n").await;
        let (head, _) = client.head().await;
        assert_eq!((head.status, head.header("content-length")), (200, Some("3")));
    }
    assert_eq!(client.exchange(GET).await.text(), "one", "nothing of a body came between");
    assert_eq!((origin.requests()[0].method(), origin.accepted()), ("HEAD", 1));
}

#[tokio::test]
async fn answers_that_have_no_body_end_with_their_head() {
    let (origin, proxy) = pair().await;
    origin.once(Script::answer(204, ""));
    let headers = vec![("etag".to_owned(), "\"x\"".to_owned()), ("content-length".to_owned(), "1234".to_owned())];
    origin.once(Script::Answer { status: 304, headers, body: vec![] });
    let mut client = Client::connect(proxy.address()).await;
    let empty = client.exchange(GET).await;
    assert_eq!((empty.status, empty.header("transfer-encoding"), empty.header("content-length")), (204, None, None));
    let fresh = client.exchange(GET).await;
    assert_eq!((fresh.status, fresh.header("etag")), (304, Some("\"x\"")));
    assert_eq!(client.exchange(GET).await.text(), "one");
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_passed_on_whole() {
    let (origin, proxy) = pair().await;
    origin.once(Script::CloseAfter(Box::new(Script::Raw(b"HTTP/1.0 200 OK\r\n\r\nto the end".to_vec()))));
    let mut client = Client::connect(proxy.address()).await;
    assert_eq!(client.exchange(GET).await.text(), "to the end");
    assert_eq!(client.exchange(GET).await.text(), "one", "the client's connection goes on");
}

#[tokio::test]
async fn early_hints_go_to_clients_that_know_interim_answers() {
    let (origin, proxy) = pair().await;
    let hinted = || Script::Informational(Box::new(Script::answer(200, "page")));
    origin.once(hinted());
    let mut client = Client::connect(proxy.address()).await;
    let hint = client.exchange(GET).await;
    assert_eq!((hint.status, hint.header("link")), (103, Some("</style.css>; rel=preload")));
    assert_eq!(client.response().await.text(), "page");

    origin.once(hinted());
    let mut old = Client::connect(proxy.address()).await;
    let response = old.exchange("GET / HTTP/1.0\r\nhost: shop\r\n\r\n").await;
    assert_eq!((response.status, response.text().as_str()), (200, "page"));
}

#[tokio::test]
async fn early_hints_arrive_before_the_answer_is_there() {
    let (origin, proxy) = pair().await;
    // The origin takes this for its answer and says no more.
    origin.once(Script::Raw(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nconnection: x\r\nx: 1\r\n\r\n".to_vec()));
    let mut client = Client::connect(proxy.address()).await;
    client.send(GET).await;
    let hint = client.response().await;
    assert_eq!((hint.status, hint.header("link"), hint.header("x")), (103, Some("</a>"), None));
}

#[tokio::test]
async fn a_client_that_waits_to_be_asked_for_its_body_is_asked() {
    let (origin, proxy) = pair().await;
    let mut client = Client::connect(proxy.address()).await;
    let head = "POST / HTTP/1.1\r\nhost: shop\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
    assert_eq!(client.exchange(head).await.status, 100);
    assert_eq!(client.exchange("body").await.text(), "one");
    assert_eq!(origin.requests()[0].body, b"body");
}

#[tokio::test]
async fn a_client_of_http_2_that_waits_to_be_asked_for_its_body_is_asked() {
    let (origin, proxy) = pair().await;
    let stream = tokio::net::TcpStream::connect(proxy.address()).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("http://shop/").header("expect", "100-continue").body(()).unwrap();
    let (mut answer, mut sending) = send.ready().await.unwrap().send_request(request, false).unwrap();
    let interim = tokio::time::timeout(SOON, std::future::poll_fn(|cx| answer.poll_informational(cx))).await.unwrap();
    assert_eq!(interim.unwrap().unwrap().status(), 100);
    sending.send_data("body".into(), true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);
    assert_eq!(origin.requests()[0].body, b"body");
}

#[tokio::test]
async fn a_body_that_nobody_wants_is_not_asked_for() {
    let proxy =
        Proxy::start("[[routes]]\nhost = \"a\"\ncluster = \"web\"\n[clusters.web]\nendpoints = [\"127.0.0.1:1\"]\n");
    let mut client = Client::connect(proxy.address()).await;
    let head = "POST / HTTP/1.1\r\nhost: b\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
    assert_eq!(client.exchange(head).await.status, 404);
}

#[tokio::test]
async fn trailers_do_not_frame_or_address_a_message() {
    let origin = Origin::start("one").await;
    let proxy = Proxy::start(&to_endpoints(&[origin.address()], ""));
    let head = "POST /a HTTP/1.1\r\nhost: shop\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n";
    let trailers = "x-sum: 1\r\nhost: evil\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n";
    Client::connect(proxy.address()).await.exchange(format!("{head}3\r\nabc\r\n0\r\n{trailers}\r\n")).await;
    let received = origin.requests()[0].trailers.clone();
    assert_eq!(received, [("x-sum".to_owned(), "1".to_owned())]);
}

#[tokio::test]
async fn an_upload_of_many_small_frames_is_as_good_as_one_of_large_ones() {
    const FRAMES: usize = 12_000;
    let origin = Origin::start("origin").await;
    let proxy = Proxy::start(&to_endpoints(&[origin.address()], ""));
    let stream = tokio::net::TcpStream::connect(proxy.address()).await.unwrap();
    let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("http://shop/").body(()).unwrap();
    let (answer, mut body) = send.send_request(request, false).unwrap();
    body.reserve_capacity(10 * FRAMES);
    while body.capacity() < 10 * FRAMES {
        std::future::poll_fn(|cx| body.poll_capacity(cx)).await.unwrap().unwrap();
    }
    for _ in 0..FRAMES {
        body.send_data("0123456789".into(), false).unwrap();
    }
    body.send_data("".into(), true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);
    assert_eq!(origin.requests()[0].body.len(), 10 * FRAMES);
}
