//! Processes of a run: origins and lictor itself. None of them outlives the run, however that ends: each asks the kernel to be
//! killed with its parent before it becomes what it is to be, which holds for a stopped process as well.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode};

use rustix::process::{
    Pid, Resource, Rlimit, Signal, getrlimit, kill_process, set_parent_process_death_signal, setrlimit,
};

/// The first argument of this program where it is to become another one.
pub const ROLE: &str = "become";

/// A child, killed when it is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts this program in another role, with its pipes as `set` says.
    pub fn start(arguments: &[OsString], set: impl FnOnce(&mut Command) -> &mut Command) -> Process {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(arguments);
        Process { child: set(&mut command).spawn().unwrap() }
    }

    /// The same, to become `program`, with at most so many descriptors if that is given.
    pub fn become_another(
        program: &[OsString],
        descriptors: Option<u64>,
        set: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Process {
        let limit = descriptors.map_or("-".to_owned(), |limit| limit.to_string());
        let arguments = [&[ROLE.into(), limit.into()], program].concat();
        Process::start(&arguments, set)
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        // One that has ended and was not waited for still has its id, so no other process can be hit.
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// To be called first by every child.
pub fn die_with_parent() {
    set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
}

/// The child's part of [`Process::become_another`]: does not return if it succeeds.
pub fn become_it(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    die_with_parent();
    let limit = arguments.next().unwrap().into_string().unwrap();
    if let Ok(limit) = limit.parse() {
        setrlimit(Resource::Nofile, Rlimit { current: Some(limit), maximum: Some(limit) }).unwrap();
    }
    let error = Command::new(arguments.next().unwrap()).args(arguments).exec();
    eprintln!("cannot start: {error}");
    ExitCode::FAILURE
}

/// CPU time of a process since its start, all threads, in seconds: clock ticks of a hundredth (proc(5)).
pub fn cpu_seconds(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = |field: usize| fields[field].parse::<f64>().unwrap();
    // Fields 14 and 15 of the line; two are cut off, and counting starts at 0.
    (ticks(11) + ticks(12)) / 100.0
}

/// As many as the system lets this process have: it holds the other ends.
pub fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
}

/// Resident memory of a process, in KiB.
pub fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Descriptors that a process has open.
pub fn descriptors(process: u32) -> usize {
    std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().count()
}
