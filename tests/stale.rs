//! How old a list may be, and what follows when it is older: by a stand-in for Consul that stops answering.

use std::time::Duration;

use crate::support::app::{Proxy, to_service};
use crate::support::client::{eventually, get};
use crate::support::fake::{Fake, Query, Reply, answer as good, list, response};
use crate::support::origin::Origin;
use crate::support::window::{is_ready, json, metric, updates};

const SOON: Duration = Duration::from_secs(8);

/// The shortest that there is.
const SHORT: &str = "wait = \"1s\"\nmax_stale = \"2s\"\n";

async fn follow(fake: &Fake, more: &str) -> Proxy {
    let settings = to_service(&fake.url(), "").replace("[consul]\n", &format!("[consul]\n{more}"));
    let proxy = Proxy::start(&settings);
    eventually("it serves", SOON, async || is_ready(proxy.admin()).await).await;
    proxy
}

/// Answers at once whatever is asked, so that there always is a good answer a moment ago.
fn well(origin: &Origin) -> impl Fn(&Query) -> Reply + Send + Sync + 'static {
    let answer = good(10, list(&[origin.address()]));
    move |_| Reply::Raw(answer.clone())
}

fn fail(fake: &Fake) {
    fake.script(|_| Reply::Raw(response(500, &vec![], "rpc error making call: EOF")));
}

async fn is_stale(proxy: &Proxy) -> bool {
    metric(proxy.admin(), "lictor_discovery_stale{service=\"web\"}").await == 1.0
}

async fn answer(proxy: &Proxy) -> (u16, String) {
    let answer = get(proxy.address(), "x", "/").await;
    (answer.status, answer.text())
}

async fn scene() -> (Origin, Fake) {
    let origin = Origin::start("one").await;
    let fake = Fake::start(well(&origin)).await;
    (origin, fake)
}

#[tokio::test]
async fn without_a_limit_an_old_list_is_served_and_its_age_is_shown() {
    let (_origin, fake) = scene().await;
    let proxy = follow(&fake, "").await;
    fail(&fake);
    eventually("it fails", SOON, async || updates(proxy.admin(), "error").await >= 3.0).await;
    assert!(is_ready(proxy.admin()).await && !is_stale(&proxy).await);
    assert_eq!(answer(&proxy).await, (200, "one".into()));
    let verbose = get(proxy.admin(), "localhost", "/readyz?verbose").await.text();
    assert!(verbose.contains("web: ok, last good answer ") && verbose.ends_with(" s ago\n"), "{verbose}");
    let age = json(proxy.admin(), "/v1/clusters").await[0]["age_seconds"].as_f64().unwrap();
    assert!((0.0..60.0).contains(&age), "{age}");
    proxy.drain().await;
}

#[tokio::test]
async fn an_old_list_is_served_unready_where_others_are_to_be_preferred() {
    let (origin, fake) = scene().await;
    let proxy = follow(&fake, &format!("{SHORT}on_stale = \"degrade\"\n")).await;
    fail(&fake);
    eventually("it is stale", SOON, async || is_stale(&proxy).await).await;
    let ready = get(proxy.admin(), "localhost", "/readyz?verbose").await;
    assert_eq!((ready.status, ready.text().starts_with("discovery is stale\nweb: ok, stale, last")), (503, true));
    assert_eq!(json(proxy.admin(), "/v1/clusters").await[0]["stale"], true);
    assert_eq!(answer(&proxy).await, (200, "one".into()));
    fake.script(well(&origin));
    eventually("it is fresh again", SOON, async || is_ready(proxy.admin()).await).await;
    assert!(!is_stale(&proxy).await);
    let told = json(proxy.admin(), "/v1/events?once").await;
    let told = told.as_array().unwrap().iter().filter(|event| event["source"] == "web");
    let kinds: Vec<&str> = told.map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["stale_began", "stale_ended"]);
    proxy.drain().await;
}

#[tokio::test]
async fn an_old_list_is_not_served_where_that_was_asked_for() {
    let (origin, fake) = scene().await;
    let more = "[[routes]]\nhost = \"static\"\ncluster = \"files\"\n[clusters.files]\nendpoints = [\"ADDRESS\"]";
    let more = more.replace("ADDRESS", &origin.address().to_string());
    let settings =
        to_service(&fake.url(), &more).replace("[consul]\n", &format!("[consul]\n{SHORT}on_stale = \"fail\"\n"));
    let proxy = Proxy::start(&settings);
    eventually("it serves", SOON, async || is_ready(proxy.admin()).await).await;
    assert_eq!(answer(&proxy).await, (200, "one".into()));
    fail(&fake);
    eventually("it is stale", SOON, async || is_stale(&proxy).await).await;
    assert_eq!(answer(&proxy).await, (503, "discovery is stale\n".into()));
    let expired =
        async |cluster: &str| metric(proxy.admin(), &format!("lictor_cluster_expired{{cluster=\"{cluster}\"}}")).await;
    assert_eq!((expired("web").await, expired("files").await), (1.0, 0.0), "whom people are called for");
    assert!(is_ready(proxy.admin()).await, "other clusters are well");
    assert_eq!(get(proxy.address(), "static", "/").await.status, 200);
    fake.script(well(&origin));
    eventually("it serves again", SOON, async || answer(&proxy).await.0 == 200).await;
    proxy.drain().await;
}
