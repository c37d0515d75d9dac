//! The client's half: what a test says to a registry.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::client::{Client, Response};

/// Longer than any test: a TTL check changes only when a test says so.
const TTL: &str = "1h";

/// What a test says to a registry: Consul's agent API, as a service's own start scripts would use it. Every call fails the test
/// unless it is answered with a 2xx.
#[derive(Clone, Debug)]
pub struct Catalog {
    address: SocketAddr,
    /// Empty for the anonymous token.
    token: String,
}

impl Catalog {
    /// A registry at `http://` and an address.
    pub fn new(url: &str) -> Catalog {
        let address = url.trim_start_matches("http://").trim_end_matches('/');
        let address = address.parse();
        Catalog { address: address.unwrap_or_else(|error| panic!("{url}: {error}")), token: String::new() }
    }

    /// The same registry, spoken to with an ACL token.
    pub fn with_token(&self, token: &str) -> Catalog {
        Catalog { address: self.address, token: token.to_owned() }
    }

    /// `http://` and the address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Registers a service as in the body of `/v1/agent/service/register`.
    pub async fn register(&self, service: Value) {
        self.put("/v1/agent/service/register", service.to_string()).await;
    }

    /// Registers an instance that passes, with one check, `service:ID`, for `set_check`.
    pub async fn register_service(&self, name: &str, id: &str, address: SocketAddr) {
        let check = json!({ "CheckID": format!("service:{id}"), "TTL": TTL, "Status": "passing" });
        let (ip, port) = (address.ip(), address.port());
        self.register(json!({ "Name": name, "ID": id, "Address": ip, "Port": port, "Check": check })).await;
    }

    /// Takes an instance out.
    pub async fn deregister(&self, id: &str) {
        self.put(&format!("/v1/agent/service/deregister/{}", escape(id)), "").await;
    }

    /// Sets a TTL check to `passing`, `warning` or `critical`.
    pub async fn set_check(&self, check_id: &str, status: &str) {
        let path = format!("/v1/agent/check/update/{}", escape(check_id));
        self.put(&path, json!({ "Status": status }).to_string()).await;
    }

    /// Puts an instance into maintenance, or takes it out of it.
    pub async fn maintenance(&self, id: &str, enable: bool) {
        self.put(&format!("/v1/agent/service/maintenance/{}?enable={enable}", escape(id)), "").await;
    }

    /// The same for the whole node.
    pub async fn node_maintenance(&self, enable: bool) {
        self.put(&format!("/v1/agent/maintenance?enable={enable}"), "").await;
    }

    /// Any PUT; the answer's body.
    pub async fn put(&self, path: &str, body: impl AsRef<[u8]>) -> String {
        self.call("PUT", path, body.as_ref()).await.text()
    }

    /// Any GET that answers with JSON.
    pub async fn get(&self, path: &str) -> Value {
        let answer = self.call("GET", path, b"").await.text();
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("GET {path}: {error} in {answer:?}"))
    }

    /// Any call, with the headers of its answer (`X-Consul-Index`).
    pub async fn call(&self, method: &str, path: &str, body: &[u8]) -> Response {
        let (address, token, length) = (self.address, &self.token, body.len());
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\nx-consul-token: {token}\r\ncontent-length: {length}\r\n\r\n"
        );
        let mut client = Client::connect(address).await;
        let answer = client.exchange([head.as_bytes(), body].concat()).await;
        assert!((200..300).contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.text());
        answer
    }
}

/// A path segment with everything escaped that a path or a query could take for its own.
fn escape(segment: &str) -> String {
    let escaped = segment.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    escaped.collect()
}
