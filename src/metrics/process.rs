//! What the system says of this process, under the names that all of Prometheus' libraries give these figures. What it does not say,
//! as systems other than Linux, is left out.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::proto::MetricFamily;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::family::{counter, gauge};

const FILES: &str = "/proc/self/fd";
const STATUS: &str = "/proc/self/status";
const KIBIBYTE: f64 = 1024.0;

pub(super) fn families(began: SystemTime) -> Vec<MetricFamily> {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let status = fs::read_to_string(STATUS).unwrap_or_default();
    let of = |word: &str| field(&status, word);
    let alone = |value: Option<f64>| value.map(|value| (vec![], value));
    let most = getrlimit(Resource::Nofile).current;
    let began = began.duration_since(UNIX_EPOCH).unwrap_or_default();
    vec![
        counter(
            "process_cpu_seconds_total",
            "Time that the process has had of processors, its own and the system's for it.",
            alone(Some(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)),
        ),
        gauge(
            "process_resident_memory_bytes",
            "Memory that the process has.",
            alone(of("VmRSS:").map(|kib| kib * KIBIBYTE)),
        ),
        gauge(
            "process_virtual_memory_bytes",
            "Addresses that the process has.",
            alone(of("VmSize:").map(|kib| kib * KIBIBYTE)),
        ),
        gauge("process_threads", "Threads of the process.", alone(of("Threads:"))),
        gauge("process_open_fds", "Descriptors that are open.", alone(open().map(|count| count as f64))),
        gauge("process_max_fds", "Descriptors that may be open.", alone(most.map(|most| most as f64))),
        gauge("process_start_time_seconds", "When the process began.", alone(Some(began.as_secs_f64()))),
    ]
}

/// The number behind a word at the beginning of a line.
fn field(status: &str, word: &str) -> Option<f64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(word))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Open descriptors. Linux says how many since 6.2, as the size of a folder; before that, a hundred thousand are counted one by one.
fn open() -> Option<u64> {
    match fs::metadata(FILES).ok()?.len() {
        // Without the one by which it is looked at.
        0 => Some((fs::read_dir(FILES).ok()?.count() as u64).saturating_sub(1)),
        count => Some(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_is_read_where_it_stands() {
        let status = "Name:\tlictor\nVmSize:\t  300 kB\nVmRSS:\t   12 kB\nThreads:\t5\n";
        assert_eq!((field(status, "VmRSS:"), field(status, "Threads:")), (Some(12.0), Some(5.0)));
        assert_eq!((field(status, "VmSwap:"), field("VmRSS:\tkB", "VmRSS:")), (None, None));
    }

    #[test]
    fn a_file_that_is_opened_is_one_more() {
        let before = open().unwrap();
        let files: Vec<fs::File> = (0..64).map(|_| fs::File::open(STATUS).unwrap()).collect();
        // Other tests open and close files as well.
        assert!(open().unwrap() >= before + 32, "{} after {before}", open().unwrap());
        drop(files);
    }
}
