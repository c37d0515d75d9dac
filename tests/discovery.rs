//! Following services as they come, fail and go. Each scenario is written once, over what both a real Consul and the small
//! registry of the demo speak, and held against both: the registry is worth showing only if nobody can tell the difference.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::support::app::Proxy;
use crate::support::client::{Client, eventually, get};
use crate::support::consul::{Catalog, Consul};
use crate::support::origin::Origin;
use crate::support::visitor::{Visitor, shares};
use crate::support::window::{Shown, endpoints, is_ready, sum, usable};

mod scenarios;

use scenarios::*;

/// Far above what following takes, even where a storm is held back; a busy machine is no failure.
const SOON: Duration = Duration::from_secs(20);

mod with_consul {
    use super::*;

    #[tokio::test]
    async fn an_instance_that_registers_is_served_and_one_that_leaves_is_not() {
        let consul = consul().await;
        joins_and_leaves(&consul).await;
    }

    #[tokio::test]
    async fn an_instance_whose_check_turns_critical_is_left_out_until_it_passes_again() {
        let consul = consul().await;
        critical_and_back(&consul).await;
    }

    #[tokio::test]
    async fn an_instance_with_a_warning_is_served_at_its_warning_weight() {
        let consul = consul().await;
        warning(&consul).await;
    }

    #[tokio::test]
    async fn an_instance_in_maintenance_is_left_out_until_it_is_over() {
        let consul = consul().await;
        service_maintenance(&consul).await;
    }

    #[tokio::test]
    async fn a_node_in_maintenance_takes_all_its_instances_out() {
        let consul = Consul::start().await;
        node_maintenance(&consul).await;
    }

    #[tokio::test]
    async fn shares_follow_the_weights_and_a_change_of_them() {
        let consul = consul().await;
        weights(&consul).await;
    }

    #[tokio::test]
    async fn a_service_without_instances_is_a_503_of_a_ready_proxy_and_the_first_instance_is_served() {
        let consul = consul().await;
        no_instances_yet(&consul).await;
    }

    #[tokio::test]
    async fn an_instance_without_an_address_has_its_nodes() {
        let consul = consul().await;
        address_of_the_node(&consul).await;
    }

    #[tokio::test]
    async fn two_clusters_share_a_service_by_filters() {
        let consul = consul().await;
        filters(&consul).await;
    }

    #[tokio::test]
    async fn a_service_may_be_named_in_any_letters_and_any_case() {
        let consul = consul().await;
        odd_names(&consul).await;
    }

    #[tokio::test]
    async fn an_instance_may_move_to_another_port_under_load() {
        let consul = consul().await;
        moving(&consul).await;
    }

    #[tokio::test]
    async fn two_instances_at_one_address_are_served_as_one_until_both_are_gone() {
        let consul = consul().await;
        twins(&consul).await;
    }

    #[tokio::test]
    async fn a_hundred_changes_a_second_on_one_instance_do_not_disturb_the_others() {
        let consul = Consul::start().await;
        flapping(&consul).await;
    }
}

mod with_the_small_registry {
    use super::*;

    #[tokio::test]
    async fn an_instance_that_registers_is_served_and_one_that_leaves_is_not() {
        let small = Small::start().await;
        joins_and_leaves(&small).await;
    }

    #[tokio::test]
    async fn an_instance_whose_check_turns_critical_is_left_out_until_it_passes_again() {
        let small = Small::start().await;
        critical_and_back(&small).await;
    }

    #[tokio::test]
    async fn an_instance_with_a_warning_is_served_at_its_warning_weight() {
        let small = Small::start().await;
        warning(&small).await;
    }

    #[tokio::test]
    async fn an_instance_in_maintenance_is_left_out_until_it_is_over() {
        let small = Small::start().await;
        service_maintenance(&small).await;
    }

    #[tokio::test]
    async fn a_node_in_maintenance_takes_all_its_instances_out() {
        let small = Small::start().await;
        node_maintenance(&small).await;
    }

    #[tokio::test]
    async fn shares_follow_the_weights_and_a_change_of_them() {
        let small = Small::start().await;
        weights(&small).await;
    }

    #[tokio::test]
    async fn a_service_without_instances_is_a_503_of_a_ready_proxy_and_the_first_instance_is_served() {
        let small = Small::start().await;
        no_instances_yet(&small).await;
    }

    #[tokio::test]
    async fn an_instance_without_an_address_has_its_nodes() {
        let small = Small::start().await;
        address_of_the_node(&small).await;
    }

    #[tokio::test]
    async fn two_clusters_share_a_service_by_filters() {
        let small = Small::start().await;
        filters(&small).await;
    }

    #[tokio::test]
    async fn a_service_may_be_named_in_any_letters_and_any_case() {
        let small = Small::start().await;
        odd_names(&small).await;
    }

    #[tokio::test]
    async fn an_instance_may_move_to_another_port_under_load() {
        let small = Small::start().await;
        moving(&small).await;
    }

    #[tokio::test]
    async fn two_instances_at_one_address_are_served_as_one_until_both_are_gone() {
        let small = Small::start().await;
        twins(&small).await;
    }

    #[tokio::test]
    async fn a_hundred_changes_a_second_on_one_instance_do_not_disturb_the_others() {
        let small = Small::start().await;
        flapping(&small).await;
    }
}

/// The small registry, and what a test says to it. Dropped, it is gone.
struct Small {
    catalog: Catalog,
    serving: JoinHandle<()>,
}

impl Small {
    async fn start() -> Small {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let catalog = Catalog::new(&format!("http://{}", listener.local_addr().unwrap()));
        let serving = tokio::spawn(lictor::registry::serve(listener, std::future::pending()));
        Small { catalog, serving }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Deref for Small {
    type Target = Catalog;
    fn deref(&self) -> &Catalog {
        &self.catalog
    }
}

/// The agent that tests share while any of them runs: each has services of its own names.
async fn consul() -> Arc<Consul> {
    static SHARED: Mutex<Weak<Consul>> = Mutex::const_new(Weak::new());
    let mut shared = SHARED.lock().await;
    if let Some(consul) = shared.upgrade() {
        return consul;
    }
    let consul = Arc::new(Consul::start().await);
    *shared = Arc::downgrade(&consul);
    consul
}

async fn origins<const N: usize>(names: [&str; N]) -> [Origin; N] {
    let mut origins = Vec::new();
    for name in names {
        origins.push(Origin::start(name).await);
    }
    origins.try_into().ok().unwrap()
}

/// Registers an origin as the instance `service-name` with a check `service:ID`, and more fields of Consul's.
async fn register(catalog: &Catalog, service: &str, origin: &Origin, more: Value) {
    let (id, SocketAddr::V4(address)) = (format!("{service}-{}", origin.name()), origin.address()) else {
        unreachable!("origins listen on 127.0.0.1")
    };
    let mut body = json!({
        "Name": service, "ID": id, "Address": address.ip(), "Port": address.port(),
        "Check": { "CheckID": format!("service:{id}"), "TTL": "1h", "Status": "passing" },
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    catalog.register(body).await;
}

async fn deregister(catalog: &Catalog, service: &str, origin: &Origin) {
    catalog.deregister(&format!("{service}-{}", origin.name())).await;
}

/// A proxy whose only cluster, `web`, follows this service.
fn follow(catalog: &Catalog, service: &str, more: &str) -> Proxy {
    let url = catalog.url();
    Proxy::start(&format!(
        "[consul]\naddress = \"{url}\"\n[[routes]]\ncluster = \"web\"\n[clusters.web]\nconsul = {{ service = '{service}' }}\n{more}\n"
    ))
}

async fn until_usable(proxy: &Proxy, origins: &[&Origin]) {
    let mut ports: Vec<u16> = origins.iter().map(|origin| origin.address().port()).collect();
    ports.sort_unstable();
    let names: Vec<&str> = origins.iter().map(|origin| origin.name()).collect();
    let same = async || is_ready(proxy.admin()).await && usable(proxy.admin(), "web").await == ports;
    eventually(&format!("usable are {names:?}"), SOON, same).await;
}

async fn until_weighted(proxy: &Proxy, origin: &Origin, weight: u64) {
    let port = origin.address().port();
    let is_so =
        async || endpoints(proxy.admin(), "web").await.iter().any(|shown| (shown.port, shown.weight) == (port, weight));
    eventually(&format!("{} weighs {weight}", origin.name()), SOON, is_so).await;
}

/// Who answers, in the order of their names: of forty requests with even shares nobody is missed but once in a trillion times.
async fn answers(proxy: &Proxy) -> Vec<String> {
    let mut client = Client::connect(proxy.address()).await;
    let mut names = BTreeSet::new();
    for _ in 0..40 {
        let answer = client.exchange("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        names.insert(if answer.status == 200 { answer.text() } else { answer.status.to_string() });
    }
    names.into_iter().collect()
}

#[track_caller]
fn near(shares: &BTreeMap<String, usize>, expected: &[(&str, usize)], margin: usize) {
    let is_near =
        |(name, count): &(&str, usize)| shares.get(*name).is_some_and(|share| share.abs_diff(*count) <= margin);
    assert!(shares.len() == expected.len() && expected.iter().all(is_near), "{shares:?} is not near {expected:?}");
}

#[track_caller]
fn only_answers(answers: &BTreeMap<String, usize>, names: &[&str]) {
    assert!(answers.keys().all(|who| names.contains(&who.as_str())), "{answers:?}");
    assert!(answers.values().sum::<usize>() > 5, "{answers:?}");
}
