//! What applications speak to services that they ask for by their names, from the first request on: as through a proxy, over HTTP/2 and
//! gRPC, and WebSocket.

use std::future::poll_fn;

use bytes::Bytes;
use http::Request;
use tokio::net::TcpStream;

use super::*;
use crate::support::h2::{H2Origin, Reply};
use crate::support::origin::Script;

#[tokio::test]
async fn whoever_takes_it_for_a_proxy_gets_through_and_leaves_nothing_of_that_behind() {
    let consul = consul().await;
    let origin = Origin::start("apps").await;
    register(&consul, "apps", &origin, &[]).await;
    let proxy = start(&consul.url(), "");
    // As curl asks with http_proxy.
    let asked = "GET http://Apps.Service.consul/x?y HTTP/1.1\r\nhost: Apps.Service.consul\r\nuser-agent: curl/8\r\n\
                 proxy-connection: Keep-Alive\r\nproxy-authorization: Basic eDp5\r\n\r\n";
    let mut client = Client::connect(proxy.address()).await;
    assert_eq!(said(client.exchange(asked).await), "apps");
    let seen = origin.requests().pop().unwrap();
    assert_eq!((seen.target(), seen.header("host").as_deref()), ("/x?y", Some("Apps.Service.consul")));
    assert_eq!((seen.header("proxy-connection"), seen.header("proxy-authorization")), (None, None));
}

#[tokio::test]
async fn a_call_over_http2_goes_by_its_authority() {
    let consul = consul().await;
    let origin = H2Origin::start().await;
    let (ip, port) = (origin.address().ip(), origin.address().port());
    consul.register(json!({ "Name": "calls", "Address": ip, "Port": port, "Meta": { "lictor-protocol": "h2" } })).await;
    let proxy = start(&consul.url(), "");
    let stream = TcpStream::connect(proxy.address()).await.unwrap();
    let (mut send, connection) = h2::client::handshake::<_>(stream).await.unwrap();
    let driver = tokio::spawn(connection);
    let mut call = async |authority: &str| {
        poll_fn(|context| send.poll_ready(context)).await.unwrap();
        let request = Request::post(format!("http://{authority}/a.B/C")).header("content-type", "application/grpc");
        let (answer, mut body) = send.send_request(request.body(()).unwrap(), false).unwrap();
        body.send_data(Bytes::from_static(b"\0\0\0\0\0"), true).unwrap();
        let answer = answer.await.unwrap();
        let status = answer.headers().get("grpc-status").map(|status| status.to_str().unwrap().to_owned());
        (answer.status().as_u16(), status)
    };
    let head = vec![("content-type", "application/grpc"), ("grpc-status", "5")];
    origin.once(Reply::Whole { head, pieces: vec![], trailers: vec![] });
    assert_eq!(call("calls.service.consul").await, (200, Some("5".to_owned())), "as the service says");
    assert_eq!(origin.asked()[0].uri.path(), "/a.B/C");
    assert_eq!(call("calls-not.service.consul:8080").await, (200, Some("14".to_owned())), "nobody has that name");
    assert_eq!(call("calls").await.0, 200, "and the connection goes on");
    driver.abort();
}

#[tokio::test]
async fn a_connection_that_switches_protocols_is_switched_by_name() {
    let consul = consul().await;
    let origin = Origin::start("socket").await;
    register(&consul, "socket", &origin, &[]).await;
    let proxy = start(&consul.url(), "[egress]\nidle = \"1s\"");
    origin.once(Script::UpgradeEcho);
    let mut client = Client::connect(proxy.address()).await;
    let upgrade = "GET /chat HTTP/1.1\r\nhost: socket.service.consul\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n";
    assert_eq!(client.exchange(upgrade).await.status, 101);
    client.send("hello").await;
    assert_eq!(client.read(5).await, b"hello");
    // Nobody asks for it any more, and it is in use.
    let other = Origin::start("socket-b").await;
    register(&consul, "socket-b", &other, &[]).await;
    assert_eq!(ask(&proxy, "socket-b").await, "socket-b");
    eventually("the other is forgotten", SOON, async || names(&proxy).await == ["socket"]).await;
    client.send("again").await;
    assert_eq!(client.read(5).await, b"again");
}
