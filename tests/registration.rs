//! lictor in Consul's catalogue: entered once it can be used, entered again where it was lost, out of it before it ends. And
//! applications beside it, for which it does the same.

mod neighbours;

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::app::{Proxy, parse};
use crate::support::client::{Client, eventually, get};
use crate::support::consul::{Catalog, Consul};
use crate::support::origin::Origin;
use crate::support::spawned::Spawned;
use crate::support::window::{counted, is_ready, json as json_of, metric, usable};

const SOON: Duration = Duration::from_secs(20);
const GET: &str = "GET / HTTP/1.1\r\nhost: shop\r\n\r\n";
const ACL: &str = r#"acl { enabled = true default_policy = "deny" tokens { master = "root" agent = "root" } }"#;

/// A lictor in front of this origin, with this agent, and `more`.
fn lictor(agent: &Catalog, origin: &Origin, more: &str) -> String {
    let (agent, origin) = (agent.url(), origin.address());
    let cluster = format!("[[routes]]\ncluster = \"web\"\n[clusters.web]\nendpoints = [\"{origin}\"]\n");
    format!("[consul]\naddress = \"{agent}\"\n{cluster}{more}\n")
}

/// The one with that id, as its own agent knows it.
async fn known(agent: &Catalog, id: &str) -> Option<Value> {
    agent.get("/v1/agent/services").await.get(id).cloned()
}

/// Every instance of a service in the catalogue by its id, with the worst of its checks.
async fn statuses(agent: &Catalog, service: &str) -> Vec<(String, String)> {
    let entries = agent.get(&format!("/v1/health/service/{service}")).await;
    let worst = |checks: &Value| {
        let statuses = checks.as_array().unwrap().iter().map(|check| check["Status"].as_str().unwrap());
        let order = ["passing", "warning", "critical"];
        statuses.max_by_key(|status| order.iter().position(|known| known == status)).unwrap_or("passing").to_owned()
    };
    let one = |entry: &Value| (entry["Service"]["ID"].as_str().unwrap().to_owned(), worst(&entry["Checks"]));
    entries.as_array().unwrap().iter().map(one).collect()
}

async fn becomes(agent: &Catalog, service: &str, status: &str) {
    let what = format!("{service} is {status}");
    eventually(&what, SOON, async || {
        let all = statuses(agent, service).await;
        all.len() == 1 && all[0].1 == status
    })
    .await;
}

/// What the agent has noted of an instance's checks, each under this key, in the order of their ids. Of what stands in the catalogue,
/// outputs may be five minutes old.
async fn noted(agent: &Catalog, id: &str, key: &str) -> Vec<String> {
    let checks = agent.get("/v1/agent/checks").await;
    let of_it = checks.as_object().unwrap().values().filter(|check| check["ServiceID"] == id);
    of_it.map(|check| check[key].as_str().unwrap().to_owned()).collect()
}

async fn checks(agent: &Catalog, id: &str) -> Vec<String> {
    noted(agent, id, "CheckID").await
}

async fn outputs(agent: &Catalog, id: &str) -> Vec<String> {
    noted(agent, id, "Output").await
}

#[tokio::test]
async fn lictor_enters_itself_with_all_that_was_written_once_it_is_ready() {
    let (consul, origin) = (Consul::start().await, Origin::start("one").await);
    let named = "[registration]\nname = \"edge\"\nid = \"edge-1\"\ntags = [\"blue\"]\nmeta = { team = \"x\" }\n\
                 weights = { passing = 3 }\n";
    // The agent refuses such a filter, so this cluster has no first list.
    let unready = "[clusters.api]\nconsul = { service = \"api\", filter = \"nonsense ==\" }\n";
    let config = lictor(&consul, &origin, named);
    let proxy = Proxy::start(&format!("{config}{unready}"));
    eventually("the agent was asked", SOON, async || {
        get(proxy.admin(), "localhost", "/readyz?verbose").await.text().contains("api")
    })
    .await;
    assert!(!is_ready(proxy.admin()).await && known(&consul, "edge-1").await.is_none());

    proxy.app().reload(parse(&config)).await.unwrap();
    becomes(&consul, "edge", "passing").await;
    let entry = known(&consul, "edge-1").await.unwrap();
    assert_eq!((&entry["Port"], &entry["Address"]), (&json!(proxy.address().port()), &json!("127.0.0.1")));
    assert_eq!((&entry["Tags"], &entry["Weights"]["Passing"]), (&json!(["blue"]), &json!(3)));
    let meta =
        json!({ "team": "x", "version": env!("CARGO_PKG_VERSION"), "admin_port": proxy.admin().port().to_string() });
    assert_eq!(entry["Meta"], meta);
    counted(proxy.admin(), "lictor_registration_entered{id=\"edge-1\"}", 1.0).await;
    proxy.drain().await;
    assert!(known(&consul, "edge-1").await.is_none());
}

#[tokio::test]
async fn the_agent_may_ask_lictor_itself_whether_it_is_ready() {
    let (consul, origin) = (Consul::start().await, Origin::start("one").await);
    let checks = "[[registration.checks]]\nkind = \"http\"\ninterval = \"1s\"\n[[registration.checks]]\nkind = \"tcp\"\ninterval = \"1s\"\n";
    let proxy =
        Proxy::start(&lictor(&consul, &origin, &format!("[registration]\nname = \"edge\"\nid = \"edge\"\n{checks}")));
    becomes(&consul, "edge", "passing").await;
    eventually("both were asked", SOON, async || {
        let outputs = outputs(&consul, "edge").await.concat();
        outputs.contains("/readyz: 200 OK") && outputs.contains("Success")
    })
    .await;
    becomes(&consul, "edge", "passing").await;
    drop(proxy);
}

#[tokio::test]
async fn an_agent_that_has_forgotten_everything_is_told_again() {
    let (mut consul, origin) = (Consul::start().await, Origin::start("one").await);
    let more = format!(
        "[registration]\nname = \"edge\"\nid = \"edge\"\n[[registration.services]]\nname = \"billing\"\nid = \"billing\"\nport = {}\n",
        origin.address().port()
    );
    let proxy = Proxy::start(&lictor(&consul, &origin, &more));
    becomes(&consul, "edge", "passing").await;
    becomes(&consul, "billing", "passing").await;
    consul.restart().await;
    becomes(&consul, "edge", "passing").await;
    becomes(&consul, "billing", "passing").await;
    // And if it is only this that somebody took out.
    consul.deregister("edge").await;
    becomes(&consul, "edge", "passing").await;
    consul.deregister("billing").await;
    becomes(&consul, "billing", "passing").await;
    let entries = metric(proxy.admin(), "lictor_registration_entries_total{id=\"billing\"}").await;
    assert!(entries >= 3.0, "{entries}");
}

#[tokio::test]
async fn a_check_that_the_agent_has_forgotten_is_there_again_with_the_next_heartbeat() {
    let (consul, origin) = (Consul::start().await, Origin::start("one").await);
    let more = "[registration]\nname = \"edge\"\nid = \"edge\"\nchecks = [{ ttl = \"2s\" }]\n";
    let _proxy = Proxy::start(&lictor(&consul, &origin, more));
    becomes(&consul, "edge", "passing").await;
    consul.put("/v1/agent/check/deregister/service:edge:ttl", "").await;
    assert_eq!(checks(&consul, "edge").await, [""; 0]);
    eventually("it is there again", SOON, async || checks(&consul, "edge").await == ["service:edge:ttl"]).await;
    becomes(&consul, "edge", "passing").await;
}

#[tokio::test]
async fn a_lictor_that_dies_without_a_word_is_critical_when_its_time_is_over_and_takes_its_place_again() {
    let (consul, origin) = (Consul::start().await, Origin::start("one").await);
    let config = |checks: &str| {
        lictor(&consul, &origin, &format!("[registration]\nname = \"edge\"\nid = \"edge\"\nchecks = [{checks}]\n"))
    };
    let first = Spawned::start(&config("{ ttl = \"1s\" }, { kind = \"tcp\", interval = \"1s\" }"), &[]);
    becomes(&consul, "edge", "passing").await;
    let says = async || outputs(&consul, "edge").await.contains(&"ready".to_owned());
    eventually("it says how it is", SOON, says).await;
    drop(first);
    becomes(&consul, "edge", "critical").await;
    // Whoever put it into maintenance meanwhile, did so on purpose.
    consul.maintenance("edge", true).await;
    let _second = Spawned::start(&config("{ ttl = \"1s\" }"), &[]);
    eventually("what it does not check any more is gone", SOON, async || {
        checks(&consul, "edge").await == ["_service_maintenance:edge", "service:edge:ttl"]
    })
    .await;
    consul.maintenance("edge", false).await;
    becomes(&consul, "edge", "passing").await;
}

#[tokio::test]
async fn a_reload_changes_what_is_entered_in_place_and_leaves_alone_what_others_added() {
    let (consul, origin) = (Consul::start().await, Origin::start("one").await);
    let config =
        |more: &str| lictor(&consul, &origin, &format!("[registration]\nname = \"edge\"\nid = \"edge\"\n{more}"));
    let proxy = Proxy::start(&config("checks = [{ kind = \"http\" }, { ttl = \"10s\" }]"));
    becomes(&consul, "edge", "passing").await;
    consul.maintenance("edge", true).await;
    let disk = json!({ "ID": "disk", "Name": "disk", "ServiceID": "edge", "TTL": "1h", "Status": "passing" });
    consul.put("/v1/agent/check/register", disk.to_string()).await;
    proxy.app().reload(parse(&config("tags = [\"green\"]"))).await.unwrap();
    eventually("it has the tag", SOON, async || {
        let is_green = known(&consul, "edge").await.expect("it is there all the time")["Tags"] == json!(["green"]);
        is_green && checks(&consul, "edge").await == ["_service_maintenance:edge", "disk", "service:edge:ttl"]
    })
    .await;
    proxy.app().reload(parse(&lictor(&consul, &origin, ""))).await.unwrap();
    eventually("it is not wanted any more", SOON, async || known(&consul, "edge").await.is_none()).await;
    assert!(!get(proxy.admin(), "localhost", "/metrics").await.text().contains("lictor_registration_"));
}

#[tokio::test]
async fn who_takes_anothers_place_comes_before_that_one_leaves() {
    let (consul, origin) = (Consul::start().await, Origin::start("one").await);
    let config = |id: &str| lictor(&consul, &origin, &format!("[registration]\nname = \"edge\"\nid = \"{id}\"\n"));
    let proxy = Proxy::start(&config("blue"));
    becomes(&consul, "edge", "passing").await;
    proxy.app().reload(parse(&config("green"))).await.unwrap();
    eventually("only the other is left", SOON, async || {
        let all = statuses(&consul, "edge").await;
        assert!(all.iter().any(|(_, status)| status == "passing"), "nobody would be found: {all:?}");
        all.len() == 1 && all[0].0 == "green"
    })
    .await;
}

#[tokio::test]
async fn who_is_not_ready_any_more_says_so_and_when_it_is_again_and_the_window_shows_what_is_said() {
    let ([here, mut there], origin) = (Consul::two_datacenters().await, Origin::start("one").await);
    there.register_service("web", "web", origin.address()).await;
    let more = "[registration]\nname = \"edge\"\nid = \"edge\"\nchecks = [{ ttl = \"1h\" }]\n\
                [[registration.services]]\nname = \"billing\"\nid = \"billing\"\nport = 1\n\
                [clusters.far]\nconsul = { service = \"web\", datacenter = \"dc2\" }\n";
    let stale = "[consul]\nwait = \"1s\"\nmax_stale = \"3s\"\non_stale = \"degrade\"\n";
    let proxy = Proxy::start(&lictor(&here, &origin, more).replace("[consul]\n", stale));
    let says = async || outputs(&here, "edge").await;
    eventually("it is ready", SOON, async || says().await == ["ready"]).await;
    becomes(&here, "edge", "passing").await;
    there.kill();
    // Long before the next heartbeat.
    becomes(&here, "edge", "critical").await;
    assert_eq!(says().await, ["discovery is stale"]);
    assert!(!is_ready(proxy.admin()).await);
    let shown = json_of(proxy.admin(), "/v1/registration").await;
    let check = json!({ "id": "service:edge:ttl", "status": "critical", "output": "discovery is stale" });
    let own =
        json!({ "instance": "edge", "service": "edge", "entered": true, "checks": [check], "last_failure": null });
    assert_eq!(shown[1], own);
    let unsaid = json!([{ "id": "service:billing:tcp", "status": null, "output": null }]);
    assert_eq!((&shown[0]["instance"], &shown[0]["checks"]), (&json!("billing"), &unsaid));
    there.restart().await;
    here.until_reached(&there).await;
    there.register_service("web", "web", origin.address()).await;
    becomes(&here, "edge", "passing").await;
    assert_eq!(says().await, ["ready"]);
}

#[tokio::test]
async fn whoever_has_nothing_to_show_in_the_mesh_is_not_found_there() {
    let (consul, origin) = (Consul::start_with("connect { enabled = false }").await, Origin::start("one").await);
    let more = "[mesh]\nservice = \"edge\"\n[[listeners]]\nname = \"inside\"\nbind = \"127.0.0.1:0\"\nmesh = true\n\
                [registration]\nname = \"edge\"\nid = \"edge\"\nlistener = \"inside\"\nconnect_native = true\n\
                [[registration.services]]\nname = \"billing\"\nid = \"billing\"\n";
    let proxy = Proxy::start(&lictor(
        &consul,
        &origin,
        &format!("[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\n{more}"),
    ));
    becomes(&consul, "billing", "passing").await;
    eventually("it says what it waits for", SOON, async || {
        get(proxy.admin(), "localhost", "/readyz").await.text() == "waiting for our certificate in the mesh\n"
    })
    .await;
    assert!(known(&consul, "edge").await.is_none());
    // Consul has it a moment before the agent's answer is here.
    eventually("the neighbour is entered", SOON, async || {
        let first = &json_of(proxy.admin(), "/v1/registration").await[0];
        (&first["instance"], &first["entered"]) == (&json!("billing"), &json!(true))
    })
    .await;
}

#[tokio::test]
async fn what_the_agent_refuses_is_shown_with_its_words() {
    let (consul, origin) = (Consul::start_with(ACL).await, Origin::start("one").await);
    let proxy = Proxy::start(&lictor(&consul, &origin, "[registration]\nname = \"edge\"\nid = \"edge\"\n"));
    let failure = async || json_of(proxy.admin(), "/v1/registration").await[0]["last_failure"]["error"].clone();
    let expected = "cannot be entered in the catalogue: 403 Forbidden: Permission denied";
    eventually("it is refused", SOON, async || failure().await.as_str().is_some_and(|why| why.starts_with(expected)))
        .await;
}

/// Sends requests to a front until told to stop; how many were answered, which has to be all.
async fn load(front: SocketAddr, stop: watch::Receiver<bool>) -> usize {
    let (mut answered, mut client) = (0, Client::connect(front).await);
    while !*stop.borrow() {
        let answer = client.exchange(GET).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "one"), "after {answered}");
        answered += 1;
    }
    answered
}

#[tokio::test]
async fn a_drain_takes_lictor_out_of_the_catalogue_first_and_nobody_notices() {
    let (consul, origin) = (Consul::start().await, Origin::start("one").await);
    let text =
        lictor(&consul, &origin, "[registration]\nname = \"edge\"\n[drain]\ndelay = \"1s\"\ntimeout = \"10s\"\n");
    let (leaving, staying) = (Proxy::start(&text), Proxy::start(&text));
    // In front of them, somebody who goes by the catalogue alone and tries once.
    let front = Proxy::start(&format!(
        "[consul]\naddress = \"{}\"\n[[routes]]\ncluster = \"web\"\n[clusters.web]\nconsul = {{ service = \"edge\" }}\nretry = {{ attempts = 0 }}\n",
        consul.url()
    ));
    eventually("both are found", SOON, async || usable(front.admin(), "web").await.len() == 2).await;
    let (stop, stopped) = watch::channel(false);
    let loads: Vec<_> = (0..4).map(|_| tokio::spawn(load(front.address(), stopped.clone()))).collect();
    eventually("load is on", SOON, async || origin.hits() > 100).await;
    let (address, port) = (leaving.address(), leaving.address().port());
    let draining = tokio::spawn(leaving.drain());
    // Not merely critical, which it is as well.
    eventually("it is out of the catalogue", SOON, async || statuses(&consul, "edge").await.len() == 1).await;
    eventually("it is not found any more", SOON, async || !usable(front.admin(), "web").await.contains(&port)).await;
    assert_eq!(get(address, "shop", "/").await.text(), "one", "who has not noticed yet is served");
    tokio::time::timeout(SOON, draining).await.expect("the drain ends").unwrap();
    let before = origin.hits();
    eventually("load goes on", SOON, async || origin.hits() > before + 100).await;
    stop.send_replace(true);
    for load in loads {
        assert!(load.await.unwrap() > 0);
    }
    staying.drain().await;
    assert_eq!(statuses(&consul, "edge").await, []);
}

#[tokio::test]
async fn an_agent_that_does_not_answer_does_not_hold_up_a_drain() {
    let (mut consul, origin) = (Consul::start().await, Origin::start("one").await);
    let config = lictor(&consul, &origin, "[registration]\nname = \"edge\"\nid = \"edge\"\n");
    let (one, two) = (Proxy::start(&config), Proxy::start(&config.replace("\"edge\"", "\"other\"")));
    becomes(&consul, "edge", "passing").await;
    becomes(&consul, "other", "passing").await;
    consul.signal("STOP");
    tokio::time::timeout(SOON, one.drain()).await.expect("the drain ends");
    consul.signal("CONT");
    consul.kill();
    tokio::time::timeout(SOON, two.drain()).await.expect("the drain ends");
}

#[tokio::test]
async fn a_lictor_that_is_broken_off_is_taken_out_all_the_same() {
    let (consul, origin) = (Consul::start().await, Origin::start("one").await);
    let proxy = Proxy::start(&lictor(&consul, &origin, "[registration]\nname = \"edge\"\nid = \"edge\"\n"));
    becomes(&consul, "edge", "passing").await;
    drop(proxy);
    assert!(known(&consul, "edge").await.is_none());
}

#[tokio::test]
async fn a_token_that_may_not_is_reported_and_another_one_is_taken_from_its_file() {
    let (consul, origin) = (Consul::start_with(ACL).await, Origin::start("one").await);
    let root = consul.with_token("root");
    let token = async |name: &str, rules: &str| {
        root.put("/v1/acl/policy", json!({ "Name": name, "Rules": rules }).to_string()).await;
        let made = root.put("/v1/acl/token", json!({ "Policies": [{ "Name": name }] }).to_string()).await;
        serde_json::from_str::<Value>(&made).unwrap()["SecretID"].as_str().unwrap().to_owned()
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), token("reader", "service_prefix \"\" { policy = \"read\" }").await).unwrap();
    let config = lictor(&consul, &origin, "[registration]\nname = \"edge\"\nid = \"edge\"\n");
    let config = config.replace("[consul]\n", &format!("[consul]\ntoken_file = \"{}\"\n", file.path().display()));
    let lictor = Spawned::start(&config, &[]);
    let said = lictor.says("cannot be entered in the catalogue").await;
    assert!(said.contains("id=edge") && said.contains("the token needs service:write for this service"), "{said}");
    assert!(known(&root, "edge").await.is_none());
    // With this and nothing else.
    std::fs::write(file.path(), token("writer", "service \"edge\" { policy = \"write\" }").await).unwrap();
    becomes(&root, "edge", "passing").await;
}

#[tokio::test]
async fn a_drained_proxy_is_out_of_the_catalogue_until_it_is_taken_back() {
    let (consul, origin) = (Consul::start().await, Origin::start("one").await);
    let beside = "[registration]\nname = \"edge\"\n[[registration.services]]\nname = \"app\"\nport = 8080\n";
    let proxy = Proxy::start(&lictor(&consul, &origin, beside));
    becomes(&consul, "edge", "passing").await;
    eventually("so is who is beside it", SOON, async || statuses(&consul, "app").await.len() == 1).await;
    let order = async |path: &str| {
        let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n");
        let answer =
            Client::connect(proxy.admin()).await.exchange(format!("{head}content-length: 2\r\n\r\n{{}}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    order("/v1/drain").await;
    eventually("it is out", SOON, async || statuses(&consul, "edge").await.is_empty()).await;
    assert_eq!(statuses(&consul, "app").await.len(), 1, "who is beside it stays");
    assert_eq!(get(proxy.address(), "shop", "/").await.status, 200, "whoever comes is served");
    order("/v1/undrain").await;
    becomes(&consul, "edge", "passing").await;
}
