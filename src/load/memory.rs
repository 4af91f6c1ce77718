//! What memory the process may use, and uses.

use std::fs;

/// The share of the machine's, or the control group's, memory that the process may use by default.
const USABLE_PERCENT: u64 = 80;
const PAGE_BYTES: u64 = 4096;

/// The memory that a process may use here: of what the machine has or its control groups let it
/// have, whichever is less. `None`: not known.
pub(super) fn usable_bytes() -> Option<u64> {
    let read = |file: &str| fs::read_to_string(file).ok();
    let machine = read("/proc/meminfo").and_then(|text| total(&text));
    let bytes = machine.into_iter().chain(group_bytes(read)).min()?;
    Some(bytes / 100 * USABLE_PERCENT)
}

/// The least that a control group of the process, or one above it, lets it have (cgroups(7)): version 2,
/// and version 1 as containers see it.
fn group_bytes(read: impl Fn(&str) -> Option<String>) -> Option<u64> {
    let own = read("/proc/self/cgroup").unwrap_or_default();
    let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let above = std::path::Path::new(own).ancestors().filter_map(|group| group.to_str());
    let files =
        above.map(|group| format!("/sys/fs/cgroup{}/memory.max", group.trim_end_matches('/')));
    let first = "/sys/fs/cgroup/memory/memory.limit_in_bytes".to_owned();
    files.chain([first]).filter_map(|file| read(&file)?.trim().parse().ok()).min()
}

fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

/// What is in use of the memory that the process has. An allocator keeps what is freed for what comes
/// next, so what the process has does not say it.
#[derive(Debug, Default)]
pub(super) struct InUse {
    /// The most that the process has had since it gave some back.
    most: u64,
    /// What records took at the last look.
    records: u64,
    /// What they have left to others.
    free: u64,
}

/// Less than this less is a matter of the moment.
const GIVEN_BACK_MIN: u64 = 16 * 1024 * 1024;

impl InUse {
    /// So many bytes, of which `records` are taken by records, which are what is freed at once.
    pub(super) fn look(&mut self, resident: u64, records: u64) -> u64 {
        // What was given back to the system is not free here any more. A little less is no sign of that.
        let given_back = self.most.saturating_sub(resident);
        if given_back > GIVEN_BACK_MIN {
            self.free = self.free.saturating_sub(given_back);
            self.most = resident;
        }
        // Who takes more from the system has not found it among what is free.
        let taken = resident.saturating_sub(self.most) + records.saturating_sub(self.records);
        self.free += self.records.saturating_sub(records);
        self.free = self.free.saturating_sub(taken);
        self.most = self.most.max(resident);
        self.records = records;
        resident.saturating_sub(self.free)
    }
}

/// The memory that the process has. `None`: not known.
pub(super) fn resident_bytes() -> Option<u64> {
    resident(&fs::read_to_string("/proc/self/statm").ok()?)
}

/// The second figure: pages in memory.
fn resident(statm: &str) -> Option<u64> {
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * PAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_records_have_left_is_free_until_the_process_needs_more() {
        const MIB: u64 = 1024 * 1024;
        let mut in_use = InUse::default();
        let mut look =
            |resident: u64, records: u64| in_use.look(resident * MIB, records * MIB) / MIB;
        assert_eq!(look(100, 20), 100);
        assert_eq!(look(300, 220), 300);
        assert_eq!(look(310, 20), 120, "190 MiB of records are gone, and the allocator has them");
        assert_eq!(look(310, 120), 220);
        assert_eq!(look(350, 120), 300, "something else has found 40 MiB of them taken");
        assert_eq!(look(350, 0), 180);
        assert_eq!(look(340, 0), 170, "a little less is no sign of anything");
        assert_eq!(look(350, 0), 180);
        assert_eq!(look(90, 0), 90, "the allocator has given it back");
        assert_eq!(look(400, 0), 400, "and who takes it again uses it");
    }

    #[test]
    fn the_tightest_control_group_counts() {
        let files = [
            ("/proc/self/cgroup", "0::/system.slice/tidewire.service\n"),
            ("/sys/fs/cgroup/system.slice/memory.max", "4000\n"),
            ("/sys/fs/cgroup/system.slice/tidewire.service/memory.max", "max\n"),
        ];
        let read = |wanted: &str| {
            files.iter().find(|(file, _)| *file == wanted).map(|(_, text)| (*text).to_owned())
        };
        assert_eq!(group_bytes(read), Some(4_000));
        let contained =
            |file: &str| (file == "/sys/fs/cgroup/memory.max").then(|| "7000".to_owned());
        assert_eq!(group_bytes(contained), Some(7_000));
        assert_eq!(group_bytes(|_| None), None);
    }

    #[test]
    fn the_kernel_s_words_are_understood() {
        assert_eq!(total("MemTotal:       24592104 kB\nMemFree: 1 kB\n"), Some(25_182_314_496));
        assert_eq!(total("MemFree: 1 kB\n"), None);
        assert_eq!(resident("9000 512 300 1 0 99 0\n"), Some(2_097_152));
        assert!(usable_bytes().is_some_and(|bytes| bytes > 1 << 26));
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }
}
