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
use tidewire_protocol::stable_hash;

use super::leaders;
use super::refusal::MetaRefusal;
use super::state::GROUPS;
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
            return Slot {
                group,
                before,
                copies: before.clone(),
                pinned: before.clone(),
                count: 3,
            };
        }
        Slot::new(group, before, active, chosen, count)
    });
    let mut table = Table { loads: BTreeMap::new(), slots: slots.collect() };
    table.count(active);
    table.trim();
    table.fill();
    if !awaits_third {
        table.level();
    }
    let copies: Vec<BTreeSet<NodeId>> = table.slots.into_iter().map(|slot| slot.copies).collect();
    let groups = leaders::assign(copies, active, now);
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

/// How much a node suits a group. Placements that were decided stay as they are when this changes.
fn weight(group: u16, node: NodeId) -> u64 {
    let mut bytes = [0; 24];
    let (id, rest) = bytes.split_at_mut(8);
    id.copy_from_slice(&node.get().to_be_bytes());
    // The zeros behind it carry what is told here to all bits of the hash.
    rest.iter_mut().zip(group.to_be_bytes()).for_each(|(to, from)| *to = from);
    stable_hash(&bytes)
}

/// A group while its copies are chosen.
struct Slot<'a> {
    group: u16,
    before: &'a BTreeSet<NodeId>,
    copies: BTreeSet<NodeId>,
    /// Those of the copies that do not move.
    pinned: BTreeSet<NodeId>,
    count: usize,
}

impl<'a> Slot<'a> {
    /// Begins with what can stay: what an operator has chosen, and then what is there.
    fn new(
        group: u16,
        before: &'a BTreeSet<NodeId>,
        active: &BTreeSet<NodeId>,
        chosen: &[NodeId],
        count: usize,
    ) -> Self {
        let usable = chosen.iter().filter(|node| active.contains(node));
        // Of more than are needed those are taken that are there.
        let (there, new): (Vec<NodeId>, Vec<NodeId>) =
            usable.partition(|node| before.contains(node));
        let pinned: BTreeSet<NodeId> = there.into_iter().chain(new).take(count).collect();
        let mut copies = pinned.clone();
        // With all of them chosen nothing else is there to be trimmed.
        if pinned.len() < count {
            copies.extend(before.intersection(active));
        }
        Self { group, before, copies, pinned, count }
    }

    fn movable(&self) -> impl Iterator<Item = NodeId> {
        self.copies.difference(&self.pinned).copied()
    }

    fn can_move(&self, from: NodeId, to: NodeId) -> bool {
        let has = self.copies.contains(&from) && !self.pinned.contains(&from);
        has && !self.copies.contains(&to)
    }
}

/// All groups, and how many copies each node has.
struct Table<'a> {
    loads: BTreeMap<NodeId, usize>,
    slots: Vec<Slot<'a>>,
}

impl Table<'_> {
    fn count(&mut self, active: &BTreeSet<NodeId>) {
        self.loads = active.iter().map(|node| (*node, 0)).collect();
        for node in self.slots.iter().flat_map(|slot| &slot.copies) {
            self.loads.entry(*node).and_modify(|load| *load += 1);
        }
    }

    /// Takes from those that have most what is too much.
    fn trim(&mut self) {
        let Self { loads, slots } = self;
        for slot in slots {
            while slot.copies.len() > slot.count {
                let load = |node: &NodeId| loads.get(node).copied().unwrap_or(0);
                let heaviest = slot
                    .movable()
                    .max_by_key(|node| (load(node), std::cmp::Reverse(weight(slot.group, *node))));
                let Some(node) = heaviest else { break };
                slot.copies.remove(&node);
                change(loads, node, |load| load.saturating_sub(1));
            }
        }
    }

    /// Gives what is missing to those that have least: first up to the share that each has to have, then up to the one
    /// that it may have.
    fn fill(&mut self) {
        let total: usize = self.slots.iter().map(|slot| slot.count).sum();
        let nodes = self.loads.len().max(1);
        let shares = (total / nodes, total.div_ceil(nodes));
        while let Some((index, node)) = self.next_copy(shares) {
            let Some(slot) = self.slots.get_mut(index) else { return };
            slot.copies.insert(node);
            change(&mut self.loads, node, |load| load + 1);
        }
    }

    fn next_copy(&self, (least, most): (usize, usize)) -> Option<(usize, NodeId)> {
        let slots = self.slots.iter().enumerate();
        let lacking = slots.filter(|(_, slot)| slot.copies.len() < slot.count);
        let pairs = lacking.flat_map(|(index, slot)| {
            let others = self.loads.iter().filter(|(node, _)| !slot.copies.contains(node));
            others.map(move |(node, load)| (index, slot, *node, *load))
        });
        let suited = pairs.max_by_key(|(_, slot, node, load)| {
            let beyond = usize::from(*load >= least) + usize::from(*load >= most);
            let excess = if *load >= most { *load } else { 0 };
            (std::cmp::Reverse((beyond, excess)), weight(slot.group, *node))
        });
        suited.map(|(index, _, node, _)| (index, node))
    }

    /// Moves copies from those that have most to those that have least, as long as that makes them more alike. Each
    /// move is one that is needed, since it begins above the share or ends below it.
    fn level(&mut self) {
        while let Some((index, from, to)) = self.next_move() {
            let Some(slot) = self.slots.get_mut(index) else { return };
            slot.copies.remove(&from);
            slot.copies.insert(to);
            change(&mut self.loads, from, |load| load.saturating_sub(1));
            change(&mut self.loads, to, |load| load + 1);
        }
    }

    fn next_move(&self) -> Option<(usize, NodeId, NodeId)> {
        let pairs = self.loads.iter().flat_map(|from| self.loads.iter().map(move |to| (from, to)));
        let uneven = pairs.filter(|((_, more), (_, fewer))| **more >= **fewer + 2);
        let moves = uneven.flat_map(|((from, more), (to, fewer))| {
            let slots = self.slots.iter().enumerate();
            let suited = slots.filter(|(_, slot)| slot.can_move(*from, *to));
            suited.map(move |(index, slot)| {
                // What is not sent yet costs nothing to be moved, and neither does what is there.
                let is_free = !slot.before.contains(from) || slot.before.contains(to);
                let suits = (*more - *fewer, is_free, weight(slot.group, *to));
                (suits, (index, *from, *to))
            })
        });
        moves.max_by_key(|(suits, _)| *suits).map(|(_, next)| next)
    }
}

fn change(loads: &mut BTreeMap<NodeId, usize>, node: NodeId, to: impl Fn(usize) -> usize) {
    loads.entry(node).and_modify(|load| *load = to(*load));
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
            if copies.len() % 2 == 0 {
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
