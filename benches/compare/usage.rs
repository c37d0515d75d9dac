//! What the kernel charged a proxy: CPU time and memory of its processes, all threads together, from `/proc` (proc(5)).

use std::fs;
use std::io;

use serde::Serialize;

use crate::Failure;

/// Unit of `utime` and `stime`: `USER_HZ`, 100 on every architecture that we know of, whatever the kernel's own tick.
const NS_PER_TICK: u64 = 1_000_000_000 / 100;

/// CPU time of a group of processes: since their start, or between two readings.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Usage {
    /// On a core, by the scheduler's clock (`schedstat`): exact to a tick or less.
    pub cpu_ns: u64,
    /// Ready to run while something else had the core.
    pub waited_ns: u64,
    /// In user mode, by `stat`: only good for its proportion to `system_ns`.
    pub user_ns: u64,
    /// In the kernel, by `stat`.
    pub system_ns: u64,
}

/// Memory of a group of processes.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Memory {
    /// Resident set in KiB; a page that two processes share counts twice.
    pub rss_kib: u64,
    /// Proportional set in KiB: a page that n processes share counts 1/n for each.
    pub pss_kib: u64,
}

impl Usage {
    /// What was used after `before` was read.
    pub fn since(self, before: Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns.saturating_sub(before.cpu_ns),
            waited_ns: self.waited_ns.saturating_sub(before.waited_ns),
            user_ns: self.user_ns.saturating_sub(before.user_ns),
            system_ns: self.system_ns.saturating_sub(before.system_ns),
        }
    }

    /// The kernel's share, 0 to 1.
    pub fn system_share(self) -> f64 {
        self.system_ns as f64 / (self.user_ns + self.system_ns).max(1) as f64
    }
}

/// CPU time of these processes since they started. A thread that has ended is missing from `cpu_ns`: none of the proxies
/// ends threads while it serves.
pub fn read(processes: &[u32]) -> Result<Usage, Failure> {
    let mut usage = Usage::default();
    for process in processes {
        let stat = read_fields(*process)?;
        // One that has ended stays readable until its parent has asked.
        if stat.first().is_none_or(|state| state == "Z") {
            return Err(format!("process {process} has ended").into());
        }
        // Fields 14 and 15 of the whole line, counted from 1; the first two are cut off.
        usage.user_ns += number(&stat, 11)? * NS_PER_TICK;
        usage.system_ns += number(&stat, 12)? * NS_PER_TICK;
        for thread in fs::read_dir(format!("/proc/{process}/task"))? {
            let text = fs::read_to_string(thread?.path().join("schedstat"))?;
            let fields: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            usage.cpu_ns += number(&fields, 0)?;
            usage.waited_ns += number(&fields, 1)?;
        }
    }
    Ok(usage)
}

/// Memory of these processes now.
pub fn memory(processes: &[u32]) -> Result<Memory, Failure> {
    let mut memory = Memory::default();
    for process in processes {
        for line in fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?.lines() {
            let fields: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            match fields.first().map(String::as_str) {
                Some("Rss:") => memory.rss_kib += number(&fields, 1)?,
                Some("Pss:") => memory.pss_kib += number(&fields, 1)?,
                _ => {}
            }
        }
    }
    Ok(memory)
}

/// A process and all its descendants: nginx works in a child.
pub fn family(process: u32) -> Result<Vec<u32>, Failure> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(other) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // A process may end while we look.
        if let Ok(stat) = read_fields(other) {
            parents.push((other, number(&stat, 1)?));
        }
    }
    let mut family = vec![process];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        family.extend(parents.iter().filter(|(_, of)| *of == u64::from(parent)).map(|(child, _)| *child));
        next += 1;
    }
    Ok(family)
}

/// Whether a process is there and has not ended.
pub fn runs(process: u32) -> bool {
    read_fields(process).is_ok_and(|stat| stat.first().is_some_and(|state| state != "Z"))
}

/// The fields of `/proc/PID/stat` after the name, which may hold spaces: state, parent, …
fn read_fields(process: u32) -> io::Result<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    Ok(after_name.split_whitespace().map(str::to_owned).collect())
}

fn number(fields: &[String], index: usize) -> Result<u64, Failure> {
    let field = fields.get(index).ok_or_else(|| format!("/proc: field {index} is missing in {fields:?}"))?;
    field.parse().map_err(|_| format!("/proc: field {index} is {field:?}, not a number").into())
}
