//! The program as a person or a service manager meets it: arguments, messages, signals and exit codes.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;

use crate::support::app::{configuration, to_endpoints};
use crate::support::client::{Client, eventually, get, try_get};
use crate::support::origin::{Origin, slow_body};

const SOON: Duration = Duration::from_secs(20);

/// What a person would write who wants the proxy beside every service.
const EGRESS: &str = r#"
[[listeners]]
name = "egress"
bind = "127.0.0.1:15001"
egress = true

[defaults]
policy = "p2c"
retry = { attempts = 2 }
"#;

/// The program with these arguments and an environment that says nothing to it.
fn lictor(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lictor"));
    let ours = |name: &str| name.starts_with("CONSUL_") || name.starts_with("LICTOR_") || name == "RUST_LOG";
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(ours) {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = lictor(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// A file of that text, in a directory that lives as long as the first half.
fn file(text: &str) -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("lictor.toml");
    std::fs::write(&path, text).unwrap();
    (directory, path)
}

fn check(text: &str) -> (Option<i32>, String, String) {
    let (_directory, path) = file(text);
    run(&["check", "--config", path.to_str().unwrap()])
}

/// A running lictor and what it has said so far.
struct Running {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Running {
    fn start(arguments: &[&str]) -> Running {
        let mut child = lictor(arguments).spawn().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        listen(out, &said);
        listen(err, &said);
        Running { child, said }
    }

    fn serve(config: &Path) -> Running {
        Running::start(&["serve", "--config", config.to_str().unwrap()])
    }

    fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    async fn says(&self, words: &str) {
        eventually(words, SOON, async || self.said().contains(words)).await;
    }

    /// The address behind the first of these words.
    async fn address(&self, before: &str) -> SocketAddr {
        eventually(before, SOON, async || address_behind(&self.said(), before)).await
    }

    /// As `kill -SIGNAL` would; the process is our child and not reaped yet, so its number is its own.
    fn signal(&self, signal: &str) {
        let kill = format!("kill -{signal} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success(), "{kill}");
    }

    async fn exit_code(&mut self) -> Option<i32> {
        let status = eventually("it ends", SOON, async || self.child.try_wait().unwrap()).await;
        status.code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listen(stream: impl Read + Send + 'static, said: &Arc<Mutex<String>>) {
    let said = Arc::clone(said);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            said.lock().unwrap().push_str(&(line + "\n"));
        }
    });
}

fn address_behind(text: &str, before: &str) -> Option<SocketAddr> {
    let rest = text.split_once(before)?.1;
    let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'))?;
    rest[..end].trim_end_matches('.').parse().ok()
}

#[test]
fn check_says_what_is_in_a_good_file() {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/config/edge.toml");
    let (code, out, err) = run(&["check", "--config", sample]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(out, format!("{sample}: good: 1 listeners, 2 routes, 3 clusters\n"));
}

#[test]
fn check_names_every_problem_with_file_line_and_key() {
    let (_directory, path) = file(&configuration("[[routes]]\ncluster = \"wbe\"\n[clusters.web]\npolcy = \"p2c\"\n"));
    let (code, out, err) = run(&["check", "--config", path.to_str().unwrap()]);
    assert_eq!((code, out.as_str()), (Some(78), ""));
    let place = path.display();
    assert_eq!(err, format!("{place}:5: clusters.web.polcy: unknown key; did you mean \"policy\"?\n"));
    let (code, _, err) = check(&configuration(
        "[[routes]]\ncluster = \"wbe\"\n[clusters.web]\nendpoints = [\"127.0.0.1\"]\nretry = { attempts = 99 }\n",
    ));
    assert_eq!((code, err.lines().count()), (Some(78), 3), "{err}");
    assert!(err.contains(":3: routes[0].cluster: no cluster \"wbe\"; did you mean \"web\"?\n"), "{err}");
    assert!(err.contains("clusters.web.endpoints[0]: \"127.0.0.1\" is not an endpoint"), "{err}");
}

#[test]
fn an_egress_listener_needs_nothing_else() {
    let (code, out, err) = check(EGRESS);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.ends_with(": good: 1 listeners, 0 routes, 0 clusters\n"), "{out}");
}

#[test]
fn a_file_that_is_not_there_or_is_no_toml_is_a_bad_configuration() {
    let (code, _, err) = run(&["check", "--config", "/nonexistent/lictor.toml"]);
    assert_eq!(code, Some(78));
    assert!(err.contains("/nonexistent/lictor.toml") && err.contains("cannot be read"), "{err}");
    let (code, _, err) = run(&["serve", "--config", "/nonexistent/lictor.toml"]);
    assert_eq!(code, Some(78), "{err}");
    let (code, _, err) = check("[[listeners]\n");
    assert_eq!(code, Some(78));
    assert!(err.contains("lictor.toml:1"), "{err}");
}

#[test]
fn a_token_for_consul_that_is_not_there_yet_is_worth_another_start() {
    let (_directory, path) = file(&format!("{EGRESS}[consul]\ntoken_file = \"/nonexistent/token\"\n"));
    let (code, _, err) = run(&["serve", "--config", path.to_str().unwrap()]);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("consul.token_file: /nonexistent/token"), "{err}");
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    for arguments in [&["srve"][..], &["serve", "--cnfig", "x"], &[]] {
        let (code, _, err) = run(arguments);
        assert_eq!(code, Some(2), "{arguments:?}");
        assert!(err.contains("Usage: lictor"), "{err}");
    }
    let (code, out, _) = run(&["--version"]);
    assert_eq!((code, out), (Some(0), format!("lictor {}\n", env!("CARGO_PKG_VERSION"))));
    let (code, out, _) = run(&["--help"]);
    assert!(code == Some(0) && ["serve", "check", "demo"].iter().all(|command| out.contains(command)), "{out}");
}

#[test]
fn shells_and_manuals_know_every_command() {
    let commands = ["serve", "check", "explain", "demo", "health", "completions", "manual", "top"];
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, err) = run(&["completions", shell]);
        assert_eq!((code, err.as_str()), (Some(0), ""));
        assert!(commands.iter().all(|command| out.contains(command)), "{shell}: {out}");
    }
    let (code, page, err) = run(&["manual"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(page.contains(".SH SIGNALS") && page.contains(".SH \"EXIT STATUS\""), "{page}");
    let directory = TempDir::new().unwrap();
    let (code, out, _) = run(&["manual", "--directory", directory.path().join("man").to_str().unwrap()]);
    assert_eq!((code, out.as_str()), (Some(0), ""));
    for command in commands {
        let page = std::fs::read_to_string(directory.path().join(format!("man/lictor-{command}.1"))).unwrap();
        assert!(page.contains(&format!(".TH lictor-{command} 1")), "{page}");
    }
    assert_eq!(std::fs::read_to_string(directory.path().join("man/lictor.1")).unwrap(), page);
}

#[tokio::test]
async fn health_says_what_readiness_says() {
    let (_directory, path) = file(&configuration("[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\n"));
    let (code, _, err) = run(&["health", "--config", path.to_str().unwrap()]);
    assert_eq!(code, Some(1), "nobody listens there: {err}");
    assert!(err.contains("does not answer"), "{err}");

    // A port that was free a moment ago, since the file has to name one.
    let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = |delay: &str| {
        let rest = to_endpoints(&["127.0.0.1:1".parse().unwrap()], "") + &format!("[drain]\ndelay = \"{delay}\"\n");
        configuration(&rest).replace("[admin]\nbind = \"127.0.0.1:0\"", &format!("[admin]\nbind = \"{admin}\""))
    };
    let (_directory, path) = file(&text("1h"));
    let lictor = Running::serve(&path);
    let health = || run(&["health", "--config", path.to_str().unwrap()]);
    eventually("ready", SOON, async || health().0 == Some(0)).await;
    assert_eq!(health().1, "ready\n");
    lictor.signal("TERM");
    lictor.says("draining: not ready any more").await;
    let (code, out, err) = health();
    assert_eq!((code, out.as_str(), err.as_str()), (Some(1), "", "lictor: draining\n"));
}

#[tokio::test]
async fn serve_serves_until_sigterm_and_finishes_what_runs() {
    let origin = Origin::start("one").await;
    let (_directory, path) = file(&configuration(&to_endpoints(&[origin.address()], "")));
    let mut lictor = Running::serve(&path);
    let address = lictor.address("listening listener=\"edge\" address=").await;
    let admin = lictor.address("admin listening address=").await;
    eventually("ready", SOON, async || get(admin, "localhost", "/readyz").await.status == 200).await;
    assert_eq!(get(address, "shop", "/").await.text(), "one");
    let (tap, script) = slow_body();
    origin.once(script);
    let mut client = Client::connect(address).await;
    client.send("GET / HTTP/1.1\r\nhost: shop\r\n\r\n").await;
    let (_, mut body) = client.head().await;
    lictor.signal("TERM");
    lictor.says("nothing new is accepted").await;
    tap.send("last");
    assert_eq!(client.piece(&mut body).await.unwrap().unwrap(), "last");
    assert!(lictor.child.try_wait().unwrap().is_none(), "it waits");
    tap.end();
    assert!(client.piece(&mut body).await.unwrap().is_none());
    assert_eq!(lictor.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_second_sigint_ends_at_once() {
    let (_directory, path) = file(&configuration(&format!(
        "{}[drain]\ndelay = \"1h\"\n",
        to_endpoints(&["127.0.0.1:1".parse().unwrap()], "")
    )));
    let mut lictor = Running::serve(&path);
    lictor.says("admin listening").await;
    lictor.signal("INT");
    lictor.says("draining: not ready any more").await;
    assert!(lictor.child.try_wait().unwrap().is_none(), "the first is a drain");
    lictor.signal("INT");
    assert_eq!(lictor.exit_code().await, Some(1));
    lictor.says("interrupted; what still ran was broken off").await;
}

#[tokio::test]
async fn sighup_takes_over_a_good_file_and_leaves_a_bad_one() {
    let origins = [Origin::start("one").await, Origin::start("two").await];
    let text = |origin: &Origin| configuration(&to_endpoints(&[origin.address()], ""));
    let (_directory, path) = file(&text(&origins[0]));
    let mut lictor = Running::serve(&path);
    let address = lictor.address("listening listener=\"edge\" address=").await;
    lictor.says("admin listening").await;
    assert_eq!(get(address, "shop", "/").await.text(), "one");

    std::fs::write(&path, text(&origins[1])).unwrap();
    lictor.signal("HUP");
    lictor.says("reloaded").await;
    assert_eq!(get(address, "shop", "/").await.text(), "two");

    std::fs::write(&path, text(&origins[0]).replace("endpoints", "endpoint")).unwrap();
    lictor.signal("HUP");
    lictor.says("clusters.web.endpoint: unknown key; did you mean \"endpoints\"?").await;
    assert_eq!(get(address, "shop", "/").await.text(), "two");

    std::fs::write(&path, text(&origins[0]).replace("workers = 1", "workers = 2")).unwrap();
    lictor.signal("HUP");
    lictor.says("workers cannot change while lictor runs; restart it").await;
    assert_eq!(get(address, "shop", "/").await.text(), "two");
    lictor.signal("TERM");
    assert_eq!(lictor.exit_code().await, Some(0));
}

#[test]
fn a_port_that_is_taken_is_an_error_and_no_bad_configuration() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let (_directory, path) = file(&format!("[[listeners]]\nname = \"edge\"\nbind = \"{address}\"\n"));
    let (code, _, err) = run(&["serve", "--config", path.to_str().unwrap()]);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains(&format!("lictor: cannot listen on {address}: ")), "{err}");
}

#[tokio::test]
async fn logs_can_be_json() {
    let (_directory, path) = file(&configuration(&format!(
        "{}[log]\nformat = \"json\"\n",
        to_endpoints(&["127.0.0.1:1".parse().unwrap()], "")
    )));
    let mut lictor = Running::serve(&path);
    lictor.says("admin listening").await;
    lictor.signal("TERM");
    assert_eq!(lictor.exit_code().await, Some(0));
    for line in lictor.said().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["level"].is_string() && line["fields"]["message"].is_string(), "{line}");
    }
}

/// Sends the request that a line of the demo's text shows as a curl command.
async fn post(address: SocketAddr, path: &str) -> u16 {
    let mut client = Client::connect(address).await;
    client.exchange(format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")).await.status
}

#[tokio::test]
async fn the_demo_does_what_it_tells_people_to_try() {
    let mut demo = Running::start(&["demo"]);
    demo.says("Ctrl-C ends it all.").await;
    let text = demo.said();
    let address = |before: &str| address_behind(&text, before).unwrap_or_else(|| panic!("{before:?} is not in {text}"));
    let (proxy, admin) = (address("lictor listens on http://"), address("look inside:\n    http://"));
    let (registry, control) = (address("the service \"web\" in http://"), address("curl --request POST http://"));
    let answers = async |name: &str| {
        let wanted = format!("hello from {name}\n");
        eventually(&wanted, SOON, async || try_get(proxy, "demo", "/").await.is_ok_and(|got| got.text() == wanted))
            .await;
    };
    for name in ["web1", "web2", "web3"] {
        answers(name).await;
    }
    for path in ["/v1/clusters", "/v1/routes", "/metrics", "/readyz"] {
        assert_eq!(get(admin, "localhost", path).await.status, 200, "{path}");
    }

    let by_name = get(address("'Host: web.service.consul' http://"), "web.service.consul", "/").await;
    assert_eq!((by_name.status, &by_name.text()[..10]), (200, "hello from"));

    assert_eq!(post(control, "/stop").await, 200);
    for _ in 0..20 {
        let response = get(proxy, "demo", "/").await;
        assert_eq!(response.status, 200);
        assert_ne!(response.text(), "hello from web2\n");
    }
    assert_eq!(post(control, "/start").await, 200);

    let service = text.split("--data '").nth(1).unwrap().split('\'').next().unwrap();
    let mut client = Client::connect(registry).await;
    let head = "PUT /v1/agent/service/register HTTP/1.1\r\nhost: x\r\ncontent-length";
    assert_eq!(client.exchange(format!("{head}: {}\r\n\r\n{service}", service.len())).await.status, 200);
    answers("web4").await;

    demo.signal("INT");
    assert_eq!(demo.exit_code().await, Some(0));
}
