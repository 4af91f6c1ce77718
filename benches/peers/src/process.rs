//! What a process costs, on which processor it runs, and how many sockets it may have.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::clock::float;

/// Clock ticks per second in `/proc`: Linux reports in hundredths on every architecture.
const TICKS_PER_S: f64 = 100.0;

/// CPU seconds that all threads of a process have spent, in user and kernel mode.
///
/// # Errors
/// When the process is gone, or this is not Linux.
pub(crate) fn cpu_s(pid: u32) -> Result<f64, String> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let ticks = ticks(&stat).ok_or_else(|| format!("{path} is not as Linux writes it"))?;
    // Nanoseconds rather than hundredths, but without the threads that have ended.
    let threads = threads_ns(pid).map_or(0.0, |ns| float(ns) / 1e9);
    Ok(threads.max(float(ticks) / TICKS_PER_S))
}

/// Fields 14 and 15 of `/proc/PID/stat`. The second field, the name, may hold anything, so they
/// are counted from its last parenthesis.
fn ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn threads_ns(pid: u32) -> Option<u64> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        // A thread may end in between.
        if let Ok(text) = fs::read_to_string(thread.ok()?.path().join("schedstat")) {
            sum += text.split_ascii_whitespace().next()?.parse::<u64>().ok()?;
        }
    }
    Some(sum)
}

/// Resident KiB of a process.
///
/// # Errors
/// When the process is gone, or this is not Linux.
pub(crate) fn resident_kib(pid: u32) -> Result<u64, String> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    resident(&status).ok_or_else(|| format!("{path} says nothing of VmRSS"))
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Runs this thread, and what it starts from now on, on one processor only.
///
/// # Errors
/// When there is no such processor.
pub(crate) fn pin(processor: usize) -> Result<(), String> {
    let mut set = CpuSet::new();
    set.set(processor);
    sched_setaffinity(None, &set).map_err(|error| {
        format!("processor {processor} cannot be used ({error}): choose others or --no-pin")
    })
}

/// Allows as many open files as the hard limit does, here and in what is started.
///
/// # Errors
/// When that is fewer than `needed`.
pub(crate) fn allow_sockets(needed: usize) -> Result<(), String> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .map_err(|error| format!("the limit of open files cannot be raised: {error}"))?;
    match maximum {
        Some(maximum) if maximum < needed as u64 => Err(format!(
            "{needed} open files are needed and the hard limit is {maximum}: raise it (ulimit -Hn) \
             or ask for fewer connections"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_a_name_that_looks_like_fields() {
        let stat = "42 (a ) 1 (b) S 1 42 42 0 -1 4194560 1 0 0 0 150 75 0 0 20 0 4 0 9 1 2 3";
        assert_eq!(ticks(stat), Some(225));
        assert_eq!(ticks("nonsense"), None);
    }

    #[test]
    fn memory_is_read_in_kib() {
        assert_eq!(resident("Name:\tx\nVmRSS:\t    64 kB\n"), Some(64));
        assert_eq!(resident("Name:\tx\n"), None);
    }

    #[test]
    fn this_process_costs_something() {
        let pid = std::process::id();
        let before = cpu_s(pid).unwrap();
        let mut sum = 0_u64;
        while cpu_s(pid).unwrap() <= before {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(resident_kib(pid).unwrap() > 100);
        assert!(cpu_s(u32::MAX).is_err());
    }
}
