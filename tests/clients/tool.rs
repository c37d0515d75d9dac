//! Programs of others: whether they are there, how they are got, and running them.

use std::ffi::OsString;
use std::io::Read;
use std::iter::once;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::process::Process;

/// What they are called where that is for the caller to say.
pub struct Tools {
    /// With grpcio, websockets and h2.
    pub python: String,
    /// Of version 2.7, with autobahntestsuite.
    pub python2: String,
}

/// What a program said.
pub struct Said {
    pub out: Vec<u8>,
    pub err: String,
    pub is_success: bool,
}

impl Said {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }

    /// The end of what it complained of.
    pub fn complaint(&self) -> String {
        let lines: Vec<&str> = self.err.lines().collect();
        lines[lines.len().saturating_sub(8)..].join(" ")
    }
}

impl Tools {
    /// What this client lacks, and how it is got.
    pub async fn missing(&self, name: &str) -> Option<String> {
        let (program, arguments, how): (&str, &[&str], &str) = match name {
            "curl" => ("curl", &["--version"], "apt-get install curl"),
            "grpc" => (&self.python, &["-c", "import grpc"], "pip install grpcio, and --python PROGRAM"),
            "websocket" => {
                (&self.python, &["-c", "import websockets.asyncio"], "pip install websockets, and --python PROGRAM")
            }
            "websocket-h2" => {
                (&self.python, &["-c", "import h2, websockets"], "pip install h2 websockets, and --python PROGRAM")
            }
            "h2load" => ("h2load", &["--version"], "apt-get install nghttp2-client"),
            "chromium" => ("chromium", &["--version"], "apt-get install chromium"),
            // It knows no option that does nothing.
            "httpwg" => ("httpwg", &["--help"], "cargo install httpwg-cli --locked"),
            _ => (
                &self.python2,
                &["-c", "import autobahntestsuite"],
                "Python 2.7 (pyenv install 2.7.18), its pip install autobahntestsuite, and --python2 PROGRAM",
            ),
        };
        let missing = match run(Command::new(program).args(arguments), Duration::from_secs(30)).await {
            Ok(said) if name == "httpwg" => said.err.contains("cannot start"),
            Ok(said) => !said.is_success,
            Err(_) => true,
        };
        missing.then(|| format!("`{program} {}` does not work; {how}", arguments.join(" ")))
    }
}

/// Runs it to its end, and no longer than that.
pub async fn run(command: &Command, longest: Duration) -> Result<Said, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut process = start(command, Stdio::piped());
    let out = heard(process.child().stdout.take().unwrap());
    let err = heard(process.child().stderr.take().unwrap());
    let ends = async {
        while process.is_running() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(longest, ends).await.map_err(|_| format!("{name} did not end within {longest:?}"))?;
    let is_success = process.child().wait().is_ok_and(|status| status.success());
    // What it has started may hold its pipes for a while.
    let (out, err) =
        timeout(longest, async { (out.await, err.await) }).await.map_err(|_| format!("{name} left others"))?;
    let err = String::from_utf8_lossy(&err.unwrap_or_default()).into_owned();
    Ok(Said { out: out.unwrap_or_default(), err, is_success })
}

/// Starts it as a child that does not outlive this process.
pub fn start(command: &Command, errors: Stdio) -> Process {
    let program: Vec<OsString> =
        once(command.get_program()).chain(command.get_args()).map(std::ffi::OsStr::to_owned).collect();
    Process::become_another(&program, None, |child| {
        // A cache beside the scripts would be in the way of whoever reads them.
        child.env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors)
    })
}

fn heard(mut pipe: impl Read + Send + 'static) -> oneshot::Receiver<Vec<u8>> {
    let (tell, told) = oneshot::channel();
    std::thread::spawn(move || {
        let mut all = Vec::new();
        pipe.read_to_end(&mut all).ok();
        tell.send(all).ok();
    });
    told
}
