//! What stands in `deploy/` for Prometheus, Alertmanager and Grafana: held to their own tools, to the figures that there are, and to a
//! true Prometheus that scrapes a true lictor.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::support::app::{Proxy, to_endpoints};
use crate::support::binary::{self, AMTOOL, PROMETHEUS, PROMTOOL};
use crate::support::client::{eventually, get, try_get};
use crate::support::origin::{Origin, Script};
use crate::support::window::is_ready;

const ALERTS: &str = include_str!("../deploy/prometheus/rules/alerts.yml");
const RECORDING: &str = include_str!("../deploy/prometheus/rules/recording.yml");
const ALERTS_TESTS: &str = include_str!("../deploy/prometheus/tests/alerts.yml");
const DASHBOARDS: [&str; 2] = [
    include_str!("../deploy/grafana/dashboards/overview.json"),
    include_str!("../deploy/grafana/dashboards/cluster.json"),
];
const MANUAL: &str = include_str!("../deploy/README.md");

/// On two busy cores Prometheus takes some seconds to start.
const PATIENCE: Duration = Duration::from_secs(60);

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)
}

#[tokio::test]
async fn the_rules_do_what_their_tests_say() {
    let said =
        PROMTOOL.says(&deploy("prometheus"), &["check", "rules", "rules/alerts.yml", "rules/recording.yml"]).await;
    assert_eq!(said.matches("SUCCESS").count(), 2, "{said}");
    PROMTOOL.says(&deploy("prometheus/tests"), &["test", "rules", "alerts.yml"]).await;
}

/// What stands behind these words at the beginning of lines.
fn behind<'a>(text: &'a str, words: &str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| line.trim_start().strip_prefix(words)).map(str::trim)
}

#[test]
fn every_alert_is_tested_to_fire_and_to_be_quiet() {
    let mut fires = BTreeSet::new();
    let mut quiet = BTreeSet::new();
    for case in ALERTS_TESTS.split("- alertname: ").skip(1) {
        let name = case.lines().next().unwrap().trim();
        let is_quiet = case.contains("exp_alerts: []");
        if is_quiet {
            quiet.insert(name)
        } else {
            fires.insert(name)
        };
    }
    let alerts: BTreeSet<&str> = behind(ALERTS, "- alert: ").collect();
    assert!(alerts.len() > 20);
    assert_eq!((&fires, &quiet), (&alerts, &alerts));
    for wanted in ["InstanceDown", "HighRequestLatency", "HighErrorRate", "EndpointsEjected", "ClusterPanic"] {
        assert!(alerts.contains(wanted), "{wanted}");
    }
}

/// Each alert's rule, by its name.
fn rules() -> BTreeMap<&'static str, &'static str> {
    let rules = ALERTS.split("- alert: ").skip(1).map(|rule| rule.split_once('\n').unwrap());
    rules.map(|(name, rule)| (name.trim(), rule)).collect()
}

#[test]
fn each_alert_leads_to_its_line_in_the_manual_which_has_no_other_lines() {
    let lines = || MANUAL.lines().filter_map(|line| line.strip_prefix("| <a id=\"")?.split_once("\"></a>"));
    let by_name: BTreeMap<&str, &str> = lines().collect();
    assert_eq!(lines().count(), by_name.len(), "a line for each");
    let rules = rules();
    assert_eq!(by_name.keys().collect::<Vec<_>>(), rules.keys().collect::<Vec<_>>());
    for (name, rule) in rules {
        let severity = behind(rule, "severity: ").next().unwrap();
        assert!(by_name[name].starts_with(&format!("{name} | {severity} | ")), "{}", by_name[name]);
        let leads = behind(rule, "runbook_url: ").next().unwrap_or_default();
        assert_eq!(leads, format!("\"deploy/README.md#{name}\""));
    }
}

#[test]
fn no_alert_is_quiet_only_for_want_of_figures() {
    let well = ALERTS_TESTS.split("  - name: ").nth(1).unwrap().split("alert_rule_test:").next().unwrap();
    assert!(well.starts_with("nothing is wrong"), "{well:.40}");
    let shown = figures(well);
    for (name, rule) in rules() {
        let asked = figures(rule.split("labels:").next().unwrap());
        let missing: Vec<&String> = asked.iter().filter(|name| !name.contains(':') && !shown.contains(*name)).collect();
        assert!(missing.is_empty(), "{name} is not shown {missing:?}");
    }
}

/// Each family of the manual with its labels, and those that Prometheus adds.
fn families() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let rows = MANUAL.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let rows = rows.filter(|(name, _)| name.starts_with("lictor_") || name.starts_with("process_"));
    let labels = |cell: &'static str| cell.split('`').skip(1).step_by(2).chain(["job", "instance", "le"]).collect();
    rows.map(|(name, rest)| (name, labels(rest.split(" |").next().unwrap()))).collect()
}

/// The labels that a selector names, from behind its opening brace on.
fn selected(text: &str) -> Vec<&str> {
    let mut labels = Vec::new();
    let mut rest = text;
    while !rest.starts_with('}') {
        let Some((label, value)) = rest.split_once('"') else { break };
        labels.push(label.trim_matches([',', ' ', '=', '!', '~']));
        rest = value.split_once('"').map_or("", |(_, rest)| rest);
    }
    labels
}

#[test]
fn rules_and_dashboards_go_by_labels_that_there_are() {
    let families = families();
    let all: BTreeSet<&str> = families.values().flatten().copied().collect();
    let dashboards = asked().join("\n");
    for (what, text) in [("alerts", ALERTS), ("recording", RECORDING), ("tests", ALERTS_TESTS), ("boards", &dashboards)]
    {
        let mut seen = 0;
        for (place, _) in text.match_indices('{') {
            let before = &text[..place];
            let name = before.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap();
            let parts = ["_bucket", "_sum", "_count"];
            let name = parts.iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name);
            let Some(known) = families.get(name) else { continue };
            let labels = selected(&text[place + 1..]);
            seen += labels.len();
            let unknown: Vec<&&str> = labels.iter().filter(|label| !known.contains(*label)).collect();
            assert!(unknown.is_empty(), "{what}: {name} has no {unknown:?}");
        }
        assert!(seen > 5, "{what}");
        for group in ["by (", "on ("].into_iter().flat_map(|word| text.split(word).skip(1)) {
            let labels = group.split(')').next().unwrap().split(", ");
            labels.for_each(|label| assert!(all.contains(label), "{what}: no figure has {label:?}"));
        }
        for word in text.split("$labels.").skip(1) {
            let label = word.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap();
            assert!(all.contains(label), "{what}: no figure has {label:?}");
        }
    }
}

/// Every name of a figure in a text, without the parts of histograms.
fn figures(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && !"_:".contains(c));
    let words =
        words.filter(|word| word.starts_with("lictor_") || word.starts_with("process_") || word.contains(":lictor"));
    let parts = ["_bucket", "_sum", "_count"];
    words.map(|word| parts.iter().find_map(|part| word.strip_suffix(part)).unwrap_or(word).to_owned()).collect()
}

/// Every name of a figure that there is: the manual's, and those of rules.
fn known() -> BTreeSet<String> {
    let rows = MANUAL.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    rows.chain(behind(RECORDING, "- record: ")).map(str::to_owned).collect()
}

/// What a dashboard asks Prometheus, with variables as Grafana would have them.
fn expressions(dashboard: &Value, found: &mut Vec<String>) {
    match dashboard {
        Value::Object(fields) => {
            found.extend(fields.get("expr").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| expressions(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

fn asked() -> Vec<String> {
    let mut found = Vec::new();
    for text in DASHBOARDS {
        expressions(&serde_json::from_str(text).unwrap(), &mut found);
    }
    assert!(found.len() > 60);
    let variables = [("$__rate_interval", "1m"), ("$job", "lictor"), ("$instance", ".*"), ("$cluster", ".*")];
    let filled = |text: String| variables.iter().fold(text, |text, (name, value)| text.replace(name, value));
    found.into_iter().map(filled).collect()
}

#[tokio::test]
async fn rules_and_dashboards_ask_for_figures_that_there_are() {
    let known = known();
    for (what, text) in [("alerts", ALERTS), ("recording", RECORDING), ("tests", ALERTS_TESTS)] {
        let unknown: Vec<String> = figures(text).into_iter().filter(|name| !known.contains(name)).collect();
        assert!(unknown.is_empty(), "{what}: {unknown:?}");
    }
    let mut rules = "groups:\n  - name: dashboards\n    rules:\n".to_owned();
    for (place, asked) in asked().iter().enumerate() {
        let unknown: Vec<String> = figures(asked).into_iter().filter(|name| !known.contains(name)).collect();
        assert!(unknown.is_empty(), "{asked}: {unknown:?}");
        assert!(!asked.contains('$'), "no such variable: {asked}");
        rules += &format!("      - record: panel:number{place}\n        expr: {}\n", Value::String(asked.clone()));
    }
    let home = TempDir::new().unwrap();
    fs::write(home.path().join("panels.yml"), rules).unwrap();
    PROMTOOL.says(home.path(), &["check", "rules", "panels.yml"]).await;
}

#[test]
fn dashboards_have_what_grafana_goes_by() {
    let mut uids = BTreeSet::new();
    for text in DASHBOARDS {
        let board: Value = serde_json::from_str(text).unwrap();
        assert!(uids.insert(board["uid"].as_str().unwrap().to_owned()));
        let panels = board["panels"].as_array().unwrap();
        let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
        assert_eq!(ids.len(), panels.len(), "panels have numbers of their own");
        let mut taken = BTreeSet::new();
        for panel in panels {
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
            assert!(x + w <= 24, "{panel}");
            for spot in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(taken.insert(spot), "panels lie on each other: {panel}");
            }
            let is_row = panel["type"] == "row";
            assert!(is_row || !panel["targets"].as_array().unwrap().is_empty(), "{panel}");
            assert!(is_row || panel["datasource"]["uid"] == "${datasource}", "{panel}");
        }
    }
    for text in DASHBOARDS {
        for link in text.split("/d/").skip(1) {
            assert!(uids.contains(link.split('?').next().unwrap()), "a link to nowhere: {link:.40}");
        }
    }
}

/// The same with addresses in place of how they are found: Debian's Prometheus is built without any discovery but files.
fn without_discovery(text: &str) -> String {
    let (mut written, mut column) = (String::new(), None);
    for line in text.lines() {
        let depth = line.len() - line.trim_start().len();
        if column.is_some_and(|column| depth > column) {
            continue;
        }
        column = None;
        match line.split_once("_sd_configs:") {
            Some((before, _)) => {
                let before = &before[..before.rfind([' ', '-']).map_or(0, |end| end + 1)];
                column = Some(before.len());
                written += &format!("{before}static_configs: [{{targets: [\"127.0.0.1:9990\"]}}]\n");
            }
            None => written += &format!("{line}\n"),
        }
    }
    written
}

#[tokio::test]
async fn samples_of_scrapes_are_taken_by_prometheus() {
    for name in ["static.yml", "consul.yml", "kubernetes.yml"] {
        let text = fs::read_to_string(deploy("prometheus").join(name)).unwrap();
        let home = TempDir::new().unwrap();
        fs::create_dir(home.path().join("rules")).unwrap();
        fs::write(home.path().join("rules/alerts.yml"), ALERTS).unwrap();
        let replaced = without_discovery(&text);
        assert!(!replaced.contains("_sd_configs"), "{replaced}");
        fs::write(home.path().join(name), &replaced).unwrap();
        PROMTOOL.says(home.path(), &["check", "config", name]).await;
        assert!(text.contains("job_name: lictor\n"), "{name}: the rules go by the job's name");
    }
}

#[tokio::test]
async fn alertmanager_takes_its_routes_and_sends_what_is_critical_to_people_at_once() {
    let folder = deploy("alertmanager");
    AMTOOL.says(&folder, &["check-config", "alertmanager.yml"]).await;
    let route = async |severity: &str| {
        let labels = ["config", "routes", "test", "--config.file=alertmanager.yml", "alertname=InstanceDown", severity];
        AMTOOL.says(&folder, &labels).await.lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(route("severity=critical").await, "people-at-once");
    assert_eq!(route("severity=warning").await, "people-by-day");
}

/// A Prometheus that scrapes one lictor twice a second, with the rules in a hurry: what they want for minutes, seconds are enough for
/// here, or the test would take as long as they are patient.
struct Prometheus {
    address: SocketAddr,
    guard: Child,
    _home: TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Its guard ends it when standard input does.
        drop(self.guard.stdin.take());
        self.guard.wait().ok();
    }
}

fn hurried(rules: &str) -> String {
    let mut written = String::new();
    for line in rules.lines() {
        let line = if line.trim_start().starts_with("for: ") { "        for: 2s" } else { line };
        written += &format!("{}\n", line.replace("[5m]", "[4s]").replace("[2m]", "[4s]"));
    }
    written
}

impl Prometheus {
    async fn start(target: SocketAddr) -> Prometheus {
        let program = tokio::task::spawn_blocking(|| PROMETHEUS.find()).await.unwrap();
        let program = program.unwrap_or_else(|error| panic!("no Prometheus: {error}"));
        let home = TempDir::new().unwrap();
        fs::write(home.path().join("alerts.yml"), hurried(ALERTS)).unwrap();
        fs::write(home.path().join("recording.yml"), hurried(RECORDING)).unwrap();
        let config = format!(
            "global: {{scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}}\nrule_files: [recording.yml, alerts.yml]\n\
             scrape_configs:\n  - job_name: lictor\n    static_configs: [{{targets: [\"{target}\"]}}]\n"
        );
        fs::write(home.path().join("prometheus.yml"), config).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let log = fs::File::create(home.path().join("log")).unwrap();
        let mut guard = binary::guarded(&program);
        guard
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=data")
            .arg(format!("--web.listen-address={address}"));
        guard.current_dir(home.path()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut prometheus = Prometheus { address, guard: guard.spawn().unwrap(), _home: home };
        eventually("Prometheus is ready", PATIENCE, async || {
            let log = || fs::read_to_string(prometheus._home.path().join("log")).unwrap_or_default();
            assert!(prometheus.guard.try_wait().unwrap().is_none(), "{}", log());
            try_get(address, "prometheus", "/-/ready").await.is_ok_and(|answer| answer.status == 200)
        })
        .await;
        prometheus
    }

    async fn api(&self, path: &str) -> Value {
        let answer = get(self.address, "prometheus", &format!("/api/v1/{path}")).await;
        let value: Value = serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(value["status"], "success", "{path}: {value}");
        value["data"].clone()
    }

    /// The series that an expression comes to.
    async fn ask(&self, expression: &str) -> Vec<Value> {
        let escape =
            |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") };
        let query: String = expression.bytes().map(escape).collect();
        self.api(&format!("query?query={query}")).await["result"].as_array().unwrap().clone()
    }

    /// The names of the alerts that fire.
    async fn firing(&self) -> BTreeSet<String> {
        let alerts = self.api("alerts").await;
        let firing = alerts["alerts"].as_array().unwrap().iter().filter(|alert| alert["state"] == "firing");
        firing.map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned()).collect()
    }
}

/// Clients who ask for as long as this is held, now and then, so that a small machine has time for the rest.
fn clients(proxy: SocketAddr) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        clients.spawn(async move {
            loop {
                try_get(proxy, "shop", "/").await.ok();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
    }
    clients
}

#[tokio::test]
async fn prometheus_scrapes_lictor_and_calls_for_people_when_it_should() {
    let origin = Origin::start("one").await;
    let proxy = Proxy::start(&to_endpoints(&[origin.address()], "[metrics]\nendpoints = true"));
    eventually("ready", PATIENCE, async || is_ready(proxy.admin()).await).await;
    let clients = clients(proxy.address());
    let prometheus = Prometheus::start(proxy.admin()).await;

    // As OpenMetrics, which is what it prefers: it takes all of it, and the rules find what they ask for.
    let rate = async || prometheus.ask("job_cluster:lictor_requests:rate5m{cluster=\"web\"} > 0").await.len() == 1;
    eventually("requests are counted", PATIENCE, rate).await;
    let target = &prometheus.api("targets").await["activeTargets"][0];
    assert_eq!((&target["health"], &target["lastError"]), (&"up".into(), &"".into()));
    for group in prometheus.api("rules").await["groups"].as_array().unwrap() {
        for rule in group["rules"].as_array().unwrap() {
            assert_eq!((&rule["lastError"], &rule["health"]), (&Value::Null, &"ok".into()), "{rule}");
        }
    }
    for asked in asked() {
        prometheus.ask(&asked).await;
    }
    // Quiet for longer than any of them wants, which is counted in scrapes. What the machine is to blame for does not count.
    eventually("many scrapes", PATIENCE, async || {
        !prometheus.ask("count_over_time(up{job=\"lictor\"}[5m]) > 12").await.is_empty()
    })
    .await;
    let of_the_machine = BTreeSet::from(["ThreadLags".to_owned(), "WorkerSaturated".to_owned()]);
    let firing = prometheus.firing().await;
    assert!(firing.is_subset(&of_the_machine), "{firing:?}");

    // For more than a second nobody is answered.
    origin.always(Script::Delay(Duration::from_millis(1_300), Box::new(Script::answer(200, "late"))));
    eventually("HighRequestLatency", PATIENCE, async || prometheus.firing().await.contains("HighRequestLatency")).await;
    assert!(!prometheus.firing().await.contains("InstanceDown"));

    drop(clients);
    proxy.drain().await;
    eventually("InstanceDown", PATIENCE, async || prometheus.firing().await.contains("InstanceDown")).await;
}
