//! What a sound Consul never says and a broken one does, or what stands between: whatever comes, the last good list stays,
//! nobody is hammered, and the first good answer is believed again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep_until};

use crate::support::app::{Proxy, to_service};
use crate::support::client::{eventually, get};
use crate::support::fake::{Fake, Query, Reply, answer, list, response, sound};
use crate::support::origin::Origin;
use crate::support::spawned::Spawned;
use crate::support::window::{is_ready, sum, updates, usable};

const SOON: Duration = Duration::from_secs(8);

/// What following a service may cost an agent that answers at once: three at once, then four a second.
fn most_queries(over: Duration) -> usize {
    3 + (over.as_secs_f64() * 4.0).ceil() as usize + 1
}

/// One stand-in, the proxy that follows it, and two origins: at first only the first is listed, at index 10.
struct Scene {
    fake: Fake,
    proxy: Proxy,
    one: Origin,
    two: Origin,
}

impl Scene {
    async fn start() -> Scene {
        let (one, two) = (Origin::start("one").await, Origin::start("two").await);
        let fake = Fake::start(sound(10, &[one.address()])).await;
        let proxy = Proxy::start(&to_service(&fake.url(), ""));
        let scene = Scene { fake, proxy, one, two };
        scene.until_served(&[&scene.one], "a sound answer").await;
        let waits = async || scene.fake.queries().iter().any(|query| query.waits_beyond(10));
        eventually("it waits for another", SOON, waits).await;
        scene
    }

    async fn until_served(&self, origins: &[&Origin], what: &str) {
        let ports = ports(origins);
        let same = async || is_ready(self.proxy.admin()).await && usable(self.proxy.admin(), "web").await == ports;
        eventually(&format!("followed: {what}"), SOON, same).await;
    }

    /// The list is the first one, and it serves.
    async fn still_serves_one(&self, what: &str) {
        assert_eq!(usable(self.proxy.admin(), "web").await, ports(&[&self.one]), "{what}");
        assert_eq!(get(self.proxy.address(), "x", "/").await.text(), "one", "{what}");
    }

    fn both(&self) -> [SocketAddr; 2] {
        [self.one.address(), self.two.address()]
    }

    fn queries_since(&self, since: Instant) -> Vec<Query> {
        self.fake.queries().into_iter().filter(|query| query.came >= since).collect()
    }
}

fn ports(origins: &[&Origin]) -> Vec<u16> {
    let mut ports: Vec<u16> = origins.iter().map(|origin| origin.address().port()).collect();
    ports.sort_unstable();
    ports
}

#[tokio::test]
async fn an_answer_that_is_none_leaves_the_list_as_it_is() {
    let full = list(&[SocketAddr::from(([127, 0, 0, 1], 1))]);
    let half = &full[..full.len() / 2];
    let head = "HTTP/1.1 200 OK\r\nx-consul-index: 11\r\n";
    let chunk = format!("{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{half}\r\n", half.len());
    let replies = [
        ("chunks without an end", Reply::Cut(chunk.into())),
        ("chunks that are none", Reply::Cut(format!("{head}transfer-encoding: chunked\r\n\r\nxyz\r\n").into())),
        ("a body shorter than its length", Reply::Cut(format!("{head}content-length: 9999\r\n\r\n{full}").into())),
        ("a length shorter than its body", Reply::Cut(format!("{head}content-length: 40\r\n\r\n{full}").into())),
        ("an opening bracket", Reply::Raw(answer(11, "["))),
        ("null", Reply::Raw(answer(11, "null"))),
        ("an object", Reply::Raw(answer(11, "{}"))),
        ("a list of nulls", Reply::Raw(answer(11, "[null]"))),
        ("an error in a 200", Reply::Raw(answer(11, "\"rpc error\""))),
        ("nothing", Reply::Raw(answer(11, ""))),
        ("a page", Reply::Raw(answer(11, "<html><body>Welcome to the captive portal</body></html>"))),
        ("no HTTP", Reply::Cut(b"-ERR unknown command\r\n".to_vec())),
        ("a close", Reply::Cut(Vec::new())),
        ("a gateway's page", Reply::Raw(response(502, &vec![], "<html>bad gateway</html>"))),
        ("a redirection", Reply::Raw(response(301, &vec![("location".into(), "/v1/".into())], "[]"))),
        ("an empty success", Reply::Raw(response(204, &vec![], ""))),
    ];
    join_all(replies.map(|(what, reply)| refuses(what, reply))).await;
}

async fn refuses(what: &str, reply: Reply) {
    let scene = Scene::start().await;
    scene.fake.script(move |_| reply.clone());
    let counted = async || updates(scene.proxy.admin(), "error").await >= 2.0;
    eventually(&format!("counted: {what}"), SOON, counted).await;
    scene.still_serves_one(what).await;
    scene.fake.script(sound(20, &scene.both()));
    scene.until_served(&[&scene.one, &scene.two], what).await;
    assert_eq!(updates(scene.proxy.admin(), "changed").await, 2.0, "{what}");
    scene.proxy.drain().await;
}

#[tokio::test]
async fn the_index_of_an_error_is_not_an_index() {
    let scene = Scene::start().await;
    let began = Instant::now();
    scene.fake.script(|_| Reply::Raw(response(500, &vec![("X-Consul-Index".into(), "1".into())], "No cluster leader")));
    eventually("asked twice", SOON, async || scene.queries_since(began).len() >= 2).await;
    scene.still_serves_one("500").await;
    assert!(scene.queries_since(began).iter().all(|query| query.index().is_none()), "{:?}", scene.queries_since(began));
    scene.proxy.drain().await;
}

#[tokio::test]
async fn an_agent_that_only_fails_is_asked_a_few_times_a_second_at_most() {
    let scene = Scene::start().await;
    let (began, over) = (Instant::now(), Duration::from_secs(4));
    scene.fake.script(|_| Reply::Raw(response(500, &vec![], "rpc error getting client: failed to get conn")));
    sleep_until(began + over).await;
    let queries = scene.queries_since(began).len();
    assert!((2..=8).contains(&queries), "{queries} queries in {over:?}");
    scene.still_serves_one("500s").await;
    scene.proxy.drain().await;
}

#[tokio::test]
async fn an_agent_that_names_a_time_is_left_alone_for_it() {
    let scene = Scene::start().await;
    let began = Instant::now();
    scene.fake.script(|_| Reply::Raw(response(429, &vec![("retry-after".into(), "2".into())], "Resource Exhausted")));
    eventually("asked twice", SOON, async || scene.queries_since(began).len() >= 2).await;
    let queries = scene.queries_since(began);
    assert!(queries[1].came - queries[0].came >= Duration::from_secs(2), "{queries:?}");
    scene.fake.script(sound(20, &scene.both()));
    scene.until_served(&[&scene.one, &scene.two], "after a 429").await;
    scene.proxy.drain().await;
}

#[tokio::test]
async fn an_index_that_makes_no_sense_costs_neither_the_list_nor_the_agent() {
    let falling = AtomicUsize::new(1_000_000);
    let fall = move || falling.fetch_sub(1, Ordering::Relaxed).to_string();
    let same = |index: &'static str| move || index.to_owned();
    type Say = Box<dyn Fn() -> String + Send + Sync>;
    let indexes: [(&str, Say); 7] = [
        ("0", Box::new(same("0"))),
        ("missing", Box::new(same(""))),
        ("no number", Box::new(same("soon"))),
        ("the largest", Box::new(same("18446744073709551615"))),
        ("larger than that", Box::new(same("99999999999999999999999"))),
        ("backwards each time", Box::new(fall)),
        ("always the same", Box::new(same("10"))),
    ];
    join_all(indexes.map(|(what, index)| senseless(what, index))).await;
}

async fn senseless(what: &str, index: Box<dyn Fn() -> String + Send + Sync>) {
    let scene = Scene::start().await;
    let index = Arc::new(index);
    let instantly = |addresses: &[SocketAddr]| {
        let (list, index) = (list(addresses), Arc::clone(&index));
        move |_: &Query| match index() {
            index if index.is_empty() => Reply::Raw(response(200, &vec![], &list)),
            index => Reply::Raw(answer(index, &list)),
        }
    };
    let (began, over) = (Instant::now(), Duration::from_secs(3));
    scene.fake.script(instantly(&[scene.one.address()]));
    sleep_until(began + over).await;
    let queries = scene.queries_since(began).len();
    assert!(queries <= most_queries(over), "{what}: {queries} queries in {over:?}");
    scene.still_serves_one(what).await;
    scene.fake.script(instantly(&scene.both()));
    scene.until_served(&[&scene.one, &scene.two], what).await;
    scene.proxy.drain().await;
}

#[tokio::test]
async fn an_answer_that_stops_in_the_middle_is_given_up_and_asked_for_again() {
    let scene = Scene::start().await;
    let both = list(&scene.both());
    let whole = String::from_utf8(answer(11, &both)).unwrap();
    let part = whole[..whole.len() - both.len() / 2].to_owned();
    let begun = Arc::new(AtomicUsize::new(0));
    let begins = Arc::clone(&begun);
    scene.fake.script(move |_| {
        begins.fetch_add(1, Ordering::Relaxed);
        Reply::Stall(part.clone().into())
    });
    eventually("half an answer is given", SOON, async || begun.load(Ordering::Relaxed) == 1).await;
    // Only new queries are answered soundly; the one that stopped has to be given up.
    scene.fake.script(sound(20, &scene.both()));
    let given_up = async || updates(scene.proxy.admin(), "error").await >= 1.0;
    eventually("given up", Duration::from_secs(15), given_up).await;
    scene.until_served(&[&scene.one, &scene.two], "after silence").await;
    scene.proxy.drain().await;
}

#[tokio::test]
async fn a_lower_index_of_another_backend_is_no_step_back() {
    let [one, two] = [Origin::start("one").await, Origin::start("two").await];
    let backend = |name: &str, index: u64, addresses: &[SocketAddr]| {
        let headers =
            vec![("X-Consul-Query-Backend".into(), name.into()), ("X-Consul-Index".into(), index.to_string())];
        response(200, &headers, list(addresses))
    };
    let first = backend("blocking-query", 500, &[one.address(), two.address()]);
    let then = backend("streaming", 40, &[two.address()]);
    let fake = Fake::start_client(move |query| match query.index() {
        None => Reply::Raw(first.clone()),
        Some("500") => Reply::Raw(then.clone()),
        Some(_) => Reply::Hold,
    })
    .await;
    let proxy = Proxy::start(&to_service(&fake.url(), ""));
    let waits = async || fake.queries().last().is_some_and(|query| query.waits_beyond(40));
    eventually("it waits beyond the streaming index", SOON, waits).await;
    assert_eq!(fake.queries().len(), 3, "{:?}", fake.queries());
    assert_eq!(usable(proxy.admin(), "web").await, ports(&[&two]));
    assert_eq!(updates(proxy.admin(), "doubted").await, 0.0);
    proxy.drain().await;
}

#[tokio::test]
async fn a_server_without_a_leader_takes_nobody_out() {
    let scene = Scene::start().await;
    let many: Vec<SocketAddr> = (1..=9).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
    scene.fake.script(sound(20, &many));
    eventually("nine", SOON, async || usable(scene.proxy.admin(), "web").await.len() == 9).await;
    let began = Instant::now();
    let headers = vec![("X-Consul-Index".into(), "30".into()), ("X-Consul-KnownLeader".into(), "false".into())];
    let few = list(&many[..2]);
    scene.fake.script(move |_| Reply::Raw(response(200, &headers, &few)));
    eventually("asked three times", SOON, async || scene.queries_since(began).len() >= 3).await;
    assert_eq!(usable(scene.proxy.admin(), "web").await.len(), 9);
    // With a leader the same is believed.
    scene.fake.script(sound(30, &many[..2]));
    eventually("two", SOON, async || usable(scene.proxy.admin(), "web").await.len() == 2).await;
    scene.proxy.drain().await;
}

#[tokio::test]
async fn a_follower_that_replays_its_log_is_never_believed_and_the_leader_is_asked() {
    let all: Vec<SocketAddr> = (1..=30).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
    let fake = Fake::start_client(sound(100, &all)).await;
    let proxy = Proxy::start(&to_service(&fake.url(), ""));
    eventually("thirty", SOON, async || usable(proxy.admin(), "web").await.len() == 30).await;
    // The first of all asks the leader, since nothing is known of the agent before it has answered.
    eventually("then stale reads", SOON, async || fake.queries().len() >= 2).await;
    assert!(fake.queries()[1..].iter().all(|query| query.parameters.contains_key("stale")), "{:?}", fake.queries());
    // The follower restarts: it knows more each time it is asked, and never all. The leader always knows.
    let known = AtomicUsize::new(0);
    let leader = sound(100, &all);
    fake.script(move |query| match query.parameters.contains_key("stale") {
        true if known.load(Ordering::Relaxed) < 30 => {
            let known = known.fetch_add(10, Ordering::Relaxed);
            Reply::Raw(answer(known + 1, list(&all[..known])))
        }
        _ => leader(query),
    });
    let asked = async || {
        let queries = fake.queries();
        queries.iter().filter(|query| !query.parameters.contains_key("stale")).count() >= 4
            && queries.last().is_some_and(|query| query.waits_beyond(100))
    };
    let mut fewest = usize::MAX;
    eventually("the leader was asked each time", SOON, async || {
        fewest = fewest.min(usable(proxy.admin(), "web").await.len());
        asked().await
    })
    .await;
    assert_eq!((fewest, sum(proxy.admin(), "lictor_table_version", "").await), (30, 2.0));
    proxy.drain().await;
}

#[tokio::test]
async fn a_proxy_for_the_outside_world_is_not_used_on_the_way_to_the_agent() {
    let trap = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", trap.local_addr().unwrap());
    let one = Origin::start("one").await;
    let fake = Fake::start(sound(10, &[one.address()])).await;
    let names = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    // A NO_PROXY of the machine's own would make the point by itself.
    let none = [("NO_PROXY", ""), ("no_proxy", "")];
    let environment: Vec<_> = names.into_iter().map(|name| (name, url.as_str())).chain(none).collect();
    let lictor = Spawned::start(&to_service(&fake.url(), ""), &environment);
    let address = lictor.address().await;
    eventually("it serves", SOON, async || get(address, "x", "/").await.text() == "one").await;
    let caught = tokio::time::timeout(Duration::ZERO, trap.accept()).await;
    assert!(caught.is_err(), "{caught:?}");
}
