//! The log of the durable shard: who leads it, and how it gets from one node to another.

use super::log;
use super::node::DURABLE;
use super::world::World;

/// How long a leader acts on what a majority last told it, and how long the others wait at least
/// before they elect another one.
const LEASE_MS: u64 = 400;
const ELECTION_MS: u64 = 500;
/// Turns in which a slow disk takes what it was told, and in which a state is saved, once on average.
const SLOW_TURNS: u64 = 40;
const SAVED_TURNS: u64 = 150;

impl World {
    pub(super) fn elect(&mut self, candidate: usize) {
        if candidate >= self.logs.len() || self.nodes[candidate].is_none() {
            return;
        }
        let is_quiet = |node: usize| self.heard_ms[node] + ELECTION_MS < self.now_ms;
        let reachable: Vec<usize> = (0..self.logs.len())
            .filter(|node| {
                *node == candidate
                    || self.reaches(candidate, *node) && self.reaches(*node, candidate)
            })
            .filter(|node| is_quiet(*node))
            .collect();
        if reachable.contains(&candidate) && log::elect(&mut self.logs, candidate, &reachable) {
            self.failovers += 1;
            self.answered_ms[candidate] = vec![0; self.nodes.len()];
        }
    }

    /// The leader with the newest term, if it acts as one.
    pub(super) fn leader(&self) -> Option<usize> {
        let leads = |node: &usize| self.logs[*node].leads && self.nodes[*node].is_some();
        (0..self.logs.len()).filter(leads).max_by_key(|node| self.logs[*node].term)
    }

    pub(super) fn has_lease(&self, node: usize) -> bool {
        let is_recent = |at_ms: &&u64| **at_ms + LEASE_MS > self.now_ms;
        let others = self.answered_ms[node].iter().take(self.logs.len());
        let recent = others.filter(is_recent).count();
        self.logs[node].leads && (recent + 1) * 2 > self.logs.len()
    }

    pub(super) fn replicate(&mut self) {
        for leader in 0..self.logs.len() {
            for node in 0..self.logs.len() {
                if node == leader || !self.logs[leader].leads || !self.reaches(leader, node) {
                    continue;
                }
                if !self.is_healed && self.chance.one_in(3) {
                    continue;
                }
                let is_answered = self.reaches(node, leader);
                let entries = 1 + self.chance.below(4) as usize;
                let is_new = self.logs[leader].term >= self.logs[node].term;
                if is_new || is_answered {
                    log::replicate(&mut self.logs, leader, node, entries, is_answered);
                }
                if is_new {
                    self.heard_ms[node] = self.now_ms;
                    if is_answered {
                        self.answered_ms[leader][node] = self.now_ms;
                        self.heard_ms[leader] = self.now_ms;
                    }
                }
            }
        }
    }

    /// What the disks have been told gets on them, sooner or later.
    pub(super) fn flush(&mut self) {
        for node in 0..self.logs.len() {
            let is_due = !self.logs[node].is_slow || self.chance.one_in(SLOW_TURNS);
            if self.nodes[node].is_some() && is_due {
                self.logs[node].flush(node);
            }
        }
    }

    /// Saves the state of a node's copy at times; the entries before that go.
    pub(super) fn save(&mut self, at: usize) {
        if !self.chance.one_in(SAVED_TURNS) {
            return;
        }
        let (Some(node), Some(log)) = (&self.nodes[at], self.logs.get_mut(at)) else { return };
        if let Some(state) = node.members[DURABLE].checkpoint()
            && node.applied > log.purged
            && node.applied <= log.flushed
        {
            log.save(node.applied, &state);
            self.happened.saved += 1;
        }
    }
}
