//! Where connections go: how many a node with too many asks to go, and to which other ones.
//!
//! Pure: what is seen of the nodes comes in once a second, and what is asked comes out. Three things keep the
//! nodes from passing connections to and fro:
//!
//! * a node begins beyond the average and a margin, and goes on to the average and half of it only;
//! * nobody is sent to a node beyond the average, as this node sees it, and of the room below it this node
//!   uses its share among all that may be sending;
//! * what was sent of late counts as there already, since gossip comes later.

mod fill;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use super::NodeId;
use fill::Vessel;

/// Turns (seconds) for which what was sent to a node is added to what it says it has.
const REMEMBERED: usize = 5;
/// A turn asks this part of what is too much, so that the rest is seen before it is asked.
const PART: u64 = 4;
/// Turns in which a node that is drained has asked everybody.
const DRAIN_TURNS: u64 = 60;

/// What an operator allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// By how much of the average a node may exceed it; 0: by anything.
    pub(crate) percent: u64,
    /// By how many connections it may exceed it in any case.
    pub(crate) least: u64,
    /// Connections that are asked in a turn.
    pub(crate) per_turn: u64,
}

/// Another node that connections may go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Other {
    pub(crate) node: NodeId,
    /// As many as it says it has.
    pub(crate) connections: u64,
}

/// Until when a node asks connections to go, and from when on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds {
    average: u64,
    low: u64,
    high: u64,
}

/// What a node remembers from turn to turn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Balance {
    sheds: bool,
    /// Whom how many were sent to, by turns, the newest first.
    sent: VecDeque<BTreeMap<NodeId, u64>>,
    /// Turns since the node began to be drained.
    drained_for: u64,
}

impl Balance {
    /// Whether a node with so many connections may have too many, so that it is worth counting them.
    pub(crate) fn is_due(&self, rules: Rules, own: u64, others: &[Other]) -> bool {
        let Some(bounds) = bounds(rules, own, others) else { return false };
        own > if self.sheds { bounds.low } else { bounds.high }
    }

    /// A turn of a node that serves clients. `own` are its connections without those that it has asked and that
    /// are about to go. Returns where a connection each is to go.
    pub(crate) fn serving(&mut self, rules: Rules, own: u64, others: &[Other]) -> Vec<NodeId> {
        self.drained_for = 0;
        let Some(bounds) = bounds(rules, own, others) else {
            self.sheds = false;
            return self.remember(Vec::new());
        };
        self.sheds = own > if self.sheds { bounds.low } else { bounds.high };
        if !self.sheds {
            return self.remember(Vec::new());
        }
        let senders = 1 + others.iter().filter(|other| other.connections > bounds.low).count();
        let vessel = |other: &Other| {
            let level = self.expected(other);
            let room = bounds.average.saturating_sub(level) / senders as u64;
            Vessel { node: other.node, level, room }
        };
        let vessels = others.iter().map(vessel).collect();
        let asked = own.saturating_sub(bounds.low).div_ceil(PART).min(rules.per_turn);
        let to = fill::fill(vessels, asked);
        self.remember(to)
    }

    /// A turn of a node that is drained, with so many connections that were not asked yet: all of them are within a
    /// minute, evenly, and not fewer in a turn than is usual.
    pub(crate) fn drained(&mut self, rules: Rules, left: u64, others: &[Other]) -> Vec<NodeId> {
        self.sheds = false;
        if others.is_empty() {
            return self.remember(Vec::new());
        }
        let turns = DRAIN_TURNS.saturating_sub(self.drained_for).max(1);
        self.drained_for = self.drained_for.saturating_add(1);
        let asked = left.div_ceil(turns).max(rules.per_turn).min(left);
        let vessel = |other: &Other| {
            let level = self.expected(other);
            Vessel { node: other.node, level, room: u64::MAX }
        };
        let vessels = others.iter().map(vessel).collect();
        let to = fill::fill(vessels, asked);
        self.remember(to)
    }

    /// All of them, those with the fewest connections first.
    pub(crate) fn by_level(&self, others: &[Other]) -> Vec<NodeId> {
        let mut others: Vec<&Other> = others.iter().collect();
        others.sort_by_key(|other| (self.expected(other), other.node));
        others.into_iter().map(|other| other.node).collect()
    }

    fn expected(&self, other: &Other) -> u64 {
        let sent = self.sent.iter().filter_map(|turn| turn.get(&other.node)).sum::<u64>();
        other.connections.saturating_add(sent)
    }

    fn remember(&mut self, to: Vec<NodeId>) -> Vec<NodeId> {
        let mut turn = BTreeMap::new();
        for node in &to {
            *turn.entry(*node).or_insert(0) += 1;
        }
        self.sent.push_front(turn);
        self.sent.truncate(REMEMBERED);
        to
    }
}

/// Nothing if connections stay where they are.
fn bounds(rules: Rules, own: u64, others: &[Other]) -> Option<Bounds> {
    if rules.percent == 0 || others.is_empty() {
        return None;
    }
    let sum = others.iter().fold(own, |sum, other| sum.saturating_add(other.connections));
    let average = sum / (others.len() as u64 + 1);
    let margin = (average.saturating_mul(rules.percent) / 100).max(rules.least);
    let (low, high) = (average.saturating_add(margin / 2), average.saturating_add(margin));
    Some(Bounds { average, low, high })
}
