//! Whose doing it was that something ended, and what of it is told then.

use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::lines::{GET, of};
use super::{Log, SOON, lines, pair};
use crate::support::app::{Proxy, to_endpoints};
use crate::support::client::{Client, eventually};
use crate::support::origin::{Origin, Script, slow_body};
use crate::support::raw::Raw;
use crate::support::spawned::Spawned;
use crate::support::window::{metric, sum};
use crate::websocket::ask_by_stream;

/// A TCP listener with these keys, for the cluster `db`.
fn tcp(keys: &str) -> String {
    format!("[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\nprotocol = \"tcp\"\ncluster = \"db\"\n{keys}\n")
}

/// What the one line says of a connection to this proxy that is over.
async fn end_of(log: &Log) -> Value {
    of(&log.entry().await, &["status", "flags", "bytes_received", "bytes_sent"])
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_whole() {
    let (origin, log, proxy) = pair("").await;
    origin.once(Script::CloseAfter(Box::new(Script::Raw(b"HTTP/1.0 200 OK\r\n\r\nwhole".to_vec()))));
    let answer = Client::connect(proxy.address()).await.exchange(GET).await;
    assert_eq!(answer.text(), "whole");
    assert_eq!(end_of(&log).await, json!([200, [], 0, 5]));
}

#[tokio::test]
async fn whoever_failed_last_is_named_and_not_who_answered_before() {
    let (bad, gone, log) = (Origin::start("bad").await, Origin::start("gone").await, Log::new());
    bad.always(Script::answer(503, "no"));
    gone.stop().await;
    let more = "policy = \"round_robin\"\nejection = { consecutive_failures = 0 }\nretry = { attempts = 1 }";
    let text = to_endpoints(&[bad.address(), gone.address()], more);
    let proxy = Proxy::start(&format!("{text}{}", log.keys("json", "")));
    for _ in 0..2 {
        Client::connect(proxy.address()).await.exchange(GET).await;
    }
    for entry in log.entries(2).await {
        let last = if entry["status"] == 502 { gone.address() } else { bad.address() };
        assert_eq!(entry["endpoint"], last.to_string(), "{entry}");
    }
}

#[tokio::test]
async fn what_lictor_breaks_off_is_not_the_clients_doing() {
    let (origin, raw, log) = (Origin::start("one").await, Raw::start().await, Log::new());
    let listeners = "[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\nconnect = true\n\
                     [[listeners]]\nname = \"db\"\nbind = \"127.0.0.1:0\"\nprotocol = \"tcp\"\ncluster = \"db\"\n";
    let routes = "[[routes]]\nhost = \"db.internal\"\ncluster = \"db\"\n";
    let clusters =
        format!("{}[clusters.db]\nendpoints = [\"{}\"]\n", to_endpoints(&[origin.address()], ""), raw.address());
    let drain = "[drain]\ndelay = \"0s\"\ntimeout = \"100ms\"\n";
    let proxy = Proxy::start(&format!("{listeners}{routes}{clusters}{drain}{}", log.keys("json", "")));

    let mut session = Client::connect(proxy.app().address("db").unwrap()).await;
    let mut endpoint = raw.accept().await;
    let mut tunnel = Client::connect(proxy.address()).await;
    tunnel.send("CONNECT db.internal:1 HTTP/1.1\r\nhost: db.internal:1\r\n\r\n").await;
    let mut far = raw.accept().await;
    assert_eq!(tunnel.head().await.0.status, 200);
    for (client, served) in [(&mut session, &mut endpoint), (&mut tunnel, &mut far)] {
        client.send("hello").await;
        served.read(5).await;
        served.send("good day").await;
        client.read(8).await;
    }

    origin.once(Script::UpgradeEcho);
    let mut switched = Client::connect(proxy.address()).await;
    let upgrade = "GET /chat HTTP/1.1\r\nhost: shop\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n";
    assert_eq!(switched.exchange(upgrade).await.status, 101);
    switched.send("x").await;
    switched.read(1).await;
    let (tap, script) = slow_body();
    origin.once(script);
    let mut half = Client::connect(proxy.address()).await;
    half.send("GET /half HTTP/1.1\r\nhost: shop\r\n\r\n").await;
    let (_, mut body) = half.head().await;
    tap.send("some");
    half.piece(&mut body).await.unwrap();
    origin.once(Script::Hang);
    let (hits, mut waiting) = (origin.hits(), Client::connect(proxy.address()).await);
    waiting.send("POST /waits HTTP/1.1\r\nhost: shop\r\ncontent-length: 3\r\n\r\nabc").await;
    eventually("it hangs", SOON, async || origin.hits() > hits).await;

    proxy.drain().await;
    let mut ends: Vec<String> = Vec::new();
    for entry in log.entries(5).await {
        ends.push(of(&entry, &["kind", "target", "status", "flags", "bytes_received", "bytes_sent"]).to_string());
    }
    ends.sort();
    assert_eq!(
        ends,
        [
            r#"["request","/half",200,["LB"],0,4]"#,
            r#"["request","/waits",0,["LB"],3,0]"#,
            r#"["tcp",null,0,["LB"],5,8]"#,
            r#"["tunnel","/chat",101,["LB"],1,1]"#,
            r#"["tunnel",null,200,["LB"],5,8]"#,
        ]
    );
}

#[tokio::test]
async fn what_came_of_a_body_is_told_also_where_its_client_leaves_before_the_answer() {
    let (origin, log, proxy) = pair("").await;
    origin.once(Script::Hang);
    let mut client = Client::connect(proxy.address()).await;
    client.send("POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 5\r\n\r\nhello").await;
    eventually("it hangs", SOON, async || origin.hits() == 1).await;
    drop(client);
    assert_eq!(end_of(&log).await, json!([499, ["DC"], 5, 0]));
}

#[tokio::test]
async fn why_a_connection_of_no_known_protocol_is_not_served_is_said_as_of_a_request() {
    let gone = Raw::start().await;
    let address = gone.address();
    drop(gone);
    let refused = format!("[clusters.db]\nendpoints = [\"{address}\"]\nretry = {{ attempts = 0 }}\n");
    let again = format!("[clusters.db]\nendpoints = [\"{address}\"]\nretry = {{ attempts = 1 }}\n");
    // Where Consul is away.
    let unknown =
        "[consul]\naddress = \"http://127.0.0.1:1\"\n[clusters.db]\nconsul = { service = \"db\" }\n".to_owned();
    for (cluster, flags) in [(refused, json!(["UF"])), (again, json!(["UF", "RX", "R"])), (unknown, json!(["NL"]))] {
        let log = Log::new();
        let proxy = Proxy::start(&format!("{}{cluster}{}", tcp(""), log.keys("json", "")));
        Client::connect(proxy.address()).await.closed().await.ok();
        assert_eq!(end_of(&log).await, json!([0, flags, 0, 0]), "{cluster}");
    }
}

#[tokio::test]
async fn silence_is_told_from_an_endpoint_that_does_not_answer() {
    let (origin, log) = (Raw::start().await, Log::new());
    let cluster = format!("[clusters.db]\nendpoints = [\"{}\"]\ntimeouts = {{ idle = \"100ms\" }}\n", origin.address());
    let proxy = Proxy::start(&format!("{}{cluster}{}", tcp(""), log.keys("json", "")));
    let mut client = Client::connect(proxy.address()).await;
    let mut endpoint = origin.accept().await;
    client.send("hello").await;
    endpoint.read(5).await;
    assert_eq!(end_of(&log).await, json!([0, ["SI"], 5, 0]));
}

#[tokio::test]
async fn who_looks_whether_somebody_listens_is_no_bad_client() {
    for (leaves, flag) in [(true, "DC"), (false, "DL")] {
        let log = Log::new();
        let keys =
            "timeouts = { request_header = \"300ms\" }\n[[listeners.sni]]\nnames = [\"a.example\"]\ncluster = \"db\"";
        let cluster = "[clusters.db]\nendpoints = [\"127.0.0.1:1\"]\n";
        let proxy = Proxy::start(&format!("{}{cluster}{}", tcp(keys), log.keys("json", "")));
        let mut client = Client::connect(proxy.address()).await;
        if leaves {
            drop(client);
        } else {
            assert_eq!(client.closed().await.unwrap(), b"");
        }
        assert_eq!(end_of(&log).await, json!([0, [flag], 0, 0]));
    }
}

#[tokio::test]
async fn a_websocket_over_http_2_is_told_as_its_client_saw_it() {
    let bad = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n";
    let bad = Script::Raw(format!("{bad}sec-websocket-accept: x\r\n\r\n").into_bytes());
    let said = json!(["GET", 502, ["UP"]]);
    for (script, is_open) in [(bad, false), (Script::answer(200, "plain"), false), (Script::WebSocketEcho, true)] {
        let (origin, log, proxy) = pair("").await;
        origin.once(script);
        let answer = ask_by_stream(&proxy).await;
        assert_eq!(answer.status().as_u16(), if is_open { 200 } else { 502 });
        drop(answer);
        if !is_open {
            assert_eq!(of(&log.entry().await, &["method", "status", "flags"]), said);
            continue;
        }
        proxy.drain().await;
        assert_eq!(of(&log.entry().await, &["kind", "method", "status"]), json!(["tunnel", "GET", 101]));
    }
}

#[tokio::test]
async fn each_request_that_cannot_be_read_has_a_line_and_counts() {
    let log = Log::new();
    let listener =
        "[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\ntimeouts = { request_header = \"300ms\" }\n";
    let cluster = to_endpoints(&["127.0.0.1:1".parse().unwrap()], "");
    let proxy = Proxy::start(&format!("{listener}{cluster}{}", log.keys("json", "")));
    let mut client = Client::connect(proxy.address()).await;
    client.send("GET / HT").await;
    assert_eq!(client.response().await.status, 408);
    let (send, connection) = h2::client::handshake(TcpStream::connect(proxy.address()).await.unwrap()).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::builder().uri("http://shop/").header("expect", "x").body(()).unwrap();
    let (answer, _) = send.ready().await.unwrap().send_request(request, true).unwrap();
    assert_eq!(tokio::time::timeout(SOON, answer).await.unwrap().unwrap().status(), 417);
    let entries = log.entries(2).await;
    let said: Vec<Value> = entries.iter().map(|entry| of(entry, &["status", "flags"])).collect();
    assert_eq!(said, [json!([408, ["DL"]]), json!([417, ["DP"]])]);
    assert_eq!(sum(proxy.admin(), "lictor_requests_malformed_total", "").await, 2.0);
}

#[tokio::test]
async fn the_file_is_made_anew_during_a_drain_as_well() {
    let (origin, log) = (Origin::start("one").await, Log::new());
    let (tap, script) = slow_body();
    origin.once(script);
    let drain = "[drain]\ndelay = \"0s\"\ntimeout = \"20s\"\n";
    let text = format!("{}{drain}{}", to_endpoints(&[origin.address()], ""), log.keys("json", ""));
    let mut lictor = Spawned::start(&text, &[]);
    let mut client = Client::connect(lictor.address().await).await;
    client.send(GET).await;
    let (_, mut body) = client.head().await;
    lictor.signal(Signal::TERM);
    lictor.says("draining: nothing new is accepted").await;
    let moved = log.0.path().join("access.log.1");
    std::fs::rename(log.path(), &moved).unwrap();
    lictor.signal(Signal::USR1);
    lictor.says("access log reopened").await;
    tap.send("x");
    drop(tap);
    while client.piece(&mut body).await.unwrap().is_some() {}
    assert_eq!(lictor.exit_code().await, Some(0));
    assert_eq!(lines(&log.path(), 1).await.len(), 1);
    assert_eq!(std::fs::read_to_string(moved).unwrap(), "");
}

#[tokio::test]
async fn a_reader_of_standard_output_who_has_left_has_no_lines() {
    let origin = Origin::start("one").await;
    // Nobody else is to inherit the reading end.
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let text = format!("{}[access_log]\nformat = \"json\"\n", to_endpoints(&[origin.address()], ""));
    let lictor = Spawned::start_to(&text, std::process::Stdio::from(writer));
    let (address, admin) = (lictor.address().await, lictor.admin().await);
    drop(reader);
    assert_eq!(Client::connect(address).await.exchange(GET).await.status, 200);
    lictor.says("the access log cannot be written; lines are dropped until it can").await;
    let dropped = async || metric(admin, "lictor_access_log_dropped_total").await == 1.0;
    eventually("it is counted", Duration::from_secs(10), dropped).await;
    assert_eq!(metric(admin, "lictor_access_log_lines_total").await, 0.0);
}
