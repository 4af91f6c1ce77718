//! Nodes that are removed for good, whether they run or not, and what is decided of them.

use std::collections::BTreeSet;

use tidewire_core::cell::eventual::Seal;
use tidewire_core::commons::{Commons, Decided};

use super::apart::{Apart, id};

/// A decision of the cluster.
#[derive(Debug)]
pub(super) enum Decision {
    /// A node never comes back.
    Remove(usize),
    /// What there is of those that were removed.
    Seal(Seal),
}

impl Apart {
    pub(super) fn is_removed(&self, at: usize) -> bool {
        self.decisions
            .iter()
            .any(|decision| matches!(decision, Decision::Remove(gone) if *gone == at))
    }

    pub(super) fn members(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|at| !self.is_removed(*at)).collect()
    }

    /// The operator removes a node, which may be running; a node hears of the next decision; or it is decided
    /// what there is of those that were removed.
    pub(super) fn decide(&mut self, at: usize) {
        let members = self.members();
        if self.chance.one_in(150) && members.len() > 2 && members.contains(&at) {
            self.decisions.push(Decision::Remove(at));
            self.figures.removed += 1;
        }
        let heard = (self.heard[at] + 1).min(self.decisions.len());
        match self.is_removed(at) {
            true if self.chance.one_in(20) => self.crash(at),
            true => {}
            false => self.hear(at, heard),
        }
        self.seal();
    }

    /// A node hears of the first decisions.
    pub(super) fn hear(&mut self, at: usize, count: usize) {
        self.heard[at] = count;
        let mut decided = Decided { collects: true, ..Decided::default() };
        decided.members = (0..self.nodes.len()).map(id).collect();
        for decision in &self.decisions[..count] {
            match decision {
                Decision::Remove(gone) => {
                    decided.members.remove(&id(*gone));
                    decided.removed.insert(id(*gone));
                }
                Decision::Seal(seal) => decided.seal = Some(seal.clone()),
            }
        }
        decided.members.remove(&id(at));
        self.nodes[at].as_mut().unwrap().set_decided(decided);
    }

    /// Decides what a member has found that all know alike, as the log would take it.
    pub(super) fn seal(&mut self) {
        let removed = self.decisions.iter().filter_map(|decision| match decision {
            Decision::Remove(gone) => Some(id(*gone)),
            Decision::Seal(_) => None,
        });
        let removed: BTreeSet<u64> = removed.collect();
        let number = 1 + (self.decisions.len() - removed.len()) as u64;
        let collected = self.members().into_iter().find_map(|at| {
            let agreed = self.nodes[at].as_ref().and_then(Commons::agreed);
            agreed.filter(|seal| seal.number == number && seal.nodes == removed)
        });
        if let Some(seal) = collected {
            // Those that still run and have not heard of it are over now.
            let over = (0..self.nodes.len()).filter(|at| self.is_removed(*at));
            over.collect::<Vec<_>>().into_iter().for_each(|at| self.crash(at));
            self.decisions.push(Decision::Seal(seal));
            self.figures.sealed += 1;
        }
    }
}
