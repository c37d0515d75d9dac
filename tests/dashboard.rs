//! What operators see: the page in a true browser, and the feed behind it.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::support::app::{Proxy, to_endpoints};
use crate::support::browser::Browser;
use crate::support::client::{Client, eventually};
use crate::support::origin::{Origin, Script};
use crate::support::visitor::Visitor;
use crate::support::window::standing;

const SOON: Duration = Duration::from_secs(15);
/// The words of each cluster's line, by its name.
const WORDS: &str = "document.querySelector('.row .words')?.textContent ?? ''";

async fn origins(names: &[&str]) -> Vec<Origin> {
    let mut origins = Vec::new();
    for name in names {
        origins.push(Origin::start(name).await);
    }
    origins
}

fn before(origins: &[Origin], more: &str) -> Proxy {
    let addresses: Vec<SocketAddr> = origins.iter().map(Origin::address).collect();
    Proxy::start(&to_endpoints(&addresses, &format!("policy = \"round_robin\"\n{more}")))
}

/// Clusters without anybody behind them.
fn idle(clusters: usize, endpoints: usize) -> Proxy {
    let mut text = "[[routes]]\ncluster = \"cluster-000\"\n".to_owned();
    for cluster in 0..clusters {
        let all: Vec<String> = (1..=endpoints).map(|port| format!("\"127.0.0.1:{port}\"")).collect();
        text += &format!("[clusters.cluster-{cluster:03}]\nendpoints = [{}]\n", all.join(", "));
    }
    Proxy::start(&text)
}

/// Reads one event of the feed: its name and its value.
async fn event(feed: &mut Feed) -> (String, Value) {
    loop {
        if let Some(end) = feed.text.find("\n\n") {
            let event: String = feed.text.drain(..end + 2).collect();
            let line = |key: &str| event.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().to_owned();
            return (line("event: "), serde_json::from_str(&line("data: ")).unwrap());
        }
        let piece = feed.client.piece(&mut feed.body).await.unwrap().expect("the feed goes on");
        feed.text += std::str::from_utf8(&piece).unwrap();
    }
}

struct Feed {
    client: Client,
    body: crate::support::client::Body,
    text: String,
}

async fn follow(admin: SocketAddr) -> Feed {
    let mut client = Client::connect(admin).await;
    client.send("GET /v1/live HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let (head, body) = client.head().await;
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    Feed { client, body, text: String::new() }
}

#[tokio::test]
async fn the_feed_tells_everything_first_and_then_what_is_different() {
    let origins = origins(&["one", "two"]).await;
    let proxy = before(&origins, "");
    let mut feed = follow(proxy.admin()).await;
    let (name, whole) = event(&mut feed).await;
    assert_eq!(name, "whole");
    let cluster = &whole["clusters"][0];
    assert_eq!((&cluster["name"], cluster["endpoints"].as_array().unwrap().len()), (&Value::from("web"), 2));
    assert!(cluster["rate"].is_null(), "nothing is known of the last second: {cluster}");
    assert!(whole["tables"].as_array().is_some_and(|tables| !tables.is_empty()), "{whole}");
    let visitor = Visitor::start(&proxy);
    let told = eventually("figures", SOON, async || {
        let (name, change) = event(&mut feed).await;
        assert_eq!(name, "change");
        let cluster = change["clusters"].as_array()?.first()?.clone();
        (cluster["rate"].as_f64()? > 0.0 && cluster["p50"].as_f64()? <= cluster["p99"].as_f64()?).then_some(cluster)
    });
    assert_eq!(told.await["errors"], 0.0);
    visitor.leave().await;
    // Who asks for nothing is not told of again and again.
    eventually("silence", SOON, async || event(&mut feed).await.1["clusters"].as_array().is_some_and(Vec::is_empty))
        .await;
    // Who comes new is told of the past as well, and what the others were told as of the same sample.
    let (_, again) = event(&mut follow(proxy.admin()).await).await;
    let rates = again["clusters"][0]["past"]["rate"].as_array().unwrap();
    assert!(rates.iter().filter_map(Value::as_f64).any(|rate| rate > 0.0), "{rates:?}");
}

#[tokio::test]
async fn an_ejection_is_told_at_once_and_to_all_who_follow() {
    let origins = origins(&["one", "two", "three"]).await;
    let proxy = before(&origins, "[clusters.web.ejection]\nconsecutive_failures = 2");
    let mut feeds = [follow(proxy.admin()).await, follow(proxy.admin()).await];
    for feed in &mut feeds {
        event(feed).await;
    }
    origins[0].always(Script::answer(503, "no"));
    let visitor = Visitor::start(&proxy);
    let address = origins[0].address().to_string();
    for feed in &mut feeds {
        let change = eventually("it is told", SOON, async || {
            let (_, change) = event(feed).await;
            change["events"].as_array()?.iter().any(|event| event["kind"] == "ejected").then_some(change)
        })
        .await;
        let endpoints = change["clusters"][0]["endpoints"].as_array().unwrap();
        let out = endpoints.iter().find(|endpoint| endpoint["address"] == address).unwrap();
        assert_eq!(out["state"], "ejected", "with its standing, and not a second later: {change}");
        assert!(out["until"].as_u64() > change["now"].as_u64() && out["why"].is_string(), "{out}");
    }
    visitor.leave().await;
}

#[tokio::test]
async fn as_many_may_follow_as_leave_room_for_others() {
    let proxy = idle(1, 1);
    let mut feeds = Vec::new();
    let refused = loop {
        let mut client = Client::connect(proxy.admin()).await;
        client.send("GET /v1/live HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        let (head, body) = client.head().await;
        if head.status != 200 {
            break head;
        }
        feeds.push((client, body));
        assert!(feeds.len() < 40, "nobody is ever refused");
    };
    assert_eq!((refused.status, refused.header("content-type")), (503, Some("application/problem+json")));
    assert_eq!(crate::support::client::get(proxy.admin(), "localhost", "/livez").await.status, 200);
    feeds.clear();
    eventually("who leaves makes room", SOON, async || {
        let mut client = Client::connect(proxy.admin()).await;
        client.send("GET /v1/live HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        client.head().await.0.status == 200
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_killed_under_load_turns_ejected_on_the_page_by_itself() {
    let origins = origins(&["one", "two", "three"]).await;
    let proxy = before(&origins, "");
    let visitor = Visitor::start(&proxy);
    let mut browser = Browser::start(1280, 800).await;
    browser.open(proxy.admin()).await;
    browser.until("all are eligible", &format!("{WORDS}.includes('3 eligible')")).await;
    browser.until("a line is drawn", "document.querySelector('.rate .line').getAttribute('d')?.length > 30").await;
    // Gone with the next page.
    browser.run("window.sameas = 1").await;
    origins[1].stop().await;
    browser.until("it is shown", "document.querySelector('.standing b')?.textContent === 'ejected'").await;
    browser.until("in the line", &format!("{WORDS}.includes('1 ejected')")).await;
    assert_eq!(standing(proxy.admin(), origins[1].address()).await, "ejected", "and it is");
    let address = origins[1].address();
    let listed = format!("document.getElementById('feed').textContent.includes('ejected web {address}')");
    browser.until("among the events", &listed).await;
    browser.until("it is said aloud", "document.getElementById('say').textContent.includes('was ejected')").await;
    browser.until("first of all", "document.getElementById('verdict').textContent.startsWith('1 endpoint of 3')").await;
    assert_eq!(browser.run("window.sameas").await, 1, "on the same page");
    assert_eq!(browser.complaints(), [] as [&str; 0]);
    visitor.leave().await;
}

#[tokio::test]
async fn a_search_survives_what_changes_and_all_is_done_by_keys() {
    let proxy = idle(12, 3);
    let mut browser = Browser::start(1280, 800).await;
    browser.open(proxy.admin()).await;
    let shown = "[...document.querySelectorAll('.row')].filter(row => !row.hidden).map(row => row.querySelector('button').textContent).join()";
    browser.until("all are there", &format!("{shown}.split(',').length === 12")).await;
    browser.press("/").await;
    browser.write("cluster-007").await;
    browser.until("one is left", &format!("{shown} === 'cluster-007'")).await;
    assert_eq!(browser.run("document.getElementById('found').textContent").await, "1 of 12 clusters");
    // Two more samples, and a new configuration.
    let ticks = "new Promise(resolve => { let n = 0; new MutationObserver(() => ++n >= 2 && resolve(true)).observe(document.getElementById('table'), { subtree: true, childList: true, characterData: true }); })";
    browser.run(ticks).await;
    assert_eq!(browser.run(shown).await, "cluster-007");
    browser.press("Enter").await;
    let focused = "document.activeElement.textContent";
    browser.until("the line has the focus", &format!("{focused} === 'cluster-007'")).await;
    browser.press("Enter").await;
    browser.until("it is open", "document.activeElement.getAttribute('aria-expanded') === 'true'").await;
    browser
        .until("with its endpoints", "document.querySelectorAll('.row:not([hidden]) .ends tbody tr').length === 3")
        .await;
    browser.press("ArrowLeft").await;
    browser.until("and closed", "document.activeElement.getAttribute('aria-expanded') === 'false'").await;
    browser.press("/").await;
    browser.press("Escape").await;
    browser.until("all are back", &format!("{shown}.split(',').length === 12")).await;
    browser.press("j").await;
    browser.press("j").await;
    browser.until("the second has the focus", &format!("{focused} === 'cluster-001'")).await;
    let ring = "getComputedStyle(document.activeElement).outlineStyle";
    assert_eq!(browser.run(ring).await, "solid", "and shows it");
    browser.press("/").await;
    browser.write("127.0.0.1:2").await;
    browser
        .until(
            "an address is found",
            "document.getElementById('found').textContent === '12 of 12 clusters, 12 endpoints'",
        )
        .await;
    browser.press("Escape").await;
    browser.press("?").await;
    browser.until("the keys are shown", "document.getElementById('help').open").await;
    assert_eq!(browser.complaints(), [] as [&str; 0]);
}

#[tokio::test]
async fn the_page_fits_a_phone_and_is_dark_where_all_is_dark() {
    let proxy = idle(3, 2);
    let mut browser = Browser::start(360, 740).await;
    browser.prefer(&[("prefers-color-scheme", "dark"), ("prefers-reduced-motion", "reduce")]).await;
    browser.open(proxy.admin()).await;
    browser.until("it is there", "document.querySelectorAll('.row').length === 3").await;
    browser.until("with endpoints", "document.querySelectorAll('.ends tbody tr').length === 6").await;
    let fits = "document.documentElement.scrollWidth <= innerWidth && [...document.querySelectorAll('main *')].every(element => element.closest('svg, .unseen, .views') || element.getBoundingClientRect().right <= innerWidth + 1)";
    for tab in ["clusters", "events", "tables", "sources"] {
        browser.run(&format!("document.getElementById('tab-{tab}').click()")).await;
        assert_eq!(browser.run(fits).await, true, "{tab} is wider than the phone");
    }
    let paper = "getComputedStyle(document.documentElement).backgroundColor";
    let brightness = format!("{paper}.match(/[0-9]+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0)");
    let dark = browser.run(&brightness).await.as_f64().unwrap();
    browser.prefer(&[("prefers-color-scheme", "light")]).await;
    let light = browser.run(&brightness).await.as_f64().unwrap();
    assert!(dark < 150.0 && light > 650.0, "{dark} {light}");
    browser.run("document.getElementById('theme').click(), document.getElementById('theme').click()").await;
    assert_eq!(browser.run(&brightness).await.as_f64().unwrap(), dark, "or because somebody wants it so");
    assert_eq!(browser.complaints(), [] as [&str; 0]);
}

#[tokio::test]
async fn with_five_hundred_clusters_the_page_is_patched_and_not_rebuilt() {
    let proxy = idle(500, 2);
    let mut browser = Browser::start(1280, 800).await;
    browser.open(proxy.admin()).await;
    browser.until("all are there", "document.querySelectorAll('.row').length === 500").await;
    let counted = "new Promise(resolve => {
        const list = document.getElementById('rows');
        let made = 0, ticks = 0;
        new MutationObserver(all => { for (const one of all) made += one.addedNodes.length; })
            .observe(list, { subtree: true, childList: true });
        new MutationObserver(() => ++ticks >= 3 && resolve(made))
            .observe(document.getElementById('table'), { subtree: true, childList: true, characterData: true });
    })";
    assert_eq!(browser.run(counted).await, 0, "nothing has changed, so nothing is made anew");
    let painted = "[...document.querySelectorAll('.row')].filter(row => row.row.isSeen).length";
    assert!(browser.run(painted).await.as_u64().unwrap() < 60, "who is not seen is not painted");
    assert_eq!(browser.complaints(), [] as [&str; 0]);
}

#[tokio::test]
async fn a_lost_connection_is_shown_until_there_is_one_again() {
    let proxy = idle(2, 1);
    let admin = proxy.admin();
    let mut browser = Browser::start(1000, 700).await;
    browser.open(admin).await;
    browser.until("it is live", "document.getElementById('link').textContent === 'live'").await;
    let mut config = proxy.app_config();
    config.admin = Some(lictor::config::Admin::at(admin));
    drop(proxy);
    let lost = "!document.getElementById('lost').hidden && document.getElementById('lost').textContent";
    let said = browser.until("it is lost", lost).await;
    assert!(said.as_str().unwrap().contains("What you see is of"), "{said}");
    browser.until("the title says so", "document.title.includes('connection lost')").await;
    let again = lictor::app::App::start(config).unwrap();
    browser.until("it is live again", "document.getElementById('link').textContent === 'live'").await;
    assert_eq!(browser.run("document.getElementById('lost').hidden").await, true);
    browser.until("the title is of now", "!document.title.includes('lost')").await;
    assert_eq!(browser.run("document.querySelectorAll('.row').length").await, 2);
    drop(again);
}

#[tokio::test]
async fn who_has_no_token_is_asked_for_one_and_is_told_if_it_is_wrong() {
    let token = "open sesame, open sesame".replace([' ', ','], "-");
    let cluster = to_endpoints(&["127.0.0.1:1".parse().unwrap()], "");
    let proxy = Proxy::start(&format!("{cluster}[admin]\nbind = \"127.0.0.1:0\"\ntoken = \"{token}\"\n"));
    let mut browser = Browser::start(1000, 700).await;
    browser.open(proxy.admin()).await;
    let is_asked = "document.getElementById('token').open && document.activeElement.id === 'token-value'";
    browser.until("it asks", is_asked).await;
    browser.write("guess").await;
    browser.press("Enter").await;
    browser.until("it was wrong", "!document.getElementById('token-wrong').hidden").await;
    browser.until("it asks again", is_asked).await;
    assert_eq!(browser.run("document.querySelectorAll('.row').length").await, 0, "nothing is shown before");
    browser.write(&token).await;
    browser.press("Enter").await;
    browser.until("it shows", "document.querySelectorAll('.row').length === 1").await;
    assert_eq!(browser.run("document.getElementById('token').open").await, false);
}

#[tokio::test]
async fn an_endpoint_is_taken_out_and_back_by_hand_once_that_was_confirmed() {
    let origins = origins(&["one", "two"]).await;
    let proxy = before(&origins, "");
    let mut browser = Browser::start(1280, 800).await;
    browser.open(proxy.admin()).await;
    let button = |word: &str| {
        format!("[...document.querySelectorAll('.do button')].find(button => button.textContent === '{word}')")
    };
    browser.until("it can be done", &button("Eject").replace("find", "some")).await;
    browser.run(&format!("{}.click()", button("Eject"))).await;
    browser.until("it is asked", "document.getElementById('act').open").await;
    let standings = "[...document.querySelectorAll('.standing b')].map(word => word.textContent).sort().join()";
    assert_eq!(browser.run("document.activeElement.id").await, "act-no", "to leave it is at hand");
    assert_eq!(browser.run(standings).await, "eligible,eligible", "nothing is done before");
    browser.run("document.getElementById('act-yes').click()").await;
    browser.until("it is out", &format!("{standings} === 'by hand,eligible'")).await;
    let verdict = "document.getElementById('verdict').textContent";
    let meant = "All is well: 1 of 2 endpoints are eligible, the others are out on purpose.";
    browser.until("which is no trouble", &format!("{verdict} === '{meant}'")).await;
    assert_eq!(browser.run("document.querySelector('.row').dataset.tone").await, "good");
    browser
        .until("by whom is said", "document.querySelector('.standing small').textContent.includes('by 127.0.0.1')")
        .await;
    browser.run(&format!("{}.click()", button("Readmit"))).await;
    browser.run("document.getElementById('act-yes').click()").await;
    browser.until("it is back", &format!("{standings} === 'eligible,eligible'")).await;
    assert_eq!(browser.complaints(), [] as [&str; 0]);
}

#[tokio::test]
async fn who_is_at_a_name_in_the_verdict_stays_there_and_hears_how_it_goes() {
    let origins = origins(&["one", "two", "three", "four", "five"]).await;
    let proxy = before(&origins, "[clusters.web.ejection]\nconsecutive_failures = 2\nbase = \"1h\"\nmax = \"1h\"");
    let visitor = Visitor::start(&proxy);
    let mut browser = Browser::start(1280, 800).await;
    browser.open(proxy.admin()).await;
    let verdict = "document.getElementById('verdict').textContent";
    let said = "document.getElementById('say').textContent";
    browser.until("all is well", &format!("{said}.includes('All is well: 5 endpoints')")).await;
    origins[1].always(Script::answer(503, "no"));
    browser.until("one is out", &format!("{verdict}.startsWith('1 endpoint of 5 is out, in web.')")).await;
    browser.until("it is said aloud", &format!("{said}.includes('1 endpoint of 5 is out, in web.')")).await;
    browser.run("document.querySelector('#verdict button').focus(), window.held = document.activeElement, 0").await;
    assert_eq!(browser.run("held.textContent").await, "web");
    origins[3].always(Script::answer(503, "no"));
    browser.until("two are out", &format!("{verdict}.startsWith('2 endpoints of 5 are out, in web.')")).await;
    assert_eq!(browser.run("document.activeElement === held").await, true, "the same, and it has the focus");
    browser.press("Enter").await;
    browser.until("it is looked at", "document.activeElement.getAttribute('aria-expanded') === 'true'").await;
    assert_eq!(browser.complaints(), [] as [&str; 0]);
    visitor.leave().await;
}

#[tokio::test]
async fn an_answer_that_comes_late_does_not_answer_another_question() {
    let proxy = idle(1, 2);
    let mut browser = Browser::start(1280, 800).await;
    browser.open(proxy.admin()).await;
    browser.until("it can be done", "document.querySelectorAll('.do button').length === 4").await;
    let held = "{ const real = fetch; window.fetch = (path, options) =>
        options?.method === 'POST' ? new Promise(resolve => { window.late = resolve; }) : real(path, options); }";
    browser.run(held).await;
    let ask = |place: u8| {
        format!(
            "[...document.querySelectorAll('.do button')].filter(button => button.textContent === 'Eject')[{place}].click()"
        )
    };
    browser.run(&ask(0)).await;
    browser.run("document.getElementById('act-yes').click()").await;
    browser.until("it was asked for", "Boolean(window.late)").await;
    browser.press("Escape").await;
    browser.until("nobody waits for that", "!document.getElementById('act').open").await;
    browser.run(&ask(1)).await;
    assert_eq!(browser.run("document.getElementById('act-yes').disabled").await, false);
    browser.run("late(new Response('{}')), new Promise(resolve => setTimeout(resolve, 0))").await;
    let title = "document.getElementById('act').open && document.getElementById('act-title').textContent";
    assert_eq!(browser.run(title).await, "Eject 127.0.0.1:2 of cluster-000?");
}

#[tokio::test]
async fn of_a_large_cluster_those_are_counted_who_are_not_told_one_by_one() {
    let proxy = idle(1, 2);
    let mut browser = Browser::start(1280, 800).await;
    browser.open(proxy.admin()).await;
    browser.until("it can be done", "document.querySelectorAll('.do button').length === 4").await;
    // What a feed says that leaves out most of them.
    let large = "{ const parse = JSON.parse; JSON.parse = text => {
        const message = parse(text);
        for (const cluster of message.clusters ?? []) cluster.states = { eligible: 995, ejected: 3, critical: 2 };
        return message;
    }; }";
    browser.run(large).await;
    let click = "[...document.querySelectorAll('.do button')].find(button => button.textContent === 'Eject').click()";
    browser.run(&format!("{click}, document.getElementById('act-yes').click()")).await;
    let words = "document.querySelector('.row .words').textContent";
    let all = "995 eligible 1 by hand 2 critical 2 ejected";
    browser.until("all are counted", &format!("{words}.trim() === '{all}'")).await;
    let more = "document.querySelector('.untold:not([hidden])')?.textContent";
    let said = "And 998 more, which /v1/clusters/cluster-000 shows.";
    browser.until("who is left out is said", &format!("{more} === '{said}'")).await;
    let verdict = "document.getElementById('verdict').textContent";
    browser.until("and is trouble", &format!("{verdict}.startsWith('4 endpoints of 1,000 are out')")).await;
    assert_eq!(browser.complaints(), [] as [&str; 0]);
}
