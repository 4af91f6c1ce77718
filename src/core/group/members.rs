//! The members of a group, and whose turn it is.

use alloc::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::shard::SessionId;
use crate::state_hash::StateHasher;

/// A member: a connection, and its number for this consumption.
pub type MemberId = (SessionId, u32);

/// How much a member takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Records that it has at once.
    pub records_max: u32,
    /// Bytes that it has at once, but always one record.
    pub bytes_max: u64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Load {
    takes: Member,
    records: u32,
    bytes: u64,
    /// Whether it stands in the line.
    waits: bool,
    /// A lease of it ran out, and it has said nothing since.
    silent: bool,
}

impl Load {
    fn has_room(&self) -> bool {
        let has_little = self.records < self.takes.records_max && self.bytes < self.takes.bytes_max;
        !self.silent && (self.records == 0 || has_little)
    }
}

/// All members of a group. Those with room stand in a line, and take turns.
#[derive(Debug, Default)]
pub(super) struct Members {
    by_id: BTreeMap<MemberId, Load>,
    line: VecDeque<MemberId>,
    leased: usize,
}

/// Saved [`Members`]: all of them, and the line.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct SavedMembers(alloc::vec::Vec<(MemberId, Load)>, alloc::vec::Vec<MemberId>);

impl Members {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn leased(&self) -> usize {
        self.leased
    }

    pub(super) fn contains(&self, member: MemberId) -> bool {
        self.by_id.contains_key(&member)
    }

    pub(super) fn join(&mut self, member: MemberId, takes: Member) {
        let load = Load { takes, records: 0, bytes: 0, waits: false, silent: false };
        self.by_id.entry(member).or_insert(load).takes = takes;
        self.heard(member);
    }

    pub(super) fn leave(&mut self, member: MemberId) {
        if let Some(load) = self.by_id.remove(&member) {
            self.leased -= load.records as usize;
            self.line.retain(|waiting| *waiting != member);
        }
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = MemberId> {
        self.by_id.keys().copied()
    }

    /// A lease of a member has run out: it gets nothing more before it says something.
    pub(super) fn silent(&mut self, member: MemberId) {
        if let Some(load) = self.by_id.get_mut(&member) {
            load.silent = true;
            if core::mem::take(&mut load.waits) {
                self.line.retain(|waiting| *waiting != member);
            }
        }
    }

    /// A member has said something.
    pub(super) fn heard(&mut self, member: MemberId) {
        if let Some(load) = self.by_id.get_mut(&member) {
            load.silent = false;
        }
        self.queue(member);
    }

    /// Who takes the next record: it stays first until its turn is over or it is full.
    pub(super) fn first(&self) -> Option<MemberId> {
        self.line.front().copied()
    }

    /// The first one's turn is over.
    pub(super) fn rotate(&mut self) {
        if let Some(first) = self.line.pop_front() {
            self.line.push_back(first);
        }
    }

    /// The first one takes a record.
    pub(super) fn take(&mut self, bytes: u32) {
        let Some(load) = self.line.front().and_then(|first| self.by_id.get_mut(first)) else {
            return;
        };
        load.records += 1;
        load.bytes += u64::from(bytes);
        self.leased += 1;
        if !load.has_room() {
            load.waits = false;
            self.line.pop_front();
        }
    }

    /// A member has one record less.
    pub(super) fn give_back(&mut self, member: MemberId, bytes: u32) {
        let Some(load) = self.by_id.get_mut(&member) else { return };
        load.records = load.records.saturating_sub(1);
        load.bytes = load.bytes.saturating_sub(u64::from(bytes));
        self.leased = self.leased.saturating_sub(1);
        self.queue(member);
    }

    pub(super) fn give_everything_back(&mut self) {
        self.leased = 0;
        let members: alloc::vec::Vec<MemberId> = self.by_id.keys().copied().collect();
        for member in members {
            if let Some(load) = self.by_id.get_mut(&member) {
                (load.records, load.bytes) = (0, 0);
            }
            self.queue(member);
        }
    }

    fn queue(&mut self, member: MemberId) {
        let Some(load) = self.by_id.get_mut(&member) else { return };
        if load.has_room() && !load.waits {
            load.waits = true;
            self.line.push_back(member);
        }
    }

    pub(super) fn save(&self) -> SavedMembers {
        let Self { by_id, line, leased: _ } = self;
        let members = by_id.iter().map(|(id, load)| (*id, *load));
        SavedMembers(members.collect(), line.iter().copied().collect())
    }

    pub(super) fn restore(SavedMembers(members, line): SavedMembers) -> Self {
        let leased = members.iter().map(|(_, load)| load.records as usize).sum();
        Self { by_id: members.into_iter().collect(), line: line.into(), leased }
    }

    pub(super) fn hash_into(&self, hasher: &mut StateHasher) {
        let Self { by_id, line, leased } = self;
        hasher.ordered(by_id, |hasher, ((session, sub), load)| {
            let Load { takes: Member { records_max, bytes_max }, records, bytes, waits, silent } =
                load;
            session.hash_into(hasher);
            hasher.number(*sub);
            for number in [records_max, records] {
                hasher.number(*number);
            }
            for number in [bytes_max, bytes] {
                hasher.number(*number);
            }
            hasher.flag(*waits);
            hasher.flag(*silent);
        });
        hasher.ordered(line, |hasher, (session, sub)| {
            session.hash_into(hasher);
            hasher.number(*sub);
        });
        hasher.size(*leased);
    }
}
