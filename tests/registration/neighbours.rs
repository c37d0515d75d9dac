//! Applications beside lictor that have no client of Consul.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use super::{SOON, becomes, known, lictor, outputs, statuses};
use crate::support::app::{Proxy, parse};
use crate::support::client::eventually;
use crate::support::consul::Consul;
use crate::support::origin::{Origin, Script};
use crate::support::window::metric;

fn service(name: &str, lines: &str) -> String {
    format!("[[registration.services]]\nname = \"{name}\"\nid = \"{name}\"\n{lines}\n")
}

/// A program that says how the application is by what is in a file beside it: an exit code.
fn program(directory: &Path) -> String {
    let path = directory.join("check");
    fs::write(&path, "#!/bin/sh\necho \"asked with $1\"\nexit \"$(cat \"$1\")\"\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let code = directory.join("code");
    fs::write(&code, "0").unwrap();
    format!("[\"{}\", \"{}\"]", path.display(), code.display())
}

#[tokio::test]
async fn an_application_is_found_while_its_checks_pass() {
    let (consul, origin, edge) = (Consul::start().await, Origin::start("app").await, Origin::start("one").await);
    let port = origin.address().port();
    let fast = "interval = \"1s\", fall = 1";
    let tcp = service("tcp", &format!("port = {port}\nchecks = [{{ kind = \"tcp\", {fast} }}]"));
    let http = service("http", &format!("port = {port}\nchecks = [{{ url = \"/health\", {fast} }}]"));
    let ttl = service("ttl", "checks = [{ ttl = \"1h\" }]");
    let proxy = Proxy::start(&lictor(&consul, &edge, &format!("{tcp}{http}{ttl}")));
    becomes(&consul, "tcp", "passing").await;
    becomes(&consul, "http", "passing").await;
    becomes(&consul, "ttl", "critical").await;
    // As its own cron job would, with curl.
    consul.put("/v1/agent/check/pass/service:ttl:ttl", "").await;
    becomes(&consul, "ttl", "passing").await;
    assert!(origin.requests().iter().any(|request| request.target() == "/health"));
    origin.always(Script::answer(500, "not well"));
    becomes(&consul, "http", "critical").await;
    becomes(&consul, "tcp", "passing").await;
    origin.stop().await;
    becomes(&consul, "tcp", "critical").await;
    assert_eq!(known(&consul, "tcp").await.unwrap()["Port"], port);
    proxy.drain().await;
    for service in ["tcp", "http", "ttl"] {
        assert_eq!(statuses(&consul, service).await, []);
    }
}

#[tokio::test]
async fn a_program_says_how_an_application_is() {
    let (consul, edge, directory) = (Consul::start().await, Origin::start("one").await, TempDir::new().unwrap());
    let command = program(directory.path());
    let check = format!("checks = [{{ command = {command}, interval = \"1s\", fall = 1 }}]");
    let proxy = Proxy::start(&lictor(&consul, &edge, &service("batch", &check)));
    becomes(&consul, "batch", "passing").await;
    let code = directory.path().join("code");
    for (exit, status) in [("1", "warning"), ("2", "critical"), ("0", "passing")] {
        fs::write(&code, exit).unwrap();
        becomes(&consul, "batch", status).await;
    }
    assert_eq!(outputs(&consul, "batch").await, [format!("asked with {}", code.display())]);
    drop(proxy);
}

#[tokio::test]
async fn a_program_that_was_found_well_is_so_again_for_an_agent_that_has_forgotten_it() {
    let (mut consul, edge, directory) = (Consul::start().await, Origin::start("one").await, TempDir::new().unwrap());
    // It is not run a second time in this test.
    let check = format!("checks = [{{ command = {}, interval = \"1h\" }}]", program(directory.path()));
    let _proxy = Proxy::start(&lictor(&consul, &edge, &service("batch", &check)));
    becomes(&consul, "batch", "passing").await;
    consul.restart().await;
    becomes(&consul, "batch", "passing").await;
}

#[tokio::test]
async fn an_application_may_stay_when_lictor_goes_but_not_when_it_is_written_out() {
    let (consul, edge) = (Consul::start().await, Origin::start("one").await);
    let config = lictor(&consul, &edge, &service("db", "port = 5432\nkeep = true\nchecks = []"));
    let proxy = Proxy::start(&config);
    becomes(&consul, "db", "passing").await;
    proxy.drain().await;
    assert_eq!(statuses(&consul, "db").await, [("db".to_owned(), "passing".to_owned())]);
    let again = Proxy::start(&config);
    let entered = async || metric(again.admin(), "lictor_registration_entered{id=\"db\"}").await == 1.0;
    eventually("it is looked after again", SOON, entered).await;
    again.app().reload(parse(&lictor(&consul, &edge, ""))).await.unwrap();
    eventually("it is not wanted any more", SOON, async || statuses(&consul, "db").await.is_empty()).await;
}

#[tokio::test]
async fn who_could_not_be_taken_out_and_is_wanted_again_is_there_again() {
    let (mut consul, edge) = (Consul::start().await, Origin::start("one").await);
    let with = |lines: &str| parse(&lictor(&consul, &edge, &format!("{}{lines}", service("other", ""))));
    let (all, less) = (service("billing", "tags = [\"again\"]"), with(""));
    let again = with(&all);
    let proxy = Proxy::start(&lictor(&consul, &edge, &format!("{}{}", service("other", ""), service("billing", ""))));
    becomes(&consul, "billing", "passing").await;
    consul.kill();
    let failures = async || metric(proxy.admin(), "lictor_registration_failures_total{id=\"billing\"}").await;
    eventually("it is seen that the agent is away", SOON, async || failures().await >= 1.0).await;
    let before = failures().await;
    proxy.app().reload(less).await.unwrap();
    eventually("it cannot be taken out", SOON, async || failures().await > before).await;
    proxy.app().reload(again).await.unwrap();
    consul.restart().await;
    eventually("it is there", SOON, async || {
        known(&consul, "billing").await.is_some_and(|entry| entry["Tags"] == serde_json::json!(["again"]))
    })
    .await;
}
