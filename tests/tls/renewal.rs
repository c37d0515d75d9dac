//! Certificates that are replaced while lictor runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{SOON, Stage, listener};
use crate::support::app::{Proxy, parse, to_endpoints};
use crate::support::chain::{Leaf, Wish, replace};
use crate::support::client::eventually;
use crate::support::spawned::Spawned;
use crate::support::tls::{Caller, shown};
use crate::support::window::metric;

async fn reloads(proxy: &Proxy, result: &str) -> f64 {
    metric(proxy.admin(), &format!("lictor_certificate_reloads_total{{listener=\"edge\",result=\"{result}\"}}")).await
}

fn numbered(stage: &Stage, number: usize) -> Leaf {
    let name = format!("n{number}.example");
    stage.signer.issue(&Wish { names: &["a.example", &name], ..Wish::default() })
}

async fn number(stage: &Stage, proxy: &Proxy) -> String {
    let stream = Caller::trusting(&stage.root).connect(proxy.address(), "a.example").await.unwrap();
    shown(&stream).dns[1].clone()
}

async fn until_number(stage: &Stage, proxy: &Proxy, number: usize) {
    let name = format!("n{number}.example");
    eventually(&name, SOON, async || super::renewal::number(stage, proxy).await == name).await;
}

#[tokio::test]
async fn certificates_are_replaced_under_load_without_one_failed_request() {
    let stage = Stage::set().await;
    let proxy = stage.start(&[("a", numbered(&stage, 0))], "");
    let (over, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let config = Caller::trusting(&stage.root).config();
    let mut load = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (address, config, over, count) =
            (proxy.address(), Arc::clone(&config), Arc::clone(&over), Arc::clone(&count));
        load.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                let mut stream = crate::support::tls::connect(&config, address, "a.example").await.unwrap();
                let answer = crate::support::tls::get(&mut stream).await.unwrap();
                assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let rounds = std::env::var("LICTOR_REPLACEMENTS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(6);
    for round in 1..=rounds {
        numbered(&stage, round).write(stage.path(), "a");
        if round % 2 == 0 {
            proxy.app().reload(proxy.app_config()).await.unwrap();
        }
        until_number(&stage, &proxy, round).await;
        let before = count.load(Ordering::Relaxed);
        eventually("the load goes on", SOON, async || count.load(Ordering::Relaxed) > before + 10).await;
    }
    over.store(true, Ordering::Relaxed);
    while let Some(ended) = load.join_next().await {
        ended.unwrap();
    }
    assert_eq!(reloads(&proxy, "success").await, rounds as f64);
}

#[tokio::test]
async fn a_connection_outlives_the_certificate_that_it_began_with() {
    let stage = Stage::set().await;
    let proxy = stage.start(&[("a", numbered(&stage, 0))], "");
    let mut stream = Caller::trusting(&stage.root).connect(proxy.address(), "a.example").await.unwrap();
    numbered(&stage, 1).write(stage.path(), "a");
    until_number(&stage, &proxy, 1).await;
    assert!(crate::support::tls::get(&mut stream).await.unwrap().contains("200 OK"));
}

#[tokio::test]
async fn a_broken_file_leaves_the_old_certificate_in_force_and_is_reported() {
    let stage = Stage::set().await;
    let proxy = stage.start(&[("a", numbered(&stage, 0))], "");
    let cert = stage.path().join("a.pem");
    for (broken, count) in [("", 1.0), ("-----BEGIN CERTIFICATE-----\nMIIB", 2.0), (&numbered(&stage, 1).chain, 3.0)] {
        replace(&cert, broken);
        eventually("it is reported", SOON, async || reloads(&proxy, "failure").await == count).await;
        assert_eq!(number(&stage, &proxy).await, "n0.example");
    }
    std::fs::remove_file(&cert).unwrap();
    eventually("it is reported", SOON, async || reloads(&proxy, "failure").await == 4.0).await;
    assert_eq!(number(&stage, &proxy).await, "n0.example");
    // Nor does a reload of the configuration fail for it.
    proxy.app().reload(proxy.app_config()).await.unwrap();
    assert_eq!(number(&stage, &proxy).await, "n0.example");
    numbered(&stage, 2).write(stage.path(), "a");
    until_number(&stage, &proxy, 2).await;
}

#[tokio::test]
async fn links_that_are_swapped_are_followed() {
    let stage = Stage::set().await;
    // As Kubernetes mounts secrets: ..data is a link to a folder, and is replaced by a rename.
    let folder = |number: usize| {
        let folder = stage.path().join(format!("..{number}"));
        std::fs::create_dir(&folder).unwrap();
        numbered(&stage, number).write(&folder, "tls");
        let link = stage.path().join("..next");
        std::os::unix::fs::symlink(folder, &link).unwrap();
        std::fs::rename(link, stage.path().join("..data")).unwrap();
    };
    folder(0);
    for name in ["tls.pem", "tls.key"] {
        std::os::unix::fs::symlink(format!("..data/{name}"), stage.path().join(name)).unwrap();
    }
    let at = |name: &str| stage.path().join(name).display().to_string();
    let tls = format!("[[listeners.tls.certificates]]\ncert = '{}'\nkey = '{}'\n", at("tls.pem"), at("tls.key"));
    let proxy = Proxy::start(&(to_endpoints(&[stage.origin.address()], "") + &listener(&tls)));
    assert_eq!(number(&stage, &proxy).await, "n0.example");
    folder(1);
    until_number(&stage, &proxy, 1).await;
}

#[tokio::test]
async fn a_reload_takes_other_certificates_and_rules_and_refuses_what_it_cannot_read() {
    let stage = Stage::set().await;
    let certificates = |number| [("a", numbered(&stage, number))];
    let proxy = stage.start(&certificates(0), "");
    let other = [("b", stage.signer.leaf(&["b.example"])), ("a", numbered(&stage, 1))];
    proxy.app().reload(parse(&stage.text(&other, "min_version = '1.3'"))).await.unwrap();
    assert_eq!(number(&stage, &proxy).await, "n1.example");
    let old = Caller { speaks: &[&rustls::version::TLS12], ..Caller::trusting(&stage.root) };
    assert!(old.connect(proxy.address(), "b.example").await.is_err());
    let missing = format!("client_auth = 'required'\nclient_ca = '{}'", stage.path().join("nowhere").display());
    let refused = proxy.app().reload(parse(&stage.text(&other, &missing))).await.unwrap_err().to_string();
    assert!(refused.starts_with("listener \"edge\": ") && refused.contains("nowhere"), "{refused}");
    assert!(Caller::trusting(&stage.root).get(proxy.address(), "b.example").await.is_ok(), "nothing has changed");
    let plain = to_endpoints(&[stage.origin.address()], "");
    let refused = proxy.app().reload(parse(&plain)).await.unwrap_err().to_string();
    assert!(refused.contains("listeners cannot change"), "{refused}");
}

#[tokio::test]
async fn until_when_certificates_are_valid_can_be_read() {
    let stage = Stage::set().await;
    let proxy = stage.start(&[("a", numbered(&stage, 0))], "");
    let expiry = async || {
        let name = "lictor_certificate_expiry_timestamp_seconds{listener=\"edge\",name=\"a.example\"}";
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        ((metric(proxy.admin(), name).await - now) / 86_400.0).round()
    };
    assert_eq!(expiry().await, 90.0);
    let wish = Wish { names: &["a.example", "n1.example"], days: Some(10), ..Wish::default() };
    stage.signer.issue(&wish).write(stage.path(), "a");
    until_number(&stage, &proxy, 1).await;
    assert_eq!(expiry().await, 10.0);
}

#[tokio::test]
async fn the_answer_of_an_ocsp_responder_is_handed_on_and_one_that_is_none_is_refused() {
    let stage = Stage::set().await;
    let staple = stage.path().join("a.ocsp");
    // OCSPResponse { responseStatus successful(0) }, which is all that is looked at.
    std::fs::write(&staple, [0x30, 0x03, 0x0a, 0x01, 0x00]).unwrap();
    let line = numbered(&stage, 0).write(stage.path(), "a").replace(", key", "\nkey");
    let tls = format!("[[listeners.tls.certificates]]\n{line}\nocsp = '{}'\n", staple.display());
    let text = to_endpoints(&[stage.origin.address()], "") + &listener(&tls);
    let proxy = Proxy::start(&text);
    let seen = crate::support::tls::staple(&stage.root, proxy.address(), "a.example").await;
    assert_eq!(seen, [0x30, 0x03, 0x0a, 0x01, 0x00]);
    std::fs::write(&staple, [0x30, 0x03, 0x0a, 0x01, 0x06]).unwrap();
    let refused = lictor::app::App::start(parse(&text)).err().unwrap().to_string();
    assert!(refused.contains("a.ocsp: is not a good answer"), "{refused}");
}

#[tokio::test]
async fn a_certificate_that_is_about_to_expire_is_in_the_log() {
    let stage = Stage::set().await;
    let wish = Wish { names: &["soon.example"], days: Some(10), ..Wish::default() };
    let process = Spawned::start(&stage.text(&[("a", stage.signer.issue(&wish)), ("b", numbered(&stage, 0))], ""), &[]);
    let line = process.says("a certificate ends to be valid soon").await;
    assert!(line.contains("certificate=\"soon.example\"") && line.contains("until=20"), "{line}");
    assert!(!process.said().iter().any(|line| line.contains("soon, or has") && line.contains("a.example")));
}
