//! Clients that stay with an instance, and an instance's checks, with a real Consul; and what is served when these say that
//! nobody is well.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::sessions::{begin, kept, moved, named};
use super::*;
use crate::support::app::to_service;
use crate::support::consul::{Catalog, Consul};
use crate::support::window::{json, metric};

async fn register(catalog: &Catalog, origins: &[Origin]) {
    for origin in origins {
        catalog.register_service("web", origin.name(), origin.address()).await;
    }
}

async fn set(catalog: &Catalog, origin: &Origin, status: &str) {
    catalog.set_check(&format!("service:{}", origin.name()), status).await;
}

/// Waits until lictor shows the instances with these words of Consul's, in the order of the origins.
async fn until(proxy: &Proxy, origins: &[Origin], statuses: &[&str]) {
    let pairs = origins.iter().map(|origin| origin.address().to_string()).zip(statuses);
    let expected: BTreeSet<(String, String)> = pairs.map(|(address, status)| (address, (*status).to_owned())).collect();
    eventually(&format!("they are {statuses:?}"), SOON, async || {
        let clusters = json(proxy.admin(), "/v1/clusters").await;
        let word = |view: &Value, key: &str| view[key].as_str().unwrap().to_owned();
        let endpoints = clusters[0]["endpoints"].as_array().unwrap().iter();
        endpoints.map(|view| (word(view, "address"), word(view, "status"))).collect::<BTreeSet<_>>() == expected
    })
    .await;
}

/// Who answers so many new clients, and how often; refusals by their status.
async fn answers(proxy: &Proxy, count: usize) -> BTreeMap<String, usize> {
    let mut client = Client::connect(proxy.address()).await;
    let mut answers = BTreeMap::new();
    for _ in 0..count {
        let answer = client.exchange(GET).await;
        let who = if answer.status == 200 { answer.text() } else { answer.status.to_string() };
        *answers.entry(who).or_default() += 1;
    }
    answers
}

fn evenly(origins: &[&Origin], each: usize) -> BTreeMap<String, usize> {
    origins.iter().map(|origin| (origin.name().to_owned(), each)).collect()
}

/// The gauge and the view, which are to say the same.
async fn is_panicking(proxy: &Proxy) -> bool {
    let shown = json(proxy.admin(), "/v1/clusters").await[0]["panic"].as_bool().unwrap();
    let gauge = metric(proxy.admin(), "lictor_cluster_panic{cluster=\"web\"}").await;
    assert_eq!(gauge, f64::from(u8::from(shown)));
    shown
}

#[tokio::test]
async fn an_instance_in_maintenance_keeps_its_clients_and_gets_no_new_ones_and_a_critical_one_loses_them() {
    let consul = Consul::start().await;
    let origins = origins::<3>().await;
    register(&consul, &origins).await;
    let proxy = Proxy::start(&to_service(&consul.url(), "policy = \"round_robin\"\nsticky = {}"));
    until(&proxy, &origins, &["passing"; 3]).await;
    let mut client = Client::connect(proxy.address()).await;
    let (home, cookie) = begin(&mut client).await;
    let place = origins.iter().position(|origin| origin.name() == home).unwrap();
    let statuses = |status: &'static str| {
        let mut statuses = ["passing"; 3];
        statuses[place] = status;
        statuses
    };
    let others: Vec<&Origin> = origins.iter().filter(|origin| origin.name() != home).collect();

    consul.maintenance(&home, true).await;
    until(&proxy, &origins, &statuses("maintenance")).await;
    for _ in 0..20 {
        assert_eq!(kept(&mut client, &cookie).await, home);
    }
    assert_eq!(answers(&proxy, 20).await, evenly(&others, 10));
    consul.maintenance(&home, false).await;

    set(&consul, named(&origins, &home), "warning").await;
    until(&proxy, &origins, &statuses("warning")).await;
    assert_eq!(kept(&mut client, &cookie).await, home);

    set(&consul, named(&origins, &home), "critical").await;
    until(&proxy, &origins, &statuses("critical")).await;
    let (next, new) = moved(&mut client, &cookie).await;
    assert_ne!(next, home);
    set(&consul, named(&origins, &home), "passing").await;
    until(&proxy, &origins, &["passing"; 3]).await;
    for _ in 0..20 {
        assert_eq!(kept(&mut client, &new).await, next, "and does not go back");
    }

    consul.deregister(&next).await;
    let gone = async || !json(proxy.admin(), "/v1/clusters").await.to_string().contains(&format!("/{next}\""));
    eventually("it has left the list", SOON, gone).await;
    assert_ne!(moved(&mut client, &new).await.0, next);
}

#[tokio::test]
async fn when_nobody_is_well_all_serve_but_those_in_maintenance_until_one_recovers() {
    let consul = Consul::start().await;
    let origins = origins::<5>().await;
    register(&consul, &origins).await;
    let start = |more: &str| Proxy::start(&to_service(&consul.url(), &format!("policy = \"round_robin\"\n{more}")));
    let (usual, believing, cautious) = (start(""), start("panic_percent = 0"), start("panic_percent = 50"));
    let all = [&usual, &believing, &cautious];
    let see = async |statuses: [&str; 5]| {
        for proxy in all {
            until(proxy, &origins, &statuses).await;
        }
    };
    let panics = async || [is_panicking(&usual).await, is_panicking(&believing).await, is_panicking(&cautious).await];
    let [a, b, c, d, resting] = &origins;

    consul.maintenance(resting.name(), true).await;
    set(&consul, a, "critical").await;
    set(&consul, b, "critical").await;
    see(["critical", "critical", "passing", "passing", "maintenance"]).await;
    assert_eq!(panics().await, [false; 3], "half of four is half: who is in maintenance does not count");
    for proxy in all {
        assert_eq!(answers(proxy, 20).await, evenly(&[c, d], 10));
    }

    set(&consul, c, "critical").await;
    see(["critical", "critical", "critical", "passing", "maintenance"]).await;
    assert_eq!(panics().await, [false, false, true], "one of four is less than half");
    assert_eq!(answers(&usual, 20).await, evenly(&[d], 20));
    assert_eq!(answers(&cautious, 40).await, evenly(&[a, b, c, d], 10));

    set(&consul, d, "critical").await;
    see(["critical", "critical", "critical", "critical", "maintenance"]).await;
    assert_eq!(panics().await, [true, false, true]);
    assert_eq!(answers(&usual, 40).await, evenly(&[a, b, c, d], 10));
    assert_eq!(answers(&cautious, 40).await, evenly(&[a, b, c, d], 10));
    assert_eq!(answers(&believing, 5).await, BTreeMap::from([("503".to_owned(), 5)]));

    set(&consul, a, "passing").await;
    see(["passing", "critical", "critical", "critical", "maintenance"]).await;
    assert_eq!(panics().await, [false, false, true]);
    assert_eq!(answers(&usual, 20).await, evenly(&[a], 20), "only who is well serves");
    assert_eq!(answers(&believing, 20).await, evenly(&[a], 20));
    assert_eq!(resting.hits(), 0);
}

#[tokio::test]
async fn in_a_panic_clients_stay_where_they_are() {
    let consul = Consul::start().await;
    let origins = origins::<4>().await;
    register(&consul, &origins).await;
    let proxy = Proxy::start(&to_service(&consul.url(), "sticky = {}"));
    until(&proxy, &origins, &["passing"; 4]).await;
    let mut client = Client::connect(proxy.address()).await;
    let (home, cookie) = begin(&mut client).await;
    for origin in &origins {
        set(&consul, origin, "critical").await;
    }
    until(&proxy, &origins, &["critical"; 4]).await;
    for _ in 0..20 {
        assert_eq!(kept(&mut client, &cookie).await, home, "it serves, so its clients may stay");
    }
    let (home, cookie) = begin(&mut client).await;
    assert_eq!(kept(&mut client, &cookie).await, home, "and what is begun now holds as well");
}
