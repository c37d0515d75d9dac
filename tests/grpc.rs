//! What gRPC's clients are told when it is not the endpoint who answers.

use crate::support::app::{Proxy, to_endpoints};
use crate::support::client::{Client, Response};
use crate::support::h2::{H2Origin, Reply};
use crate::support::window::sum;

fn call(more: &str) -> String {
    format!(
        "POST /a.B/C HTTP/1.1\r\nhost: shop\r\nte: trailers\r\nconnection: te\r\ncontent-type: application/grpc+proto\r\n\
         {more}content-length: 5\r\n\r\n\0\0\0\0\0"
    )
}

async fn answer(proxy: &Proxy, more: &str) -> Response {
    Client::connect(proxy.address()).await.exchange(call(more)).await
}

fn outcome(answer: &Response) -> (u16, Option<&str>, Option<&str>, Option<&str>) {
    let header = |name| answer.header(name);
    (answer.status, header("content-type"), header("grpc-status"), header("grpc-message"))
}

#[tokio::test]
async fn who_is_not_there_is_unavailable() {
    let proxy = Proxy::start(&to_endpoints(&["127.0.0.1:1".parse().unwrap()], ""));
    let answer = answer(&proxy, "").await;
    let message = "the endpoint refused the connection";
    assert_eq!(outcome(&answer), (200, Some("application/grpc"), Some("14"), Some(message)));
    assert!(answer.body.is_empty());
    assert_eq!(sum(proxy.admin(), "lictor_requests_total", "code=\"502\"").await, 1.0, "counted as what it is");
}

#[tokio::test]
async fn a_method_that_no_route_takes_is_not_implemented() {
    let cluster = "cluster = \"web\"\n[clusters.web]\nendpoints = [\"127.0.0.1:1\"]\n";
    let proxy = Proxy::start(&format!("[[routes]]\nhost = \"other\"\n{cluster}"));
    assert_eq!(outcome(&answer(&proxy, "").await).2, Some("12"));
    let plain = Client::connect(proxy.address()).await.exchange("GET / HTTP/1.1\r\nhost: shop\r\n\r\n").await;
    assert_eq!((plain.status, plain.header("grpc-status")), (404, None));
}

#[tokio::test]
async fn a_deadline_that_passes_is_said_to_be_exceeded() {
    let origin = H2Origin::start().await;
    let listener = "[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\ntimeouts = { trust_deadline = true }\n";
    let proxy = Proxy::start(&format!("{}{listener}", to_endpoints(&[origin.address()], "")));
    origin.once(Reply::Hang);
    let answer = answer(&proxy, "grpc-timeout: 200m\r\n").await;
    assert_eq!((answer.status, answer.header("grpc-status")), (200, Some("4")));
    let told = origin.asked()[0].headers["grpc-timeout"].to_str().unwrap().to_owned();
    assert!(told.trim_end_matches('m').parse::<u32>().unwrap() <= 200, "{told}");
}

#[tokio::test]
async fn what_an_endpoint_says_itself_is_passed_on() {
    let origin = H2Origin::start().await;
    let proxy = Proxy::start(&to_endpoints(&[origin.address()], ""));
    let head = vec![("content-type", "application/grpc"), ("grpc-status", "5"), ("grpc-message", "no such thing")];
    origin.once(Reply::Whole { head, pieces: vec![], trailers: vec![] });
    let answer = answer(&proxy, "").await;
    assert_eq!(outcome(&answer), (200, Some("application/grpc"), Some("5"), Some("no such thing")));
}
