//! What `lictor check --live` says of the machine that it runs on: ports and certificates, for people and for programs.

use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::chain::{Authority, Wish};

/// What it says of this configuration, with these arguments: exit code and output.
fn check(directory: &TempDir, text: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let path = directory.path().join("lictor.toml");
    std::fs::write(&path, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lictor"));
    command.arg("check").arg("--config").arg(path).args(arguments).env_clear().stdin(Stdio::null());
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn json(directory: &TempDir, text: &str, arguments: &[&str]) -> (Option<i32>, Value) {
    let (code, out) = check(directory, text, &[arguments, &["--json"]].concat());
    (code, serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}")))
}

fn listener(bind: &str, rest: &str) -> String {
    format!("[[listeners]]\nname = \"edge\"\nbind = \"{bind}\"\n{rest}")
}

/// An edge whose certificate is good for so many days.
fn secured(directory: &TempDir, days: i32) -> String {
    let wish = Wish { names: &["shop.example"], days: Some(days), ..Wish::default() };
    let files = Authority::root("root").issue(&wish).write(directory.path(), "edge");
    listener("127.0.0.1:0", &format!("tls = {{ certificates = [{{ {files} }}] }}\n"))
}

#[test]
fn a_port_that_somebody_else_has_is_found_before_the_start() {
    let directory = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, out) = check(&directory, &listener(&address, ""), &["--live"]);
    let line = format!("failed      listener edge: cannot listen on {address}: ");
    assert!(code == Some(1) && out.contains(&line), "{code:?} {out}");
    let (code, found) = json(&directory, &listener(&address, ""), &["--live"]);
    assert_eq!((code, &found["good"], &found["errors"]), (Some(1), &Value::Bool(false), &Value::from(1)));
    let finding = found["findings"].as_array().unwrap().iter().find(|finding| finding["about"] == "port").unwrap();
    assert_eq!((&finding["level"], &finding["result"]), (&Value::from("error"), &Value::from("failed")));
    drop(taken);
    let (code, found) = json(&directory, &listener(&address, ""), &["--live"]);
    assert_eq!((code, &found["good"]), (Some(0), &Value::Bool(true)), "{found}");
}

#[test]
fn a_certificate_is_looked_at_before_it_ends() {
    let directory = TempDir::new().unwrap();
    for (days, result, codes) in [(60, "ok", [0, 0]), (10, "warning", [0, 1]), (-1, "failed", [1, 1])] {
        let text = secured(&directory, days);
        for (arguments, expected) in [&["--live"][..], &["--live", "--strict"]].into_iter().zip(codes) {
            let (code, found) = json(&directory, &text, arguments);
            assert_eq!(code, Some(expected), "{found}");
            let certificate = |finding: &&Value| finding["about"] == "certificate";
            let finding = found["findings"].as_array().unwrap().iter().find(certificate).unwrap();
            assert_eq!(finding["result"], result, "{found}");
            assert!(finding["what"].as_str().unwrap().contains("\"shop.example\""), "{found}");
        }
    }
}

#[test]
fn programs_are_told_what_is_wrong_with_a_file_in_their_own_words() {
    let directory = TempDir::new().unwrap();
    let (code, found) = json(&directory, &listener("127.0.0.1:0", "bnd = 1\n"), &[]);
    assert_eq!((code, &found["good"]), (Some(78), &Value::Bool(false)));
    let problem = &found["problems"][0];
    assert_eq!((&problem["line"], &problem["key"]), (&Value::from(4), &Value::from("listeners[0].bnd")), "{found}");
    let text =
        listener("127.0.0.1:0", "[[listeners.tls.certificates]]\ncert = \"/nowhere.pem\"\nkey = \"/nowhere.pem\"\n");
    let (code, found) = json(&directory, &text, &[]);
    assert_eq!(code, Some(1), "{found}");
    assert!(found["problems"][0]["message"].as_str().unwrap().contains("/nowhere.pem"), "{found}");
}
