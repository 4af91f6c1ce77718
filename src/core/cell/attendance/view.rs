//! What is shown: the members of all nodes together, with versions of this node.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use tidewire_protocol::Name;

use super::{Attendance, Place};
use crate::cell::{Change, Keyed};

/// Members that have gone which a set remembers for watchers that lag a little.
const TOMBSTONES_MAX: usize = 1_024;

/// What has changed in a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetChanges {
    /// The set.
    pub set: Name,
    /// Version of the set that this leads to.
    pub version: u64,
    /// Whether these are all members; otherwise those that have changed.
    pub full: bool,
    /// The members, with those that are gone, in order of their versions.
    pub members: Vec<MemberChange>,
}

/// What has changed of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberChange {
    /// The member.
    pub member: Arc<str>,
    /// Version at which it changed, which is this node's own.
    pub version: u64,
    /// Its data; `None`: it has gone.
    pub data: Option<Bytes>,
}

#[derive(Debug, Default)]
pub(super) struct View {
    /// Version of the last change of any set. They all share it, so that a set which goes and comes again
    /// has larger versions.
    pub(super) version: u64,
    pub(super) sets: BTreeMap<Name, Shown>,
    pub(super) changed: BTreeSet<Name>,
}

/// One set, and the version that was handed out last.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) members: Keyed,
    pub(super) told: u64,
}

impl View {
    /// Sets that have members, or had some when their changes were handed out last.
    pub(super) fn len(&self) -> usize {
        self.sets.len()
    }

    pub(super) fn members(&self, set: &Name) -> Option<&Keyed> {
        self.sets.get(set).map(|shown| &shown.members)
    }

    pub(super) fn show(&mut self, (set, member): &Place, data: Option<Bytes>) {
        let before = self.members(set).and_then(|members| members.get(member));
        if before.map(|entry| entry.value) == data.as_ref() {
            return;
        }
        let told = self.version;
        self.version += 1;
        let shown = self
            .sets
            .entry(set.clone())
            .or_insert_with(|| Shown { members: Keyed::new(usize::MAX, TOMBSTONES_MAX), told });
        shown.members.put(member, self.version, None, data);
        self.changed.insert(set.clone());
    }

    fn take_changed(&mut self) -> Vec<SetChanges> {
        let changed = core::mem::take(&mut self.changed);
        changed.into_iter().filter_map(|set| self.take_changes(set)).collect()
    }

    fn take_changes(&mut self, set: Name) -> Option<SetChanges> {
        let shown = self.sets.get_mut(&set)?;
        let version = shown.members.version();
        let told = core::mem::replace(&mut shown.told, version);
        let changes = shown.members.changes_since(Some(told));
        let full = changes.is_full();
        let members = changes.map(|Change { key, version, value }| MemberChange {
            member: Arc::clone(key),
            version,
            data: value.cloned(),
        });
        let members = members.collect();
        if shown.members.is_empty() {
            self.sets.remove(&set);
        }
        Some(SetChanges { set, version, full, members })
    }
}

impl Attendance {
    /// Takes what has changed in what is shown since the last call, set by set.
    pub fn take_changed(&mut self) -> Vec<SetChanges> {
        self.view.take_changed()
    }

    /// The sets that have members, in order, with these.
    pub fn sets(&self) -> impl Iterator<Item = (&Name, &Keyed)> {
        let sets = self.view.sets.iter().map(|(name, shown)| (name, &shown.members));
        sets.filter(|(_, members)| !members.is_empty())
    }

    /// The members of a set that are shown, for who begins to follow it; `None` if there are none.
    #[must_use]
    pub fn members(&self, set: &Name) -> Option<&Keyed> {
        self.view.members(set)
    }
}
