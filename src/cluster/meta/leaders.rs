//! Who should lead which group: as many for each node as can be.

use std::collections::{BTreeMap, BTreeSet};

use super::placement::{GroupPlacement, Placement};
use crate::cluster::NodeId;

/// Chooses a leader among the copies of each group that are on active nodes. Those that lead go on, as far as no node
/// has two more than another one that could have them.
pub(super) fn assign(
    copies: Vec<BTreeSet<NodeId>>,
    active: &BTreeSet<NodeId>,
    now: &Placement,
) -> Vec<GroupPlacement> {
    let mut loads: BTreeMap<NodeId, usize> = active.iter().map(|node| (*node, 0)).collect();
    let before = now.groups.iter().map(|group| Some(group.leader)).chain(std::iter::repeat(None));
    let kept: Vec<Option<NodeId>> = copies
        .iter()
        .zip(before)
        .map(|(copies, leader)| {
            leader.filter(|node| copies.contains(node) && active.contains(node))
        })
        .collect();
    for node in kept.iter().flatten() {
        loads.entry(*node).and_modify(|load| *load += 1);
    }
    let chosen = copies.into_iter().zip(kept).filter_map(|(copies, kept)| {
        let least = || {
            let usable = copies.intersection(active).copied();
            // Without an active one anybody leads, and nobody can.
            let least = usable.min_by_key(|node| loads.get(node).copied());
            least.or_else(|| copies.first().copied())
        };
        let leader = kept.or_else(least)?;
        if kept.is_none() {
            loads.entry(leader).and_modify(|load| *load += 1);
        }
        Some(GroupPlacement { copies, leader })
    });
    let mut groups: Vec<GroupPlacement> = chosen.collect();
    while let Some(shifts) = next_shifts(&groups, &loads) {
        for (index, to) in shifts {
            let Some(group) = groups.get_mut(index) else { return groups };
            loads.entry(group.leader).and_modify(|load| *load = load.saturating_sub(1));
            loads.entry(to).and_modify(|load| *load += 1);
            group.leader = to;
        }
    }
    groups
}

/// The next groups whose leaders change, and to whom: along a way from a node that leads most to one that leads at
/// least two fewer. Each node between gives one away and gets one.
fn next_shifts(
    groups: &[GroupPlacement],
    loads: &BTreeMap<NodeId, usize>,
) -> Option<Vec<(usize, NodeId)>> {
    let mut from: Vec<(usize, NodeId)> = loads.iter().map(|(node, load)| (*load, *node)).collect();
    from.sort_unstable_by_key(|(load, node)| (std::cmp::Reverse(*load), *node));
    from.into_iter().find_map(|(load, node)| shifts_from(node, load, groups, loads))
}

/// Looks breadth first, so that as few change as can be.
fn shifts_from(
    start: NodeId,
    load: usize,
    groups: &[GroupPlacement],
    loads: &BTreeMap<NodeId, usize>,
) -> Option<Vec<(usize, NodeId)>> {
    // By whom each was reached, and by which group.
    let mut reached: BTreeMap<NodeId, Option<(NodeId, usize)>> = BTreeMap::from([(start, None)]);
    let mut edge = vec![start];
    while !edge.is_empty() {
        let mut next = Vec::new();
        for node in edge {
            let led = groups.iter().enumerate().filter(|(_, group)| group.leader == node);
            for (index, to) in
                led.flat_map(|(index, group)| group.copies.iter().map(move |to| (index, *to)))
            {
                let Some(other) = loads.get(&to) else { continue };
                if reached.contains_key(&to) {
                    continue;
                }
                reached.insert(to, Some((node, index)));
                if other + 2 <= load {
                    return Some(way_to(to, &reached));
                }
                next.push(to);
            }
        }
        edge = next;
    }
    None
}

fn way_to(
    end: NodeId,
    reached: &BTreeMap<NodeId, Option<(NodeId, usize)>>,
) -> Vec<(usize, NodeId)> {
    let mut way = Vec::new();
    let mut to = end;
    while let Some(Some((from, index))) = reached.get(&to) {
        way.push((*index, to));
        to = *from;
    }
    way
}
