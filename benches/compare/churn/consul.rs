//! The fleet in Consul: a real agent, its instances, and the changes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::Failure;
use crate::support::consul::{Catalog, Consul};

/// Changes a second.
const RATE: u32 = 50;
/// Consul takes so many operations in one transaction.
const TRANSACTION: usize = 64;
/// Instances stand on so many nodes.
const NODES: usize = 50;

/// All instances, and the agent that lists them.
pub struct Fleet {
    consul: Consul,
    instances: Arc<Vec<SocketAddr>>,
    services: usize,
    /// Changes so far, which go on where they ended.
    number: Arc<AtomicU64>,
    _runtime: Runtime,
}

/// Changes under way.
pub struct Storm {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Fleet {
    /// Starts an agent and registers an instance at each address, in turn for each of so many services.
    pub fn start(instances: &[SocketAddr], services: usize) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let consul = runtime.block_on(async {
            let consul = Consul::start().await;
            for node in 0..NODES {
                let body = json!({ "Node": format!("n{node}"), "Address": "127.0.0.1" });
                consul.put("/v1/catalog/register", body.to_string()).await;
            }
            let all: Vec<Value> =
                (0..instances.len()).map(|number| operation(Verb::Set, number, instances, services)).collect();
            for some in all.chunks(TRANSACTION) {
                consul.put("/v1/txn", Value::from(some).to_string()).await;
            }
            consul
        });
        let instances = Arc::new(instances.to_vec());
        Ok(Self { consul, instances, services, number: Arc::default(), _runtime: runtime })
    }

    /// Of the agent's API.
    pub fn address(&self) -> SocketAddr {
        self.consul.address()
    }

    /// Changes one service after the other until it is told to end: an instance leaves, and is back after a round of all.
    pub fn storm(&mut self) -> Result<Storm, Failure> {
        let ended = Arc::new(AtomicBool::new(false));
        let (heard, catalog) = (Arc::clone(&ended), Catalog::new(&self.consul.url()));
        let (instances, number, services) = (Arc::clone(&self.instances), Arc::clone(&self.number), self.services);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let change = move || {
            let (began, mut changes) = (Instant::now(), 0);
            while !heard.load(Ordering::Relaxed) {
                let operation = change(number.fetch_add(1, Ordering::Relaxed) as usize, &instances, services);
                runtime.block_on(catalog.put("/v1/txn", json!([operation]).to_string()));
                changes += 1;
                let next = began + Duration::from_secs(1) * changes / RATE;
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            u64::from(changes)
        };
        let thread = std::thread::Builder::new().name("changes".to_owned()).spawn(change)?;
        Ok(Storm { ended, thread })
    }
}

impl Storm {
    /// Ends it. Returns how many changes there were.
    pub fn end(self) -> Result<u64, Failure> {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "a change failed".into())
    }
}

/// What a transaction does with an instance.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Verb {
    Set,
    Delete,
}

/// The change of this number: all services in turn, the first of their instances in one round, back in the next, then the
/// second, and so on.
fn change(number: usize, instances: &[SocketAddr], services: usize) -> Value {
    let (round, service) = (number / services, number % services);
    let verb = if round.is_multiple_of(2) { Verb::Delete } else { Verb::Set };
    let nth = (round / 2) % (instances.len() / services);
    operation(verb, nth * services + service, instances, services)
}

fn operation(verb: Verb, instance: usize, instances: &[SocketAddr], services: usize) -> Value {
    let (service, address) = (instance % services, instances[instance]);
    let verb = if verb == Verb::Set { "set" } else { "delete" };
    json!({ "Service": { "Verb": verb, "Node": format!("n{}", instance % NODES), "Service": {
        "ID": format!("s{service}-{instance}"), "Service": format!("s{service}"), "Address": address.ip(),
        "Port": address.port(), "Tags": ["v1"], "Meta": { "version": "1" },
    } } })
}
