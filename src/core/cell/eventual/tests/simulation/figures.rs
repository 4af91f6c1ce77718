//! Chance that a seed decides, and what has happened.

/// SplitMix64.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) counted: u64,
    pub(super) duplicates: u64,
    pub(super) unknown: u64,
    /// Retries of which it was certain that the earlier attempt had not been counted.
    pub(super) decided: u64,
    pub(super) refused: u64,
    pub(super) lost: u64,
    pub(super) crashes: u64,
    pub(super) taken_over: u64,
    pub(super) removed: u64,
    pub(super) sealed: u64,
    pub(super) snapshots: u64,
    pub(super) holes: u64,
    pub(super) trace: u64,
}

impl Figures {
    pub(super) fn add(&mut self, other: &Self) {
        self.counted += other.counted;
        self.duplicates += other.duplicates;
        self.unknown += other.unknown;
        self.decided += other.decided;
        self.refused += other.refused;
        self.lost += other.lost;
        self.crashes += other.crashes;
        self.taken_over += other.taken_over;
        self.removed += other.removed;
        self.sealed += other.sealed;
        self.snapshots += other.snapshots;
        self.holes += other.holes;
    }
}
