//! Starting while Consul does not answer: by the lists that were kept on disk, if they are what they should be.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::support::app::{Proxy, to_service};
use crate::support::client::{eventually, get};
use crate::support::consul::Consul;
use crate::support::fake::{Fake, answer, list, response, sound};
use crate::support::fake::{Query, Reply};
use crate::support::origin::Origin;
use crate::support::spawned::Spawned;
use crate::support::visitor::Visitor;
use crate::support::window::{is_ready, json, metric, updates, usable};

const SOON: Duration = Duration::from_secs(8);

/// A place for a file, and settings that follow `web` at this agent and keep its list there.
struct Shelf {
    _directory: TempDir,
    file: PathBuf,
}

impl Shelf {
    fn new() -> Shelf {
        let directory = TempDir::new().unwrap();
        Shelf { file: directory.path().join("lists"), _directory: directory }
    }

    fn settings(&self, url: &str) -> String {
        let kept = format!("[consul]\nlast_lists = \"{}\"\n", self.file.display());
        to_service(url, "").replace("[consul]\n", &kept)
    }

    /// Lets a proxy follow this agent until it serves, and leave.
    async fn fill(&self, url: &str) {
        let proxy = Proxy::start(&self.settings(url));
        eventually("it serves", SOON, async || is_ready(proxy.admin()).await).await;
        proxy.drain().await;
        assert!(self.file.exists(), "the last change is written down before the end");
    }
}

async fn from_disk(proxy: &Proxy) -> bool {
    let shown = json(proxy.admin(), "/v1/clusters").await[0]["from_disk"] == true;
    let verbose = get(proxy.admin(), "localhost", "/readyz?verbose").await.text();
    assert_eq!(verbose.contains("web: ok, from disk"), shown, "{verbose}");
    let gauge = metric(proxy.admin(), "lictor_discovery_from_disk{service=\"web\"}").await;
    assert_eq!(gauge, f64::from(u8::from(shown)));
    shown
}

fn ports(addresses: &[SocketAddr]) -> Vec<u16> {
    let mut ports: Vec<u16> = addresses.iter().map(SocketAddr::port).collect();
    ports.sort_unstable();
    ports
}

async fn pair() -> [Origin; 2] {
    [Origin::start("one").await, Origin::start("two").await]
}

#[tokio::test]
async fn a_start_without_consul_serves_by_the_last_lists_until_consul_says_otherwise() {
    let mut consul = Consul::start().await;
    let (shelf, [one, two]) = (Shelf::new(), pair().await);
    for origin in [&one, &two] {
        consul.register_service("web", origin.name(), origin.address()).await;
    }
    shelf.fill(&consul.url()).await;
    consul.kill();

    let proxy = Proxy::start(&shelf.settings(&consul.url()));
    eventually("it serves", SOON, async || is_ready(proxy.admin()).await).await;
    assert!(from_disk(&proxy).await);
    assert_eq!(usable(proxy.admin(), "web").await, ports(&[one.address(), two.address()]));
    let visitor = Visitor::start(&proxy);

    // It comes back with nothing, and is told of one of them, and of somebody new.
    consul.restart().await;
    eventually("the emptiness is doubted", SOON, async || updates(proxy.admin(), "doubted").await >= 1.0).await;
    let three = Origin::start("three").await;
    for origin in [&one, &three] {
        consul.register_service("web", origin.name(), origin.address()).await;
    }
    let expected = ports(&[one.address(), three.address()]);
    eventually("consul is followed", SOON, async || usable(proxy.admin(), "web").await == expected).await;
    assert!(!from_disk(&proxy).await);
    let answers = visitor.leave().await;
    assert!(answers.keys().all(|who| ["one", "two", "three"].contains(&who.as_str())), "{answers:?}");
    proxy.drain().await;
    assert!(fs::read_to_string(&shelf.file).unwrap().contains(&three.address().to_string()));
}

#[tokio::test]
async fn a_source_that_only_keeps_silent_has_its_last_list_served_after_a_moment() {
    let (shelf, [one, two]) = (Shelf::new(), pair().await);
    let all = [one.address(), two.address()];
    let fake = Fake::start(sound(10, &all)).await;
    shelf.fill(&fake.url()).await;
    let written = fs::read(&shelf.file).unwrap();
    fake.script(|_| Reply::Hold);
    let proxy = Proxy::start(&shelf.settings(&fake.url()));
    eventually("it serves", SOON, async || is_ready(proxy.admin()).await).await;
    assert!(from_disk(&proxy).await);
    // Nothing has been heard, so there is nothing to write down.
    proxy.drain().await;
    assert_eq!(fs::read(&shelf.file).unwrap(), written);

    let proxy = Proxy::start(&shelf.settings(&fake.url()));
    eventually("it serves", SOON, async || is_ready(proxy.admin()).await).await;
    // The first true answer has none of them, which is looked at twice; and they are kept for a while.
    let empty = answer(20, list(&[]));
    fake.script(move |query: &Query| if query.waits_beyond(20) { Reply::Hold } else { Reply::Raw(empty.clone()) });
    eventually("it is believed", SOON, async || usable(proxy.admin(), "web").await.is_empty()).await;
    assert_eq!(updates(proxy.admin(), "doubted").await, 1.0);
    assert!(!from_disk(&proxy).await);
    assert_eq!(json(proxy.admin(), "/v1/clusters").await[0]["suspects"], 2);
    assert_eq!(get(proxy.address(), "x", "/").await.status, 200);
    proxy.drain().await;
}

#[tokio::test]
async fn a_file_that_cannot_be_trusted_is_named_with_its_fault_and_ignored() {
    let (shelf, [one, two]) = (Shelf::new(), pair().await);
    let fake = Fake::start(sound(10, &[one.address(), two.address()])).await;
    shelf.fill(&fake.url()).await;
    let good = fs::read_to_string(&shelf.file).unwrap();
    fake.script(|_| Reply::Raw(response(500, &vec![], "No cluster leader")));
    let stranger = Fake::start(|_| Reply::Raw(response(500, &vec![], "No cluster leader"))).await;
    let cases = [
        (good[..good.len() / 2].to_owned(), &fake, "it was cut short or changed"),
        (good.replace(&one.address().to_string(), "10.0.0.1:80"), &fake, "it was cut short or changed"),
        (good.replacen("lictor-lists 1", "lictor-lists 9", 1), &fake, "it has version 9"),
        ("\0\0\0\0".to_owned(), &fake, "it does not begin as a file of last lists does"),
        (good.clone(), &stranger, "it is of http://127.0.0.1:"),
    ];
    for (content, agent, words) in cases {
        fs::write(&shelf.file, &content).unwrap();
        let lictor = Spawned::start(&shelf.settings(&agent.url()), &[]);
        let line = lictor.says("the last lists are not used").await;
        assert!(line.contains(words) && line.contains("WARN"), "{words}: {line}");
        lictor.says("cannot be followed").await;
        assert_eq!(fs::read_to_string(&shelf.file).unwrap(), content, "it is left for whoever wants to see it");
    }
    // And as it was, it is used.
    fs::write(&shelf.file, &good).unwrap();
    let proxy = Proxy::start(&shelf.settings(&fake.url()));
    eventually("it serves", SOON, async || is_ready(proxy.admin()).await && from_disk(&proxy).await).await;
    proxy.drain().await;
}

#[tokio::test]
async fn without_consul_and_without_a_file_requests_are_told_to_wait_and_consul_is_found_when_it_comes() {
    let (shelf, [one, _two]) = (Shelf::new(), pair().await);
    let fake = Fake::start(|_| Reply::Raw(response(500, &vec![], "No cluster leader"))).await;
    let proxy = Proxy::start(&shelf.settings(&fake.url()));
    let refusal = get(proxy.address(), "x", "/").await;
    assert_eq!((refusal.status, refusal.text()), (503, "waiting for discovery\n".into()));
    fake.script(sound(10, &[one.address()]));
    eventually("it serves", SOON, async || get(proxy.address(), "x", "/").await.status == 200).await;
    proxy.drain().await;
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_said_and_nothing_else() {
    let [one, _two] = pair().await;
    let fake = Fake::start(sound(10, &[one.address()])).await;
    let shelf = Shelf { file: Path::new("/proc/no/such/place").to_owned(), _directory: TempDir::new().unwrap() };
    let lictor = Spawned::start(&shelf.settings(&fake.url()), &[]);
    lictor.says("the last lists cannot be kept").await;
    assert_eq!(get(lictor.address().await, "x", "/").await.text(), "one");
}
