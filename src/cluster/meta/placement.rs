//! Who holds which copies.
//!
//! A group has an odd number of copies: a further one survives nothing more, and **two are worse than one**, since
//! either of them is missed. So a cluster of two nodes keeps one copy of each group until a third one joins, and a
//! cluster of three that loses one keeps three, one of them dead, until there is somebody to take its place.
//!
//! Copies move only as far as they have to, since each has to be sent. Which of several are chosen is decided by a
//! hash of the group and the node (rendezvous hashing), so it depends on nothing that happened before.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::leaders;
use super::refusal::MetaRefusal;
use super::state::GROUPS;
use super::table::{Slot, Table, weight};
use crate::cluster::NodeId;

/// The copies that are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Placement {
    /// Of the meta group. It has three copies wherever it can, also if shards have one.
    pub(crate) meta: BTreeSet<NodeId>,
    /// Of each group, by its number; none before the cluster is founded.
    pub(crate) groups: Vec<GroupPlacement>,
}

/// The copies of one group.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GroupPlacement {
    pub(crate) copies: BTreeSet<NodeId>,
    /// Who leads it when nothing is in the way.
    pub(crate) leader: NodeId,
}

/// Fewest copies of the meta group, if there are nodes for them.
const META_COPIES: u16 = 3;

/// Copies that each group has with so many active nodes: as many as are wanted, odd, and one instead of two.
pub(crate) fn copies_of(active: usize, replicas: u16) -> u16 {
    let most = u16::try_from(active).unwrap_or(u16::MAX).min(replicas);
    if most % 2 == 1 { most } else { most.saturating_sub(1) }
}

/// The copies that follow from what was decided, so close to the present ones as can be:
///
/// * With three nodes or more, a node has at most one copy more than another. Copies that an operator has chosen are
///   left where they are, so with those it may be more.
/// * Each active node leads as many groups as another, or one more (again but for what an operator has chosen).
/// * What is decided in this way follows from itself: nothing moves twice.
///
/// With no active node nothing changes.
pub(crate) fn place(
    active: &BTreeSet<NodeId>,
    replicas: u16,
    exceptions: &BTreeMap<u16, Vec<NodeId>>,
    now: &Placement,
) -> Placement {
    if active.is_empty() {
        return now.clone();
    }
    let count = usize::from(copies_of(active.len(), replicas));
    // With two nodes where there should be more, a third one is about to come: nothing moves before.
    let awaits_third = active.len() == 2 && replicas > 1;
    let nothing = BTreeSet::new();
    let slots = (0..GROUPS).map(|group| {
        let before = now.groups.get(usize::from(group)).map_or(&nothing, |group| &group.copies);
        let chosen = exceptions.get(&group).map_or(&[][..], Vec::as_slice);
        if awaits_third && is_kept_at_three(before, active) {
            return Slot::kept(group, before);
        }
        let leader = now.groups.get(usize::from(group)).map(|group| group.leader);
        Slot::new(group, before, active, chosen, count).led_by(leader)
    });
    let mut table = Table::new(slots.collect(), active);
    table.trim();
    table.fill();
    if !awaits_third {
        table.level();
    }
    let groups = leaders::assign(table.into_copies(), active, now);
    Placement { meta: place_meta(active, replicas, &now.meta), groups }
}

fn place_meta(
    active: &BTreeSet<NodeId>,
    replicas: u16,
    now: &BTreeSet<NodeId>,
) -> BTreeSet<NodeId> {
    if active.len() == 2 && is_kept_at_three(now, active) {
        return now.clone();
    }
    let count = usize::from(copies_of(active.len(), replicas.max(META_COPIES)));
    let mut slot = Slot::new(GROUPS, now, active, &[], count);
    let by_weight =
        |nodes: &BTreeSet<NodeId>| nodes.iter().copied().max_by_key(|node| weight(GROUPS, *node));
    while slot.copies.len() > count {
        let lightest = slot.copies.iter().copied().min_by_key(|node| weight(GROUPS, *node));
        let Some(node) = lightest else { break };
        slot.copies.remove(&node);
    }
    while slot.copies.len() < count {
        let others = active.difference(&slot.copies).copied().collect();
        let Some(node) = by_weight(&others) else { break };
        slot.copies.insert(node);
    }
    slot.copies
}

/// Whether three copies stay three with two active nodes: both have one, and nobody can take the third one's place.
fn is_kept_at_three(before: &BTreeSet<NodeId>, active: &BTreeSet<NodeId>) -> bool {
    before.len() == 3 && active.is_subset(before)
}

impl Placement {
    /// Groups, the meta group among them, that would be without a majority of their copies without these nodes.
    pub(super) fn without_majority(&self, gone: &BTreeSet<NodeId>) -> usize {
        let sets = self.groups.iter().map(|group| &group.copies).chain([&self.meta]);
        sets.filter(|copies| has_no_majority(copies, gone)).count()
    }

    /// Refuses what no group may have, whoever has worked it out.
    pub(super) fn check(
        &self,
        is_known: impl Fn(NodeId) -> bool,
        removed: &BTreeSet<NodeId>,
    ) -> Result<(), MetaRefusal> {
        let refuse = |group: usize, rule: &'static str| Err(MetaRefusal::Placement { group, rule });
        if self.groups.len() != usize::from(GROUPS) {
            return refuse(self.groups.len(), "there are 16 groups, and each has its place");
        }
        let sets = self.groups.iter().map(|group| &group.copies).chain([&self.meta]);
        for (group, copies) in sets.enumerate() {
            if copies.len().is_multiple_of(2) {
                return refuse(group, "their number is odd");
            }
            if copies.len() > usize::from(super::state::REPLICAS_MAX) {
                return refuse(group, "there are too many");
            }
            if !copies.iter().all(|node| is_known(*node)) {
                return refuse(group, "one is on a node that the cluster does not know");
            }
            if has_no_majority(copies, removed) {
                return refuse(group, "most are on nodes that were removed");
            }
        }
        let leads_itself = |group: &GroupPlacement| group.copies.contains(&group.leader);
        match self.groups.iter().position(|group| !leads_itself(group)) {
            Some(group) => refuse(group, "its leader has none"),
            None => Ok(()),
        }
    }
}

fn has_no_majority(copies: &BTreeSet<NodeId>, gone: &BTreeSet<NodeId>) -> bool {
    let lost = copies.intersection(gone).count();
    lost > 0 && lost * 2 >= copies.len()
}

#[cfg(test)]
mod tests;
