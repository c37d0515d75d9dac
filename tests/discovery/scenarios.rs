//! What is held against both.

use std::cell::Cell;

use super::*;

pub async fn joins_and_leaves(catalog: &Catalog) {
    let [one, two] = origins(["one", "two"]).await;
    register(catalog, "joins", &one, json!({})).await;
    let proxy = follow(catalog, "joins", "");
    until_usable(&proxy, &[&one]).await;
    assert_eq!(answers(&proxy).await, ["one"]);

    let visitor = Visitor::start(&proxy);
    register(catalog, "joins", &two, json!({})).await;
    until_usable(&proxy, &[&one, &two]).await;
    assert_eq!(answers(&proxy).await, ["one", "two"]);
    deregister(catalog, "joins", &one).await;
    until_usable(&proxy, &[&two]).await;
    assert_eq!(answers(&proxy).await, ["two"]);
    only_answers(&visitor.leave().await, &["one", "two"]);

    deregister(catalog, "joins", &two).await;
    until_usable(&proxy, &[]).await;
    assert_eq!(answers(&proxy).await, ["503"]);
    proxy.drain().await;
}

pub async fn critical_and_back(catalog: &Catalog) {
    let [one, two] = origins(["one", "two"]).await;
    register(catalog, "critical", &one, json!({})).await;
    register(catalog, "critical", &two, json!({})).await;
    let proxy = follow(catalog, "critical", "");
    until_usable(&proxy, &[&one, &two]).await;
    let visitor = Visitor::start(&proxy);
    catalog.set_check("service:critical-one", "critical").await;
    until_usable(&proxy, &[&two]).await;
    assert_eq!(answers(&proxy).await, ["two"]);
    let shown = endpoints(proxy.admin(), "web").await;
    assert!(shown.contains(&Shown { port: one.address().port(), status: "critical".into(), weight: 1 }), "{shown:?}");
    catalog.set_check("service:critical-one", "passing").await;
    until_usable(&proxy, &[&one, &two]).await;
    assert_eq!(answers(&proxy).await, ["one", "two"]);
    only_answers(&visitor.leave().await, &["one", "two"]);
    proxy.drain().await;
}

pub async fn warning(catalog: &Catalog) {
    let [one, two, three] = origins(["one", "two", "three"]).await;
    register(catalog, "warning", &one, json!({ "Weights": { "Passing": 4, "Warning": 1 } })).await;
    register(catalog, "warning", &two, json!({ "Weights": { "Passing": 4, "Warning": 1 } })).await;
    // Consul's own reading: who gives a weight for passing only wants none for warning.
    register(catalog, "warning", &three, json!({ "Weights": { "Passing": 4 } })).await;
    let proxy = follow(catalog, "warning", "policy = \"round_robin\"");
    until_usable(&proxy, &[&one, &two, &three]).await;
    near(&shares(&proxy, "x", 120).await, &[("one", 40), ("two", 40), ("three", 40)], 1);
    catalog.set_check("service:warning-one", "warning").await;
    catalog.set_check("service:warning-three", "warning").await;
    until_usable(&proxy, &[&one, &two]).await;
    until_weighted(&proxy, &one, 1).await;
    near(&shares(&proxy, "x", 100).await, &[("one", 20), ("two", 80)], 1);
    proxy.drain().await;
}

pub async fn service_maintenance(catalog: &Catalog) {
    let [one, two] = origins(["one", "two"]).await;
    register(catalog, "maintenance", &one, json!({})).await;
    register(catalog, "maintenance", &two, json!({})).await;
    let proxy = follow(catalog, "maintenance", "");
    until_usable(&proxy, &[&one, &two]).await;
    catalog.maintenance("maintenance-two", true).await;
    until_usable(&proxy, &[&one]).await;
    assert_eq!(endpoints(proxy.admin(), "web").await.iter().filter(|shown| shown.status == "maintenance").count(), 1);
    assert_eq!(answers(&proxy).await, ["one"]);
    catalog.maintenance("maintenance-two", false).await;
    until_usable(&proxy, &[&one, &two]).await;
    proxy.drain().await;
}

pub async fn node_maintenance(catalog: &Catalog) {
    let [one, two] = origins(["one", "two"]).await;
    register(catalog, "node", &one, json!({})).await;
    register(catalog, "node", &two, json!({})).await;
    let proxy = follow(catalog, "node", "");
    until_usable(&proxy, &[&one, &two]).await;
    catalog.node_maintenance(true).await;
    until_usable(&proxy, &[]).await;
    assert_eq!(answers(&proxy).await, ["503"]);
    assert!(endpoints(proxy.admin(), "web").await.iter().all(|shown| shown.status == "maintenance"));
    catalog.node_maintenance(false).await;
    until_usable(&proxy, &[&one, &two]).await;
    assert_eq!(answers(&proxy).await, ["one", "two"]);
    proxy.drain().await;
}

pub async fn weights(catalog: &Catalog) {
    let [heavy, light] = origins(["heavy", "light"]).await;
    register(catalog, "weights", &heavy, json!({ "Weights": { "Passing": 5, "Warning": 1 } })).await;
    register(catalog, "weights", &light, json!({})).await;
    let turns = follow(catalog, "weights", "policy = \"round_robin\"");
    let chance = follow(catalog, "weights", "");
    for (proxy, margin) in [(&turns, 2), (&chance, 60)] {
        until_usable(proxy, &[&heavy, &light]).await;
        near(&shares(proxy, "x", 600).await, &[("heavy", 500), ("light", 100)], margin);
    }
    // The other way round, live.
    register(catalog, "weights", &light, json!({ "Weights": { "Passing": 5, "Warning": 1 } })).await;
    register(catalog, "weights", &heavy, json!({})).await;
    for (proxy, margin) in [(&turns, 2), (&chance, 60)] {
        until_weighted(proxy, &light, 5).await;
        until_weighted(proxy, &heavy, 1).await;
        near(&shares(proxy, "x", 600).await, &[("heavy", 100), ("light", 500)], margin);
    }
    turns.drain().await;
    chance.drain().await;
}

pub async fn no_instances_yet(catalog: &Catalog) {
    let [one] = origins(["one"]).await;
    let proxy = follow(catalog, "nobody-yet", "");
    eventually("an empty list makes it ready", SOON, async || is_ready(proxy.admin()).await).await;
    let refusal = get(proxy.address(), "x", "/").await;
    let retry_after = refusal.header("retry-after").and_then(|seconds| seconds.parse::<u32>().ok());
    assert!(refusal.status == 503 && retry_after.is_some(), "{refusal:?}");
    register(catalog, "nobody-yet", &one, json!({})).await;
    eventually("the first instance is served", SOON, async || answers(&proxy).await == ["one"]).await;
    proxy.drain().await;
}

pub async fn address_of_the_node(catalog: &Catalog) {
    let [one] = origins(["one"]).await;
    catalog.register(json!({ "Name": "homeless", "Port": one.address().port() })).await;
    let entry = &catalog.get("/v1/health/service/homeless").await[0];
    assert_eq!((&entry["Service"]["Address"], &entry["Node"]["Address"]), (&json!(""), &json!("127.0.0.1")));
    let proxy = follow(catalog, "homeless", "");
    eventually("it is served", SOON, async || answers(&proxy).await == ["one"]).await;
    proxy.drain().await;
}

pub async fn filters(catalog: &Catalog) {
    let [old, new] = origins(["old", "new"]).await;
    register(catalog, "filtered", &old, json!({ "Tags": ["v1"] })).await;
    register(catalog, "filtered", &new, json!({ "Tags": ["v2", "canary"] })).await;
    let proxy = Proxy::start(&format!(
        r#"
        [consul]
        address = "{}"
        [[routes]]
        host = "canary.example.com"
        cluster = "canary"
        [[routes]]
        cluster = "stable"
        [clusters.canary]
        consul = {{ service = "filtered", filter = '"v2" in Service.Tags' }}
        [clusters.stable]
        consul = {{ service = "filtered", filter = 'not ("v2" in Service.Tags)' }}
        "#,
        catalog.url()
    ));
    eventually("both have their lists", SOON, async || is_ready(proxy.admin()).await).await;
    assert_eq!(Vec::from_iter(shares(&proxy, "canary.example.com", 10).await.into_keys()), ["new"]);
    assert_eq!(Vec::from_iter(shares(&proxy, "www.example.com", 10).await.into_keys()), ["old"]);
    // Promoted: the tag moves, the instance stays.
    register(catalog, "filtered", &old, json!({ "Tags": ["v2"] })).await;
    let promoted =
        async || usable(proxy.admin(), "canary").await.len() == 2 && usable(proxy.admin(), "stable").await.is_empty();
    eventually("the tag counts", SOON, promoted).await;
    proxy.drain().await;
}

pub async fn odd_names(catalog: &Catalog) {
    let [one] = origins(["one"]).await;
    let name = "Web Shop/v2 50%?#&+=é";
    register(catalog, name, &one, json!({})).await;
    // Consul looks services up in any case.
    let proxy = follow(catalog, "web shop/V2 50%?#&+=é", "");
    until_usable(&proxy, &[&one]).await;
    assert_eq!(answers(&proxy).await, ["one"]);
    deregister(catalog, name, &one).await;
    until_usable(&proxy, &[]).await;
    proxy.drain().await;
}

pub async fn moving(catalog: &Catalog) {
    let [old, new] = origins(["old", "new"]).await;
    catalog.register_service("moving", "the one", old.address()).await;
    let proxy = follow(catalog, "moving", "");
    until_usable(&proxy, &[&old]).await;
    let visitor = Visitor::start(&proxy);
    eventually("it is visited", SOON, async || old.hits() > 10).await;
    catalog.register_service("moving", "the one", new.address()).await;
    until_usable(&proxy, &[&new]).await;
    assert_eq!(answers(&proxy).await, ["new"]);
    eventually("the old port is left alone", SOON, async || old.connections() == 0).await;
    only_answers(&visitor.leave().await, &["new", "old"]);
    proxy.drain().await;
}

pub async fn twins(catalog: &Catalog) {
    let [one, two] = origins(["one", "two"]).await;
    catalog.register_service("twins", "castor", one.address()).await;
    catalog.register_service("twins", "pollux", one.address()).await;
    catalog.register_service("twins", "leda", two.address()).await;
    let proxy = follow(catalog, "twins", "policy = \"round_robin\"");
    until_usable(&proxy, &[&one, &two]).await;
    assert_eq!(endpoints(proxy.admin(), "web").await.len(), 2);
    near(&shares(&proxy, "x", 40).await, &[("one", 20), ("two", 20)], 1);
    // As good as the better of them.
    catalog.set_check("service:castor", "critical").await;
    let passing = async || catalog.get("/v1/health/service/twins?passing").await.as_array().unwrap().len();
    eventually("only one of them passes", SOON, async || passing().await == 2).await;
    catalog.deregister("leda").await;
    until_usable(&proxy, &[&one]).await;
    catalog.deregister("pollux").await;
    until_usable(&proxy, &[]).await;
    catalog.set_check("service:castor", "passing").await;
    until_usable(&proxy, &[&one]).await;
    proxy.drain().await;
}

pub async fn flapping(catalog: &Catalog) {
    const CHANGES: u32 = 300;
    const LOOKS: u32 = 20;
    let [one, two, restless] = origins(["one", "two", "restless"]).await;
    for origin in [&one, &two, &restless] {
        register(catalog, "flapping", origin, json!({})).await;
    }
    let proxy = follow(catalog, "flapping", "");
    until_usable(&proxy, &[&one, &two, &restless]).await;
    let before = sum(proxy.admin(), "lictor_table_version", "").await;
    let (began, visitor) = (Instant::now(), Visitor::start(&proxy));
    // As many changes, and for as long as somebody has to look at what they do.
    let (looks, over) = (Cell::new(0), Cell::new(false));
    let change = async {
        let mut clock = interval(Duration::from_millis(10));
        clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut changes = 0;
        while changes < CHANGES || looks.get() < LOOKS {
            for status in ["critical", "passing"] {
                clock.tick().await;
                catalog.set_check("service:flapping-restless", status).await;
                changes += 1;
            }
        }
        over.set(true);
    };
    let watch = async {
        while !over.get() {
            let usable = usable(proxy.admin(), "web").await;
            let stable = [&one, &two].iter().all(|origin| usable.contains(&origin.address().port()));
            assert!(stable, "after {:?} only {usable:?}", began.elapsed());
            looks.set(looks.get() + 1);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::join!(change, watch);
    until_usable(&proxy, &[&one, &two, &restless]).await;
    let published = sum(proxy.admin(), "lictor_table_version", "").await - before;
    // One in sixty milliseconds, and a burst of three on either side.
    let most = began.elapsed().as_secs_f64() / 0.06 + 6.0;
    assert!((2.0..=most).contains(&published), "{published} tables in {:?}", began.elapsed());
    only_answers(&visitor.leave().await, &["one", "restless", "two"]);
    proxy.drain().await;
}
