//! What is counted, as Prometheus sees it: in a shape that its own tool has nothing against, as the operator's manual says, and of
//! single endpoints where somebody wants that.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::app::{Proxy, configuration, parse, to_endpoints};
use crate::support::binary::PROMTOOL;
use crate::support::client::{Client, eventually, get};
use crate::support::origin::Origin;
use crate::support::window::{counted, metric, sum};

const SOON: Duration = Duration::from_secs(10);
const MANUAL: &str = include_str!("../deploy/README.md");

/// A scrape of a proxy that has seen this and that.
async fn lively() -> (Proxy, Origin, String) {
    let origin = Origin::start("one").await;
    let nobody: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let more = "[[routes]]\npath = \"/lost\"\ncluster = \"lost\"\n[clusters.lost]\nendpoints = [\"127.0.0.1:1\"]\n[metrics]\nendpoints = true";
    let proxy = Proxy::start(&to_endpoints(&[origin.address(), nobody], more));
    for path in ["/", "/a", "/b", "/c", "/lost", "/lost/again"] {
        get(proxy.address(), "shop", path).await;
    }
    let mut malformed = Client::connect(proxy.address()).await;
    assert_eq!(malformed.exchange("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n").await.status, 400);
    let scrape = get(proxy.admin(), "localhost", "/metrics").await.text();
    (proxy, origin, scrape)
}

#[tokio::test]
async fn prometheus_has_nothing_against_names_and_shape() {
    let (_proxy, _origin, scrape) = lively().await;
    let checked = tokio::task::spawn_blocking(move || {
        let promtool = PROMTOOL.find().unwrap_or_else(|error| panic!("no promtool: {error}"));
        let mut checking = Command::new(promtool)
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        checking.stdin.take().unwrap().write_all(scrape.as_bytes()).unwrap();
        checking.wait_with_output().unwrap()
    });
    let checked = checked.await.unwrap();
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success() && said.is_empty(), "{said}");
}

/// The labels of each family, as the manual's tables have them.
fn manual() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let rows = MANUAL.lines().filter(|line| line.starts_with("| `lictor_") || line.starts_with("| `process_"));
    let row = |row: &'static str| {
        let mut cells = row.split('|').skip(1).map(str::trim);
        let (name, labels) = (cells.next().unwrap().trim_matches('`'), cells.next().unwrap());
        (name, labels.split(", ").map(|label| label.trim_matches('`')).filter(|label| *label != "–").collect())
    };
    rows.map(row).collect()
}

#[tokio::test]
async fn every_series_has_the_labels_that_the_manual_says() {
    let (_proxy, _origin, scrape) = lively().await;
    let manual = manual();
    let mut seen = BTreeSet::new();
    for line in scrape.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|part| name.strip_suffix(part).filter(|family| manual.contains_key(family)));
        let family = family.unwrap_or(name);
        let written = labels.trim_end_matches('}').split("\",").filter_map(|pair| pair.split_once('='));
        let labels: BTreeSet<&str> = written.map(|(label, _)| label).filter(|label| *label != "le").collect();
        let expected = manual.get(family).unwrap_or_else(|| panic!("{line} is of no family of the manual's"));
        assert_eq!(&labels, expected, "{line}");
        seen.insert(family.to_owned());
    }
    assert!(seen.len() > 40, "a lively proxy shows most families: {seen:?}");
}

#[tokio::test]
async fn threads_and_the_process_are_measured() {
    let (proxy, _origin, scrape) = lively().await;
    for thread in ["worker-0", "control"] {
        for family in ["lictor_thread_busy_seconds_total", "lictor_thread_lag_seconds", "lictor_thread_tasks"] {
            assert!(scrape.contains(&format!("{family}{{thread=\"{thread}\"}} ")), "{family} of {thread}: {scrape}");
        }
    }
    let busy = "lictor_thread_busy_seconds_total{thread=\"worker-0\"}";
    assert!(metric(proxy.admin(), busy).await > 0.0);
    let open = metric(proxy.admin(), "process_open_fds").await;
    assert!(open > 0.0 && open <= metric(proxy.admin(), "process_max_fds").await);
    assert!(metric(proxy.admin(), "process_cpu_seconds_total").await > 0.0);
    assert!(metric(proxy.admin(), "process_resident_memory_bytes").await > 1_048_576.0);
    // Since 2020, and not in the future.
    assert!((1.577e9..=2e10).contains(&metric(proxy.admin(), "process_start_time_seconds").await));
}

#[tokio::test]
async fn a_connection_that_is_kept_is_begun_once() {
    let origin = Origin::start("one").await;
    let proxy = Proxy::start(&to_endpoints(&[origin.address()], ""));
    for _ in 0..5 {
        assert_eq!(get(proxy.address(), "shop", "/").await.status, 200);
    }
    counted(proxy.admin(), "lictor_cluster_connects_total{cluster=\"web\"}", 1.0).await;
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn single_endpoints_are_shown_up_to_a_bound_and_for_as_long_as_they_are_there() {
    let origins = [Origin::start("a").await, Origin::start("b").await, Origin::start("c").await];
    let addresses = origins.iter().map(Origin::address).collect::<Vec<_>>();
    let figures = "policy = \"round_robin\"\n[metrics]\nendpoints = true\nmax_endpoints = 2";
    let proxy = Proxy::start(&to_endpoints(&addresses, figures));
    let series = |endpoint: &str| format!("cluster=\"web\",endpoint=\"{endpoint}\",outcome=\"success\"");
    let attempts = async |endpoint: &str| sum(proxy.admin(), "lictor_endpoint_attempts_total", &series(endpoint)).await;
    for _ in 0..9 {
        assert_eq!(get(proxy.address(), "shop", "/").await.status, 200);
    }
    let own: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    eventually("the third's attempts", SOON, async || attempts("other").await == 3.0).await;
    let scrape = get(proxy.admin(), "localhost", "/metrics").await.text();
    let shown: Vec<&String> = own.iter().filter(|address| scrape.contains(&series(address))).collect();
    assert_eq!(shown.len(), 2, "{scrape}");
    for address in &shown {
        assert_eq!(attempts(address).await, 3.0, "{address}");
        assert!(
            scrape.contains(&format!(
                "lictor_endpoint_state{{cluster=\"web\",endpoint=\"{address}\",state=\"eligible\"}} 1\n"
            )),
            "{scrape}"
        );
    }
    counted(proxy.admin(), "lictor_endpoints_folded", 1.0).await;

    // One of those that are shown leaves, and the one that had no room has it now; what the others had counted stays counted.
    let gone = shown[0].clone();
    let rest: Vec<SocketAddr> = addresses.into_iter().filter(|address| address.to_string() != gone).collect();
    proxy.app().reload(parse(&to_endpoints(&rest, figures))).await.unwrap();
    let scrape = get(proxy.admin(), "localhost", "/metrics").await.text();
    assert!(!scrape.contains(&gone), "{scrape}");
    counted(proxy.admin(), "lictor_endpoints_folded", 0.0).await;
    for address in &rest {
        assert!(attempts(&address.to_string()).await >= 3.0, "{address}");
    }
}

#[test]
fn a_bound_that_is_none_is_refused() {
    for (most, is_good) in [(0, false), (1, true), (20_000, true), (20_001, false)] {
        let text = configuration(&to_endpoints(
            &["127.0.0.1:1".parse().unwrap()],
            &format!("[metrics]\nendpoints = true\nmax_endpoints = {most}"),
        ));
        match lictor::config::parse(&text, &lictor::config::Environment::default()) {
            Ok(_) => assert!(is_good, "{most}"),
            Err(error) => {
                let error = error.to_string();
                assert!(
                    !is_good && error.contains("metrics.max_endpoints") && error.contains("use 1 to 20000"),
                    "{error}"
                );
            }
        }
    }
}

#[tokio::test]
async fn nobody_asked_for_single_endpoints_and_so_there_are_none() {
    let origin = Origin::start("one").await;
    let proxy = Proxy::start(&to_endpoints(&[origin.address()], ""));
    get(proxy.address(), "shop", "/").await;
    let scrape = get(proxy.admin(), "localhost", "/metrics").await.text();
    assert!(!scrape.contains("lictor_endpoint"), "{scrape}");
    assert!(!scrape.contains(&origin.address().to_string()), "{scrape}");
}
