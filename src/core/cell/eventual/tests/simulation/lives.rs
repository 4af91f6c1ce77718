//! Crashes, starts, and what the cluster and its operator decide.

use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

use super::super::*;
use super::world::{Decision, World, limits};

impl World {
    pub(super) fn crash(&mut self) {
        let id = 1 + self.chance.below(self.nodes.len() as u64);
        let lives = self.nodes.values().filter(|node| node.counters.is_some()).count();
        if lives < 2 || self.nodes[&id].counters.is_none() {
            return;
        }
        self.figures.crashes += 1;
        self.nodes.get_mut(&id).unwrap().counters = None;
        self.end_connections(id);
        self.forget_unanswered(id);
    }

    pub(super) fn start_one(&mut self) {
        let down =
            self.nodes.iter().filter(|(_, node)| node.counters.is_none() && !node.is_removed);
        let down: Vec<u64> = down.map(|(id, _)| *id).collect();
        if !down.is_empty() {
            let id = down[self.chance.below(down.len() as u64) as usize];
            self.start(id);
        }
    }

    pub(super) fn start(&mut self, id: u64) {
        let now_ms = self.now_ms;
        let node = self.nodes.get_mut(&id).unwrap();
        node.incarnation += 1;
        node.decisions = 0;
        let incarnation = node.incarnation;
        let counters = match &node.disk {
            Some((saved, _)) => {
                let saved = EventualCounters::restore(saved.clone(), id).unwrap();
                let (own, version) = (saved.own(), saved.known().of(saved.own()));
                let mut counters = saved.begin(incarnation).unwrap();
                // It has kept all that it ever told in its last life: the first case of the rule. It
                // has taken over those before, or waits for it.
                if counters.earlier_lives().all(|(earlier, _)| earlier == own)
                    && counters.take_over(&[(own.incarnation, version)], now_ms).is_ok()
                {
                    self.figures.taken_over += 1;
                }
                counters
            }
            None => EventualCounters::new(actor(id, incarnation), limits(), id),
        };
        node.counters = Some(counters);
        self.nothing_is_given_up();
        self.hear_of_decisions();
    }

    /// The second case of the rule: all members are there and say how far they know the earlier lives.
    pub(super) fn take_over_where_possible(&mut self) {
        let members = || self.nodes.values().filter(|node| !node.is_removed);
        if members().any(|node| node.counters.is_none()) {
            return;
        }
        let last: BTreeMap<u64, Vec<(u64, u64)>> = self
            .nodes
            .keys()
            .map(|id| {
                let answers = members().filter_map(|node| node.counters.as_ref());
                (*id, last_versions(answers.map(|counters| counters.lives(*id))))
            })
            .collect();
        for (id, node) in self.nodes.iter_mut().filter(|(_, node)| !node.is_removed) {
            let Some(counters) = &mut node.counters else { continue };
            let has_earlier = counters.earlier_lives().count() > 0;
            if has_earlier && counters.take_over(&last[id], self.now_ms).is_ok() {
                self.figures.taken_over += 1;
            }
        }
        self.nothing_is_given_up();
    }

    /// No member that has not lost its memory knows more of an earlier life than was taken over.
    pub(super) fn nothing_is_given_up(&self) {
        let members: Vec<_> = self.nodes.iter().filter(|(_, node)| !node.is_removed).collect();
        for (id, heir) in &members {
            let Some(heir) = &heir.counters else { continue };
            for (incarnation, version) in heir.lives(**id) {
                for (_, other) in &members {
                    let live = other.counters.as_ref().map(|counters| counters.lives(**id));
                    let lives = live.or(other.disk.as_ref().map(|(_, lives)| lives[id].clone()));
                    let lives = lives.unwrap_or_default().into_iter();
                    let mut life = lives.filter(|(other, _)| *other == incarnation);
                    let knows = life.next().map_or(0, |(_, version)| version);
                    let is_apart = heir.known().of(actor(**id, incarnation)) > 0;
                    assert!(is_apart || knows <= version, "{id}.{incarnation}: {knows}");
                }
            }
        }
    }

    /// A node is removed for ever.
    pub(super) fn remove_one(&mut self) {
        let id = 1 + self.chance.below(self.nodes.len() as u64);
        let members = self.nodes.values().filter(|node| !node.is_removed).count();
        if members < 3 || self.nodes[&id].is_removed {
            return;
        }
        self.nodes.get_mut(&id).unwrap().is_removed = true;
        self.end_connections(id);
        self.figures.removed += 1;
        self.decisions.push(Decision::Remove(id));
        self.hear_of_decisions();
    }

    /// The third case: all members know of all removals, and the same of who was removed.
    pub(super) fn seal_where_possible(&mut self) {
        let members = || self.nodes.values().filter(|node| !node.is_removed);
        if members().any(|node| node.counters.is_none() || node.decisions < self.decisions.len()) {
            return;
        }
        let mut all = members().filter_map(|node| node.counters.as_ref());
        let Some(first) = all.next() else { return };
        let nodes = first.removed().clone();
        let digest = first.digest_of(&nodes);
        let known = first.seal();
        let is_due = known.map_or(!nodes.is_empty(), |known| known.nodes != nodes);
        if is_due && all.all(|other| other.digest_of(&nodes) == digest) {
            let number = known.map_or(1, |known| known.number + 1);
            self.figures.sealed += 1;
            self.decisions.push(Decision::Seal(Seal { number, nodes, digest }));
        }
    }

    pub(super) fn hear_of_decisions(&mut self) {
        for node in self.nodes.values_mut().filter(|node| !node.is_removed) {
            let Some(counters) = &mut node.counters else { continue };
            let delayed = if self.is_healing { 0 } else { self.chance.below(3) as usize };
            let heard = self.decisions.len().saturating_sub(delayed).max(node.decisions);
            for decision in &self.decisions[node.decisions..heard] {
                match decision {
                    Decision::Remove(id) => counters.remove(&BTreeSet::from([*id])),
                    Decision::Seal(seal) => counters.decide(seal.clone()),
                }
            }
            node.decisions = heard;
        }
    }
}
