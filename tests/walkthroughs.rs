//! The README's walkthroughs, word for word: each command is typed, and what it prints is compared with what the README says. A network of
//! its own (network_namespaces(7)) has the ports that the README names, and nothing of it is left when the test is over.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tempfile::TempDir;

use crate::support::consul;

const README: &str = include_str!("../README.md");
/// How long a command may take: some wait until something has come about.
const PATIENCE: Duration = Duration::from_secs(60);
/// Stands for any text in what a command is said to print.
const ANYTHING: char = '…';
const DONE: &str = "### the command is done: ";

/// What a walkthrough has its reader do.
#[derive(Debug)]
enum Step {
    /// Put a file there.
    File { name: String, text: String },
    /// Type a command, and see this.
    Command { command: String, printed: Vec<String> },
}

/// The steps below that headline, in their order.
fn steps(headline: &str) -> Vec<Step> {
    let start =
        README.find(&format!("\n### {headline}\n")).unwrap_or_else(|| panic!("the README has no \"{headline}\""));
    let text = &README[start + 1..];
    let end = ["\n## ", "\n### "].iter().filter_map(|next| text[1..].find(next)).min().unwrap_or(text.len() - 1);
    let mut steps = Vec::new();
    for (place, block) in text[..=end].split("```").enumerate() {
        let Some((kind, block)) = block.split_once('\n').filter(|_| place % 2 == 1) else { continue };
        match kind {
            "console" => steps.extend(commands(block)),
            _ => steps.extend(file(block)),
        }
    }
    assert!(!steps.is_empty());
    steps
}

/// A block whose first line names a file.
fn file(block: &str) -> Option<Step> {
    let name = block.lines().next()?.strip_prefix("# ")?;
    Some(Step::File { name: name.to_owned(), text: block.to_owned() })
}

fn commands(block: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push(Step::Command { command: command.to_owned(), printed: Vec::new() }),
            (None, Some(Step::Command { printed, .. })) => printed.push(line.to_owned()),
            _ => panic!("{line:?} is printed by no command"),
        }
    }
    steps
}

/// Somebody at a shell, in a network of their own.
struct Reader {
    shell: Child,
    typed: ChildStdin,
    printed: Receiver<String>,
    directory: TempDir,
}

impl Reader {
    fn sit_down() -> Reader {
        let directory = TempDir::new().unwrap();
        let own = Path::new(env!("CARGO_BIN_EXE_lictor")).parent().unwrap().display().to_string();
        let consul = consul::command().parent().unwrap().display().to_string();
        let path = format!("{own}:{consul}:{}", std::env::var("PATH").unwrap());
        let mut shell = Command::new("unshare")
            .args(["--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "bash"])
            .env_clear()
            .envs([("PATH", path.as_str()), ("HOME", directory.path().to_str().unwrap()), ("LC_ALL", "C.UTF-8")])
            .current_dir(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("unshare, of util-linux, has to be there");
        let (typed, out) = (shell.stdin.take().unwrap(), shell.stdout.take().unwrap());
        let (sender, printed) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines() {
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut reader = Reader { shell, typed, printed, directory };
        reader.types("exec 2>&1; set -o pipefail; ip link set lo up");
        reader
    }

    /// Types a command and returns what it prints. It has to succeed.
    fn types(&mut self, command: &str) -> Vec<String> {
        writeln!(self.typed, "{command}\necho \"{DONE}$?\"").unwrap();
        let mut lines = Vec::new();
        loop {
            let line = self.printed.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("{command}: still busy; so far it printed {lines:#?}"));
            match line.split_once(DONE) {
                Some((rest, code)) => {
                    lines.extend((!rest.is_empty()).then(|| rest.to_owned()));
                    assert_eq!(code, "0", "{command}: it printed {lines:#?}\n{}", self.logs());
                    return lines;
                }
                None => lines.push(line),
            }
        }
    }

    fn follows(&mut self, steps: &[Step]) {
        for step in steps {
            match step {
                Step::File { name, text } => std::fs::write(self.directory.path().join(name), text).unwrap(),
                Step::Command { command, printed } => {
                    let seen = self.types(command);
                    assert!(fits(printed, &seen), "{command}: it printed {seen:#?}\n{}", self.logs());
                }
            }
        }
    }

    /// What is in the logs that a walkthrough has written.
    fn logs(&self) -> String {
        let files = std::fs::read_dir(self.directory.path()).unwrap().map(|file| file.unwrap().path());
        let logs = files.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
        logs.map(|path| format!("{}:\n{}\n", path.display(), std::fs::read_to_string(&path).unwrap())).collect()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Everything in its process namespace ends with it.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// True if a command printed what it is said to; a line of "…" alone stands for any number of lines.
fn fits(expected: &[String], seen: &[String]) -> bool {
    match (expected, seen) {
        ([], []) => true,
        ([any, rest @ ..], _) if any.trim() == "…" => {
            fits(rest, seen) || seen.split_first().is_some_and(|(_, after)| fits(expected, after))
        }
        ([line, rest @ ..], [other, after @ ..]) => is_like(line, other) && fits(rest, after),
        _ => false,
    }
}

fn is_like(line: &str, other: &str) -> bool {
    match line.split_once(ANYTHING) {
        None => line == other,
        Some((start, rest)) => other.strip_prefix(start).is_some_and(|other| {
            let places = other.char_indices().map(|(place, _)| place).chain([other.len()]);
            places.into_iter().any(|place| is_like(rest, &other[place..]))
        }),
    }
}

#[test]
fn what_is_printed_is_compared_as_a_reader_would() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(fits(&lines("a\n…\nz"), &lines("a\nb\nc\nz")) && fits(&lines("a\n…\nz"), &lines("a\nz")));
    assert!(fits(&lines("took … ms"), &lines("took 12 ms")) && !fits(&lines("took … ms"), &lines("took 12 s")));
    assert!(!fits(&lines("a"), &lines("a\nb")) && !fits(&lines("a\nb"), &lines("a")));
}

/// In their order, since one goes on from the other, as a reader does.
#[test]
fn whoever_follows_the_readme_gets_where_it_says() {
    let mut reader = Reader::sit_down();
    for headline in ["Every service by its name", "An edge gateway", "A scrape"] {
        reader.follows(&steps(headline));
    }
}
