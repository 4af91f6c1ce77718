//! Servers that may use so much of the processors only: a control group of Linux for each, version 1 or 2.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The time in which a quota is used up and given anew.
const PERIOD_US: u32 = 20_000;
/// Where control groups are: of version 1, of version 2 with it, and of version 2 alone.
const PLACES: [&str; 3] = ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"];

/// Groups of processes. They are removed with it, once the processes have ended.
#[derive(Debug, Default)]
pub(crate) struct Quotas(Vec<PathBuf>);

impl Quotas {
    /// Holds each of these processes to so many processors.
    ///
    /// # Errors
    /// When there are no control groups, or this user may not make any.
    pub(crate) fn hold(pids: &[u32], processors: f64) -> Result<Self, String> {
        let explain = |error: io::Error| {
            format!(
                "--cpu-quota: no control group can be made: {error}; it needs Linux, root, and the cpu controller \
                 under {}",
                PLACES.join(", ")
            )
        };
        let mut quotas = Self::default();
        for pid in pids {
            quotas.add(*pid, processors).map_err(explain)?;
        }
        Ok(quotas)
    }

    fn add(&mut self, pid: u32, processors: f64) -> io::Result<()> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for place in PLACES.map(Path::new).into_iter().filter(|place| place.is_dir()) {
            let group = place.join(format!("tidewire-bench-{pid}"));
            match make(&group, pid, processors) {
                Ok(()) => {
                    self.0.push(group);
                    return Ok(());
                }
                Err(error) => {
                    drop(fs::remove_dir(&group));
                    last = error;
                }
            }
        }
        Err(last)
    }
}

impl Drop for Quotas {
    fn drop(&mut self) {
        for group in &self.0 {
            drop(fs::remove_dir(group));
        }
    }
}

fn make(group: &Path, pid: u32, processors: f64) -> io::Result<()> {
    fs::create_dir(group)?;
    let quota_us = (f64::from(PERIOD_US) * processors).round();
    let is_first = group.join("cpu.cfs_quota_us").exists();
    if is_first {
        fs::write(group.join("cpu.cfs_period_us"), PERIOD_US.to_string())?;
        fs::write(group.join("cpu.cfs_quota_us"), quota_us.to_string())?;
    } else {
        fs::write(group.join("cpu.max"), format!("{quota_us} {PERIOD_US}"))?;
    }
    fs::write(group.join("cgroup.procs"), pid.to_string())
}
