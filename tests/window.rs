//! How commands get to the window of a running lictor: `health`, `explain` and `top`, all in the same way.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;

use crate::support::app::{Proxy, configuration, to_endpoints};
use crate::support::chain::{Authority, Leaf};
use crate::support::client::eventually;
use crate::support::window::is_ready;

const SOON: Duration = Duration::from_secs(20);
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn cluster() -> String {
    to_endpoints(&["127.0.0.1:9".parse().unwrap()], "")
}

/// What a command comes to that knows of nothing but this.
async fn run(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lictor"));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("LICTOR_") || name.starts_with("CONSUL_")) {
            command.env_remove(name);
        }
    }
    let command = command.args(arguments).envs(variables.iter().copied()).stdin(Stdio::null());
    let Output { status, stdout, stderr } = command.output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// Each of them with these arguments: they come to the same.
async fn all(config: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Vec<(Option<i32>, String, String)> {
    let mut all = Vec::new();
    for command in [&["health"][..], &["top", "--once"], &["explain", "--host", "shop"]] {
        all.push(run(&[command, &["--config", config], arguments].concat(), variables).await);
    }
    all
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// A configuration whose window is there.
fn at(folder: &Path, admin: &str) -> String {
    let text = configuration(&cluster()).replace("[admin]\nbind = \"127.0.0.1:0\"", &format!("[admin]\n{admin}"));
    assert!(text.contains(admin), "{text}");
    write(folder, "lictor.toml", &text)
}

fn pair(folder: &Path, name: &str, leaf: &Leaf) -> [String; 2] {
    [write(folder, &format!("{name}.pem"), &leaf.chain), write(folder, &format!("{name}.key"), &leaf.key)]
}

#[tokio::test]
async fn a_window_that_wants_certificates_is_looked_through_by_whoever_has_one() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let (servers, operators) = (Authority::root("servers"), Authority::root("operators"));
    let [cert, key] = pair(folder, "admin", &servers.leaf(&["lictor.internal"]));
    let [own_cert, own_key] = pair(folder, "anna", &operators.leaf(&["anna.operators"]));
    let ca = write(folder, "servers.pem", &servers.pem());
    let tls = format!(
        "names = [\"lictor.internal\"]\n[admin.tls]\nclient_auth = \"required\"\nclient_ca = \"{}\"\n\
         certificates = [{{ cert = \"{cert}\", key = \"{key}\" }}]",
        write(folder, "operators.pem", &operators.pem())
    );
    let proxy = Proxy::start(&format!("{}[admin]\nbind = \"127.0.0.1:0\"\n{tls}\n", cluster()));
    let config = at(folder, &format!("bind = \"{}\"\n{tls}", proxy.admin()));
    let known = ["--ca-file", &ca, "--cert-file", &own_cert, "--key-file", &own_key];
    eventually("ready", SOON, async || {
        run(&[&["health", "--config", &config][..], &known].concat(), &[]).await.0 == Some(0)
    })
    .await;
    for (code, out, err) in all(&config, &known, &[]).await {
        assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
        assert!(!out.contains("as a new proxy would see it"), "{out}");
    }
    let variables =
        [("LICTOR_ADMIN_CA_FILE", &*ca), ("LICTOR_ADMIN_CERT_FILE", &*own_cert), ("LICTOR_ADMIN_KEY_FILE", &*own_key)];
    let (code, out, err) = run(&["health", "--live", "--config", &config], &variables).await;
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "live\n", ""));

    let (code, _, err) =
        run(&["health", "--config", &config, "--cert-file", &own_cert, "--key-file", &own_key], &[]).await;
    assert!(code == Some(1) && err.contains("does not answer"), "its CA is not the system's: {err}");
    let (code, _, err) = run(&["top", "--once", "--config", &config, "--ca-file", &ca], &[]).await;
    assert!(code == Some(1) && err.contains("does not answer"), "who is nobody: {err}");
    let (code, _, err) = run(&["top", "--config", &config, "--cert-file", &own_cert], &[]).await;
    assert!(code == Some(2) && err.contains("--key-file"), "a certificate without its key: {err}");
}

#[tokio::test]
async fn a_token_comes_from_a_file_the_environment_or_the_configuration_and_never_from_the_command_line() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let proxy = Proxy::start(&format!("{}[admin]\nbind = \"127.0.0.1:0\"\ntoken = \"{TOKEN}\"\n", cluster()));
    let (admin, token) = (proxy.admin().to_string(), write(folder, "token", &format!("{TOKEN}\n")));
    let config = at(folder, &format!("bind = \"{admin}\"\ntoken = \"{TOKEN}\""));
    eventually("ready", SOON, async || is_ready(proxy.admin()).await).await;
    for (code, out, err) in all(&config, &[], &[]).await {
        assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    }
    let there = ["top", "--once", "--admin", &admin];
    let (code, _, err) = run(&there, &[]).await;
    assert!(code == Some(1) && err.contains("it wants a token: --token-file, or LICTOR_ADMIN_TOKEN"), "{err}");
    let (code, _, err) = run(&[&there[..], &["--token-file", &token]].concat(), &[]).await;
    assert_eq!(code, Some(0), "{err}");
    let (code, _, err) = run(&there, &[("LICTOR_ADMIN_TOKEN", TOKEN)]).await;
    assert_eq!(code, Some(0), "{err}");
    let (code, _, err) = run(&[&there[..], &["--token", TOKEN]].concat(), &[]).await;
    assert_eq!(code, Some(2), "ps shows it to everybody: {err}");
    let (code, _, err) = run(&[&there[..], &["--token-file", "/nonexistent/token"]].concat(), &[]).await;
    assert!(code == Some(1) && err.contains("/nonexistent/token: cannot be read"), "{err}");
}

#[tokio::test]
async fn a_window_in_the_file_system_is_found_by_its_path_and_health_needs_no_configuration_for_that() {
    let folder = TempDir::new().unwrap();
    let bind = format!("unix:{}", folder.path().join("admin.sock").display());
    let _proxy = Proxy::start(&format!("{}[admin]\nbind = \"{bind}\"\n", cluster()));
    let config = at(folder.path(), &format!("bind = \"{bind}\""));
    let health = async || run(&["health", "--config", &config], &[]).await.0 == Some(0);
    eventually("ready", SOON, health).await;
    for (code, out, err) in all(&config, &[], &[]).await {
        assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    }
    let lost = ["health", "--config", "/nonexistent/lictor.toml"];
    // Whoever named a file is not sent elsewhere, and what is set to nothing is not set.
    let empty =
        ["", "_TOKEN", "_TOKEN_FILE", "_CA_FILE", "_CERT_FILE", "_KEY_FILE"].map(|end| format!("LICTOR_ADMIN{end}"));
    let empty: Vec<(&str, &str)> = empty.iter().map(|name| (name.as_str(), "")).collect();
    let (code, _, err) = run(&lost, &empty).await;
    assert!(code == Some(78) && err.contains("/nonexistent/lictor.toml"), "{err}");
    for (code, out, err) in all(&config, &[], &empty).await {
        assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    }
    for (arguments, variables) in [(&["--admin", &bind][..], &[][..]), (&[], &[("LICTOR_ADMIN", bind.as_str())])] {
        let (code, out, err) = run(&[&lost, arguments].concat(), variables).await;
        assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "ready\n", ""));
    }
}
