//! The access log: what a line says, that nobody can write in it but lictor, and that writing it holds up nobody.

mod endings;
mod lines;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use lictor::account::Flag;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::app::{Proxy, parse, to_endpoints};
use crate::support::client::{Client, eventually, get};
use crate::support::origin::{Origin, Script};
use crate::support::spawned::Spawned;
use crate::support::window::metric;

const SOON: Duration = Duration::from_secs(10);

/// A folder with a log in it.
struct Log(TempDir);

impl Log {
    fn new() -> Log {
        Log(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("access.log")
    }

    /// `[access_log]` with that format and more keys.
    fn keys(&self, format: &str, more: &str) -> String {
        format!("[access_log]\nformat = \"{format}\"\npath = {:?}\n{more}\n", self.path())
    }

    /// So many lines, once they are there; all of them, if there are more.
    async fn lines(&self, count: usize) -> Vec<String> {
        lines(&self.path(), count).await
    }

    /// The same, as JSON.
    async fn entries(&self, count: usize) -> Vec<Value> {
        self.lines(count).await.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The only line.
    async fn entry(&self) -> Value {
        let entries = self.entries(1).await;
        assert_eq!(entries.len(), 1, "{entries:?}");
        entries.into_iter().next().unwrap()
    }
}

async fn lines(path: &Path, count: usize) -> Vec<String> {
    let read =
        || -> Vec<String> { std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect() };
    eventually(&format!("{count} lines"), SOON, async || Some(read()).filter(|lines| lines.len() >= count)).await
}

/// A proxy with an origin that writes JSON.
async fn pair(more: &str) -> (Origin, Log, Proxy) {
    let (origin, log) = (Origin::start("one").await, Log::new());
    let text = format!("{}{}", to_endpoints(&[origin.address()], more), log.keys("json", ""));
    let proxy = Proxy::start(&text);
    (origin, log, proxy)
}

#[tokio::test]
async fn a_line_of_the_common_format_is_read_by_the_tools_that_know_it() {
    let (origin, log) = (Origin::start("one").await, Log::new());
    let proxy = Proxy::start(&format!("{}{}", to_endpoints(&[origin.address()], ""), log.keys("combined", "")));
    let mut client = Client::connect(proxy.address()).await;
    client.exchange("GET /a?b=c HTTP/1.1\r\nhost: shop\r\nreferer: x\\\u{e9}\r\nuser-agent: a \"b\"\r\n\r\n").await;
    let line = &log.lines(1).await[0];
    let (head, rest) = line.split_once(" [").unwrap();
    let (time, rest) = rest.split_once("] ").unwrap();
    assert_eq!(head, "127.0.0.1 - -");
    assert!(time.ends_with(" +0000") && time.matches('/').count() == 2 && time.len() == 26, "{time}");
    assert_eq!(rest, "\"GET /a?b=c HTTP/1.1\" 200 3 \"x\\x5C\\xC3\\xA9\" \"a \\x22b\\x22\"");
}

#[tokio::test]
async fn usual_requests_are_left_out_as_far_as_is_asked_and_all_others_are_not() {
    let (origin, log) = (Origin::start("one").await, Log::new());
    let text = format!(
        "[[routes]]\npath = \"/a\"\ncluster = \"web\"\n[clusters.web]\nendpoints = [\"{}\"]\n",
        origin.address()
    );
    let proxy = Proxy::start(&format!("{text}{}", log.keys("json", "sample = 0.0")));
    for path in ["/a", "/b", "/a"] {
        get(proxy.address(), "shop", path).await;
    }
    proxy.drain().await;
    let entries = log.entries(1).await;
    assert_eq!(entries.iter().map(|entry| &entry["target"]).collect::<Vec<_>>(), ["/b"]);
}

#[tokio::test]
async fn a_drain_leaves_no_line_behind() {
    let (_origin, log, proxy) = pair("").await;
    let mut client = Client::connect(proxy.address()).await;
    for _ in 0..300 {
        client.exchange("GET / HTTP/1.1\r\nhost: shop\r\n\r\n").await;
    }
    drop(client);
    proxy.drain().await;
    assert_eq!(std::fs::read_to_string(log.path()).unwrap().lines().count(), 300);
}

#[tokio::test]
async fn a_file_that_was_moved_away_is_made_anew_when_told_so() {
    let (origin, log) = (Origin::start("one").await, Log::new());
    let lictor = Spawned::start(&format!("{}{}", to_endpoints(&[origin.address()], ""), log.keys("json", "")), &[]);
    let address = lictor.address().await;
    get(address, "shop", "/before").await;
    log.lines(1).await;
    let moved = log.0.path().join("access.log.1");
    std::fs::rename(log.path(), &moved).unwrap();
    get(address, "shop", "/between").await;
    assert_eq!(lines(&moved, 2).await.len(), 2, "until it is told");
    kill_process(Pid::from_raw(lictor.id().cast_signed()).unwrap(), Signal::USR1).unwrap();
    lictor.says("access log reopened").await;
    get(address, "shop", "/after").await;
    assert_eq!(log.entry().await["target"], "/after");
    assert_eq!(lines(&moved, 2).await.len(), 2);
}

#[tokio::test]
async fn nobody_waits_for_whoever_reads_the_log() {
    let origin = Origin::start("one").await;
    // A pipe that nobody reads.
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let text = format!("{}[access_log]\nformat = \"json\"\n", to_endpoints(&[origin.address()], ""));
    let lictor = Spawned::start_to(&text, Stdio::from(writer));
    let (address, admin) = (lictor.address().await, lictor.admin().await);
    let long = "x".repeat(7000);
    let mut client = Client::connect(address).await;
    let dropped = async || metric(admin, "lictor_access_log_dropped_total").await;
    let mut answered = 0;
    while dropped().await == 0.0 {
        for _ in 0..200 {
            let request = format!("GET / HTTP/1.1\r\nhost: shop\r\nuser-agent: {long}\r\nreferer: {long}\r\n\r\n");
            assert_eq!(client.exchange(request).await.status, 200);
            answered += 1;
        }
        assert!(answered < 20_000, "the queue has an end");
    }
    drop(reader);
}

#[tokio::test]
async fn a_log_that_cannot_be_written_is_said_and_counted_and_serves_all_the_same() {
    let origin = Origin::start("one").await;
    let text =
        format!("{}[access_log]\nformat = \"json\"\npath = \"/dev/full\"\n", to_endpoints(&[origin.address()], ""));
    let lictor = Spawned::start(&text, &[]);
    let (address, admin) = (lictor.address().await, lictor.admin().await);
    for _ in 0..2 {
        assert_eq!(get(address, "shop", "/").await.status, 200);
    }
    lictor.says("the access log cannot be written; lines are dropped until it can").await;
    eventually("both are counted", SOON, async || metric(admin, "lictor_access_log_dropped_total").await == 2.0).await;
    assert!(metric(admin, "lictor_access_log_write_failures_total").await >= 1.0);
    assert_eq!(metric(admin, "lictor_access_log_lines_total").await, 0.0);
    let nowhere = parse(&text.replace("/dev/full", "/nowhere/access.log"));
    let error = lictor::app::App::start(nowhere).err().unwrap().to_string();
    assert!(error.starts_with("access_log.path: /nowhere/access.log cannot be opened: "), "{error}");
}

#[test]
fn what_is_wrong_with_its_keys_is_said() {
    let refused = |keys: &str| {
        let text = format!(
            "[[listeners]]\nname = 'a'\nbind = '127.0.0.1:0'\n[clusters.a]\nendpoints = []\n[access_log]\n{keys}"
        );
        lictor::config::parse(&text, &lictor::config::Environment::default()).unwrap_err().to_string()
    };
    for (keys, what) in [
        ("format = 'xml'", "access_log.format: no format \"xml\"; use \"off\", \"combined\" or \"json\""),
        ("sample = 1.5", "access_log.sample: 1.5 is not a share; use 0.0 for none to 1.0 for all"),
        ("path = ' '", "access_log.path: is empty; leave the key out for standard output"),
        (
            "format = 'json'\nrequest_headers = ['a b']",
            "access_log.request_headers[0]: \"a b\" is not the name of a header",
        ),
        (
            "format = 'json'\nresponse_headers = ['Set-Cookie']",
            "access_log.response_headers[0]: \"Set-Cookie\" holds what nobody may learn from a log; leave it out",
        ),
        (
            "format = 'combined'\nrequest_headers = ['x']",
            "access_log.request_headers: lines in the format \"combined\" have no place for them; use format = \"json\"",
        ),
    ] {
        let said = refused(keys);
        assert!(said.contains(what), "{said}");
    }
}

/// The first cells of a table in the operators' manual, between two of its lines.
fn manual(from: &str, to: &str) -> BTreeSet<String> {
    let manual = include_str!("../deploy/README.md");
    let part = manual.split_once(from).unwrap().1.split_once(to).unwrap().0;
    let rows = part.lines().filter_map(|row| row.strip_prefix("| `")?.split_once('`'));
    rows.map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn every_flag_is_in_the_operators_manual_and_no_other() {
    let known: BTreeSet<String> = Flag::ALL.iter().map(|flag| flag.code().to_owned()).collect();
    assert_eq!(manual("\n| flag |", "\n## "), known);
}

#[tokio::test]
async fn every_key_is_in_the_operators_manual() {
    let (origin, log, proxy) = pair("").await;
    origin.once(Script::answer(200, "x"));
    get(proxy.address(), "shop", "/").await;
    let told = manual("\n## The access log", "\nFlags:");
    for key in log.entry().await.as_object().unwrap().keys() {
        assert!(told.contains(key), "{key}");
    }
}
