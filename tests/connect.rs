//! `CONNECT`, where a listener takes it: a tunnel to an endpoint of the route for its host, and to nowhere else.

use std::time::Duration;

use crate::support::app::Proxy;
use crate::support::client::{Client, eventually};
use crate::support::raw::Raw;
use crate::support::window::sum;

const SOON: Duration = Duration::from_secs(20);

fn start(endpoint: std::net::SocketAddr) -> Proxy {
    Proxy::start(&format!(
        "[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\nconnect = true\n\
         [[routes]]\nhost = \"db.internal\"\ncluster = \"db\"\n[clusters.db]\nendpoints = [\"{endpoint}\"]\n"
    ))
}

#[tokio::test]
async fn bytes_pass_both_ways_once_there_is_an_endpoint() {
    let origin = Raw::start().await;
    let proxy = start(origin.address());
    let mut client = Client::connect(proxy.address()).await;
    client.send("CONNECT db.internal:5432 HTTP/1.1\r\nhost: db.internal:5432\r\n\r\nearly").await;
    let mut served = origin.accept().await;
    let (answer, _) = client.head().await;
    assert_eq!((answer.status, answer.header("content-length"), answer.header("transfer-encoding")), (200, None, None));
    assert_eq!(served.read(5).await, b"early");
    served.send("\0late").await;
    assert_eq!(client.read(5).await, b"\0late");
    client.finish().await;
    assert_eq!(served.closed().await.unwrap(), b"");
    served.finish().await;
    assert_eq!(client.closed().await.unwrap(), b"");
    let ended = async || sum(proxy.admin(), "lictor_tcp_sessions_total", "result=\"completed\"").await == 1.0;
    eventually("it is over", SOON, ended).await;
}

#[tokio::test]
async fn it_leads_where_a_route_says_and_nowhere_else() {
    let origin = Raw::start().await;
    let proxy = start(origin.address());
    let elsewhere = format!("CONNECT {0} HTTP/1.1\r\nhost: {0}\r\n\r\n", origin.address());
    assert_eq!(Client::connect(proxy.address()).await.exchange(elsewhere).await.status, 404);
    for bad in ["/x", "http://db.internal/", "db.internal", "*"] {
        let request = format!("CONNECT {bad} HTTP/1.1\r\nhost: db.internal\r\n\r\n");
        assert_eq!(Client::connect(proxy.address()).await.exchange(request).await.status, 400, "{bad}");
    }
    let body = "CONNECT db.internal:1 HTTP/1.1\r\nhost: db.internal:1\r\ncontent-length: 3\r\n\r\nabc";
    assert_eq!(Client::connect(proxy.address()).await.exchange(body).await.status, 400);
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_connected_to_is_a_bad_gateway() {
    let origin = Raw::start().await;
    let proxy = start(origin.address());
    drop(origin);
    let mut client = Client::connect(proxy.address()).await;
    let answer = client.exchange("CONNECT db.internal:5432 HTTP/1.1\r\nhost: db.internal:5432\r\n\r\n").await;
    assert_eq!(answer.status, 502);
}
