//! The machine under the run: which cores whom, what else runs.

use std::fs;
use std::process::{Command, Stdio};

use crate::Failure;

/// Descriptors that the run needs beside its connections: standard streams, epoll, listeners, files.
const SPARE_FILES: usize = 64;

/// The two cores of a pinned run.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    /// Every proxy's.
    pub proxy: usize,
    /// Ours: the load and the origins.
    pub load: usize,
}

/// Gives this process, and so every thread that it starts later, a core apart from the proxies'. `None` where there is but
/// one core or no `taskset`.
pub fn pin() -> Result<Option<Cores>, Failure> {
    let allowed = allowed_cores()?;
    let &[proxy, load, ..] = allowed.as_slice() else { return Ok(None) };
    let process = std::process::id().to_string();
    let pinned = Command::new("taskset")
        .args(["-a", "-c", "-p", &load.to_string(), &process])
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    Ok(pinned.then_some(Cores { proxy, load }))
}

/// One line: the processor, its cores, the kernel, its congestion control, who runs where.
pub fn describe(cores: Option<Cores>) -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name").and_then(|rest| rest.split_once(':')))
        .map_or("unknown processor", |(_, name)| name.trim());
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let online = cpuinfo.lines().filter(|line| line.starts_with("processor")).count().max(count);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let placed = match cores {
        Some(cores) => format!("proxies on core {}, load and origins on core {}", cores.proxy, cores.load),
        None => "not pinned".to_owned(),
    };
    let congestion = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap_or_default();
    format!("{model}, {online} cores, Linux {}, TCP by {}, {placed}", kernel.trim(), congestion.trim())
}

/// Fails early where the descriptors would run out in the middle.
pub fn check_open_files(wanted: usize) -> Result<(), Failure> {
    let needed = wanted + SPARE_FILES;
    let limits = fs::read_to_string("/proc/self/limits")?;
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    match soft.and_then(|word| word.parse::<usize>().ok()) {
        Some(limit) if limit < needed => {
            Err(format!("this may need {needed} open files, the limit is {limit}: raise it with `ulimit -n {needed}`")
                .into())
        }
        _ => Ok(()),
    }
}

/// Processes with one of these names, as `name (pid)`.
pub fn find_running(names: &[&str]) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let Ok(name) = fs::read_to_string(path.join("comm")) else { continue };
        if names.contains(&name.trim()) {
            let process = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            found.push(format!("{} ({process})", name.trim()));
        }
    }
    Ok(found)
}

/// From `Cpus_allowed_list`, such as `0-2,5`.
fn allowed_cores() -> Result<Vec<usize>, Failure> {
    let status = fs::read_to_string("/proc/self/status")?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or_default();
    let mut cores = Vec::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cores.extend(first.parse::<usize>()?..=last.parse::<usize>()?);
    }
    Ok(cores)
}
