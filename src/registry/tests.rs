//! The registry through a socket, as its callers meet it.

use super::*;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1 as client;
use hyper::{HeaderMap, Method, Request};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Instant;
use tokio::io::AsyncReadExt;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Long enough for a busy machine, short enough to notice that something hangs.
const PATIENCE: Duration = Duration::from_secs(20);

struct Running {
    address: SocketAddr,
    end: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn index(&self) -> u64 {
        self.header("x-consul-index").parse().unwrap()
    }
}

async fn start() -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (end, ended) = oneshot::channel::<()>();
    let until = async move { drop(ended.await) };
    Running { address, end, served: tokio::spawn(serve(listener, until)) }
}

impl Running {
    async fn call(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Reply {
        call(self.address, method, path, body.into()).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.call(Method::GET, path, "").await
    }

    async fn put(&self, path: &str, body: impl Into<Bytes>) -> Reply {
        self.call(Method::PUT, path, body).await
    }

    async fn register(&self, body: Value) {
        let reply = self.put("/v1/agent/service/register", body.to_string()).await;
        assert_eq!((reply.status, reply.text()), (200, ""));
    }

    /// Asks until the answer is as wanted.
    async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) {
        let started = Instant::now();
        loop {
            let found = self.get(path).await.json();
            if wanted(&found) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "{path} stays {found}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn call(address: SocketAddr, method: Method, path: &str, body: Bytes) -> Reply {
    let whole = async {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) = client::handshake(TokioIo::new(stream)).await.unwrap();
        let driver = tokio::spawn(connection);
        let request = Request::builder().method(method).uri(path).header("host", "registry");
        let response = sender.send_request(request.body(Full::new(body)).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        driver.abort();
        Reply { status: head.status.as_u16(), headers: head.headers, body }
    };
    timeout(PATIENCE, whole).await.unwrap()
}

#[tokio::test]
async fn a_registered_instance_is_shown_as_consul_shows_it() {
    let registry = start().await;
    let body = json!({"ID": "web-1", "Name": "Web", "Address": "10.0.0.1", "Port": 80, "Tags": ["a"],
        "Meta": {"k": "v"}, "Check": {"TTL": "1m", "Status": "passing"}});
    registry.register(body).await;
    let reply = registry.get("/v1/health/service/web").await;
    assert_eq!(reply.header("x-consul-knownleader"), "true");
    assert_eq!(reply.header("x-consul-lastcontact"), "0");
    assert_eq!(reply.header("x-consul-effective-consistency"), "leader");
    assert_eq!(reply.header("content-type"), "application/json");
    let entry = &reply.json()[0];
    assert_eq!(entry["Node"]["Address"], "127.0.0.1");
    assert_eq!(entry["Service"]["Service"], "Web");
    assert_eq!(entry["Service"]["Weights"], json!({"Passing": 1, "Warning": 1}));
    assert_eq!(entry["Service"]["TaggedAddresses"]["lan_ipv4"], json!({"Address": "10.0.0.1", "Port": 80}));
    assert_eq!(entry["Service"]["Proxy"], json!({"MeshGateway": {}, "Expose": {}}));
    assert_eq!(entry["Checks"][0]["CheckID"], "serfHealth");
    assert_eq!(entry["Checks"][1]["CheckID"], "service:web-1");
    assert_eq!(entry["Checks"][1]["Status"], "passing");
    assert_eq!(entry["Checks"][1]["ServiceTags"], json!(["a"]));
    let own = registry.get("/v1/agent/services").await.json();
    assert_eq!(own["web-1"]["Meta"], json!({"k": "v"}));
    assert_eq!(own.as_object().unwrap().len(), 1);
    let names = registry.get("/v1/catalog/services").await.json();
    assert_eq!(names, json!({"consul": [], "Web": ["a"]}));
    let flat = registry.get("/v1/catalog/service/web").await.json();
    assert_eq!(flat[0]["ServiceAddress"], "10.0.0.1");
    let about = registry.get("/v1/agent/self").await.json();
    assert_eq!(about["Config"]["Version"], "1.8.7");
}

#[tokio::test]
async fn a_watcher_sleeps_through_the_changes_of_others_and_wakes_at_its_own() {
    let registry = start().await;
    registry.register(json!({"Name": "a"})).await;
    let index = registry.get("/v1/health/service/a").await.index();
    let quiet = format!("/v1/health/service/a?index={index}&wait=300ms");
    let started = Instant::now();
    let (reply, ()) = tokio::join!(registry.get(&quiet), registry.register(json!({"Name": "b"})));
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert_eq!(reply.index(), index);
    let woken = format!("/v1/health/service/a?index={index}&wait=5m");
    let (reply, ()) = tokio::join!(registry.get(&woken), registry.register(json!({"Name": "a", "Port": 1})));
    assert!(reply.index() > index);
    assert_eq!(reply.json()[0]["Service"]["Port"], 1);
    let index = registry.get("/v1/catalog/services").await.index();
    let woken = format!("/v1/catalog/services?index={index}&wait=5m");
    let (reply, gone) = tokio::join!(registry.get(&woken), registry.put("/v1/agent/service/deregister/a", ""));
    assert_eq!(gone.status, 200);
    assert_eq!(reply.json(), json!({"b": [], "consul": []}));
}

#[tokio::test]
async fn reads_choose_by_tag_by_health_and_by_filter() {
    let registry = start().await;
    let check = |status: &str| json!({"TTL": "1m", "Status": status});
    registry.register(json!({"ID": "1", "Name": "w", "Tags": ["Blue"], "Check": check("passing")})).await;
    registry.register(json!({"ID": "2", "Name": "w", "Meta": {"v": "2"}, "Check": check("warning")})).await;
    for (query, ids) in [
        ("", vec!["1", "2"]),
        ("?passing", vec!["1"]),
        ("?passing=0", vec!["1", "2"]),
        ("?tag=blue", vec!["1"]),
        ("?filter=Service.Meta.v+%3D%3D+%222%22", vec!["2"]),
        ("?filter=Blue+in+Service.Tags&passing", vec!["1"]),
        ("?filter=Checks.Status+%3D%3D+critical", vec![]),
    ] {
        let found = registry.get(&format!("/v1/health/service/w{query}")).await.json();
        let found: Vec<&str> =
            found.as_array().unwrap().iter().map(|entry| entry["Service"]["ID"].as_str().unwrap()).collect();
        assert_eq!(found, ids, "{query}");
    }
}

#[tokio::test]
async fn mistakes_are_refused_as_consul_refuses_them() {
    let registry = start().await;
    let health = "/v1/health/service/a";
    for (query, status, text) in [
        ("?index=-1", 400, "Invalid index"),
        ("?index=x", 400, "Invalid index"),
        ("?wait=3", 400, "Invalid wait time"),
        ("?stale&consistent", 400, "Cannot specify ?stale with ?consistent, conflicting semantics."),
        ("?passing=bogus", 400, "Invalid value for ?passing"),
        ("?dc=moon", 500, "No path to datacenter"),
        ("?filter=Foo+%3D%3D+x", 500, "Failed to create boolean expression evaluator: Selector \"Foo\" is not valid"),
    ] {
        let reply = registry.get(&format!("{health}{query}")).await;
        assert_eq!((reply.status, reply.text()), (status, text), "{query}");
    }
    assert_eq!(registry.get(&format!("{health}?dc=moon")).await.index(), 1);
    let head = registry.call(Method::HEAD, health, "").await;
    assert_eq!((head.status, head.header("allow")), (405, "OPTIONS,GET"));
    assert_eq!(registry.get("/v1/agent/service/register").await.status, 405);
    assert_eq!(registry.get("/v2/x").await.status, 404);
    assert_eq!(registry.get("/v1/unheard/of").await.status, 404);
    assert_eq!(registry.get("/v1/acl/token/self").await.text(), "ACL support disabled");
    let reply = registry.put("/v1/agent/service/register", r#"{"Name":"a","SocketPath":""}"#).await;
    assert_eq!(reply.status, 400);
    assert_eq!(reply.text(), r#"Request decode failed: json: unknown field "SocketPath""#);
    let reply = registry.put("/v1/agent/check/pass/nobody", "").await;
    assert_eq!((reply.status, reply.text()), (500, r#"CheckID "nobody" does not have associated TTL"#));
    let reply = registry.put("/v1/agent/check/update/nobody", r#"{"Status":"fine"}"#).await;
    assert_eq!(reply.status, 400);
    assert_eq!(registry.put("/v1/agent/service/deregister/nobody", "").await.status, 200);
    assert_eq!(registry.put("/v1/agent/service/maintenance/nobody?enable=true", "").await.status, 404);
}

#[tokio::test]
async fn keys_behave_as_in_the_transcripts() {
    let registry = start().await;
    assert_eq!(registry.put("/v1/kv/lb/a", "hello").await.text(), "true");
    let reply = registry.get("/v1/kv/lb/a").await;
    let index = reply.index();
    assert_eq!(
        reply.json(),
        json!([{"LockIndex": 0, "Key": "lb/a", "Flags": 0, "Value": "aGVsbG8=",
            "CreateIndex": index, "ModifyIndex": index}])
    );
    assert_eq!(registry.get("/v1/kv/lb/a?raw").await.text(), "hello");
    assert_eq!(registry.put("/v1/kv/lb/a?cas=0", "no").await.text(), "false");
    assert_eq!(registry.put(&format!("/v1/kv/lb/a?cas={index}&flags=7"), "").await.text(), "true");
    let reply = registry.get("/v1/kv/lb/a").await;
    assert_eq!((&reply.json()[0]["Value"], &reply.json()[0]["Flags"]), (&Value::Null, &json!(7)));
    registry.put("/v1/kv/lb/sub/b", "b").await;
    registry.put("/v1/kv/lb/sub/c", "c").await;
    assert_eq!(registry.get("/v1/kv/lb/?keys&separator=/").await.json(), json!(["lb/a", "lb/sub/"]));
    let all = registry.get("/v1/kv/lb?recurse").await;
    assert_eq!(all.json().as_array().unwrap().len(), 3);
    let watch = format!("/v1/kv/lb/?recurse&index={}", all.index());
    let (reply, gone) = tokio::join!(registry.get(&watch), registry.call(Method::DELETE, "/v1/kv/lb?recurse", ""));
    assert_eq!((reply.status, gone.text()), (404, "true"));
    assert!(reply.index() > all.index());
    let moved = registry.put("/v1/kv//lead", "x").await;
    assert_eq!((moved.status, moved.header("location")), (301, "/v1/kv/lead"));
    let most = vec![b'x'; 524_288];
    assert_eq!(registry.put("/v1/kv/big", most.clone()).await.text(), "true");
    let reply = registry.put("/v1/kv/big", [most, vec![b'x']].concat()).await;
    assert_eq!(reply.status, 413);
    assert!(reply.text().starts_with("Request body(524289 bytes) too large, max size: 524288 bytes"));
}

#[tokio::test]
async fn checks_really_run() {
    let registry = start().await;
    let asked = start().await;
    let http = |path: &str| json!({"HTTP": format!("http://{}{path}", asked.address), "Interval": "1s"});
    let body = json!({"Name": "w", "Checks": [
        http("/v1/status/leader"),
        http("/nothing"),
        {"TCP": asked.address.to_string(), "Interval": "1s"},
        {"TTL": "200ms", "Status": "passing"}
    ]});
    registry.register(body).await;
    let statuses = |found: &Value| -> Vec<String> {
        let own = (1..=4).map(|n| &found[format!("service:w:{n}")]["Status"]);
        own.map(|status| status.as_str().unwrap_or("").to_owned()).collect()
    };
    let checks = "/v1/agent/checks";
    registry.until(checks, |found| statuses(found) == ["passing", "critical", "passing", "critical"]).await;
    registry
        .until(checks, |found| {
            let output = |n: u8| found[format!("service:w:{n}")]["Output"].as_str().unwrap().to_owned();
            output(1).ends_with("200 OK Output: \"127.0.0.1:8300\"")
                && output(2).contains("404 Not Found")
                && output(4) == "TTL expired"
        })
        .await;
    let beat = registry.put("/v1/agent/check/update/service:w:4", r#"{"Status":"warning","Output":"x"}"#).await;
    assert_eq!(beat.status, 200);
    asked.end.send(()).unwrap();
    registry.until(checks, |found| statuses(found) == ["critical"; 4]).await;
}

#[tokio::test]
async fn maintenance_is_seen_and_ends() {
    let registry = start().await;
    registry.register(json!({"Name": "w"})).await;
    let on = registry.put("/v1/agent/service/maintenance/w?enable=true&reason=up+grade", "").await;
    assert_eq!(on.status, 200);
    let entry = registry.get("/v1/health/service/w").await.json();
    assert_eq!(entry[0]["Checks"][1]["CheckID"], "_service_maintenance:w");
    assert_eq!(entry[0]["Checks"][1]["Notes"], "up grade");
    assert_eq!(registry.get("/v1/health/service/w?passing").await.json(), json!([]));
    registry.put("/v1/agent/service/maintenance/w?enable=false", "").await;
    registry.put("/v1/agent/maintenance?enable=true", "").await;
    let entry = registry.get("/v1/health/service/w").await.json();
    assert_eq!(entry[0]["Checks"][0]["CheckID"], "_node_maintenance");
    registry.put("/v1/agent/maintenance?enable=0", "").await;
    assert_eq!(registry.get("/v1/health/service/w?passing").await.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn nodes_without_an_agent_come_and_go_through_the_catalog() {
    let registry = start().await;
    let body = json!({"Node": "ext", "Address": "10.9.9.9", "Service": {"Service": "a/b c", "Port": 70000},
        "Check": {"Name": "up", "Status": "passing", "ServiceID": "a/b c"}});
    let reply = registry.put("/v1/catalog/register", body.to_string()).await;
    assert_eq!((reply.status, reply.text()), (200, "true"));
    let entry = registry.get("/v1/health/service/a%2FB%20c").await.json();
    assert_eq!(entry[0]["Node"]["ID"], "");
    assert_eq!(entry[0]["Node"]["Meta"], Value::Null);
    assert_eq!(entry[0]["Service"]["Port"], 70000);
    assert_eq!(entry[0]["Checks"].as_array().unwrap().len(), 1);
    let reply = registry.put("/v1/catalog/deregister", r#"{"Node":"ext","ServiceID":"a/b c"}"#).await;
    assert_eq!(reply.text(), "true");
    assert_eq!(registry.get("/v1/health/service/a/b%20c").await.json(), json!([]));
    let reply = registry.put("/v1/catalog/register", r#"{"Node":"ext"}"#).await;
    assert_eq!((reply.status, reply.text()), (500, "Must provide address if SkipNodeUpdate is not set"));
}

#[tokio::test]
async fn one_connection_too_many_is_closed_and_the_next_fits_when_one_has_left() {
    let registry = start().await;
    let mut open = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        open.push(TcpStream::connect(registry.address).await.unwrap());
    }
    let mut more = TcpStream::connect(registry.address).await.unwrap();
    let read = timeout(PATIENCE, more.read(&mut [0; 1])).await.unwrap();
    assert_eq!(read.unwrap_or(0), 0);
    open.clear();
    let started = Instant::now();
    loop {
        let stream = TcpStream::connect(registry.address).await.unwrap();
        let (mut sender, connection) = client::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await.unwrap();
        let driver = tokio::spawn(connection);
        let request = Request::builder().uri("/v1/status/leader").body(Full::default()).unwrap();
        let answered = timeout(PATIENCE, sender.send_request(request)).await.unwrap().is_ok();
        driver.abort();
        if answered {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "no room again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn nothing_goes_on_when_it_ends() {
    let registry = start().await;
    registry.register(json!({"Name": "w", "Check": {"TCP": "127.0.0.1:1", "Interval": "1s"}})).await;
    let mut idle = TcpStream::connect(registry.address).await.unwrap();
    assert_eq!(registry.get("/v1/status/leader").await.status, 200);
    registry.end.send(()).unwrap();
    timeout(PATIENCE, registry.served).await.unwrap().unwrap();
    let read = timeout(PATIENCE, idle.read(&mut [0; 1])).await.unwrap();
    assert_eq!(read.unwrap_or(0), 0);
    assert!(TcpStream::connect(registry.address).await.is_err());
}
