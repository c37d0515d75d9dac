//! A scriptable stand-in for a Consul agent, on raw sockets, for what a true one cannot be brought to do: garbage, cuts,
//! storms, indexes that make no sense.
//!
//! It knows two paths. `/v1/agent/self` says whether it is a server; every query for a service is recorded and answered by the
//! test's script, a function from the query to the bytes. What a script does to the connection is exact.

use std::collections::HashMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::client::{Fields, Wire};

/// A query for a service, as it came.
#[derive(Clone, Debug)]
pub struct Query {
    /// The segment after `/v1/health/service/`, still escaped.
    pub service: String,
    /// The parameters of the query; empty for those without a value.
    pub parameters: HashMap<String, String>,
    pub came: Instant,
}

impl Query {
    /// What it waits beyond; `None` if it wants an answer at once.
    pub fn index(&self) -> Option<&str> {
        self.parameters.get("index").map(String::as_str)
    }

    /// True if it waits beyond this.
    pub fn waits_beyond(&self, index: u64) -> bool {
        self.index().is_some_and(|asked| asked == index.to_string())
    }
}

/// What the script does with one query.
#[derive(Clone, Debug)]
pub enum Reply {
    /// These bytes; the connection stays.
    Raw(Vec<u8>),
    /// These bytes, then FIN.
    Cut(Vec<u8>),
    /// These bytes, then silence until the other side leaves.
    Stall(Vec<u8>),
    /// Nothing for now: the query is put again to the next script.
    Hold,
}

type Script = Arc<dyn Fn(&Query) -> Reply + Send + Sync>;

/// A running stand-in. Dropped, it is gone with all its connections.
pub struct Fake {
    address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    is_server: bool,
    script: watch::Sender<Script>,
    queries: Mutex<Vec<Query>>,
}

impl Fake {
    /// An agent that is a server itself, as in `-dev` mode.
    pub async fn start(script: impl Fn(&Query) -> Reply + Send + Sync + 'static) -> Fake {
        Fake::start_as(true, script).await
    }

    /// A client agent, whose servers are elsewhere.
    pub async fn start_client(script: impl Fn(&Query) -> Reply + Send + Sync + 'static) -> Fake {
        Fake::start_as(false, script).await
    }

    async fn start_as(is_server: bool, script: impl Fn(&Query) -> Reply + Send + Sync + 'static) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script: Script = Arc::new(script);
        let shared = Arc::new(Shared { is_server, script: watch::Sender::new(script), queries: Mutex::default() });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&shared)));
        Fake { address, shared, _tasks: tasks }
    }

    /// `http://` and the address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Replaces the script; queries on hold are put to the new one.
    pub fn script(&self, script: impl Fn(&Query) -> Reply + Send + Sync + 'static) {
        self.shared.script.send_replace(Arc::new(script));
    }

    /// The queries so far.
    pub fn queries(&self) -> Vec<Query> {
        self.shared.queries.lock().unwrap().clone()
    }
}

/// An agent as it should be: this list at this index, and nothing more to say.
pub fn sound(index: u64, addresses: &[SocketAddr]) -> impl Fn(&Query) -> Reply + Send + Sync + 'static {
    let answer = answer(index, list(addresses));
    move |query| if query.waits_beyond(index) { Reply::Hold } else { Reply::Raw(answer.clone()) }
}

/// A 200 as Consul answers: with an index, and a leader.
pub fn answer(index: impl Display, body: impl AsRef<[u8]>) -> Vec<u8> {
    let (index, leader) = (index.to_string(), "X-Consul-Knownleader".to_owned());
    response(200, &vec![("X-Consul-Index".to_owned(), index), (leader, "true".to_owned())], body)
}

/// Any response with `content-length`.
pub fn response(status: u16, headers: &Fields, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut head = format!("HTTP/1.1 {status} Status\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    [head.as_bytes(), b"\r\n", body].concat()
}

/// The body for these instances, all of them passing.
pub fn list(addresses: &[SocketAddr]) -> String {
    let entry = |address: &SocketAddr| {
        json!({
            "Node": { "ID": "", "Node": "n", "Address": "10.0.0.1", "Meta": null },
            "Service": { "ID": address.to_string(), "Service": "web", "Tags": null, "Address": address.ip(), "Port": address.port() },
            "Checks": [{ "CheckID": "serfHealth", "Status": "passing", "Output": "" }],
        })
    };
    serde_json::Value::from_iter(addresses.iter().map(entry)).to_string()
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, Arc::clone(&shared)));
    }
}

/// Answers what comes on one connection, until the script or the other side ends it.
async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let mut wire = Wire::new(stream);
    while let Ok(Some(head)) = wire.head().await {
        let target = head.split(' ').nth(1).unwrap();
        let (bytes, then) = match target.strip_prefix("/v1/health/service/") {
            Some(rest) => {
                let query = parse(rest);
                shared.queries.lock().unwrap().push(query.clone());
                // Somebody who leaves while on hold is noticed with the next script; no test needs it sooner.
                shared.judge(&query).await
            }
            None if target == "/v1/agent/self" => {
                let body = json!({ "Config": { "Server": shared.is_server } }).to_string();
                (response(200, &Fields::new(), body), Then::Next)
            }
            None => (response(404, &Fields::new(), ""), Then::Next),
        };
        if wire.write(&bytes).await.is_err() {
            return;
        }
        match then {
            Then::Next => {}
            Then::Close => return,
            Then::Silence => {
                while wire.more().await.is_ok_and(|read| read > 0) {}
                return;
            }
        }
    }
}

enum Then {
    Next,
    Close,
    Silence,
}

impl Shared {
    async fn judge(&self, query: &Query) -> (Vec<u8>, Then) {
        let mut scripts = self.script.subscribe();
        loop {
            let script = Arc::clone(&scripts.borrow_and_update());
            match script(query) {
                Reply::Raw(bytes) => return (bytes, Then::Next),
                Reply::Cut(bytes) => return (bytes, Then::Close),
                Reply::Stall(bytes) => return (bytes, Then::Silence),
                Reply::Hold => scripts.changed().await.expect("the sender is ours"),
            }
        }
    }
}

fn parse(rest: &str) -> Query {
    let (service, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let pairs = parameters.split('&').filter(|pair| !pair.is_empty());
    let parameters = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Query { service: service.to_owned(), parameters, came: Instant::now() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::client::{Client, eventually, get};
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn the_stand_in_answers_by_script_and_puts_held_queries_to_the_next() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let fake = Fake::start(sound(5, &[at(1)])).await;
        let first = get(fake.address, "consul", "/v1/health/service/a%2Fb?stale").await;
        assert_eq!((first.header("X-Consul-Index"), first.text()), (Some("5"), list(&[at(1)])));

        let mut client = Client::connect(fake.address).await;
        client.send("GET /v1/health/service/web?index=5&wait=9s HTTP/1.1\r\nhost: c\r\n\r\n").await;
        eventually("the query came", SOON, async || fake.queries().len() == 2).await;
        fake.script(|_| Reply::Cut(answer(6, "[]")));
        assert_eq!(client.response().await.header("x-consul-index"), Some("6"));
        assert_eq!(client.closed().await.unwrap(), b"");

        let queries = fake.queries();
        assert_eq!((&*queries[0].service, queries[0].index()), ("a%2Fb", None));
        assert!(queries[0].parameters.contains_key("stale") && queries[1].waits_beyond(5));
        assert!(get(fake.address, "consul", "/v1/agent/self").await.text().contains("true"));
    }
}
