//! `lictor top`: in a true terminal, and as text for scripts.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::NamedTempFile;

use crate::support::app::{Proxy, to_endpoints};
use crate::support::client::eventually;
use crate::support::origin::Origin;
use crate::support::visitor::Visitor;

const SOON: Duration = Duration::from_secs(20);

/// What a process comes to, and what it prints to which stream.
async fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lictor"));
    command.args(arguments).stdin(Stdio::null()).env_remove("LICTOR_ADMIN_TOKEN");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn once_prints_what_there_is_and_ends() {
    let origin = Origin::start("one").await;
    let nobody = "127.0.0.1:1".parse().unwrap();
    let proxy = Proxy::start(&to_endpoints(&[origin.address(), nobody], "policy = \"round_robin\""));
    let visitor = Visitor::start(&proxy);
    let admin = proxy.admin().to_string();
    let line = eventually("who is out is shown", SOON, async || {
        let (code, out, err) = run(&["top", "--once", "--admin", &admin]).await;
        assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
        assert!(out.starts_with("lictor ") && out.contains("requests/s"), "{out}");
        out.lines().find(|line| line.contains("127.0.0.1:1 ")).map(str::to_owned)
    })
    .await;
    assert!(line.contains("ejected") && line.contains("more"), "{line}");
    visitor.leave().await;
}

#[tokio::test]
async fn whoever_asks_at_the_wrong_place_is_told_so() {
    let (code, out, err) = run(&["top", "--once", "--admin", "127.0.0.1:1"]).await;
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("127.0.0.1:1") && err.contains("refused"), "{err}");
}

#[tokio::test]
async fn in_a_terminal_it_shows_clusters_and_leaves_when_told_to() {
    let origin = Origin::start("one").await;
    let proxy = Proxy::start(&to_endpoints(&[origin.address()], ""));
    let seen = NamedTempFile::new().unwrap();
    let ask = format!("stty cols 110 rows 30; exec {} top --admin {}", env!("CARGO_BIN_EXE_lictor"), proxy.admin());
    let mut terminal = Command::new("script");
    terminal.args(["--quiet", "--return", "--flush", "--command", &ask]).arg(seen.path());
    let terminal = terminal.env("TERM", "xterm").stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
    let mut terminal = terminal.expect("script is needed: apt-get install bsdutils");
    let shows = |text: &'static str| {
        let path = seen.path();
        eventually(text, SOON, async move || {
            String::from_utf8_lossy(&std::fs::read(path).unwrap()).contains(text).then_some(())
        })
    };
    // Words: a space that was there before is not drawn.
    shows("CLUSTER").await;
    shows("STANDING").await;
    let mut keys = terminal.stdin.take().unwrap();
    keys.write_all(b"s").unwrap();
    shows("name").await;
    keys.write_all(b"q").unwrap();
    let code = eventually("it ends", SOON, async || terminal.try_wait().unwrap()).await;
    assert!(code.success(), "{code}");
    let all = std::fs::read(seen.path()).unwrap();
    assert!(all.windows(8).any(|part| part == b"\x1b[?1049l"), "the screen of before is back");
}
