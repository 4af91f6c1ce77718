//! What memory the process may use, and uses.

use std::fs;

/// The share of the machine's, or the control group's, memory that the process may use by default.
const USABLE_PERCENT: u64 = 80;
const PAGE_BYTES: u64 = 4096;

/// The memory that a process may use here: of what the machine has or its control group lets it
/// have, whichever is less. `None`: not known.
pub(super) fn usable_bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let groups = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let group = groups.iter().find_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok());
    let bytes: u64 = machine.into_iter().chain(group).min()?;
    Some(bytes / 100 * USABLE_PERCENT)
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
    fn the_kernel_s_words_are_understood() {
        assert_eq!(total("MemTotal:       24592104 kB\nMemFree: 1 kB\n"), Some(25_182_314_496));
        assert_eq!(total("MemFree: 1 kB\n"), None);
        assert_eq!(resident("9000 512 300 1 0 99 0\n"), Some(2_097_152));
        assert!(usable_bytes().is_some_and(|bytes| bytes > 1 << 26));
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }
}
