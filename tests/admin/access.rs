//! Who may look through the operator's window, and who may change something.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use lictor::config::{self, Environment};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::SOON;
use crate::support::app::{Proxy, configuration, to_endpoints};
use crate::support::chain::{Authority, Wish};
use crate::support::client::{Client, Response, eventually, get};
use crate::support::spawned::Spawned;
use crate::support::tls::Caller;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn with(admin: &str) -> String {
    to_endpoints(&["127.0.0.1:9".parse().unwrap()], &format!("[admin]\n{admin}"))
}

async fn ask(proxy: &Proxy, request: &str) -> Response {
    Client::connect(proxy.admin()).await.exchange(request).await
}

async fn get_with(proxy: &Proxy, path: &str, field: &str) -> Response {
    ask(proxy, &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{field}\r\n\r\n")).await
}

fn refusal(admin: &str) -> String {
    let refused = config::parse(&configuration(&with(admin)), &Environment::default());
    refused.map(|_| admin.to_owned()).unwrap_err().to_string()
}

#[test]
fn what_other_machines_can_reach_is_refused_unless_it_asks_who_they_are() {
    for bind in ["0.0.0.0:9990", "[::]:9990", "10.0.0.1:9990"] {
        let refused = refusal(&format!("bind = \"{bind}\""));
        assert!(refused.contains("admin.bind") && refused.contains("token_file"), "{refused}");
        let allowed = with(&format!("bind = \"{bind}\"\ntoken = \"{TOKEN}\""));
        assert!(config::parse(&configuration(&allowed), &Environment::default()).is_ok());
    }
    let open = refusal("bind = \"0.0.0.0:9990\"\nanonymous_metrics = true");
    assert!(open.contains("can be reached from other machines"), "{open}");
}

#[test]
fn what_is_wrong_with_the_window_is_said_without_a_word_of_the_token() {
    for (admin, said) in [
        ("bind = \"127.0.0.1:0\"\ntoken = \"hunter2\"", "less than 16 characters"),
        ("bind = \"127.0.0.1:0\"\ntoken = \"hunter2 hunter2 hunter2\"", "cannot stand in a header"),
        ("bind = \"127.0.0.1:0\"\ntoken = [\"hunter2\"]", "a token is a string"),
        ("bind = \"127.0.0.1:0\"\ntoken_file = \"/nowhere\"", "/nowhere: cannot be read"),
        ("bind = \"unix:relative.sock\"", "\"unix:relative.sock\" is no place for a socket"),
        ("bind = \"unix:/a.sock\"\nmode = \"0666\"", "lets everybody on the machine in"),
        ("bind = \"unix:/a.sock\"\nmode = \"0440\"", "keeps lictor itself from connecting"),
        ("bind = \"unix:/a.sock\"\nmode = \"rw\"", "are no rights of a file"),
        ("bind = \"127.0.0.1:0\"\nmode = \"0660\"", "is for the file of a Unix socket"),
        ("bind = \"127.0.0.1:0\"\nnames = [\"a b\"]", "\"a b\" is not a host's name"),
        ("bind = \"127.0.0.1:0\"\n[admin.tls]\nkv = \"x/\"", "certificates in files only"),
        (
            "bind = \"unix:/a.sock\"\n[admin.tls]\ncertificates = [{ cert = \"a\", key = \"b\" }]",
            "no TLS on a Unix socket",
        ),
    ] {
        let refused = refusal(admin);
        assert!(refused.contains(said), "{refused}");
        assert!(!refused.contains("hunter2"), "{refused}");
    }
}

#[tokio::test]
async fn a_token_that_is_given_is_asked_for() {
    let proxy = Proxy::start(&with(&format!("bind = \"127.0.0.1:0\"\ntoken = \"{TOKEN}\"")));
    eventually("ready", SOON, async || get(proxy.admin(), "elsewhere", "/readyz").await.status == 200).await;
    assert_eq!(get(proxy.admin(), "elsewhere", "/livez").await.status, 200);
    let right = format!("authorization: Bearer {TOKEN}");
    for path in ["/metrics", "/v1/clusters", "/v1/events", "/readyz?verbose", "/healthz?verbose", "/v1/log"] {
        let refused = get(proxy.admin(), "localhost", path).await;
        assert_eq!((refused.status, refused.header("content-type")), (401, Some("application/problem+json")), "{path}");
        assert!(refused.header("www-authenticate").unwrap().starts_with("Bearer"), "{path}");
        let wrong = get_with(&proxy, path, "authorization: Bearer 0123456789abcdef0123456789abcdeg").await;
        assert_eq!(wrong.status, 401, "{path}");
    }
    for path in ["/metrics", "/v1/clusters", "/readyz?verbose", "/v1/tables"] {
        assert_eq!(get_with(&proxy, path, &right).await.status, 200, "{path}");
    }
    let by_any_name = format!("GET /v1/clusters HTTP/1.1\r\nhost: lictor.example\r\n{right}\r\n\r\n");
    assert_eq!(ask(&proxy, &by_any_name).await.status, 200, "whoever knows the token is no page of a stranger's");
}

#[tokio::test]
async fn figures_can_be_open_to_everybody() {
    let open = format!("bind = \"127.0.0.1:0\"\ntoken = \"{TOKEN}\"\nanonymous_metrics = true");
    let proxy = Proxy::start(&with(&open));
    assert_eq!(get(proxy.admin(), "prometheus.example", "/metrics").await.status, 200);
    assert_eq!(get(proxy.admin(), "localhost", "/v1/clusters").await.status, 401);
}

#[tokio::test]
async fn a_token_in_a_file_can_be_replaced_while_lictor_runs() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let text = with(&format!("bind = \"127.0.0.1:0\"\ntoken_file = \"{}\"", file.display()));
    let proxy = Proxy::start(&text);
    let status =
        async |token: &str| get_with(&proxy, "/v1/clusters", &format!("authorization: Bearer {token}")).await.status;
    assert_eq!(status(TOKEN).await, 200);
    let next = "fedcba9876543210fedcba9876543210";
    assert_eq!(status(next).await, 401);
    std::fs::write(&file, next).unwrap();
    eventually("the next one counts", SOON, async || status(next).await == 200).await;
    assert_eq!(status(TOKEN).await, 401);
    let again = config::parse(&configuration(&text), &Environment::default()).unwrap();
    proxy.app().reload(again).await.expect("that is no other configuration");
    std::fs::write(&file, "short").unwrap();
    eventually("it was looked at again", SOON, async || status("short").await == 401).await;
    assert_eq!(status(next).await, 200, "what is no token does not take the place of one");
}

#[tokio::test]
async fn a_page_of_a_stranger_can_neither_look_nor_change() {
    let proxy = Proxy::start(&with("bind = \"127.0.0.1:0\"\nnames = [\"lictor.internal\"]"));
    for (host, status) in [("127.0.0.1", 200), ("[::1]:80", 200), ("localhost:1", 200), ("LICTOR.internal", 200)] {
        assert_eq!(get(proxy.admin(), host, "/v1/clusters").await.status, status, "{host}");
    }
    let rebound = get(proxy.admin(), "evil.example", "/v1/clusters").await;
    assert_eq!(rebound.status, 403);
    assert!(rebound.text().contains("admin.names"), "{}", rebound.text());
    assert_eq!(
        get_with(&proxy, "/v1/clusters", "sec-fetch-site: cross-site\r\nsec-fetch-mode: cors").await.status,
        403
    );
    let link = "sec-fetch-site: cross-site\r\nsec-fetch-mode: navigate";
    assert_eq!(get_with(&proxy, "/v1/clusters", link).await.status, 200, "a link may lead here");
    let put = async |fields: &str| {
        ask(&proxy, &format!("PUT /v1/log HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n{fields}\r\n\r\n{{}}"))
            .await
    };
    assert_eq!(put("content-type: text/plain").await.status, 415);
    assert_eq!(put("content-type: application/json\r\norigin: http://evil.example").await.status, 403);
    assert_eq!(put("content-type: application/json\r\norigin: http://localhost").await.status, 409, "no log here");
}

#[tokio::test]
async fn a_unix_socket_is_for_its_owner() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("admin.sock");
    // Left behind by a process that is gone.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let text = with(&format!("bind = \"unix:{}\"", path.display()));
    let proxy = Proxy::start(&text);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let answer = over(&path, "GET /v1/clusters HTTP/1.1\r\nhost: lictor\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("\"name\": \"web\""), "{answer}");
    let put = "PUT /v1/log HTTP/1.1\r\nhost: lictor\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\
               connection: close\r\n\r\n{}";
    assert!(over(&path, put).await.starts_with("HTTP/1.1 409"));
    let told = over(&path, "GET /v1/events?once HTTP/1.1\r\nhost: lictor\r\nconnection: close\r\n\r\n").await;
    let user = format!("\"who\": \"user {}\"", rustix::process::getuid().as_raw());
    assert!(told.contains(&user) && told.contains("\"status\": 409"), "{told}");
    let second = lictor::app::App::start(proxy.app_config());
    let refused = second.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refused.contains("another process listens there"), "{refused}");
    proxy.drain().await;
    assert!(!path.exists(), "it is gone with its process");
    std::fs::write(&path, "somebody's").unwrap();
    let refused = lictor::app::App::start(config::parse(&configuration(&text), &Environment::default()).unwrap());
    assert!(refused.is_err() && path.exists(), "nobody's file is taken away");
}

async fn over(path: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(path).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_client_certificate_lets_in_and_is_named() {
    let folder = TempDir::new().unwrap();
    let (servers, operators) = (Authority::root("servers"), Authority::root("operators"));
    let own = servers.leaf(&["localhost"]);
    let anna = operators.leaf(&["anna.operators"]);
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (cert, key) = (write("admin.pem", &own.chain), write("admin.key", &own.key));
    let ca = write("operators.pem", &operators.pem());
    let proxy = Proxy::start(&with(&format!(
        "bind = \"127.0.0.1:0\"\n[admin.tls]\nclient_auth = \"optional\"\nclient_ca = \"{ca}\"\n\
         certificates = [{{ cert = \"{cert}\", key = \"{key}\" }}]"
    )));
    let nobody = Caller::trusting(&servers);
    let known = Caller { is: Some(&anna), ..Caller::trusting(&servers) };
    let ask = async |caller: &Caller<'_>, request: &str| {
        let mut stream = caller.connect(proxy.admin(), "localhost").await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    };
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    assert!(ask(&nobody, &get("/livez")).await.starts_with("HTTP/1.1 200"));
    assert!(ask(&nobody, &get("/v1/clusters")).await.starts_with("HTTP/1.1 401"));
    assert!(ask(&known, &get("/v1/clusters")).await.starts_with("HTTP/1.1 200"));
    let put = "PUT /v1/log HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";
    assert!(ask(&known, put).await.starts_with("HTTP/1.1 409"));
    let told = ask(&known, &get("/v1/events?once")).await;
    assert!(told.contains("\"who\": \"anna.operators at 127.0.0.1\""), "{told}");
    // As many private authorities still write them.
    let with_a_common_name_only = operators.issue(&Wish { common_name: Some("Bert"), ..Wish::default() });
    let bert = Caller { is: Some(&with_a_common_name_only), ..Caller::trusting(&servers) };
    assert!(ask(&bert, put).await.starts_with("HTTP/1.1 409"));
    let told = ask(&bert, &get("/v1/events?once")).await;
    assert!(told.contains("\"who\": \"Bert at 127.0.0.1\""), "{told}");
}

#[tokio::test]
async fn what_is_logged_can_be_changed_for_a_while_and_that_is_written_down() {
    let spawned = Spawned::start(&to_endpoints(&["127.0.0.1:9".parse().unwrap()], ""), &[]);
    let line = spawned.says("admin listening").await;
    let admin = line.rsplit_once("address=").unwrap().1.parse().unwrap();
    let mut client = Client::connect(admin).await;
    let mut put = async |body: &str| {
        let head = "PUT /v1/log HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length";
        client.exchange(format!("{head}: {}\r\n\r\n{body}", body.len())).await
    };
    for (wrong, said) in [
        ("{\"level\": \"debgu\"}", "\"debgu\" is not a filter"),
        ("{\"level\": \"debug\", \"for\": \"long\"}", "\"long\" is not a duration"),
        ("{\"level\": \"debug\", \"for\": \"8d\"}", "7 days at most"),
        ("{\"levle\": \"debug\"}", "unknown field `levle`"),
        ("{\"for\": \"1m\"}", "there is no level"),
        ("debug", "the body"),
    ] {
        let refused = put(wrong).await;
        assert!(refused.status == 400 && refused.text().contains(&said.replace('"', "\\\"")), "{}", refused.text());
    }
    let shown = put("{\"level\": \"lictor=debug\", \"for\": \"5m\"}").await;
    let shown: serde_json::Value = serde_json::from_slice(&shown.body).unwrap();
    assert_eq!((&shown["level"], &shown["usual"]), (&"lictor=debug".into(), &"info".into()));
    assert!((1.0..=300.0).contains(&shown["expires_in_seconds"].as_f64().unwrap()), "{shown}");
    let asked = spawned.says("asked by an operator").await;
    assert!(asked.contains("who=127.0.0.1") && asked.contains("path=/v1/log"), "{asked}");
    // An attempt that fails is told of at that level only.
    get(spawned.address().await, "shop", "/").await;
    spawned.says("DEBUG").await;
    let usual = put("{}").await;
    let usual: serde_json::Value = serde_json::from_slice(&usual.body).unwrap();
    assert_eq!((&usual["level"], &usual["expires_in_seconds"]), (&"info".into(), &serde_json::Value::Null));
}

/// Whoever registers services says where they are, and lictor goes there from this machine.
#[tokio::test]
async fn nobody_gets_to_the_window_by_way_of_a_proxy() {
    let proxy = Proxy::start(&to_endpoints(&["127.0.0.1:9".parse().unwrap()], ""));
    let port = proxy.admin().port();
    for endpoint in [proxy.admin().to_string(), format!("localhost:{port}"), format!("0.0.0.0:{port}")] {
        let text = format!("[[routes]]\ncluster = \"web\"\n[clusters.web]\nendpoints = [\"{endpoint}\"]\n");
        let mut led = config::parse(&configuration(&text), &Environment::default()).unwrap();
        led.listeners = proxy.app_config().listeners;
        proxy.app().reload(led).await.unwrap();
        let answer = get(proxy.address(), "localhost", "/v1/config").await;
        assert_eq!((answer.status, answer.text().contains("refused the connection")), (502, true), "{endpoint}");
    }
    // Nor by way of another one on this machine.
    for field in ["via: 1.1 lictor", "x-forwarded-for: 10.0.0.1", "forwarded: for=10.0.0.1"] {
        let answer = get_with(&proxy, "/v1/clusters", field).await;
        assert_eq!((answer.status, answer.text().contains("by way of a proxy")), (403, true), "{field}");
    }
}
