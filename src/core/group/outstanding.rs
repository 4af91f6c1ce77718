//! Records that a group has passed and that are not settled, by offset, and what is due when.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{Dead, MemberId, REJECTED};

/// Why a record was not settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// Its consumer did not answer in time.
    TimedOut,
    /// Its consumer has gone.
    Gone,
    /// Its consumer says so.
    Said(Box<str>),
    /// It was known before the server was started again.
    Forgotten,
}

impl Reason {
    /// The reason in words.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::TimedOut => "not acknowledged in time",
            Self::Gone => "its consumer has gone",
            Self::Said(reason) => reason,
            Self::Forgotten => "not known any more since the server was started again",
        }
    }
}

/// Where an outstanding record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    /// With a member.
    Leased { member: MemberId, until_ms: u64 },
    /// To be delivered to whoever has room.
    Ready,
    /// To be delivered again, later.
    Paused { until_ms: u64 },
    /// Behind another record of its key.
    Behind,
    /// To become a dead letter; `until_ms` 0: it is to be sent.
    Dead { until_ms: u64 },
    /// To become a dead letter, but its record cannot be read at the moment.
    Unreadable { until_ms: u64 },
}

/// An outstanding record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) state: State,
    pub(super) deliveries: u32,
    pub(super) bytes: u32,
    /// Its key, in groups that keep the order of keys.
    pub(super) key: Option<Arc<str>>,
    pub(super) reason: Option<Reason>,
    /// Who had it last, in this life of the server.
    pub(super) last: Option<MemberId>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    pub(super) by_offset: BTreeMap<u64, Entry>,
    ready: BTreeSet<u64>,
    /// By when something is due.
    due: BTreeSet<(u64, u64)>,
    /// Dead letters to be sent.
    unsent: BTreeSet<u64>,
    /// Dead letters under way.
    under_way: usize,
}

impl Outstanding {
    pub(super) fn len(&self) -> usize {
        self.by_offset.len()
    }

    pub(super) fn first(&self) -> Option<u64> {
        self.by_offset.first_key_value().map(|(offset, _)| *offset)
    }

    pub(super) fn due_ms(&self) -> Option<u64> {
        self.due.first().map(|(at_ms, _)| *at_ms)
    }

    pub(super) fn insert(&mut self, offset: u64, entry: Entry) {
        self.index(offset, entry.state);
        self.by_offset.insert(offset, entry);
    }

    pub(super) fn remove(&mut self, offset: u64) -> Option<Entry> {
        let entry = self.by_offset.remove(&offset)?;
        self.unindex(offset, entry.state);
        Some(entry)
    }

    pub(super) fn set(&mut self, offset: u64, state: State) {
        let Some(entry) = self.by_offset.get_mut(&offset) else { return };
        let before = core::mem::replace(&mut entry.state, state);
        self.unindex(offset, before);
        self.index(offset, state);
    }

    fn index(&mut self, offset: u64, state: State) {
        match state {
            State::Ready => drop(self.ready.insert(offset)),
            State::Dead { until_ms: 0 } => drop(self.unsent.insert(offset)),
            State::Dead { until_ms } => {
                self.under_way += 1;
                self.due.insert((until_ms, offset));
            }
            State::Leased { until_ms, .. }
            | State::Paused { until_ms }
            | State::Unreadable { until_ms } => {
                self.due.insert((until_ms, offset));
            }
            State::Behind => {}
        }
    }

    fn unindex(&mut self, offset: u64, state: State) {
        match state {
            State::Ready => drop(self.ready.remove(&offset)),
            State::Dead { until_ms: 0 } => drop(self.unsent.remove(&offset)),
            State::Dead { until_ms } => {
                self.under_way -= 1;
                self.due.remove(&(until_ms, offset));
            }
            State::Leased { until_ms, .. }
            | State::Paused { until_ms }
            | State::Unreadable { until_ms } => {
                self.due.remove(&(until_ms, offset));
            }
            State::Behind => {}
        }
    }

    /// The first record that is ready.
    pub(super) fn first_ready(&self) -> Option<u64> {
        self.ready.first().copied()
    }

    /// What is due, and where it was.
    pub(super) fn pop_due(&mut self, now_ms: u64) -> Option<(u64, State)> {
        let (_, offset) = self.due.first().copied().filter(|(at_ms, _)| *at_ms <= now_ms)?;
        let state = self.by_offset.get(&offset)?.state;
        Some((offset, state))
    }

    /// What a member has.
    pub(super) fn held_by(&self, member: MemberId) -> Vec<u64> {
        self.leased_in(member, 0, u64::MAX)
    }

    /// What a member has in a range.
    pub(super) fn leased_in(&self, member: MemberId, from: u64, next: u64) -> Vec<u64> {
        self.in_range(
            from,
            next,
            |entry| matches!(entry.state, State::Leased { member: of, .. } if of == member),
        )
    }

    /// What a member may settle in a range: what it has, and what it had last and nobody has now.
    pub(super) fn answerable_by(&self, member: MemberId, from: u64, next: u64) -> Vec<u64> {
        self.in_range(from, next, |entry| match entry.state {
            State::Leased { member: of, .. } => of == member,
            State::Ready | State::Paused { .. } => entry.last == Some(member),
            State::Behind | State::Dead { .. } | State::Unreadable { .. } => false,
        })
    }

    fn in_range(&self, from: u64, next: u64, which: impl Fn(&Entry) -> bool) -> Vec<u64> {
        if from >= next {
            return Vec::new();
        }
        let range = self.by_offset.range(from..next);
        range.filter(|(_, entry)| which(entry)).map(|(offset, _)| *offset).collect()
    }

    /// Who has a record, if anyone, and how often it was delivered.
    pub(super) fn lease(&self, offset: u64) -> Option<(Option<MemberId>, u32)> {
        let entry = self.by_offset.get(&offset)?;
        let member = match entry.state {
            State::Leased { member, .. } => Some(member),
            State::Ready
            | State::Paused { .. }
            | State::Behind
            | State::Dead { .. }
            | State::Unreadable { .. } => None,
        };
        Some((member, entry.deliveries))
    }

    pub(super) fn deliveries(&self, offset: u64) -> u32 {
        self.by_offset.get(&offset).map_or(0, |entry| entry.deliveries)
    }

    pub(super) fn bytes(&self, offset: u64) -> u32 {
        self.by_offset.get(&offset).map_or(0, |entry| entry.bytes)
    }

    pub(super) fn set_reason(&mut self, offset: u64, reason: Reason) {
        if let Some(entry) = self.by_offset.get_mut(&offset) {
            entry.reason = Some(reason);
        }
    }

    pub(super) fn is_dead(&self, offset: u64) -> bool {
        let entry = self.by_offset.get(&offset);
        entry.is_some_and(|entry| {
            matches!(entry.state, State::Dead { .. } | State::Unreadable { .. })
        })
    }

    /// Dead letters to be sent, while no more than so many are under way.
    pub(super) fn unsent(&self, most: usize) -> Vec<u64> {
        self.unsent.iter().copied().take(most.saturating_sub(self.under_way)).collect()
    }

    /// Dead letters of these offsets that are to be sent.
    pub(super) fn unsent_in(&self, from: u64, next: u64) -> Vec<u64> {
        self.unsent.range(from..next).copied().collect()
    }

    pub(super) fn dead(&self, offset: u64) -> Option<Dead> {
        let entry = self.by_offset.get(&offset)?;
        let reason = entry.reason.clone().unwrap_or(Reason::Forgotten);
        let deliveries = if entry.deliveries == REJECTED { 0 } else { entry.deliveries };
        Some(Dead { offset, deliveries, reason })
    }
}
