//! Checks that are programs: run without a shell, without lictor's environment (there may be tokens in it), as lictor's user, for a
//! bounded time. The exit code says how it is, as with Consul's own script checks and with Nagios: 0 passing, 1 warning, all else
//! critical. What it prints is kept for people to read, the first of it.
//!
//! lictor runs them itself, since agents run none unless somebody allows it for all who may register anything.

use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::config::Check;
use crate::consul::vary;

/// What an agent keeps of an output as well.
const MAX_OUTPUT: usize = 4096;
/// Whom a program has left running may hold its output open for so long.
const LINGER: Duration = Duration::from_millis(100);
/// How long the system may take to end what was killed.
const REAP: Duration = Duration::from_secs(1);
/// Enough to find what any system has, and the same on all of them.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How an instance is, by one of its checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// Well.
    Passing,
    /// Well enough.
    Warning,
    /// Not well.
    Critical,
}

/// A status, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) status: Status,
    pub(super) output: String,
}

impl Status {
    /// Consul's word for it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Status::Passing => "passing",
            Status::Warning => "warning",
            Status::Critical => "critical",
        }
    }
}

/// What all the commands of an instance have come to, each in its place; none before the first time.
pub(super) type Findings = watch::Sender<Vec<Option<Said>>>;

/// Runs one again and again, and notes in its place what it comes to.
pub(super) async fn repeat(check: Check, command: Vec<String>, place: usize, findings: Findings) {
    let mut streak = Streak::default();
    loop {
        let said = run(&command, check.timeout).await;
        let status = streak.note(said.status, check.rise, check.fall);
        debug!(command = command.first(), found = said.status.word(), status = status.word(), "checked");
        let said = Said { status, ..said };
        findings.send_if_modified(|all| {
            let is_other = all[place].as_ref() != Some(&said);
            all[place] = Some(said);
            is_other
        });
        sleep(vary(check.interval)).await;
    }
}

/// What one status after the other comes to: it takes a row of them to change between well and critical. The first counts at once.
#[derive(Debug, Default)]
struct Streak {
    now: Option<Status>,
    against: u32,
}

impl Streak {
    fn note(&mut self, status: Status, rise: u32, fall: u32) -> Status {
        let is_critical = |status| status == Status::Critical;
        let now = self.now.unwrap_or(status);
        let needed = if is_critical(status) { fall } else { rise };
        self.against = if is_critical(now) == is_critical(status) { 0 } else { self.against + 1 };
        let next = if self.against > 0 && self.against < needed { now } else { status };
        if next == status {
            self.against = 0;
        }
        *self.now.insert(next)
    }
}

/// Ends a program with all that it has started, unless it has ended by itself.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // Nobody has waited for it yet, so the number is still its own.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// Runs it once.
async fn run(command: &[String], longest: Duration) -> Said {
    let critical = |output| Said { status: Status::Critical, output };
    let (mut child, mut group, mut output) = match start(command) {
        Ok(started) => started,
        Err(error) => return critical(format!("cannot be run: {error}")),
    };
    let mut printed = Vec::new();
    let ended = timeout(longest, async {
        tokio::select! {
            // Its output ends with it, as a rule; what it prints has to be taken meanwhile, or it would wait for that.
            () = collect(&mut output, &mut printed) => child.wait().await,
            status = child.wait() => status,
        }
    });
    let ended = ended.await;
    match ended {
        Ok(Ok(status)) => {
            group.0 = None;
            let _ = timeout(LINGER, collect(&mut output, &mut printed)).await;
            Said { status: judge(status), output: shown(&printed, status) }
        }
        Ok(Err(error)) => critical(format!("cannot be waited for: {error}")),
        Err(_) => {
            drop(group);
            let _ = timeout(REAP, child.wait()).await;
            let words = String::from_utf8_lossy(&printed);
            critical(format!("was not done after {longest:?} and was ended\n{}", words.trim()).trim().to_owned())
        }
    }
}

fn start(command: &[String]) -> std::io::Result<(tokio::process::Child, Group, Receiver)> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(std::io::Error::other("there is no program"));
    };
    let (reader, writer) = std::io::pipe()?;
    let output = Receiver::from_owned_fd(OwnedFd::from(reader))?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", SEARCH_PATH).current_dir("/");
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    // A group of its own, so that all of it can be ended, and a terminal's signals are not for it.
    let child = command.process_group(0).kill_on_drop(true).spawn()?;
    let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    Ok((child, Group(pid), output))
}

/// Reads to the end, and keeps the first of it.
async fn collect(output: &mut Receiver, printed: &mut Vec<u8>) {
    let mut piece = [0; 1024];
    while let Ok(length @ 1..) = output.read(&mut piece).await {
        let room = MAX_OUTPUT.saturating_sub(printed.len());
        printed.extend_from_slice(&piece[..length.min(room)]);
    }
}

fn judge(status: ExitStatus) -> Status {
    match status.code() {
        Some(0) => Status::Passing,
        Some(1) => Status::Warning,
        _ => Status::Critical,
    }
}

fn shown(printed: &[u8], status: ExitStatus) -> String {
    let words = String::from_utf8_lossy(printed);
    match words.trim() {
        "" => status.to_string(),
        words => words.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Status::{Critical, Passing, Warning};

    fn shell(script: &str) -> Vec<String> {
        ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
    }

    async fn of(script: &str) -> (Status, String) {
        let said = run(&shell(script), Duration::from_secs(20)).await;
        (said.status, said.output)
    }

    #[test]
    fn it_takes_a_row_to_change_between_well_and_critical() {
        let mut streak = Streak::default();
        let mut note = |status| streak.note(status, 2, 3);
        assert_eq!(
            [note(Passing), note(Critical), note(Critical), note(Warning)],
            [Passing, Passing, Passing, Warning]
        );
        assert_eq!([note(Critical), note(Critical), note(Critical)], [Warning, Warning, Critical]);
        assert_eq!(
            [note(Passing), note(Critical), note(Passing), note(Warning)],
            [Critical, Critical, Critical, Warning]
        );
        assert_eq!(Streak::default().note(Critical, 2, 3), Critical, "the first counts at once");
    }

    #[tokio::test]
    async fn the_exit_code_is_the_status_and_both_streams_are_the_output() {
        assert_eq!(of("echo fine").await, (Passing, "fine".to_owned()));
        assert_eq!(of("echo hm >&2; exit 1").await, (Warning, "hm".to_owned()));
        assert_eq!(of("echo no; echo never >&2; exit 2").await, (Critical, "no\nnever".to_owned()));
        assert_eq!(of("exit 3").await, (Critical, "exit status: 3".to_owned()));
        assert_eq!(of("kill -9 $$").await.0, Critical);
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_critical_and_named() {
        let said = run(&["/does/not/exist".to_owned()], Duration::from_secs(5)).await;
        assert!(said.status == Critical && said.output.starts_with("cannot be run: "), "{said:?}");
    }

    #[tokio::test]
    async fn it_sees_nothing_of_our_environment_and_gets_no_input() {
        // The shell sets some of its own.
        let (_, environment) = of("env | grep -v -e ^PWD= -e ^OLDPWD= -e ^SHLVL= -e ^_=; cat").await;
        assert_eq!(environment, format!("PATH={SEARCH_PATH}"));
        assert_eq!(of("pwd").await.1, "/");
    }

    #[tokio::test]
    async fn endless_output_is_taken_and_forgotten() {
        let said = run(&shell("yes | head -c 1000000; exit 1"), Duration::from_secs(20)).await;
        assert_eq!((said.status, said.output.len()), (Warning, MAX_OUTPUT - 1), "the last line feed is trimmed");
    }

    #[tokio::test]
    async fn who_takes_too_long_is_ended_with_all_that_it_started() {
        let said = run(&shell("sleep 1000 & echo $!; sleep 1000"), Duration::from_millis(300)).await;
        assert_eq!(said.status, Critical);
        let (words, child) = said.output.split_once('\n').expect("both");
        assert_eq!(words, "was not done after 300ms and was ended");
        let process = format!("/proc/{child}/stat");
        for _ in 0..1000 {
            // Whoever adopts it may take a moment to bury it.
            let state = std::fs::read_to_string(&process).unwrap_or_default();
            if state.is_empty() || state.contains(") Z ") {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("{child} still runs");
    }

    #[tokio::test]
    async fn who_leaves_something_running_is_not_waited_for() {
        let began = std::time::Instant::now();
        let (status, child) = of("sleep 15 & echo $!").await;
        assert!(status == Passing && began.elapsed() < Duration::from_secs(10), "it did not hold the output for long");
        let pid = Pid::from_raw(child.parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
    }
}
