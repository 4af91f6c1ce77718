//! All groups and the load of all nodes, while copies are chosen.

use std::collections::{BTreeMap, BTreeSet};

use tidewire_protocol::stable_hash;

use crate::cluster::NodeId;

/// A group while its copies are chosen.
pub(super) struct Slot<'a> {
    group: u16,
    before: &'a BTreeSet<NodeId>,
    /// Who leads it. What is in memory ends where that changes, so this copy is the last to be moved.
    leader: Option<NodeId>,
    pub(super) copies: BTreeSet<NodeId>,
    /// Those of the copies that do not move.
    pinned: BTreeSet<NodeId>,
    count: usize,
}

impl<'a> Slot<'a> {
    /// Begins with what can stay: what an operator has chosen, and then what is there.
    pub(super) fn new(
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
        Self { group, before, leader: None, copies, pinned, count }
    }

    pub(super) fn led_by(self, leader: Option<NodeId>) -> Self {
        Self { leader, ..self }
    }

    /// A group whose copies stay as they are.
    pub(super) fn kept(group: u16, before: &'a BTreeSet<NodeId>) -> Self {
        let (copies, pinned) = (before.clone(), before.clone());
        Self { group, before, leader: None, copies, pinned, count: before.len() }
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
pub(super) struct Table<'a> {
    loads: BTreeMap<NodeId, usize>,
    slots: Vec<Slot<'a>>,
}

impl<'a> Table<'a> {
    /// Counts the copies on these nodes.
    pub(super) fn new(slots: Vec<Slot<'a>>, active: &BTreeSet<NodeId>) -> Self {
        let mut loads = active.iter().map(|node| (*node, 0)).collect();
        for node in slots.iter().flat_map(|slot| &slot.copies) {
            change(&mut loads, *node, |load| load + 1);
        }
        Self { loads, slots }
    }

    pub(super) fn into_copies(self) -> Vec<BTreeSet<NodeId>> {
        self.slots.into_iter().map(|slot| slot.copies).collect()
    }

    /// Takes from those that have most what is too much.
    pub(super) fn trim(&mut self) {
        let Self { loads, slots } = self;
        for slot in slots {
            while slot.copies.len() > slot.count {
                let load = |node: &NodeId| loads.get(node).copied().unwrap_or(0);
                let heaviest = slot.movable().max_by_key(|node| {
                    let follows = slot.leader != Some(*node);
                    (load(node), follows, std::cmp::Reverse(weight(slot.group, *node)))
                });
                let Some(node) = heaviest else { break };
                slot.copies.remove(&node);
                change(loads, node, |load| load.saturating_sub(1));
            }
        }
    }

    /// Gives what is missing to those that have least: first up to the share that each has to have, then up to the one
    /// that it may have.
    pub(super) fn fill(&mut self) {
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
    pub(super) fn level(&mut self) {
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
                let follows = slot.leader != Some(*from);
                let suits = (*more - *fewer, is_free, follows, weight(slot.group, *to));
                (suits, (index, *from, *to))
            })
        });
        moves.max_by_key(|(suits, _)| *suits).map(|(_, next)| next)
    }
}

/// How much a node suits a group. Placements that were decided stay as they are when this changes.
pub(super) fn weight(group: u16, node: NodeId) -> u64 {
    let mut bytes = [0; 24];
    let (id, rest) = bytes.split_at_mut(8);
    id.copy_from_slice(&node.get().to_be_bytes());
    // The zeros behind it carry what is told here to all bits of the hash.
    rest.iter_mut().zip(group.to_be_bytes()).for_each(|(to, from)| *to = from);
    stable_hash(&bytes)
}

fn change(loads: &mut BTreeMap<NodeId, usize>, node: NodeId, to: impl Fn(usize) -> usize) {
    loads.entry(node).and_modify(|load| *load = to(*load));
}
