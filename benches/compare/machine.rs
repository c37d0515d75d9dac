//! The machine under the run: which cores whom, what else runs, and programs that have to be installed first.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Failure;
use crate::origin::ORIGINS;

/// Debian's hook that is asked before a package starts its service; 101 means: do not.
const POLICY: &str = "/usr/sbin/policy-rc.d";
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

/// One line: the processor, its cores, the kernel, who runs where.
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
    format!("{model}, {online} cores, Linux {}, {placed}", kernel.trim())
}

/// Fails early where the descriptors would run out in the middle: ours hold both ends but the proxies' own.
pub fn check_open_files(connections: usize, peers: usize) -> Result<(), Failure> {
    let needed = connections * (1 + ORIGINS * peers) + SPARE_FILES;
    let limits = fs::read_to_string("/proc/self/limits")?;
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    match soft.and_then(|word| word.parse::<usize>().ok()) {
        Some(limit) if limit < needed => Err(format!(
            "{connections} connections may need {needed} open files, the limit is {limit}: raise it with `ulimit -n {needed}`"
        )
        .into()),
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

/// A program on `PATH`, or where system daemons are kept.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Installs Debian packages and keeps their services from starting. Needs root.
pub fn install(packages: &[&str]) -> Result<(), Failure> {
    let wanted = format!("apt-get install -y --no-install-recommends {}", packages.join(" "));
    let status = fs::read_to_string("/proc/self/status")?;
    let effective = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1));
    if effective != Some("0") {
        return Err(
            format!("not found, and installing needs root: run `{wanted}`, or leave them out of --peers").into()
        );
    }
    let _quiet = NoServices::ensure()?;
    apt_get(&["update", "-q"])?;
    let mut arguments = vec!["install", "-q", "-y", "--no-install-recommends"];
    arguments.extend(packages);
    apt_get(&arguments)
}

fn apt_get(arguments: &[&str]) -> Result<(), Failure> {
    let output = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("apt-get: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("apt-get {} failed: {}", arguments.join(" "), said.trim()).into())
}

/// While it lives, packages that are installed do not start their services.
#[derive(Debug)]
struct NoServices {
    /// Whether the hook is ours to take away again.
    ours: bool,
}

impl NoServices {
    fn ensure() -> Result<Self, Failure> {
        use std::os::unix::fs::PermissionsExt;
        if Path::new(POLICY).exists() {
            return Ok(Self { ours: false });
        }
        fs::write(POLICY, "#!/bin/sh\nexit 101\n")?;
        let hook = Self { ours: true };
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))?;
        Ok(hook)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours {
            // Nothing to be done about a failure here.
            let _ = fs::remove_file(POLICY);
        }
    }
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
