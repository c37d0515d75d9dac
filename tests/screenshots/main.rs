//! Takes the pictures of the dashboard that the README shows, of a true lictor with true traffic: six services in a small registry, an
//! origin that is killed, one whose check fails, and one that is new. They look best with the font Inter on the machine.
//!
//! `cargo test --test screenshots -- --screenshots DIRECTORY [--seconds N]`: more seconds of traffic fill the charts further.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a run ends where it fails")]
#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]
#![allow(missing_docs, reason = "names say it")]

#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the suite uses the rest")]
mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;

use support::app::Proxy;
use support::browser::Browser;
use support::client::Client;
use support::origin::{Origin, Script};

/// Each service with its policy, its origins, how long these take, and how often it is asked a second.
const SERVICES: [(&str, &str, usize, u64, f64); 6] = [
    ("auth", "p2c", 3, 1, 40.0),
    ("billing", "ewma", 4, 9, 25.0),
    ("checkout", "least_connections", 4, 4, 60.0),
    ("images", "consistent_hash", 6, 2, 110.0),
    ("search", "p2c", 5, 14, 70.0),
    ("web", "round_robin", 8, 3, 160.0),
];
/// A chart has three minutes.
const SECONDS: u64 = 60;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (mut directory, mut seconds) = (None, SECONDS);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--screenshots" => directory = arguments.next().map(PathBuf::from),
            "--seconds" => seconds = arguments.next().unwrap().parse().unwrap(),
            other => panic!("unknown argument {other}; there is --screenshots DIRECTORY and --seconds N"),
        }
    }
    let Some(directory) = directory else { return println!("--screenshots DIRECTORY says where they go") };
    std::fs::create_dir_all(&directory).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(take(&directory, Duration::from_secs(seconds)));
}

async fn take(directory: &Path, warm: Duration) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let consul = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(lictor::registry::serve(listener, std::future::pending()));
    let mut origins = Vec::new();
    let mut text = format!("[consul]\naddress = \"http://{consul}\"\n");
    for (service, policy, count, delay, _) in SERVICES {
        for place in 1..=count {
            let origin = Origin::start(&format!("{service}-{place}")).await;
            // Everybody takes a little longer than the one before.
            let slow = Duration::from_millis(delay + place as u64);
            origin.always(Script::Delay(slow, Box::new(Script::answer(200, "well"))));
            if (service, place) != ("images", 6) {
                let is_ill = (service, place) == ("checkout", 3);
                register(consul, service, &origin, if is_ill { "critical" } else { "passing" }).await;
            }
            origins.push(origin);
        }
        let key = if policy == "consistent_hash" { "hash = { keys = [\"path\"] }\n" } else { "" };
        text += &format!("[[routes]]\nhost = \"{service}\"\ncluster = \"{service}\"\n[clusters.{service}]\n");
        text += &format!("consul = {{ service = \"{service}\" }}\npolicy = \"{policy}\"\n{key}");
    }
    let proxy = Proxy::start(&text);
    for (place, (service, _, _, _, rate)) in SERVICES.into_iter().enumerate() {
        tasks.spawn(ask(proxy.address(), service, rate, place as f64));
    }
    let mut browser = Browser::start(1440, 900).await;
    browser.open(proxy.admin()).await;
    let find = |name: &str| origins.iter().find(|origin| origin.name() == name).unwrap();
    sleep(warm.mul_f64(0.4)).await;
    register(consul, "images", find("images-6"), "passing").await;
    sleep(warm.mul_f64(0.3)).await;
    // An error that is not tried again elsewhere, so that clients see it.
    find("search-2").always(Script::Delay(Duration::from_millis(30), Box::new(Script::answer(501, "sorry"))));
    sleep(warm.mul_f64(0.3)).await;
    find("search-2").always(Script::Delay(Duration::from_millis(15), Box::new(Script::answer(200, "well"))));
    find("web-5").stop().await;
    browser.until("the ejection", "document.getElementById('feed').textContent.includes('ejected web')").await;
    sleep(Duration::from_secs(4)).await;
    pictures(&mut browser, directory).await;
    assert_eq!(browser.complaints(), [] as [&str; 0]);
}

async fn pictures(browser: &mut Browser, directory: &Path) {
    let keep = async |browser: &mut Browser, name: &str| {
        sleep(Duration::from_millis(1500)).await;
        let picture = browser.picture().await;
        std::fs::write(directory.join(name), &picture).unwrap();
        println!("{name}: {} KB", picture.len() / 1024);
    };
    browser.prefer(&[("prefers-color-scheme", "light")]).await;
    keep(browser, "light.png").await;
    browser.prefer(&[("prefers-color-scheme", "dark")]).await;
    browser
        .run("[...document.querySelectorAll('.name button')].find(button => button.textContent === 'web').click()")
        .await;
    browser.run("document.getElementById('tab-tables').click(), document.querySelectorAll('summary').forEach((line, place) => place < 2 && line.click())").await;
    keep(browser, "dark.png").await;
    browser.size(390, 844).await;
    browser.run("document.getElementById('tab-clusters').click(), scrollTo(0, 0)").await;
    browser.prefer(&[("prefers-color-scheme", "light")]).await;
    keep(browser, "phone.png").await;
}

/// Enters an origin, with a check that says so.
async fn register(consul: std::net::SocketAddr, service: &str, origin: &Origin, status: &str) {
    let entry = json!({
        "ID": origin.name(), "Name": service, "Address": "127.0.0.1", "Port": origin.address().port(),
        "Check": { "TTL": "1h", "Status": status },
    });
    let body = entry.to_string();
    let head =
        format!("PUT /v1/agent/service/register HTTP/1.1\r\nhost: consul\r\ncontent-length: {}\r\n\r\n", body.len());
    let answer = Client::connect(consul).await.exchange(head + &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Asks so often a second, more or less: traffic comes and goes.
async fn ask(proxy: std::net::SocketAddr, service: &'static str, rate: f64, phase: f64) {
    let began = Instant::now();
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(Client::connect(proxy).await);
    }
    let mut number = 0_usize;
    loop {
        let wave = 1.0 + 0.35 * (began.elapsed().as_secs_f64() / 14.0 + phase).sin() + 0.1 * (fastrand::f64() - 0.5);
        sleep(Duration::from_secs_f64(1.0 / (rate * wave))).await;
        number += 1;
        let place = number % clients.len();
        clients[place].exchange(format!("GET /{} HTTP/1.1\r\nhost: {service}\r\n\r\n", number % 97)).await;
    }
}
