//! Whether an origin does what its script says.

use std::io;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};

use super::*;
use crate::support::client::{Client, eventually, get};

const GET: &str = "GET /a HTTP/1.1\r\nhost: o\r\n\r\n";
const SOON: Duration = Duration::from_secs(10);

async fn pair() -> (Origin, Client) {
    let origin = Origin::start("ada").await;
    let client = Client::connect(origin.address()).await;
    (origin, client)
}

#[tokio::test]
async fn an_origin_answers_with_its_name_and_records_what_came() {
    let (origin, mut client) = pair().await;
    let post = "POST /b?c HTTP/1.1\r\nHost: o\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nt: 1\r\n\r\n";
    assert_eq!(client.exchange(GET).await.text(), "ada");
    assert_eq!(client.exchange(post).await.text(), origin.name());
    client.send(GET.replace("GET", "HEAD")).await;
    let (head, _) = client.head().await;
    assert_eq!(head.header("Content-Length"), Some("3"));
    assert_eq!(get(origin.address(), "o", "/").await.status, 200);

    let requests = origin.requests();
    assert_eq!((origin.hits(), origin.accepted(), requests.len()), (4, 2, 4));
    assert_eq!(requests[0].head, GET);
    assert_eq!((requests[1].method(), requests[1].target()), ("POST", "/b?c"));
    assert_eq!(requests[1].headers()[0], ("Host".to_owned(), "o".to_owned()));
    assert_eq!(requests[1].header("HOST"), Some("o".to_owned()));
    assert_eq!((requests[1].body.as_slice(), requests[1].complete), (b"abc".as_slice(), true));
    assert_eq!(requests[1].trailers, [("t".to_owned(), "1".to_owned())]);
    assert_eq!((requests[2].connection, requests[3].connection), (0, 1));
    let one_left = async || origin.connections() == 1;
    eventually("the second connection is seen to close", SOON, one_left).await;
}

#[tokio::test]
async fn an_origin_answers_by_script_in_the_order_of_the_queue() {
    let (origin, mut client) = pair().await;
    let full = Script::Answer { status: 503, headers: vec![("x".into(), "y".into())], body: b"no".into() };
    let chunks = vec![b"ab".to_vec(), b"c".to_vec()];
    origin.once(Script::Informational(Box::new(full)));
    origin.once(Script::Chunked { chunks, trailers: vec![("sum".into(), "3".into())] });
    origin.once(Script::Raw(b"HTTP/1.1 299 Odd\r\nContent-Length: 0\r\n\r\n".into()));
    origin.always(Script::Delay(Duration::from_millis(1), Box::new(Script::answer(404, "late"))));

    let hint = client.exchange(GET).await;
    assert_eq!((hint.status, hint.header("link").is_some()), (103, true));
    let refusal = client.response().await;
    assert_eq!((refusal.status, refusal.header("x"), refusal.text()), (503, Some("y"), "no".into()));
    let chunked = client.exchange(GET).await;
    assert_eq!((chunked.text(), chunked.trailers), ("abc".into(), vec![("sum".into(), "3".into())]));
    assert_eq!(client.exchange(GET).await.status, 299);
    assert_eq!(client.exchange(GET).await.text(), "late");
    assert_eq!(client.exchange(GET).await.status, 404);
}

#[tokio::test]
async fn an_origin_fails_exactly_as_told() {
    use io::ErrorKind::{ConnectionReset, UnexpectedEof};
    let origin = Origin::start("ada").await;
    for (script, head, end) in [
        (Script::ResetBeforeHead, false, Some(ConnectionReset)),
        (Script::ResetMidBody, true, Some(ConnectionReset)),
        (Script::CloseBeforeHead, false, Some(UnexpectedEof)),
        (Script::CloseAfter(Box::new(Script::answer(200, ""))), true, None),
    ] {
        let what = format!("{script:?}");
        origin.once(script);
        let mut client = Client::connect(origin.address()).await;
        client.send(GET).await;
        if head {
            let (answer, mut body) = client.head().await;
            assert_eq!(answer.header("connection"), None, "{what}");
            if let Some(kind) = end {
                assert_eq!(client.piece(&mut body).await.unwrap().unwrap(), "cut.");
                assert_eq!(client.piece(&mut body).await.unwrap_err().kind(), kind, "{what}");
            } else {
                assert_eq!(client.closed().await.unwrap(), b"", "{what}");
            }
        } else {
            let error = client.try_response().await.unwrap_err();
            assert_eq!(Some(error.kind()), end, "{what}");
        }
    }
}

#[tokio::test]
async fn a_silent_origin_notices_that_the_client_left() {
    let (origin, mut client) = pair().await;
    origin.once(Script::Hang);
    client.send(GET).await;
    eventually("the request is recorded", SOON, async || origin.hits() == 1).await;
    assert_eq!(origin.connections(), 1);
    drop(client);
    eventually("the connection is gone", SOON, async || origin.connections() == 0).await;
}

#[tokio::test]
async fn an_origin_can_answer_before_and_while_it_reads_a_body() {
    let (origin, mut client) = pair().await;
    let post = "POST / HTTP/1.1\r\nhost: o\r\ncontent-length: 4\r\n";
    origin.once(Script::Early(Box::new(Script::answer(413, "no"))));
    origin.once(Script::EchoBody);

    assert_eq!(client.exchange(format!("{post}\r\nab")).await.status, 413);
    assert!(!origin.requests()[0].complete);
    client.send(format!("cd{post}\r\nef")).await;
    let (_, mut body) = client.head().await;
    assert_eq!(client.piece(&mut body).await.unwrap().unwrap(), "ef");
    client.send("gh").await;
    assert_eq!(client.piece(&mut body).await.unwrap().unwrap(), "gh");
    assert!(client.piece(&mut body).await.unwrap().is_none());
    assert_eq!(client.exchange(format!("{post}expect: 100-continue\r\n\r\n")).await.status, 100);
    assert_eq!(client.exchange("1234").await.text(), "ada");
    assert!(origin.requests().iter().all(|request| request.complete));
}

#[tokio::test]
async fn a_slow_body_flows_as_the_test_says() {
    let (origin, mut client) = pair().await;
    let (tap, script) = slow_body();
    origin.once(script);
    client.send(GET).await;
    let (_, mut body) = client.head().await;
    tap.send("one");
    assert_eq!(client.piece(&mut body).await.unwrap().unwrap(), "one");
    tap.send("two");
    assert_eq!(client.piece(&mut body).await.unwrap().unwrap(), "two");
    tap.end();
    assert!(client.piece(&mut body).await.unwrap().is_none());

    let (tap, script) = slow_body();
    origin.once(script);
    client.send(GET).await;
    client.head().await;
    tap.reset();
    assert_eq!(client.closed().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);

    let (tap, script) = slow_body();
    origin.always(script);
    let mut client = Client::connect(origin.address()).await;
    client.send(GET).await;
    client.head().await;
    drop(client);
    tap.left().await;
}

#[tokio::test]
async fn an_origin_echoes_what_follows_an_upgrade() {
    let (origin, mut client) = pair().await;
    origin.once(Script::UpgradeEcho);
    let upgrade = "GET / HTTP/1.1\r\nhost: o\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\nearly";
    let switched = client.exchange(upgrade).await;
    assert_eq!((switched.status, switched.header("upgrade")), (101, Some("chat")));
    assert_eq!(client.read(5).await, b"early");
    client.send("later").await;
    assert_eq!(client.read(5).await, b"later");

    origin.once(Script::WebSocketEcho);
    let url = format!("ws://{}/", origin.address());
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    socket.send("hello".into()).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap().to_text().unwrap(), "hello");
    socket.close(None).await.unwrap();
}

#[tokio::test]
async fn a_stopped_origin_refuses_resets_and_comes_back_on_its_port() {
    let (origin, mut client) = pair().await;
    client.exchange(GET).await;
    origin.stop().await;
    assert_eq!(client.closed().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(origin.connections(), 0);
    let refused = TcpStream::connect(origin.address()).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);

    origin.restart().await;
    let mut client = Client::connect(origin.address()).await;
    assert_eq!(client.exchange(GET).await.text(), "ada");
    assert_eq!(origin.hits(), 2);
    drop(origin);
    assert_eq!(client.closed().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_paused_origin_is_connected_to_and_silent() {
    let (origin, mut client) = pair().await;
    client.exchange(GET).await;
    origin.pause();
    let mut late = Client::connect(origin.address()).await;
    client.send(GET).await;
    late.send(GET).await;
    let silence = tokio::time::timeout(Duration::from_millis(50), client.response());
    assert!(silence.await.is_err());
    assert_eq!(origin.hits(), 1);
    origin.resume();
    assert_eq!(client.response().await.text(), "ada");
    assert_eq!(late.response().await.text(), "ada");
    assert_eq!(format!("http://{}", origin.address()), origin.url());
}
