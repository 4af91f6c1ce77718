//! What a bench ran on.

use std::fs;
use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use serde::{Deserialize, Serialize};

/// A machine, as far as figures depend on it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Machine {
    /// Processors that this process may use.
    pub(crate) processors: usize,
    /// What they are called, if the system says.
    pub(crate) processor: Option<String>,
    /// The kernel's name and release.
    pub(crate) kernel: String,
    pub(crate) memory_bytes: u64,
}

impl Machine {
    /// This machine.
    pub(crate) fn this() -> Self {
        let uname = rustix::system::uname();
        let text = |name: &std::ffi::CStr| name.to_string_lossy().into_owned();
        let read = |file| fs::read_to_string(file).unwrap_or_default();
        Self {
            processors: available_parallelism().map_or(1, NonZeroUsize::get),
            processor: field(&read("/proc/cpuinfo"), "model name").map(str::to_owned),
            kernel: format!("{} {}", text(uname.sysname()), text(uname.release())),
            memory_bytes: memory_bytes(&read("/proc/meminfo")).unwrap_or(0),
        }
    }
}

/// The first `name: value` of this name.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_prefix(':'))?;
    Some(value.trim())
}

fn memory_bytes(meminfo: &str) -> Option<u64> {
    let kib: u64 = field(meminfo, "MemTotal")?.strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_whatever_the_space_around_them() {
        let cpuinfo = "processor\t: 0\nmodel name\t: A processor: fast\nmodel name\t: another\n";
        assert_eq!(field(cpuinfo, "model name"), Some("A processor: fast"));
        assert_eq!(memory_bytes("MemTotal:       2048 kB\nMemFree: 1 kB\n"), Some(2_097_152));
        assert_eq!(memory_bytes("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn this_machine_has_processors_memory_and_a_kernel() {
        let machine = Machine::this();
        assert!(machine.processors > 0 && machine.memory_bytes > 0);
        assert!(machine.kernel.starts_with("Linux "), "{}", machine.kernel);
    }
}
